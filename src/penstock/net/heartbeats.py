"""Heartbeats by UDP: one byte 00 for any datagram, on the port of the listener.

It owns which datagrams are answered. It must not become a tool against others: an
answer is one byte, there are so many a second, and none starts an endless loop.

Forward specification v1, "Heartbeat Messages"; protocol facts, section 5.
"""

import asyncio
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

ANSWER = b"\0"
# Looked at in a second, in all: ten thousand forwarders of Fluentd 0.12 send one each.
# What is behind them is dropped by the system, at no cost to us.
DATAGRAMS_A_SECOND = 10_000
# And to one port of one address. Fluentd sends one in a second, from each worker's own
# port. Of two servers that answer each other's answers, one stops here: there is one
# datagram on the way between them, and it is not answered.
ANSWERS_A_SOURCE = 10
# Ports below belong to servers (RFC 6335, 6): no client of ours sends from there, but
# whoever wants DNS or NTP servers to be hit by our answers does.
FIRST_CLIENT_PORT = 1024
# Datagrams in one round of the loop.
DATAGRAMS_A_ROUND = 64

# ip(7). Python names it from 3.14 on.
_IP_PKTINFO: int | None = {"linux": 8, "darwin": 26}.get(sys.platform)
_PKTINFO = struct.Struct("=I4s4s")  # interface, local address, destination
_WILDCARDS = ("0.0.0.0", "::")
_ANCILLARY_BYTES = 128


class Heartbeats:
    """Answers the heartbeats on any number of sockets."""

    def __init__(
        self,
        answered: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._answered = answered
        self._clock = clock
        self._ports: dict[socket.socket, int] = {}
        self._second = 0.0  # in which these were looked at, and so many answered:
        self._datagrams = 0
        self._of_source: dict[tuple[str, int], int] = {}
        self._resting: asyncio.TimerHandle | None = None

    def add(self, bound: socket.socket) -> None:
        """Answer what comes to this socket."""
        address, port = bound.getsockname()[:2]
        if address in _WILDCARDS:
            _ask_for_destination(bound)
        self._ports[bound] = port
        if self._resting is None:
            asyncio.get_running_loop().add_reader(bound, self._answer_some, bound)

    def remove(self, bound: socket.socket) -> None:
        """Answer no more; closing it is the caller's."""
        if self._ports.pop(bound, None) is not None and self._resting is None:
            asyncio.get_running_loop().remove_reader(bound)

    def _answer_some(self, bound: socket.socket) -> None:
        for _ in range(DATAGRAMS_A_ROUND):
            try:
                _, ancillary, _, source = bound.recvmsg(1, _ANCILLARY_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # what became of an answer before: ICMP
            self._count()
            if self._may_answer(source):
                self._answer(bound, ancillary, source)
            if self._datagrams >= DATAGRAMS_A_SECOND:
                self._rest()
                return

    def _count(self) -> None:
        now = self._clock()
        if now - self._second >= 1.0:
            self._second, self._datagrams = now, 0
            self._of_source.clear()
        self._datagrams += 1

    def _may_answer(self, source: tuple[Any, ...]) -> bool:
        address, port = source[:2]
        # From our own ports come answers: ours, or those of a server like us.
        if port < FIRST_CLIENT_PORT or port in self._ports.values():
            return False
        answers = self._of_source.get((address, port), 0)
        self._of_source[address, port] = answers + 1
        return answers < ANSWERS_A_SOURCE

    def _answer(
        self, bound: socket.socket, ancillary: list[Any], source: tuple[Any, ...]
    ) -> None:
        from_where = []
        for level, kind, data in ancillary:
            if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
                _, local, destination = _PKTINFO.unpack(data[: _PKTINFO.size])
                if local != destination:  # a broadcast: all that hear it would answer
                    return
                from_where = [(level, kind, _PKTINFO.pack(0, local, bytes(4)))]
            elif level == socket.IPPROTO_IPV6:
                if data[0] == 0xFF:  # a multicast (RFC 4291, 2.7)
                    return
                from_where = [(level, kind, data)]
        # The system's memory is full, a firewall forbids it: it is only a heartbeat.
        with suppress(OSError):
            bound.sendmsg([ANSWER], from_where, 0, source)
            self._answered()

    def _rest(self) -> None:
        """Read no more in this second: the system drops what does not fit."""
        loop = asyncio.get_running_loop()
        for bound in self._ports:
            loop.remove_reader(bound)
        left_seconds = max(0.0, self._second + 1.0 - self._clock())
        self._resting = loop.call_later(left_seconds, self._go_on)

    def _go_on(self) -> None:
        self._resting = None
        loop = asyncio.get_running_loop()
        for bound in self._ports:
            loop.add_reader(bound, self._answer_some, bound)


def _ask_for_destination(bound: socket.socket) -> None:
    """Have the system say to which of our addresses a datagram came.

    A client takes the answer only from there (protocol facts, 5).
    """
    with suppress(OSError):
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif _IP_PKTINFO is not None:
            bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
