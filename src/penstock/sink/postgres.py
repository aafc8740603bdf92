"""One transaction a batch: claim it, COPY its rows, keep what is refused, COMMIT.

It owns one connection and what is said on it. It must not retry for long, and must not
know where a batch comes from: `flusher` does.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import asyncpg

from penstock.errors import (
    DatabaseUnavailableError,
    DetachedError,
    PermanentSinkError,
    TransientSinkError,
    UnknownSinkError,
)
from penstock.model import Batch, Committed, Outcome, Segment, Share
from penstock.postgres.connection import (
    CONNECT_TIMEOUT_SECONDS,
    CONNECTION_ERRORS,
    connect,
    without_password,
)
from penstock.postgres.words import unavailable
from penstock.rows.retrace import entries_of_rows
from penstock.sink.claim_periods import ClaimPeriods, in_two_periods
from penstock.sink.claims import Claimed, Claims
from penstock.sink.classify import classify, is_of_partitions, reason_of
from penstock.sink.copy import (
    Refused,
    copy_segments,
    copy_what_passes,
    takes_rows,
)
from penstock.sink.day_table import LOGS, DayTables, Table, is_of_the_table
from penstock.sink.partitions import Partitions
from penstock.sink.roles import take_writer_role
from penstock.sink.sql import load_blocks
from penstock.sink.versions import join

# A server that does not answer may be gone for good, or take half a minute for each
# answer: each try gives it twice as long as the one before.
LONGEST_CONNECT_SECONDS = 120.0
# A goodbye is answered at once or not at all.
CLOSE_TIMEOUT_SECONDS = 1.0
# After a refused row the next batches are expected to have one too: their COPY stands
# within a savepoint, so that it need not be done over.
CAREFUL_BATCHES = 100
# Before an error that nobody knows is taken for a refusal of what a row holds.
# Some five seconds: what somebody renames in a deployment is there again by then.
UNKNOWN_TRIES = 6
# Two who claim one chunk around the beginning of a period meet if neither takes longer
# than ten minutes (claims.sql), the COMMIT included. It is done over then, which is not
# to be asked of each batch of a database that takes as long for all of them.
OLDEST_CLAIM_SECONDS = 540.0
# So that what holds up one batch, a lock or a claim of a Penstock that stands still,
# is looked into, and what stands still within a transaction of ours ends. Not sooner:
# where each answer takes half a minute, the server is idle for as long.
LIMITS = {
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": f"{OLDEST_CLAIM_SECONDS:.0f}s",
}
# Rejected events of one message that are rows of their own; of the others those of one
# reason are one row in a batch. Three kilobytes of gzip may inflate to a million.
MOST_REJECTED_ROWS = 1000
# Numbers of receivers there are (0001_initial.sql), to look through once.
RECEIVERS = 4096


class PostgresWriter:
    """Stores batches over a connection of its own, opened when it is needed.

    `on_committed` is called after each COMMIT with what it has stored; it may neither
    wait nor fail.
    """

    def __init__(
        self,
        database_url: str,
        partitions: Partitions,
        periods: ClaimPeriods,
        claims: Claims,
        on_committed: Callable[[Committed], None] = lambda committed: None,
    ) -> None:
        self._database_url = database_url
        self._partitions = partitions
        self._periods = periods
        self._claims = claims
        self._days = DayTables()
        self._reject = load_blocks("store")["reject"]
        self._connection: asyncpg.Connection | None = None
        self._connect_seconds = CONNECT_TIMEOUT_SECONDS
        self._careful_batches = 0
        self._trying = b""  # the batch tried last, and how often for an unknown error
        self._unknown_errors = 0
        self._outcome = Outcome()  # of the batch tried last, if it was committed
        self._on_committed = on_committed
        self._stored: Committed | None = None  # the same, until it has been told

    @property
    def is_connected(self) -> bool:
        """Tell whether the connection is open, as far as is known."""
        return self._connection is not None and not self._connection.is_closed()

    async def connect(self) -> None:
        """Open the connection if it is not open.

        Raises:
            TransientSinkError: the database is out of reach, or for newer ones only.
        """
        if self.is_connected:
            return
        try:
            connection = await self._open()
            try:
                await take_writer_role(connection)
                await connection.execute(load_blocks("store")["compress_quickly"])
                await join(connection, self._claims.receiver)
                await self._claims.end_predecessor(connection)
            except BaseException:
                connection.terminate()  # it may be in the middle of a statement
                raise
        except (DatabaseUnavailableError, *CONNECTION_ERRORS) as error:
            raise TransientSinkError(str(error)) from error
        self._connection = connection

    async def _open(self) -> asyncpg.Connection:
        try:
            connection = await connect(
                self._database_url,
                limits=LIMITS,
                timeout_seconds=self._connect_seconds,
            )
        except DatabaseUnavailableError as error:
            if isinstance(error.__cause__, TimeoutError):
                longer = 2 * self._connect_seconds
                self._connect_seconds = min(longer, LONGEST_CONNECT_SECONDS)
            raise
        self._connect_seconds = CONNECT_TIMEOUT_SECONDS
        return connection

    async def store(self, batch: Batch, *, now_seconds: float) -> Outcome:
        """Store the batch; when this returns it is committed.

        Raises:
            SinkError: nothing of the batch is stored, unless the connection was lost
                while it committed; tried again, it is stored once either way.
        """
        connection = self._connection
        if connection is None:
            raise TransientSinkError("not connected")
        if batch.name != self._trying:
            self._trying, self._unknown_errors = batch.name, 0
        is_careful = self._careful_batches > 0 or self._unknown_errors >= UNKNOWN_TRIES
        try:
            try:
                outcome = await self._store(connection, batch, now_seconds, is_careful)
            except asyncpg.PostgresError as error:
                is_refusal = _is_refusal(error)
                if is_careful or not (is_refusal or is_of_partitions(error)):
                    raise
                self._careful_batches = CAREFUL_BATCHES if is_refusal else 0
                outcome = await self._store(connection, batch, now_seconds, is_refusal)
        except CONNECTION_ERRORS as error:
            if isinstance(error, asyncpg.LockNotAvailableError):
                with contextlib.suppress(*CONNECTION_ERRORS):
                    await self._claims.end_stalled(connection)
            raise self._failed(error) from error
        stored, self._stored = self._stored, None
        if stored is not None:
            self._on_committed(stored)
        return outcome

    async def _store(
        self,
        connection: asyncpg.Connection,
        batch: Batch,
        now_seconds: float,
        is_careful: bool,
    ) -> Outcome:
        await self._partitions.ensure(connection, batch.days, now_seconds)
        await self._periods.ensure(connection)
        into = LOGS
        if not is_careful:
            into = await self._days.table_for(connection, batch.days)
        try:
            return await self._commit(connection, batch, now_seconds, is_careful, into)
        except (asyncpg.PostgresError, DetachedError) as error:
            if into == LOGS or not is_of_the_table(error):
                raise
            self._days.distrust()
            return await self._commit(connection, batch, now_seconds, is_careful, LOGS)

    async def _commit(
        self,
        connection: asyncpg.Connection,
        batch: Batch,
        now_seconds: float,
        is_careful: bool,
        into: Table,
    ) -> Outcome:
        begun_seconds = time.monotonic()
        async with connection.transaction(isolation="read_committed"):
            hold = self._days.hold(into)
            claimed = await self._claims.begin(connection, batch, hold)
            if claimed is None:
                return self._outcome
            refused = await self._copy(connection, claimed.fresh, is_careful, into)
            await self._store_rejected(connection, claimed.fresh, refused)
            self._outcome = _outcome_of(claimed, refused)
            self._stored = _stored_of(claimed, refused)
            _note(claimed, refused)
            took_seconds = time.monotonic() - begun_seconds
            if took_seconds > OLDEST_CLAIM_SECONDS and in_two_periods(
                now_seconds, now_seconds + took_seconds
            ):
                raise TransientSinkError("a batch took too long for its claims to hold")
        return self._outcome

    async def _copy(
        self,
        connection: asyncpg.Connection,
        segments: Sequence[Segment],
        is_careful: bool,
        into: Table,
    ) -> list[Refused]:
        if not any(each.encoded.rows for each in segments):
            return []
        if not is_careful:
            await copy_segments(connection, segments, into)
            return []
        is_for_long = self._unknown_errors >= UNKNOWN_TRIES
        blames_rows = is_for_long and await takes_rows(connection)
        refused = await copy_what_passes(
            connection,
            segments,
            is_refusal=partial(_is_refusal, or_unknown=blames_rows),
        )
        self._careful_batches = (
            CAREFUL_BATCHES if refused else max(0, self._careful_batches - 1)
        )
        return refused

    async def _store_rejected(
        self,
        connection: asyncpg.Connection,
        segments: Sequence[Segment],
        refused: Sequence[Refused],
    ) -> None:
        rejected = _rejected_rows(segments)
        entries: dict[int, list[tuple[Share, bytes]]] = {}
        for row, error in refused:
            of_segment = id(row.segment)
            if of_segment not in entries:
                entries[of_segment] = [
                    (share, entry)
                    for share, own in row.segment.of_each_share()
                    for entry in entries_of_rows(own)
                ]
            share, raw = entries[of_segment][row.number]
            why = (reason_of(error), error.sqlstate)
            rejected.append((*_origin(share), *why, raw))
        if rejected:
            await connection.executemany(self._reject, rejected)

    def _failed(self, error: BaseException) -> Exception:
        """Return what to raise; what is known of the database is looked at anew."""
        self._partitions.forget()
        self._periods.forget()
        # A server that only reads was the primary before a failover; another
        # connection may find the new one.
        if not isinstance(error, asyncpg.PostgresError) or isinstance(
            error, asyncpg.ReadOnlySQLTransactionError
        ):
            self.terminate()
        failure = classify(error)
        if isinstance(failure, UnknownSinkError):
            self._unknown_errors += 1
        return failure

    def terminate(self) -> None:
        """Drop the connection without a word; the next `connect` opens another."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """End the connection; do not wait long for a server that does not answer."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=CLOSE_TIMEOUT_SECONDS)
        except CONNECTION_ERRORS:
            connection.terminate()


