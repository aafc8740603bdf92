"""Between the ring and the spool: out when PostgreSQL is away, back when it is there.

For messages that nobody sends again, those without an ack: their sender believes us
when the bytes have left its socket. It owns when parts go to disk and when they come
back. It must not know files, that is `spool`, nor how a batch is stored.

A part that comes back takes the way of any other, through the ring, as one source
among the senders. It has a claim of ours by then: replayed twice it is stored once.
"""

import asyncio
import contextlib
import logging
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from penstock.buffer.books import Books
from penstock.buffer.ring import Ring
from penstock.errors import SpoolError
from penstock.model import Batch, Delivery, Segment, SourceId
from penstock.sink.spool import Spool
from penstock.sink.spool_format import SpooledPart
from penstock.sink.spool_segment import Position

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
        spool: Spool,
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
        self._failed_seconds = -math.inf

    @property
    def size_bytes(self) -> int:
        """Return the bytes of the spool's files."""
        return self._spool.size_bytes

    @property
    def max_bytes(self) -> int:
        """Return what they may come to."""
        return self._spool.max_bytes

    @property
    def is_failing(self) -> bool:
        """Tell whether the disk, or the spool, took nothing when it was last tried."""
        return self._clock() < self._failed_seconds + 3 * RETRY_SECONDS

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
        if self._always:
            self._wake.set()

    async def run(self) -> None:
        """Move parts until `end`. Not to be cancelled: a thread is not."""
        while not self._has_ended:
            try:
                has_moved = await self._move_some()
            except SpoolError as error:
                self._failed_seconds = self._clock()
                logger.error("the spool fails", extra={"error": str(error)})
                has_moved = False
            if not has_moved:
                await self._look_again()

    async def spool_rest(self, unfinished: list[Batch]) -> bool:
        """At the end, spool all that nobody sends again; return False if it cannot be.

        `unfinished` are the batches that writers had in hand.
        """
        for batch in unfinished:
            for segment in batch.segments:
                segment.tried_in = batch.name
            self._ring.put_back(batch)
        try:
            while (batch_of_rest := self._take()) is not None:
                await self._spool_batch(batch_of_rest)
        except SpoolError as error:
            logger.error("the rest cannot be spooled", extra={"error": str(error)})
            return False
        return True

    def end(self) -> None:
        """Let `run` come to its end."""
        self._has_ended = True
        self._wake.set()

    def stopping(self) -> None:
        """Be told that the end is near: what cannot be stored now goes to disk."""
        self._is_stopping = True
        self._wake.set()

    # Out.

    async def _move_some(self) -> bool:
        await self._note_stored()
        if self._may_spool() and (batch := self._take()) is not None:
            await self._spool_batch(batch)
            return True
        if self._may_replay():
            return await self._replay_some()
        return False

    def _may_spool(self) -> bool:
        if self._clock() < self._failed_seconds + RETRY_SECONDS:
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
        parts = [_part_of(segment) for segment in batch.segments]
        try:
            await self._in_thread(self._spool.append, parts)
        except BaseException:
            self._ring.put_back(batch)
            raise
        self._books.spooled += sum(part.events for part in parts)
        self._ring.release(batch)

    # Back.

    def _may_replay(self) -> bool:
        if self._spool.is_empty or self._is_stopping:
            return False
        has_room = self._ring.has_room(SPOOL_SOURCE)
        return has_room and (self._always or self._storing.is_storing)

    async def _replay_some(self) -> bool:
        # A part of the spool's own share: what is read takes room from senders.
        piece_bytes = min(PIECE_BYTES, self._ring.max_bytes // REPLAY_PARTS)
        found = await self._in_thread(self._spool.read, self._read_to, piece_bytes)
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
        return bool(found)

    def _delivery(self, position: Position, part: SpooledPart) -> Delivery:
        return Delivery(
            SPOOL_SOURCE,
            part.sender,
            part.tag,
            None,
            None,
            self._clock(),
            lambda _: self._stored.append(position),
            pending_segments=1,
            sealed=True,
        )

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


def _part_of(segment: Segment) -> SpooledPart:
    delivery = segment.delivery
    return SpooledPart(
        os.urandom(CLAIM_BYTES),
        delivery.sender,
        delivery.tag,
        segment.encoded,
        segment.tried_in,
    )
