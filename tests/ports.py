"""Ports for servers that tests stop and start again.

Each process has a share that no other process of tests has: a server that is down for a
moment finds its port free when it is started again.
"""

import functools
import itertools
import random
import socket
from collections.abc import Iterator
from contextlib import suppress

# None that connections are given by themselves, which somebody may have when a server
# is started again (32768 and up on Linux, 49152 and up on macOS).
RANGE = range(10_000, 32_000)
# More than one process asks for, and enough shares for several runs of all tests.
SHARE = 500


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now, over TCP or UDP."""
    ports: list[int] = []
    for port in itertools.islice(_our_share(), SHARE):
        with (
            suppress(OSError),
            socket.socket() as stream,
            socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        ):
            for probe in (stream, datagrams):
                probe.bind(("0.0.0.0", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError(f"not {count} free ports among {SHARE}")


def free_port() -> int:
    """Return one of them."""
    return free_ports(1)[0]


@functools.cache
def _our_share() -> Iterator[int]:
    """Yield this process's ports, each again only when all have been given."""
    for first in random.sample(RANGE[::SHARE], len(RANGE[::SHARE])):
        with socket.socket() as claim:
            try:
                claim.bind(("127.0.0.1", first))
            except OSError:
                continue
            claim.detach()  # bound for as long as this process lives
        ports = list(range(first + 1, first + SHARE))
        random.shuffle(ports)
        return itertools.cycle(ports)
    raise RuntimeError("other processes have all ports of the tests")
