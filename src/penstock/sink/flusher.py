"""The writers: each takes all that waits, stores it, lets acks go, and comes again.

Fifth in the flow. Batching is natural: while a writer is busy rows gather, and it takes
them all, up to a cap and its share, when it is free; there is no timer. It owns
retrying. It must not know the forward protocol, nor how a batch is stored.
"""

import asyncio
import contextlib
import logging
import math
import os
import random
import time
import traceback
from collections.abc import Callable
from typing import Protocol

from penstock.buffer.acks import settle
from penstock.buffer.books import Books
from penstock.buffer.ring import Ring
from penstock.errors import SinkError, TransientSinkError
from penstock.model import Batch, Outcome
from penstock.sink.backoff import Backoff
from penstock.telemetry.metrics import SinkMetrics

logger = logging.getLogger(__name__)

# A batch takes a second on a slow disk. One that takes this long stands for a
# database that does not answer, though its connection is open.
STALLED_SECONDS = 10.0
# At a stop there is no time to see whether it comes back.
STALLED_AT_STOP_SECONDS = 1.0
# How often a writer without work looks whether its connection is there.
IDLE_SECONDS = 5.0
# So much a writer may take whatever there is: a transaction costs more than is gained
# by sharing less (docs/decisions/batches-and-settings.md).
LEAST_SHARE_BYTES = 1024 * 1024
BATCH_NAME_BYTES = 16  # random: no two batches of any process have the same


class Writer(Protocol):
    """Stores batches; `PostgresWriter` is the real one."""

    @property
    def is_connected(self) -> bool: ...

    async def connect(self) -> None: ...

    async def store(self, batch: Batch, *, now_seconds: float) -> Outcome: ...

    async def close(self) -> None: ...


class Flusher:
    """Moves batches from the ring to its writers, a task for each writer."""

    def __init__(
        self,
        ring: Ring,
        writers: list[Writer],
        *,
        batch_bytes: int,
        source_bytes: int | None = None,
        books: Books,
        metrics: SinkMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ring = ring
        self._writers = writers
        self._batch_bytes = batch_bytes
        self._source_bytes = source_bytes  # of one source in a batch
        self._books = books
        self._metrics = metrics
        self._clock = clock
        # When each writer took the batch it has, by the monotonic clock.
        self._begun: dict[int, float] = {}
        self._in_hand: dict[int, Batch] = {}
        self._is_ending = False
        self._is_stopping = False
        self._rows_wait = asyncio.Event()
        self._is_drained = asyncio.Event()
        self._is_drained.set()

    @property
    def is_storing(self) -> bool:
        """Tell whether a writer is connected and not stuck with a batch."""
        limit_seconds = STALLED_SECONDS
        if self._is_stopping:
            limit_seconds = min(limit_seconds, STALLED_AT_STOP_SECONDS)
        begun_before = time.monotonic() - limit_seconds
        return any(
            writer.is_connected and self._begun.get(number, math.inf) > begun_before
            for number, writer in enumerate(self._writers)
        )

    @property
    def unfinished(self) -> list[Batch]:
        """Return the batches that writers have in hand, or had when they ended."""
        return list(self._in_hand.values())

    def stopping(self) -> None:
        """Be told that the end is near."""
        self._is_stopping = True

    def ending(self) -> None:
        """Be told that the writers are cancelled now.

        A cancelled transaction may end with the error of a connection that is lost, and
        a wait that is over ends as if nothing had been: neither is to be gone on from.
        """
        self._is_ending = True

    def rows_wait(self) -> None:
        """Be told that rows have come to wait."""
        self._rows_wait.set()
        self._is_drained.clear()

    def ring_drained(self) -> None:
        """Be told that the ring is empty."""
        self._is_drained.set()

    async def drained(self) -> None:
        """Wait until all that was received is committed."""
        await self._is_drained.wait()

    async def connect(self) -> None:
        """Open the writers' connections, so that the first batch does not wait."""
        for writer in self._writers:
            await writer.connect()

    async def run(self, number: int) -> None:
        """Be writer `number` until cancelled."""
        writer = self._writers[number]
        backoff = Backoff()
        try:
            while not self._is_ending:
                name = os.urandom(BATCH_NAME_BYTES)
                batch = self._ring.take(
                    self._most_bytes(), name, max_source_bytes=self._source_bytes
                )
                if batch is None:
                    self._rows_wait.clear()
                    await self._wait_for_rows(writer)
                    continue
                self._begun[number] = time.monotonic()
                self._in_hand[number] = batch
                outcome = await self._store_until_it_passes(writer, batch, backoff)
                del self._begun[number], self._in_hand[number]
                self._ring.release(batch)
                self._books.settled(outcome)
                settle(batch)
        finally:
            await writer.close()

    def _most_bytes(self) -> int:
        """Return how much to take: of all that is not committed, no more than a share.

        Senders that wait for acks have so much on its way and no more: were one writer
        to take all of it, the others, and they, would stand still until its COMMIT.
        """
        share_bytes = self._ring.used_bytes // len(self._writers)
        return min(self._batch_bytes, max(LEAST_SHARE_BYTES, share_bytes))

    async def _wait_for_rows(self, writer: Writer) -> None:
        """Wait, and meanwhile come back to a database that was away.

        What is in the spool is not replayed before a writer is connected.
        """
        while not self._rows_wait.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._rows_wait.wait(), IDLE_SECONDS)
                return
            if not writer.is_connected:
                await self._connect_again(writer)

    async def _connect_again(self, writer: Writer) -> None:
        try:
            # Rows that come meanwhile are not to wait for a database that hangs.
            await asyncio.wait_for(writer.connect(), IDLE_SECONDS)
        except (SinkError, TimeoutError):
            return  # said when there is a batch to store
        except Exception as error:
            await writer.close()
            logger.warning(
                "a writer did not connect; trying again",
                extra={"error": _place_of(error)},
            )

    async def _store_until_it_passes(
        self, writer: Writer, batch: Batch, backoff: Backoff
    ) -> Outcome:
        while True:
            started = time.perf_counter()
            try:
                if not writer.is_connected:
                    self._metrics.reconnecting()
                    await writer.connect()
                outcome = await writer.store(batch, now_seconds=self._clock())
            except SinkError as error:
                failure, reason = error, str(error)
            except Exception as error:
                # A bug of ours: the batch is kept, and another connection tried.
                failure = TransientSinkError("a bug in Penstock")
                reason = _place_of(error)
                await writer.close()
            else:
                backoff.after_success()
                self._metrics.stored(batch, outcome, time.perf_counter() - started)
                return outcome
            if self._is_ending:
                raise asyncio.CancelledError
            wait_seconds = backoff.after_failure(random.random())
            self._metrics.failed(failure)
            logger.warning(
                "a batch was not stored; trying again",
                extra={
                    "error": reason,
                    "rows": batch.rows,
                    "wait_seconds": round(wait_seconds, 3),
                },
            )
            await asyncio.sleep(wait_seconds)


def _place_of(error: Exception) -> str:
    """Say where, not what: the error's own words may be those of a record."""
    frames = traceback.format_tb(error.__traceback__)
    return f"{type(error).__name__}, {''.join(frames)}"
