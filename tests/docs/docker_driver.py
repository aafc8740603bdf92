"""What Docker's `fluentd` driver makes of a daemon.json, and how it sends.

It owns the driver's rules since Docker Engine 23: which options it takes, how it reads
the address, the bytes that fluent-logger-golang writes for it. Where no Docker is, this
stands in its place.
"""

import base64
import json
import os
import ssl
import struct
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgpack

from tests.acceptance.forward_sender import ForwardSender

# The driver refuses a container for any other.
KNOWN_OPTIONS = {
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "tag",
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
}
# Of Go's strconv.ParseBool, what people write.
BOOLEANS = {"true": True, "false": False}
CONTAINER_NAME = "web-1"


@dataclass(frozen=True, slots=True)
class DockerDriver:
    """The driver, with the options of a daemon.json."""

    network: str
    host: str
    port: int
    path: str
    asks_for_acks: bool
    has_fractions: bool
    tag: str

    @classmethod
    def of(cls, daemon_json: str) -> "DockerDriver":
        """Read a daemon.json as the daemon does.

        Raises:
            ValueError: the daemon, or the driver, would not take it.
        """
        daemon = json.loads(daemon_json)
        if set(daemon) != {"log-driver", "log-opts"}:
            raise ValueError(f"keys of daemon.json: {sorted(daemon)}")
        if daemon["log-driver"] != "fluentd":
            raise ValueError(f"another driver: {daemon['log-driver']}")
        options = daemon["log-opts"]
        if unknown := set(options) - KNOWN_OPTIONS:
            raise ValueError(f"unknown options: {sorted(unknown)}")
        if any(not isinstance(value, str) for value in options.values()):
            raise ValueError("an option in daemon.json is a text")
        return cls(
            *_parse_address(options.get("fluentd-address", "")),
            asks_for_acks=BOOLEANS[options.get("fluentd-request-ack", "false")],
            has_fractions=BOOLEANS[
                options.get("fluentd-sub-second-precision", "false")
            ],
            tag=options["tag"].replace("{{.Name}}", CONTAINER_NAME),
        )

    def send(self, lines: list[str], context: ssl.SSLContext) -> None:
        """Send lines of a container; with acks, each waits for the one before."""
        with self._connect(context) as sender:
            for line in lines:
                message, chunk = self.message(line)
                sender.send(message)
                if self.asks_for_acks:
                    assert sender.read_ack() == chunk
            # What is not acked is there when the server has read to the end.
            assert self.asks_for_acks or sender.finish() == b""

    def _connect(self, context: ssl.SSLContext) -> ForwardSender:
        if self.network == "unix":
            return ForwardSender.on_unix_socket(self.path)
        assert self.host in {"127.0.0.1", "localhost"}
        return ForwardSender(self.port, tls=context if self.network == "tls" else None)

    def message(self, line: str) -> tuple[bytes, str]:
        """Return a message as the driver writes it, and its chunk.

        An array of four, always; the time an int32 or an EventTime; all values text.
        """
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        event_time = b"\xd2" + struct.pack(">i", seconds)
        if self.has_fractions:
            event_time = b"\xd7\x00" + struct.pack(">II", seconds, nanoseconds)
        record = {
            "container_id": "0123456789abcdef" * 4,
            "container_name": f"/{CONTAINER_NAME}",
            "source": "stdout",
            "log": line,
        }
        option: dict[str, Any] = {}
        chunk = base64.b64encode(struct.pack("<q", seconds) + os.urandom(8)).decode()
        if self.asks_for_acks:
            option["chunk"] = chunk
        parts = (_pack(self.tag), event_time, _pack(record), _pack(option))
        return b"\x94" + b"".join(parts), chunk


def _parse_address(address: str) -> tuple[str, str, int, str]:
    """Return network, host, port and path of a `fluentd-address`."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise ValueError("the path is empty")
        return "unix", "", 0, parts.path
    if parts.scheme not in {"tcp", "tls"}:
        raise ValueError(f"unsupported scheme: {parts.scheme}")
    if parts.path:
        raise ValueError("should not contain a path element")
    return parts.scheme, parts.hostname or "127.0.0.1", parts.port or 24224, ""


def _pack(value: Any) -> bytes:
    packed = msgpack.packb(value)
    assert isinstance(packed, bytes)
    return packed
