"""Who encodes next: one message after another, the event loop in between.

Encoding is the work of the process, and it is done in the event loop. This owns
its order. Addresses have turns of equal size, whoever has more connections: what one
has done beyond its turn, because a message could not be left half way, is taken off its
next ones. Within an address a sender's message is encoded to its end before the next
sender's is begun: were they encoded side by side, all of them would be complete, and
acked, at the same late moment, with nothing left to encode meanwhile. And after each
part the loop has its turn, so that the writers feed PostgreSQL while others encode.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

# Encoded between two rounds of the event loop: a part of a message, or as many lone
# events as are put together. With half of it these were half as many at a time.
ROUND_BYTES = 256 * 1024
# After this much of one sender the next has its turn, its message ended or not: most
# senders' messages are smaller, and a huge one must not keep the others waiting. And
# after this much of one address that of another.
TURN_BYTES = 1024 * 1024
# Addresses of which it is remembered that they have done too much: a megabyte.
MOST_REMEMBERED = 4096
# What it takes to pass over an address that has done too much, as bytes encoded.
PASS_BYTES = 64
# With so many in the queue, who is in it is not read meanwhile: libuv reads on from a
# thousand sockets, over and over, before anybody has his turn.
LONG_QUEUE = 512


class Worker(Protocol):
    """Somebody who has something to encode."""

    @property
    def host(self) -> str:
        """Return whose turns it has."""

    @property
    def has_work(self) -> bool:
        """Tell whether there is something to do now."""

    @property
    def is_midway(self) -> bool:
        """Tell whether it is in the middle of what one may do at a time, or before."""

    def work(self, max_bytes: int) -> int:
        """Do about `max_bytes` of work; return how much it was."""


@dataclass(slots=True)
class _Host:
    """An address, as far as it has something to encode."""

    name: str
    left_bytes: int  # of its turn; less than nothing when it has done more
    turn_bytes: int = 0  # of its first worker
    workers: deque[Worker] = field(default_factory=deque)


class Turns:
    """The queue of those who have something to encode."""

    def __init__(self) -> None:
        self._queue: deque[_Host] = deque()
        self._hosts: dict[str, _Host] = {}
        # What they have done too much who wait for nothing now, while others do.
        self._overdone_bytes: dict[str, int] = {}
        self._waiting = 0
        self._midway: Worker | None = None  # who does what one may do at a time
        self._is_urgent = False  # somebody waits for that: the first host has its turn
        self._at_end: list[Callable[[], None]] = []

    @property
    def is_long(self) -> bool:
        """Tell whether many wait for their turn."""
        return self._waiting > LONG_QUEUE

    def ask(self, worker: Worker) -> None:
        """Give the worker a turn, behind those who have asked before."""
        host = self._hosts.get(worker.host)
        if host is None:
            overdone_bytes = self._overdone_bytes.pop(worker.host, 0)
            host = _Host(worker.host, TURN_BYTES - overdone_bytes)
            self._hosts[worker.host] = host
            self._queue.append(host)
        host.workers.append(worker)
        self._waiting += 1
        if self._waiting == 1:
            asyncio.get_running_loop().call_soon(self._round)

    def at_end_of_round(self, finish: Callable[[], None]) -> None:
        """Call `finish` once, before the event loop has its turn."""
        self._at_end.append(finish)

    def may_be_midway(self, worker: Worker) -> bool:
        """Tell whether it may go on in what is not done side by side with others'.

        If so, it is the only one until it `is_midway` no more.
        """
        if self._midway is None:
            self._midway = worker
        return self._midway is worker

    def _round(self) -> None:
        left_bytes = ROUND_BYTES
        try:
            while self._queue and left_bytes > 0:
                left_bytes -= self._give_turn(self._queue[0], left_bytes)
        finally:
            if self._queue:
                asyncio.get_running_loop().call_soon(self._round)
            else:
                self._overdone_bytes.clear()  # nobody has had to wait for them
            at_end, self._at_end = self._at_end, []
            for finish in at_end:
                finish()

    def _give_turn(self, host: _Host, max_bytes: int) -> int:
        worker = host.workers[0]
        if worker.is_midway and self._midway not in (None, worker):
            self._let_midway_on(host)
            return PASS_BYTES
        if host.left_bytes <= 0 and not self._is_urgent:
            host.left_bytes += TURN_BYTES
            self._queue.rotate(-1)
            return PASS_BYTES
        self._is_urgent = False
        try:
            done_bytes = worker.work(max_bytes)
        except BaseException:
            # What is wrong with one must not keep the others waiting for ever.
            self._leave(host)
            raise
        if self._midway is worker and not worker.is_midway:
            self._midway = None
        host.left_bytes -= done_bytes
        host.turn_bytes += done_bytes
        if not worker.has_work:
            self._leave(host)
        elif host.turn_bytes >= TURN_BYTES:
            host.workers.rotate(-1)
            host.turn_bytes = 0
        return done_bytes

    def _let_midway_on(self, host: _Host) -> None:
        """Let the one go on that the first worker of the first host waits for.

        Or who has small turns, among many, would hold it up for long.
        """
        assert self._midway is not None
        host.workers.rotate(-1)
        host.turn_bytes = 0
        self._queue.rotate(-1)
        first = self._hosts[self._midway.host]
        self._queue.remove(first)
        self._queue.appendleft(first)
        first.workers.remove(self._midway)
        first.workers.appendleft(self._midway)
        self._is_urgent = True

    def _leave(self, host: _Host) -> None:
        """Let go of the first worker of the first host."""
        if host.workers.popleft() is self._midway:
            self._midway = None
        host.turn_bytes = 0
        self._waiting -= 1
        if not host.workers:
            self._queue.popleft()
            del self._hosts[host.name]
            if host.left_bytes < 0:
                self._remember(host)

    def _remember(self, host: _Host) -> None:
        if len(self._overdone_bytes) >= MOST_REMEMBERED:
            self._overdone_bytes.clear()
        self._overdone_bytes[host.name] = -host.left_bytes
