"""Ports for servers that tests stop and start again."""

import random
import socket
from contextlib import suppress

# None that connections are given by themselves, which somebody may have when a server
# is started again (32768 and up on Linux, 49152 and up on macOS).
RANGE = range(10_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now, over TCP or UDP."""
    ports: list[int] = []
    candidates = random.sample(RANGE, 1_000)
    while len(ports) < count:
        port = candidates.pop()
        with (
            suppress(OSError),
            socket.socket() as stream,
            socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        ):
            for probe in (stream, datagrams):
                probe.bind(("0.0.0.0", port))
            ports.append(port)
    return ports


def free_port() -> int:
    """Return one of them."""
    return free_ports(1)[0]
