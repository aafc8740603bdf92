"""A feed: the rows that wait for one reader, bounded, and what of them it has missed.

It owns the bound. It must not know where rows come from, nor how they are sent on.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Literal, NamedTuple

# Some thousand rows: a burst of a second or so at what a person can be shown. Whoever
# is behind by more than that reads nothing of it in time.
MAX_FEED_BYTES = 1024 * 1024
# A row's tuple and its place in the queue, besides its bytes.
ROW_OVERHEAD_BYTES = 128

# Why a reader has missed rows: it did not read its own in time; there were more than
# were looked at, its own or not; what looked at them has ended, and nobody knows.
Reason = Literal["slow_reader", "busy", "worker_ended"]


class LiveRow(NamedTuple):
    """A row, as its reader gets it: the id, and all of it as JSON."""

    id: int
    json: bytes


class Missed(NamedTuple):
    """So many rows were dropped here, up to as many of this reader's."""

    rows: int
    reason: Reason


Item = LiveRow | Missed


class Feed:
    """The rows that wait for one reader, in the order of their commits."""

    def __init__(self, *, max_bytes: int = MAX_FEED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._items: deque[Item] = deque()
        self._size_bytes = 0
        self.is_full = False  # a row was missed, and nothing has been taken since
        self._is_closed = False
        self._something_waits = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        """Tell whether nothing more comes."""
        return self._is_closed

    def put(self, row: LiveRow) -> bool:
        """Take a row; return whether there was room, or it counts as missed."""
        size_bytes = len(row.json) + ROW_OVERHEAD_BYTES
        # One row is taken however large it is: else it could never be read.
        if self._size_bytes and self._size_bytes + size_bytes > self._max_bytes:
            self.is_full = True
        if self.is_full:
            self.miss(1, "slow_reader")
            return False
        self._items.append(row)
        self._size_bytes += size_bytes
        self._something_waits.set()
        return True

    def miss(self, rows: int, reason: Reason) -> None:
        """Tell the reader, at this place among its rows, that it has missed some."""
        last = self._items[-1] if self._items else None
        if isinstance(last, Missed) and last.reason == reason:
            self._items[-1] = Missed(last.rows + rows, reason)
        else:
            self._items.append(Missed(rows, reason))
            # They are few: another of its kind comes only after a row.
        self._something_waits.set()

    def close(self) -> None:
        """Let nothing more come; what waits can still be read."""
        self._is_closed = True
        self._something_waits.set()

    async def take(self, seconds: float) -> list[Item] | None:
        """Return what waits, or nothing after so long; None when nothing more comes."""
        if not self._items and not self._is_closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._something_waits.wait()
        if not self._items and self._is_closed:
            return None
        items = list(self._items)
        self._items.clear()
        self._size_bytes = 0
        self.is_full = False
        if not self._is_closed:
            self._something_waits.clear()
        return items