def _is_refusal(error: asyncpg.PostgresError, *, or_unknown: bool = False) -> bool:
    kind = classify(error)
    return isinstance(kind, PermanentSinkError) or (
        or_unknown and isinstance(kind, UnknownSinkError)
    )


def _origin(share: Share) -> tuple[str, str, bytes | None]:
    return share.sender, share.tag, share.chunk


def _rejected_rows(segments: Sequence[Segment]) -> list[tuple[object, ...]]:
    """Return the rows of what was rejected; each event is in one, with its bytes."""
    rows: list[tuple[object, ...]] = []
    joined: dict[tuple[object, ...], tuple[Share, list[bytes]]] = {}
    for segment in segments:
        if not segment.encoded.rejected:
            continue
        number = segment.rejected_before
        for share, own in segment.of_each_share():
            for event in own.rejected:
                if number < MOST_REJECTED_ROWS:
                    rows.append((*_origin(share), event.reason, None, event.raw))
                else:
                    of_one_reason = (
                        id(segment.delivery),
                        *_origin(share),
                        event.reason,
                    )
                    _, raws = joined.setdefault(of_one_reason, (share, []))
                    raws.append(event.raw)
                number += 1
    for (*_, reason), (share, raws) in joined.items():
        rows.append((*_origin(share), reason, None, b"".join(raws)))
    return rows


