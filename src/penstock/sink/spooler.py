"""Between the ring and the spool: out when PostgreSQL is away, back when it is there.

For messages that nobody sends again, those without an ack: their sender believes us
when the bytes have left its socket. It owns when parts go to disk and when they come
back. It must not know files, that is `spool`, nor how a batch is stored.

A part that comes back takes the way of any other, through the ring, as one source
among the senders. It has a claim of ours by then: replayed twice it is stored once.

Where each message passes through the spool, one that takes no more would stop all:
the ring fills with what waits for it, and replay, which gives it room, needs room in
the ring. So while it takes none, writers are given what waits for it.
"""

import asyncio
import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from penstock.buffer.books import Books
from penstock.buffer.ring import Ring
from penstock.errors import SpoolError, SpoolFullError
from penstock.model import Batch, Delivery, Segment, SourceId
from penstock.sink.spool import Spool
from penstock.sink.spool_format import SpooledPart
from penstock.sink.spool_segment import Position
from penstock.sink.spools import Spools

logger = logging.getLogger(__name__)

# The spool as a source of the ring; connections count from 1.
SPOOL_SOURCE = SourceId(0)
# An fsync is for so much at once, and so much is read back at once: of memory beside
# the ring it costs a few times this.
PIECE_BYTES = 4 * 1024 * 1024
REPLAY_PARTS = 16  # of a small ring, a piece that is read back
# Between two looks at whether PostgreSQL is away, or back.
LOOK_SECONDS = 0.25
# After the disk failed, or was full.
RETRY_SECONDS = 2.0
# At the end: between two looks at whether senders have handed over what waited.
HANDOVER_SECONDS = 0.005
# And how long nothing has to come for it to be over. Who waits for acks before it goes
# on, a session with thousands of them, never hands over.
QUIET_SECONDS = 0.5
CLAIM_BYTES = 16

Result = TypeVar("Result")


class Storing(Protocol):
    """Who stores what is in the ring: the flusher."""

    @property
    def is_storing(self) -> bool: ...


