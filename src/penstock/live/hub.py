"""The hub: committed rows on one side, readers with their filters on the other.

It owns when rows are looked at: after COMMIT, outside the turn of whoever stored them,
in slices, and no more than a share of the loop. It must not know SQL, HTTP, nor how a
filter is spelled; a matcher comes in. Without readers it keeps nothing.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import orjson

from penstock.live.feed import MAX_FEED_BYTES, Feed, LiveRow, Reason
from penstock.model import Committed
from penstock.rows.decoding import StoredRow, row_starts
from penstock.telemetry.live import LiveMetrics

logger = logging.getLogger(__name__)

# What is committed and not looked at yet, at most: what two writers commit at once, so
# that a single large commit is seen whole. They are out of the ring's count by then.
MAX_WAITING_BYTES = 16 * 1024 * 1024
# What has waited for longer is not looked at, while more than a little waits behind it:
# who looks on wants to see what is now, and how a burst has ended.
MAX_WAITING_SECONDS = 1.0
KEPT_BYTES = 1024 * 1024
# A turn of the loop that takes as long is one nobody notices: an ack is later by that.
SLICE_SECONDS = 0.002
# Of the loop's time, while others want it too and while nobody does. Even of a tenth of
# it half a million rows a second can be looked through for a word; they can be read
# whole at some 12,000, and at five times that in the half.
BUSY_SHARE = 0.1
IDLE_SHARE = 0.5
# Rows between two looks at the clock, which cost a third of a microsecond: at most some
# tens of microseconds' work, or as many large rows.
ROWS_A_LOOK = 4
# A timer that comes so much late has waited for others' turns: the loop's own timers
# are of a millisecond.
LATE_SECONDS = 0.002


class Matcher(Protocol):
    """A filter: `search.matching.Matcher` is the real one."""

    def may_hold(self, lowered: bytes) -> bool: ...

    def candidates(self, lowered: bytes, starts: Sequence[int]) -> Sequence[int]: ...

    def holds(self, row: StoredRow) -> bool: ...


class _Waiting(NamedTuple):
    """Rows of one segment that were committed; but those of these numbers."""

    number: int  # of the segment since the beginning
    data: bytes
    rows: int
    refused: frozenset[int]
    since: float  # by the clock


class Subscription:
    """A reader: what it looks for, and what of that waits for it."""

    def __init__(self, matcher: Matcher, since: int, max_bytes: int) -> None:
        self.feed = Feed(max_bytes=max_bytes)
        self.matcher = matcher
        self.since = since  # the first segment that is for it


class Hub:
    """Looks at what was committed, for all readers of this process."""

    def __init__(
        self,
        metrics: LiveMetrics,
        *,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        kept_bytes: int = KEPT_BYTES,
        clock: Callable[[], float] = time.monotonic,
        worked: Callable[[], float] = time.thread_time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._metrics = metrics
        self._max_waiting_bytes = max_waiting_bytes
        self._kept_bytes = kept_bytes
        self._clock = clock
        self._worked = worked
        self._sleep = sleep
        self._subscriptions: dict[Subscription, None] = {}
        self._waiting: deque[_Waiting] = deque()
        self.waiting_bytes = 0  # of what was not looked at, or not all of it
        self._segments = 0
        self._share = BUSY_SHARE
        self._is_closed = False
        self._something_waits = asyncio.Event()

    def committed(self, committed: Committed) -> None:
        """Be told what a COMMIT has stored."""
        if not self._subscriptions:
            return
        now = self._clock()
        for place, segment in enumerate(committed.segments):
            encoded = segment.encoded
            if not encoded.rows:
                continue
            refused = committed.refused.get(place, frozenset())
            self._waiting.append(
                _Waiting(self._segments, encoded.data, encoded.rows, refused, now)
            )
            self._segments += 1
            self.waiting_bytes += len(encoded.data)
        while self.waiting_bytes > self._max_waiting_bytes and len(self._waiting) > 1:
            dropped = self._waiting.popleft()
            self.waiting_bytes -= len(dropped.data)
            self._drop(dropped, self._readers_of(dropped))
        self._something_waits.set()

    def subscribe(
        self, matcher: Matcher, *, max_bytes: int = MAX_FEED_BYTES
    ) -> Subscription:
        """Begin to look for rows that are committed from now on."""
        subscription = Subscription(matcher, self._segments, max_bytes)
        if self._is_closed:
            subscription.feed.close()
            return subscription
        self._subscriptions[subscription] = None
        self._metrics.readers(len(self._subscriptions))
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Look for them no more."""
        subscription.feed.close()
        self._subscriptions.pop(subscription, None)
        self._metrics.readers(len(self._subscriptions))
        if not self._subscriptions:
            self.waiting_bytes -= sum(len(each.data) for each in self._waiting)
            self._waiting.clear()

    def close(self) -> None:
        """End all feeds: the server stops."""
        self._is_closed = True
        for each in list(self._subscriptions):
            self.unsubscribe(each)

    async def run(self) -> None:
        """Look at what is committed, until cancelled."""
        while True:
            await self._something_waits.wait()
            self._something_waits.clear()
            try:
                await self._look_at_all()
            except Exception:
                # Who looks on is not to end who receives.
                logger.exception("looking at committed rows met a bug in Penstock")
                for each in list(self._subscriptions):
                    self.unsubscribe(each)

    async def _look_at_all(self) -> None:
        begun = self._worked()
        for _ in self._looks():
            taken = self._worked() - begun
            if taken >= SLICE_SECONDS:
                await self._rest(taken)
                begun = self._worked()
        # However often little is committed, it comes to no more than the share.
        await self._rest(self._worked() - begun)

    async def _rest(self, taken: float) -> None:
        """Leave others their time for what was taken, and see whether they want it."""
        seconds = taken / self._share - taken
        begun = self._clock()
        await self._sleep(seconds)
        is_late = self._clock() - begun - seconds > LATE_SECONDS
        self._share = BUSY_SHARE if is_late else IDLE_SHARE

    def _looks(self) -> Iterator[None]:
        """Look at all that waits; yield after each short piece of work."""
        while self._waiting:
            waiting = self._waiting.popleft()
            try:
                lowered = waiting.data.lower()
                interested = [
                    each
                    for each in self._readers_of(waiting)
                    if each.matcher.may_hold(lowered)
                ]
                yield
                if not interested:
                    continue
                if self._is_too_late_for(waiting):
                    self._drop(waiting, interested)
                    continue
                starts = row_starts(waiting.data)
                readers = _by_row(interested, lowered, starts)
                for place, number in enumerate(sorted(readers)):
                    if number not in waiting.refused:
                        row = StoredRow(waiting.data, starts[number])
                        self._show(row, readers[number])
                    if place % ROWS_A_LOOK == 0:
                        yield
            finally:
                self.waiting_bytes -= len(waiting.data)

    def _is_too_late_for(self, waiting: _Waiting) -> bool:
        behind_bytes = self.waiting_bytes - len(waiting.data)
        is_late = self._clock() - waiting.since > MAX_WAITING_SECONDS
        return is_late and behind_bytes > self._kept_bytes

    def _show(self, row: StoredRow, readers: list[Subscription]) -> None:
        shown: LiveRow | None = None
        for each in readers:
            feed = each.feed
            if feed.is_closed or not each.matcher.holds(row):
                continue
            if feed.is_full:  # whoever does not read costs little
                feed.miss(1, "slow_reader")
                self._metrics.missed("slow_reader", 1)
            else:
                if shown is None:
                    shown = LiveRow(row.id, as_json(row))
                if not feed.put(shown):
                    self._metrics.missed("slow_reader", 1)

    def _readers_of(self, waiting: _Waiting) -> list[Subscription]:
        return [each for each in self._subscriptions if each.since <= waiting.number]

    def _drop(self, waiting: _Waiting, readers: list[Subscription]) -> None:
        reason: Reason = "busy"
        rows = waiting.rows - len(waiting.refused)
        for each in readers:
            each.feed.miss(rows, reason)
            self._metrics.missed(reason, rows)


def _by_row(
    readers: list[Subscription], lowered: bytes, starts: list[int]
) -> dict[int, list[Subscription]]:
    """Return who may want a row, by its number."""
    if len(readers) == 1:
        numbers = readers[0].matcher.candidates(lowered, starts)
        return dict.fromkeys(numbers, readers)
    by_row: dict[int, list[Subscription]] = {}
    for each in readers:
        for number in each.matcher.candidates(lowered, starts):
            by_row.setdefault(number, []).append(each)
    return by_row


def as_json(row: StoredRow) -> bytes:
    """Return a row as the HTTP API has it: the id as text, the time in UTC."""
    columns = {
        "id": str(row.id),
        "ts": row.ts,
        "level": row.text("level"),
        "service": row.text("service"),
        "host": row.text("host"),
        "tag": row.text("tag"),
        "message": row.text("message"),
        "attributes": orjson.Fragment(row.attributes),
    }
    return orjson.dumps(columns, option=orjson.OPT_UTC_Z)
