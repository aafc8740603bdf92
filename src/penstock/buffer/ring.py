"""The ring: encoded rows that are received and not yet committed, bounded.

Fourth in the flow. It owns the bounds, in bytes and rows and for each source, and
says who has to wait. What a writer has taken stays counted until it is committed,
so the bound holds however long PostgreSQL is away. It must not know sockets, tasks
or the database: it is told, asked, and calls back.

The bound is soft by one segment: room is asked for before an entry is encoded,
when its size as rows is not known yet.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable

from penstock.model import Batch, Segment, SourceId

# No connection holds more than this part of the ring, so that one noisy sender
# leaves room for the others (design, promise 3).
SOURCE_SHARE = 0.25
# Who waits goes on when this part of the ring, or of its share, is left: a gap to
# the bound, so that a full ring does not pause and resume at every batch.
LOW_WATER = 0.75
# What comes again, from its sender or from the spool, holds this part at most: what
# does not has to pass through the ring to be spooled, and must find room in it.
COMES_AGAIN_SHARE = 0.75


class Ring:
    """A bounded first-in first-out buffer of segments.

    `on_waiting` is called when a segment has come to wait, and `on_drained` when the
    last one has been released. While it is `spool_first`, writers are not given what
    nobody sends again until it comes back from the spool.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        max_rows: int,
        on_waiting: Callable[[], None],
        on_drained: Callable[[], None],
        spool_first: bool = False,
    ) -> None:
        self.max_bytes = max_bytes
        self.max_rows = max_rows
        self.used_bytes = 0
        self.used_events = 0  # rows, and rejected events on their way
        self.waiting_bytes = 0
        self.given_up_events = 0  # received, and left to their senders or the spool
        self._on_waiting = on_waiting
        self._on_drained = on_drained
        self._waiting: deque[Segment] = deque()  # for a writer
        # For the spool: with `spool_first` a queue of its own.
        self._unclaimed = deque[Segment]() if spool_first else self._waiting
        self._held: dict[SourceId, tuple[int, int]] = {}  # bytes and events
        self._again_bytes = 0  # of what comes again
        self._again_events = 0
        self._blocked: dict[SourceId, tuple[Callable[[], None], bool]] = {}

    @property
    def is_spool_first(self) -> bool:
        """Tell whether writers have to wait for what goes through the spool."""
        return self._unclaimed is not self._waiting

    @property
    def blocked_sources(self) -> int:
        """Count the sources that wait for room."""
        return len(self._blocked)

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing waits and nothing is being written."""
        return self.used_events == 0 and not self._waiting and not self._unclaimed

    @property
    def is_above_low_water(self) -> bool:
        """Tell whether the ring fills: who waits now is not let go on yet."""
        return (
            self.used_bytes >= LOW_WATER * self.max_bytes
            or self.used_events >= LOW_WATER * self.max_rows
        )

    def has_room(self, source: SourceId, *, comes_again: bool = False) -> bool:
        """Tell whether the source may append one more segment now.

        `comes_again` says whether what it appends is sent again if it is lost here.
        """
        return self._is_below(1.0, source, comes_again)

    def append(self, segment: Segment) -> None:
        """Take a segment; the caller has asked for room before it encoded it."""
        for share in segment.shares:
            held_bytes, held_events = self._held.get(share.source, (0, 0))
            self._held[share.source] = (
                held_bytes + share.size_bytes,
                held_events + share.events,
            )
        self.used_bytes += segment.size_bytes
        self.used_events += segment.events
        if segment.comes_again:
            self._again_bytes += segment.size_bytes
            self._again_events += segment.events
        self.waiting_bytes += segment.size_bytes
        self._queue_of(segment).append(segment)
        self._on_waiting()

    def take(
        self, max_bytes: int, name: bytes = b"", *, max_source_bytes: int | None = None
    ) -> Batch | None:
        """Return what waits, up to `max_bytes` or one segment; None if nothing does.

        It ends before a segment of which the source would have more than
        `max_source_bytes` in it. `name` is the batch's.
        """
        if not self._waiting:
            return None
        most_bytes = max_bytes if max_source_bytes is None else max_source_bytes
        of_source: dict[SourceId, int] = {}
        segments: list[Segment] = []
        size_bytes = rows = 0
        while self._waiting:
            segment = self._waiting[0]
            source = segment.delivery.source
            source_bytes = of_source.get(source, 0) + segment.size_bytes
            is_over = source_bytes > most_bytes
            if segments and (is_over or size_bytes + segment.size_bytes > max_bytes):
                break
            of_source[source] = source_bytes
            segments.append(self._waiting.popleft())
            size_bytes += segment.size_bytes
            rows += segment.encoded.rows
        self.waiting_bytes -= size_bytes
        return Batch(tuple(segments), size_bytes, rows, name)

    def take_unclaimed(self, max_bytes: int) -> Batch | None:
        """Return what nobody sends again, as `take` does: for the spool."""
        taken: list[Segment] = []
        kept: list[Segment] = []
        size_bytes = rows = 0
        while self._unclaimed and size_bytes < max_bytes:
            segment = self._unclaimed.popleft()
            if segment.comes_again:
                kept.append(segment)
                continue
            taken.append(segment)
            size_bytes += segment.size_bytes
            rows += segment.encoded.rows
        self._unclaimed.extendleft(reversed(kept))
        self.waiting_bytes -= size_bytes
        return Batch(tuple(taken), size_bytes, rows) if taken else None

    def holds_unclaimed(self, taken: Iterable[Batch]) -> bool:
        """Tell whether there is something nobody sends again, here or in hand."""
        in_hand = (segment for batch in taken for segment in batch.segments)
        waiting = itertools.chain(self._unclaimed, in_hand)
        return any(not segment.comes_again for segment in waiting)

    def put_spool_first(self, is_first: bool) -> None:
        """Keep what nobody sends again for the spool, or let writers take it too."""
        if is_first == self.is_spool_first:
            return
        if is_first:
            everything, self._waiting = self._waiting, deque()
            self._unclaimed = deque()
            for segment in everything:
                self._queue_of(segment).append(segment)
            return
        self._waiting.extend(self._unclaimed)
        self._unclaimed = self._waiting
        if self._waiting:
            self._on_waiting()

    def put_back(self, batch: Batch) -> None:
        """Let a batch that was taken wait again, before all others."""
        for segment in reversed(batch.segments):
            self._queue_of(segment).appendleft(segment)
        self.waiting_bytes += batch.size_bytes
        self._on_waiting()

    def release(self, batch: Batch) -> None:
        """Free what a committed batch held, and let go on who waited for it."""
        for segment in batch.segments:
            for share in segment.shares:
                held_bytes, held_events = self._held.pop(share.source)
                if held_bytes > share.size_bytes:
                    self._held[share.source] = (
                        held_bytes - share.size_bytes,
                        held_events - share.events,
                    )
            self.used_events -= segment.events
            if segment.comes_again:
                self._again_bytes -= segment.size_bytes
                self._again_events -= segment.events
        self.used_bytes -= batch.size_bytes
        self._unblock()
        if self.is_empty:
            self._on_drained()

    def give_up(self, batch: Batch) -> None:
        """At the end: free the room of what was taken and is not stored from here."""
        self.given_up_events += sum(segment.events for segment in batch.segments)
        self.release(batch)

    def give_up_what_comes_again(self) -> None:
        """At the end: do not let it keep out what does not come again."""
        given_up = [each for each in self._waiting if each.comes_again]
        if not given_up:
            return
        kept = [each for each in self._waiting if not each.comes_again]
        self._waiting.clear()  # in place: it may be the spool's queue as well
        self._waiting.extend(kept)
        batch = Batch(
            tuple(given_up),
            sum(each.size_bytes for each in given_up),
            sum(each.encoded.rows for each in given_up),
        )
        self.waiting_bytes -= batch.size_bytes
        self.give_up(batch)

    def wait_for_room(
        self,
        source: SourceId,
        go_on: Callable[[], None],
        *,
        comes_again: bool = False,
    ) -> None:
        """Call `go_on` once when the source may append again, in turn with others."""
        self._blocked[source] = go_on, comes_again

    def forget(self, source: SourceId) -> None:
        """Drop the source's place in the queue for room, if it has one."""
        self._blocked.pop(source, None)

    def _queue_of(self, segment: Segment) -> deque[Segment]:
        return self._waiting if segment.comes_again else self._unclaimed

    def _unblock(self) -> None:
        for source in list(self._blocked):
            # Who was let go on may have made another forget its place.
            go_on, comes_again = self._blocked.get(source, (None, False))
            if go_on is not None and self._is_below(LOW_WATER, source, comes_again):
                del self._blocked[source]
                go_on()

    def _is_below(self, part: float, source: SourceId, comes_again: bool) -> bool:
        held_bytes, held_events = self._held.get(source, (0, 0))
        again_bytes, again_events = self._again_bytes, self._again_events
        if comes_again:
            again = part * COMES_AGAIN_SHARE
            is_free = (
                self.used_bytes < part * self.max_bytes
                and self.used_events < part * self.max_rows
                and again_bytes < again * self.max_bytes
                and again_events < again * self.max_rows
            )
        else:  # of what is left to it
            is_free = self.used_bytes - again_bytes < part * (
                self.max_bytes - again_bytes
            ) and self.used_events - again_events < part * (
                self.max_rows - again_events
            )
        share = part * SOURCE_SHARE
        return (
            is_free
            and held_bytes < share * self.max_bytes
            and held_events < share * self.max_rows
        )