class Spooler:
    """Moves parts from the ring to the spool and back."""

    def __init__(
        self,
        ring: Ring,
        spool: Spool | Spools,
        storing: Storing,
        books: Books,
        *,
        always: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ring = ring
        self._spool = spool
        self._storing = storing
        self._books = books
        self._always = always
        self._clock = clock
        self._is_stopping = False
        self._has_ended = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._wake = asyncio.Event()
        self._read_to: Position | None = None
        self._stored: list[Position] = []
        self._is_refusing = False  # it did not take what was appended last
        self._refused_seconds = -math.inf
        self._unreadable_seconds = -math.inf
        # At the end: what is as large as this is not taken.
        self._too_large_bytes = math.inf

    @property
    def size_bytes(self) -> int:
        """Return the bytes of the spool's files."""
        return self._spool.size_bytes

    @property
    def max_bytes(self) -> int:
        """Return what they may come to."""
        return self._spool.max_bytes

    @property
    def pending_events(self) -> int:
        """Count the events that are there and not yet stored."""
        return self._spool.pending_events

    @property
    def is_failing(self) -> bool:
        """Tell whether the disk, or the spool, took nothing when it was last tried."""
        failed_seconds = max(self._refused_seconds, self._unreadable_seconds)
        return self._clock() < failed_seconds + 3 * RETRY_SECONDS

    async def open(self) -> None:
        """Take the spool's directory, with what an earlier process left there.

        Raises:
            UnavailableError: the directory is not to be had.
        """
        await self._in_thread(self._spool.open)
        self._books.recovered = self._books.spooled = self._spool.pending_events
        if self._spool.pending_events:
            logger.info(
                "the spool holds what an earlier process received",
                extra={"events": self._spool.pending_events},
            )

    async def close(self) -> None:
        """Let the directory go, without what has been stored of it."""
        await self._note_stored()
        await self._in_thread(self._spool.close)
        self._thread.shutdown()

    def wake(self) -> None:
        """Be told that something waits in the ring."""
        if self._always or not self._storing.is_storing:
            self._wake.set()

    async def run(self) -> None:
        """Move parts until `end`. Not to be cancelled: a thread is not."""
        while not self._has_ended:
            await self._note_stored()
            # One way must not keep the other waiting: replay makes room.
            has_spooled = await self._spool_some()
            has_replayed = await self._replay_some()
            if not has_spooled and not has_replayed:
                await self._look_again()

    async def spool_rest(
        self, unfinished: list[Batch], is_more_to_come: Callable[[], bool]
    ) -> bool:
        """At the end, spool all that nobody sends again; return False if it cannot be.

        `unfinished` are the batches that writers had in hand. `is_more_to_come` tells
        whether senders have yet to hand over what came whole: there was no room for it.
        """
        for batch in unfinished:
            for segment in batch.segments:
                segment.tried_in = batch.name
            self._ring.put_back(batch)
        lost_events = 0
        while True:
            self._ring.give_up_what_comes_again()
            if (batch_of_rest := self._take()) is not None:
                lost_events += await self._spool_what_fits(batch_of_rest.segments)
            elif not await self._more_has_come(is_more_to_come):
                break
        if lost_events:
            logger.error(
                "the spool does not take all of the rest", extra={"events": lost_events}
            )
        return not lost_events

    def end(self) -> None:
        """Let `run` come to its end."""
        self._has_ended = True
        self._wake.set()

    def stopping(self) -> None:
        """Be told that the end is near: what cannot be stored now goes to disk."""
        self._is_stopping = True
        self._wake.set()

    # Out.

    async def _spool_some(self) -> bool:
        is_bypassed = self._is_refusing and self._storing.is_storing
        self._ring.put_spool_first(self._always and not is_bypassed)
        if not self._may_spool() or (batch := self._take()) is None:
            return False
        try:
            await self._spool_batch(batch)
        except SpoolError as error:
            self._is_refusing, self._refused_seconds = True, self._clock()
            logger.error("the spool fails", extra={"error": str(error)})
            return False
        self._is_refusing = False
        return True

    def _may_spool(self) -> bool:
        if self._clock() < self._refused_seconds + RETRY_SECONDS:
            return False
        if self._always:
            return True
        # A few senders fill their shares, and wait, long before the ring is full.
        waits = self._ring.blocked_sources > 0
        is_needed = waits or self._ring.is_above_low_water or self._is_stopping
        return is_needed and not self._storing.is_storing

    def _take(self) -> Batch | None:
        return self._ring.take_unclaimed(PIECE_BYTES)

    async def _spool_batch(self, batch: Batch) -> None:
        try:
            await self._append(batch.segments)
        except BaseException:
            self._ring.put_back(batch)
            raise
        self._ring.release(batch)

    async def _append(self, segments: Sequence[Segment]) -> None:
        parts = [part for segment in segments for part in _parts_of(segment)]
        await self._in_thread(self._spool.append, parts)
        self._books.spooled += sum(part.events for part in parts)

    # The rest.

    async def _spool_what_fits(self, segments: Sequence[Segment]) -> int:
        """Spool segments that were taken; return how many events are lost."""
        small = [each for each in segments if each.size_bytes < self._too_large_bytes]
        lost = [each for each in segments if each.size_bytes >= self._too_large_bytes]
        if lost:
            self._ring.give_up(_batch_of(lost))
        lost_events = sum(each.events for each in lost)
        if not small:
            return lost_events
        try:
            await self._append(small)
        except SpoolError as error:
            if len(small) > 1:
                half = len(small) // 2
                lost_events += await self._spool_what_fits(small[:half])
                return lost_events + await self._spool_what_fits(small[half:])
            logger.error("the rest cannot be spooled", extra={"error": str(error)})
            # A disk that fails is not tried again for each of thousands.
            is_full = isinstance(error, SpoolFullError)
            self._too_large_bytes = small[0].size_bytes if is_full else 0
            self._ring.give_up(_batch_of(small))
            return lost_events + small[0].events
        self._ring.release(_batch_of(small))
        return lost_events

    async def _more_has_come(self, is_more_to_come: Callable[[], bool]) -> bool:
        """Give senders their turns until something has come, or nothing will."""
        quiet_from = self._clock() + QUIET_SECONDS
        while is_more_to_come() and self._clock() < quiet_from:
            if self._ring.waiting_bytes:
                return True
            await asyncio.sleep(HANDOVER_SECONDS)
        return self._ring.waiting_bytes > 0

    # Back.

    def _may_replay(self) -> bool:
        if self._spool.is_empty or self._is_stopping:
            return False
        if self._clock() < self._unreadable_seconds + RETRY_SECONDS:
            return False
        has_room = self._ring.has_room(SPOOL_SOURCE, comes_again=True)
        return has_room and (self._always or self._storing.is_storing)

    async def _replay_some(self) -> bool:
        if not self._may_replay():
            return False
        # A part of the spool's own share: what is read takes room from senders.
        piece_bytes = min(PIECE_BYTES, self._ring.max_bytes // REPLAY_PARTS)
        try:
            found = await self._in_thread(self._spool.read, self._read_to, piece_bytes)
        except SpoolError as error:
            self._unreadable_seconds = self._clock()
            logger.error("the spool fails", extra={"error": str(error)})
            return False
        self._append_read(found)
        return bool(found)

    def _append_read(self, found: Sequence[tuple[Position, SpooledPart]]) -> None:
        lost_events = self._spool.damaged_events - self._books.lost_on_disk
        self._books.lost_on_disk += lost_events
        self._books.spooled -= lost_events
        for position, part in found:
            self._read_to = position
            segment = Segment(
                part.encoded,
                self._delivery(position, part),
                part.claim,
                part.tried_in,
            )
            self._books.spooled -= segment.events
            self._ring.append(segment)

    def _delivery(self, position: Position, part: SpooledPart) -> Delivery:
        return Delivery(
            SPOOL_SOURCE,
            part.sender,
            part.tag,
            None,
            None,
            self._clock(),
            lambda _: self._part_stored(position),
            pending_segments=1,
            sealed=True,
        )

    def _part_stored(self, position: Position) -> None:
        self._stored.append(position)
        self._wake.set()  # its room is the next one's

    async def _note_stored(self) -> None:
        stored, self._stored = self._stored, []
        if stored:
            await self._in_thread(self._spool.done, stored)

    # Both.

    async def _look_again(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), LOOK_SECONDS)
        self._wake.clear()

    async def _in_thread(
        self, work: Callable[..., Result], *arguments: object
    ) -> Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, work, *arguments)


def _parts_of(segment: Segment) -> list[SpooledPart]:
    return [
        SpooledPart(
            os.urandom(CLAIM_BYTES), share.sender, share.tag, own, segment.tried_in
        )
        for share, own in segment.of_each_share()
    ]


def _batch_of(segments: Sequence[Segment]) -> Batch:
    return Batch(
        tuple(segments),
        sum(each.size_bytes for each in segments),
        sum(each.encoded.rows for each in segments),
    )
