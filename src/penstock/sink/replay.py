"""Rejected events once more: those that are rows now are stored and leave the table.

It owns one transaction for some events: lock them, COPY their rows, delete them. So an
event is in `logs` or in `rejected_event`, never in both nor in neither, whoever replays
at the same time and wherever it is cut off. It must not know who asks for it.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg

from penstock.errors import DatabaseUnavailableError, TransientSinkError
from penstock.model import Delivery, RejectedEvent, Segment, SourceId
from penstock.rows import RowEncoder
from penstock.settings import Settings
from penstock.sink.classify import classify, reason_of
from penstock.sink.copy import copy_segments
from penstock.sink.partitions import Partitions
from penstock.sink.postgres import next_receiver
from penstock.sink.rejected import Wanted, extent_of, opened, statement
from penstock.wire.compression import CompressionError, inflate, sniff

# Events of one transaction, and their bytes: both are held in memory.
BATCH_EVENTS = 500
BATCH_BYTES = 16 * 1024 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class Replayed:
    """What became of the events: stored as rows, or still rejected for a reason."""

    events: int = 0
    rows: int = 0
    remaining: Counter[str] = field(default_factory=Counter)
    elsewhere: int = 0  # in another replay's hands, or gone since we looked


class _Encoded(NamedTuple):
    """An event that is rows; `rejected` is what else is in a chunk kept whole."""

    id: int
    segments: list[Segment]
    rejected: list[RejectedEvent]


class _DryRunError(Exception):
    """Ends a transaction that is not to be committed."""


async def replay(
    database_url: str,
    settings: Settings,
    wanted: Wanted,
    *,
    limit: int | None = None,
    dry_run: bool = False,
) -> Replayed:
    """Store the rows of the events that are wanted; at most `limit` are tried.

    Raises:
        DatabaseUnavailableError: out of reach or lost, or it does not let us. Some
            may have been replayed; doing it again does the others.
    """
    receiver = await next_receiver(database_url)
    encoder = RowEncoder(settings.columns, receiver=receiver, limits=settings.wire)
    done = Replayed()
    try:
        async with opened(database_url) as connection:
            replaying = _Replay(connection, encoder, settings, done)
            await replaying.run(wanted, limit, dry_run=dry_run)
    except DatabaseUnavailableError as error:
        if not done.events or dry_run:
            raise
        events = f"{done.events} event{' was' if done.events == 1 else 's were'}"
        message = f"{error}; {events} replayed before that"
        raise DatabaseUnavailableError(message) from error
    return done


class _Replay:
    def __init__(
        self,
        connection: asyncpg.Connection,
        encoder: RowEncoder,
        settings: Settings,
        done: Replayed,
    ) -> None:
        self._connection = connection
        self._encoder = encoder
        self._partitions = Partitions(settings.partitions)
        self._limits = settings.wire
        self._done = done

    async def run(self, wanted: Wanted, limit: int | None, *, dry_run: bool) -> None:
        extent = await extent_of(self._connection, wanted)
        left = extent.events if limit is None else min(limit, extent.events)
        after_id = 0
        while left > 0:
            rows = await self._connection.fetch(
                statement("batch"),
                *wanted.values(),
                after_id,
                extent.last_id,
                min(left, BATCH_EVENTS),
                BATCH_BYTES,
            )
            if not rows:
                break
            left -= len(rows)
            after_id = rows[-1]["id"]
            await self._replay_batch(rows, dry_run)

    async def _replay_batch(
        self, rows: Sequence[asyncpg.Record], dry_run: bool
    ) -> None:
        """Encode the events and store them, in a transaction of their own."""
        encoded = []
        for row in rows:
            outcome = self._encode(row)
            if isinstance(outcome, str):
                self._done.remaining[outcome] += 1
            else:
                encoded.append(outcome)
        if not encoded:
            return
        if not dry_run:
            parts = [part.encoded for each in encoded for part in each.segments]
            days = frozenset[int]().union(*(part.days for part in parts))
            await self._partitions.ensure(self._connection, days, time.time())
        with contextlib.suppress(_DryRunError):
            async with self._connection.transaction(isolation="read_committed"):
                done = await self._store(encoded)
                if dry_run:
                    raise _DryRunError
        self._done.events += done.events
        self._done.rows += done.rows
        self._done.remaining += done.remaining
        self._done.elsewhere += done.elsewhere

    def _encode(self, row: asyncpg.Record) -> _Encoded | str:
        """Return the event's rows, or the reason why it has none."""
        reason: str = row["reason"]
        entries: bytes = row["raw"]
        if reason.startswith("signal_"):
            return reason  # bytes of another kind, whatever they look like
        if reason.startswith("decompression"):
            # A chunk as it came; the limit may have been raised since.
            try:
                entries = self._inflated(entries)
            except CompressionError as error:
                return error.reason
        delivery = Delivery(
            SourceId(0), "", row["tag"], None, None, 0.0, lambda settled: None
        )
        # As if it came now as it did then: a time it lacks is that of its arrival.
        arrival = (row["received_at"] - _EPOCH) // _MICROSECOND
        stream = self._encoder.start(entries, tag=row["tag"])
        parts = []
        while not stream.exhausted:
            parts.append(stream.next_part(arrival))
        rejected = [event for part in parts for event in part.rejected]
        if not any(part.rows for part in parts):
            return rejected[0].reason if rejected else reason
        segments = [Segment(part, delivery) for part in parts if part.rows]
        return _Encoded(row["id"], segments, rejected)

    def _inflated(self, blob: bytes) -> bytes:
        codec = sniff(blob)
        if codec is None:
            raise CompressionError("decompression", "neither gzip nor zstd")
        return inflate(
            blob,
            codec,
            max_bytes=self._limits.max_decompressed_bytes,
            max_ratio=self._limits.max_decompression_ratio,
        )

    async def _store(self, encoded: Sequence[_Encoded]) -> Replayed:
        """Move what passes from `rejected_event` to `logs`; leave the others."""
        connection = self._connection
        locked = await connection.fetch(
            statement("lock"), [each.id for each in encoded]
        )
        ours = {row["id"] for row in locked}
        done = Replayed(elsewhere=len(encoded) - len(ours))
        passed = await self._copy([each for each in encoded if each.id in ours], done)
        for each in passed:
            done.rows += sum(part.encoded.rows for part in each.segments)
            for event in each.rejected:
                await connection.execute(
                    statement("reject_part"), each.id, event.reason, event.raw
                )
                done.remaining[event.reason] += 1
        await connection.execute(statement("delete"), [each.id for each in passed])
        done.events = len(passed)
        return done

    async def _copy(
        self, encoded: Sequence[_Encoded], done: Replayed
    ) -> list[_Encoded]:
        """COPY the events that PostgreSQL takes, all rows of one or none."""
        connection = self._connection
        # What is only checked at COMMIT would refuse all of them.
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        passed: list[_Encoded] = []
        waiting = [encoded] if encoded else []
        while waiting:
            some = waiting.pop()
            segments = [segment for each in some for segment in each.segments]
            try:
                async with connection.transaction():  # a savepoint
                    await copy_segments(connection, segments)
            except asyncpg.PostgresError as error:
                if connection.is_closed() or not _is_refusal(error):
                    raise
                if len(some) == 1:
                    done.remaining[reason_of(error)] += 1
                    continue
                middle = len(some) // 2
                waiting += [some[middle:], some[:middle]]
            else:
                passed += some
        return passed


def _is_refusal(error: asyncpg.PostgresError) -> bool:
    """Tell whether it is what a row holds; nobody waits, so not known is yes."""
    return not isinstance(classify(error), TransientSinkError)
