"""A sender on a plain socket, which writes what a test tells it and reads acks.

It owns one connection. It knows msgpack and the frames' shapes by the specification,
nothing of penstock.
"""

import hashlib
import itertools
import os
import select
import socket
import ssl
import time
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any

import msgpack

# No answer takes this long unless something is wrong.
ANSWER_SECONDS = 50.0


def pack(value: Any) -> bytes:
    """Write a msgpack value."""
    packed = msgpack.packb(value, use_bin_type=True)
    assert isinstance(packed, bytes)
    return packed


def packed_forward(
    tag: str, entries: Iterable[tuple[Any, dict[str, Any]]], chunk: str | None = None
) -> bytes:
    """Write a PackedForward message; with a chunk it asks for an ack."""
    packed = [pack(entry) for entry in entries]
    option: dict[str, Any] = {"size": len(packed)}
    if chunk is not None:
        option["chunk"] = chunk
    return pack([tag, b"".join(packed), option])


def _digest(*values: str | bytes) -> str:
    hashed = hashlib.sha512()
    for value in values:
        hashed.update(value.encode() if isinstance(value, str) else value)
    return hashed.hexdigest()


_addresses = itertools.count(2)


def another_address() -> str:
    """Return an address of this machine that no sender has had yet.

    What another sender has sent is no duplicate, though it is the same to the byte.
    On Linux all of 127.0.0.0/8 is the machine's own; macOS has to be told of each one:
    `sudo ifconfig lo0 alias 127.0.0.2`, and so on.
    """
    number = next(_addresses)
    return f"127.{number >> 16}.{number >> 8 & 255}.{number & 255}"


class ForwardSender:
    """One connection to a forward server."""

    def __init__(
        self,
        port: int,
        address: str = "127.0.0.1",
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Connect from this address; with a context, through TLS to `localhost`."""
        connection = socket.create_connection(
            ("127.0.0.1", port), ANSWER_SECONDS, source_address=(address, 0)
        )
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            connection = tls.wrap_socket(connection, server_hostname="localhost")
        self._use(connection)

    @classmethod
    def on_unix_socket(cls, path: str) -> "ForwardSender":
        """Connect to a Unix socket."""
        sender = cls.__new__(cls)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(path)
        sender._use(connection)
        return sender

    def _use(self, connection: socket.socket) -> None:
        self._socket = connection
        self._answers = msgpack.Unpacker()

    def __enter__(self) -> "ForwardSender":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def hang_up(self) -> None:
        """Shut the connection down, whoever waits for it in another thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def log_in(self, key: str, user: str = "", password: str = "") -> str:
        """Do the handshake; return why we are refused, nothing if we are let in.

        Specification v1, "Handshake Messages". The server has to have the key too.
        """
        kind, options = self._read_answer()
        assert kind == "HELO"
        salt, name = os.urandom(16), "sender"
        nonce, auth = options["nonce"], options["auth"]
        digest = _digest(salt, name, nonce, key)
        secret = _digest(auth, user, password) if auth else ""
        self.send(pack(["PING", name, salt, digest, user if auth else "", secret]))
        kind, is_in, reason, server_name, digest = self._read_answer()
        assert kind == "PONG"
        assert not is_in or digest == _digest(salt, server_name, nonce, key)
        return "" if is_in else str(reason)

    def _read_answer(self) -> Any:
        while True:
            for answer in self._answers:
                return answer
            data = self._socket.recv(65536)
            assert data, "closed without an answer"
            self._answers.feed(data)

    def send(self, data: bytes) -> None:
        """Write all of it."""
        self._socket.sendall(data)

    def is_silent_for(self, seconds: float) -> bool:
        """Tell whether the server writes nothing for so long; 0 looks once.

        May be asked while another thread is sending.
        """
        # Not select(), which takes no file past the thousandth.
        looking = select.poll()
        looking.register(self._socket, select.POLLIN)
        return not looking.poll(seconds * 1000)

    def read(self, count: int) -> bytes:
        """Read so many bytes; fewer if the server closes."""
        data = bytearray()
        while len(data) < count and (piece := self._socket.recv(count - len(data))):
            data += piece
        return bytes(data)

    def read_ack(self) -> Any:
        """Read one ack and return the chunk it names."""
        return self.read_acks(1)[0]

    def read_acks(self, count: int) -> list[Any]:
        """Read so many acks and return the chunks they name, in their order."""
        chunks: list[Any] = []
        while len(chunks) < count:
            for answer in self._answers:
                assert type(answer) is dict and list(answer) == ["ack"], answer
                chunks.append(answer["ack"])
                if len(chunks) == count:
                    break
            else:
                data = self._socket.recv(65536)
                assert data, f"closed after {len(chunks)} of {count} acks"
                self._answers.feed(data)
        return chunks

    def finish(self) -> bytes:
        """Send no more; return all that the server writes until it closes."""
        self._socket.shutdown(socket.SHUT_WR)
        data = bytearray()
        give_up = time.monotonic() + ANSWER_SECONDS
        while piece := self._socket.recv(65536):
            assert time.monotonic() < give_up
            data += piece
        return bytes(data)
