"""Who encodes next: one message after another, the event loop in between.

Encoding is the work of the process, and it is done in the event loop. This owns
its order. A sender's message is encoded to its end before the next sender's is
begun: were they encoded side by side, all of them would be complete, and acked, at
the same late moment, with nothing left to encode meanwhile. And after each part the
loop has its turn, so that the writers feed PostgreSQL while others are encoded.
"""

import asyncio
from collections import deque
from typing import Protocol

# Encoded between two rounds of the event loop: two or three milliseconds.
ROUND_BYTES = 128 * 1024
# After this much of one sender the next has its turn, its message ended or not: most
# senders' messages are smaller, and a huge one must not keep the others waiting.
TURN_BYTES = 1024 * 1024
# With so many in the queue, who is in it is not read meanwhile: libuv reads on from a
# thousand sockets, over and over, before anybody has his turn.
LONG_QUEUE = 512


class Worker(Protocol):
    """Somebody who has something to encode."""

    @property
    def has_work(self) -> bool:
        """Tell whether there is something to do now."""

    def work(self, max_bytes: int) -> int:
        """Do about `max_bytes` of work; return how much it was."""


class Turns:
    """The queue of those who have something to encode."""

    def __init__(self) -> None:
        self._queue: deque[Worker] = deque()
        self._turn_bytes = 0

    @property
    def is_long(self) -> bool:
        """Tell whether many wait for their turn."""
        return len(self._queue) > LONG_QUEUE

    def ask(self, worker: Worker) -> None:
        """Give the worker a turn, behind those who have asked before."""
        self._queue.append(worker)
        if len(self._queue) == 1:
            asyncio.get_running_loop().call_soon(self._round)

    def _round(self) -> None:
        left_bytes = ROUND_BYTES
        try:
            while self._queue and left_bytes > 0:
                left_bytes -= self._give_turn(self._queue[0], left_bytes)
        finally:
            if self._queue:
                asyncio.get_running_loop().call_soon(self._round)

    def _give_turn(self, worker: Worker, max_bytes: int) -> int:
        try:
            done_bytes = worker.work(max_bytes)
        except BaseException:
            # What is wrong with one must not keep the others waiting for ever.
            self._next_worker()
            raise
        self._turn_bytes += done_bytes
        if not worker.has_work:
            self._next_worker()
        elif self._turn_bytes >= TURN_BYTES:
            self._queue.append(worker)
            self._next_worker()
        return done_bytes

    def _next_worker(self) -> None:
        self._queue.popleft()
        self._turn_bytes = 0