def _outcome_of(claimed: Claimed, refused: Sequence[Refused]) -> Outcome:
    rows = sum(each.encoded.rows for each in claimed.fresh)
    return Outcome(
        stored_events=rows - len(refused),
        rejected_events=sum(len(each.encoded.rejected) for each in claimed.fresh),
        refused_events=len(refused),
        duplicate_events=sum(each.events for each in claimed.duplicate),
        duplicate_segments=len(claimed.duplicate),
    )


def _note(claimed: Claimed, refused: Sequence[Refused]) -> None:
    """Note in each segment what this try comes to, whatever one before it did."""
    for segment in claimed.fresh:
        segment.is_duplicate, segment.refused_events = False, 0
    for segment in claimed.duplicate:
        segment.is_duplicate, segment.refused_events = True, 0
    for row, _ in refused:
        row.segment.refused_events += 1


def _stored_of(claimed: Claimed, refused: Sequence[Refused]) -> Committed:
    numbers: dict[int, set[int]] = {}
    for row, _ in refused:
        numbers.setdefault(id(row.segment), set()).add(row.number)
    of_place: Mapping[int, frozenset[int]] = {
        place: frozenset(numbers[id(each)])
        for place, each in enumerate(claimed.fresh if numbers else ())
        if id(each) in numbers
    }
    return Committed(tuple(claimed.fresh), of_place)


async def next_receiver(database_url: str) -> int:
    """Return a number that tells this process's ids from those of others.

    One that a connected server has is passed over: the numbers come round.

    Raises:
        DatabaseUnavailableError: out of reach, or without our schema.
    """
    connection = await connect(database_url)
    try:
        blocks = load_blocks("store")
        for _ in range(RECEIVERS):
            receiver: int = await connection.fetchval(blocks["next_receiver"])
            if not await connection.fetchval(blocks["is_receiver_taken"], receiver):
                return receiver
        raise DatabaseUnavailableError(
            f"{RECEIVERS} servers are connected to {without_password(database_url)}:"
            " no more have a number that tells their rows apart"
        )
    except asyncpg.PostgresError as error:
        raise unavailable(error, without_password(database_url)) from error
    finally:
        await connection.close()
