"""A session that reads: as a role that can do nothing else, read-only, within limits.

It owns how a connection becomes such a session, and that no result is larger than it
may be. Each session is a connection of its own, so nothing of one statement's is left
for the next person's. What it is asked it takes as it is: the guard has judged it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import asyncpg
import orjson

from penstock.errors import (
    DatabaseUnavailableError,
    QueryError,
    QueryTooLargeError,
)
from penstock.postgres.blocks import read_blocks
from penstock.postgres.connection import (
    CONNECTION_ERRORS,
    connect,
    without_password,
)
from penstock.postgres.urls import url_as
from penstock.postgres.words import unavailable
from penstock.reader.counting import count
from penstock.reader.decoding import decode_as_text
from penstock.reader.failures import (
    QUERY_CANCELED,
    cancelled,
    in_words,
    timed_out,
)
from penstock.reader.limits import kilobytes, milliseconds, session_settings
from penstock.settings import ReadLimits

# What people log in as where the cluster is ours (sink/sql/roles.sql).
READER = "penstock_reader"
# From here on a member of a role need not be one who may take it (SET ROLE).
SET_OPTION_MAJOR = 16

# A block grows to as many rows, by so much: the first one is small, since nobody knows
# yet how large a row is.
BLOCK_ROWS = 2_000
BLOCK_GROWTH = 8
# A block of a stream, about: memory against round trips.
STREAM_BLOCK_BYTES = 1024 * 1024
# PostgreSQL's own timeout comes first and says more. It is of each block.
GRACE_SECONDS = 2.0
# A close waits for the answer to a cancel, which takes as long as a round trip.
CLOSE_SECONDS = 5.0
# Beside the rows: descriptions of columns, errors, types that are asked for.
OVERHEAD_BYTES = 4 * 1024 * 1024


class Rows(NamedTuple):
    """The rows of a statement; `is_cut`: a limit ended them, there are more.

    JSON comes as `orjson.Fragment` of PostgreSQL's own text; times that Python does not
    have come as text.
    """

    columns: list[str]
    types: list[str]  # PostgreSQL's names: timestamptz, text, log_level, jsonb
    rows: list[tuple[Any, ...]]
    is_cut: bool


@asynccontextmanager
async def open_session(
    database_url: str, limits: ReadLimits, *, is_embedded: bool
) -> AsyncIterator["Session"]:
    """Open a session on a connection of its own, for the block.

    Args:
        is_embedded: the URL is that of a cluster of our own; `sink.roles` has been
            asked to let the reader in.

    Raises:
        DatabaseUnavailableError: out of reach, not migrated, or the login may not read.
    """
    url = url_as(database_url, READER) if is_embedded else database_url
    connection = await _connect(url, limits, is_embedded=is_embedded)
    try:
        try:
            await _become_reader(connection, url, limits)
            await decode_as_text(connection)
        except CONNECTION_ERRORS as error:
            raise unavailable(error, without_password(url)) from error
        yield Session(connection, url, limits)
    finally:
        await _close(connection)


class Session:
    """One statement after the other, each in a transaction of its own."""

    def __init__(
        self, connection: asyncpg.Connection, url: str, limits: ReadLimits
    ) -> None:
        self._connection = connection
        self._url = url
        self._limits = limits
        self._counting = count(connection)
        self._is_cancelled = False

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> Rows:
        """Return a statement's rows, as many as the limits let through.

        Raises:
            QueryError: PostgreSQL refuses or ends it.
            DatabaseUnavailableError: the connection is lost.
        """
        limits = self._limits
        seconds = limits.statement_timeout_seconds
        async with self._statement(sql, seconds):
            prepared = await self._connection.prepare(sql)
            attributes = prepared.get_attributes()
            cursor = await prepared.cursor(*params)
            rows, is_cut = await self._fetch_within(cursor)
        return Rows(
            [each.name for each in attributes],
            [each.type.name for each in attributes],
            rows,
            is_cut,
        )

    async def _fetch_within(self, cursor: Any) -> tuple[list[tuple[Any, ...]], bool]:
        """Fetch up to the limits; whether there was more."""
        limits, counting = self._limits, self._counting
        counting.begin(2 * limits.max_bytes + OVERHEAD_BYTES)
        rows: list[tuple[Any, ...]] = []
        wanted = 1
        while True:
            block = await cursor.fetch(wanted)
            rows += [tuple(row) for row in block]
            if len(block) < wanted:
                break
            if len(rows) > limits.max_rows:
                return rows[: limits.max_rows], True
            if counting.received_bytes >= limits.max_bytes:
                return rows, bool(await cursor.fetch(1))
            row_bytes = counting.received_bytes // len(rows) + 1
            room = (limits.max_bytes - counting.received_bytes) // row_bytes + 1
            # One more than may be, to see whether there is one.
            left = limits.max_rows + 1 - len(rows)
            wanted = min(wanted * BLOCK_GROWTH, BLOCK_ROWS, room, left)
        return rows, False

    async def stream(
        self, sql: str, params: Sequence[Any] = ()
    ) -> AsyncIterator[list[tuple[Any, ...]]]:
        """Yield all rows of a statement in blocks, one at a time in memory.

        The time limit is of each block.

        Raises:
            As `fetch`.
        """
        counting = self._counting
        async with self._statement(sql, None):
            # Whoever reads them may take time for each block.
            await self._set("idle_in_transaction_session_timeout", "0")
            cursor = await self._connection.cursor(sql, *params)
            wanted, read_rows, read_bytes = 1, 0, 0
            while True:
                counting.begin(2 * self._limits.max_bytes + OVERHEAD_BYTES)
                block = await cursor.fetch(wanted)
                if block:
                    yield [tuple(row) for row in block]
                if len(block) < wanted:
                    return
                read_rows += len(block)
                read_bytes += counting.received_bytes
                room = STREAM_BLOCK_BYTES * read_rows // (read_bytes + 1) + 1
                wanted = min(wanted * BLOCK_GROWTH, BLOCK_ROWS, room)

    async def explain(self, sql: str, params: Sequence[Any] = ()) -> dict[str, Any]:
        """Return the plan of a statement, which is not run.

        Raises:
            As `fetch`; the time limit is one of its own.
        """
        seconds = self._limits.explain_timeout_seconds
        async with self._statement(sql, seconds, "explain_timeout_seconds"):
            await self._set("statement_timeout", milliseconds(seconds))
            self._counting.begin(self._limits.max_bytes + OVERHEAD_BYTES)
            plan = await self._connection.fetchval(
                f"EXPLAIN (FORMAT JSON) {sql}", *params
            )
        explained: list[dict[str, Any]] = orjson.loads(orjson.dumps(plan))
        return explained[0]

    async def cancel(self) -> None:
        """End the statement that runs, on the server too; whoever waits for it is told.

        Raises:
            DatabaseUnavailableError: out of reach.
        """
        self._is_cancelled = True
        connection = await connect(self._url)
        try:
            end = read_blocks("penstock.reader.sql", "session")["end_statement"]
            await connection.fetchval(end, self._connection.get_server_pid())
        except CONNECTION_ERRORS as error:
            raise unavailable(error, without_password(self._url)) from error
        finally:
            await _close(connection)

    async def _set(self, name: str, value: str) -> None:
        """Set something to the end of the transaction."""
        await self._connection.execute(
            "SELECT pg_catalog.set_config($1, $2, true)", name, value
        )

    @asynccontextmanager
    async def _statement(
        self,
        sql: str,
        seconds: float | None,
        setting: str = "statement_timeout_seconds",
    ) -> AsyncIterator[None]:
        """Begin a transaction for one statement, and say what went wrong with it."""
        _refuse_what_cannot_be_sent(sql)
        self._is_cancelled = False
        began = time.monotonic()
        limit = None if seconds is None else seconds + GRACE_SECONDS
        own = self._limits.statement_timeout_seconds if seconds is None else seconds
        try:
            async with (
                asyncio.timeout(limit),
                self._connection.transaction(readonly=True),
            ):
                yield
        except TimeoutError as error:
            raise timed_out(sql, own, setting) from error
        except CONNECTION_ERRORS as error:
            if self._counting.is_over:
                raise self._too_large(sql) from error
            if getattr(error, "sqlstate", None) == QUERY_CANCELED:
                # The words are of the server's language; the clock is not. What a
                # block took is not known here, so of a stream it is taken for that.
                is_late = seconds is None or time.monotonic() - began >= own * 0.9
                if is_late and not self._is_cancelled:
                    raise timed_out(sql, own, setting) from error
                raise cancelled(sql) from error
            where = without_password(self._url)
            if self._connection.is_closed():
                # The transaction's end says only that; what ended it says why.
                raise unavailable(error.__context__ or error, where) from error
            raise in_words(error, sql, where, self._limits) from error

    def _too_large(self, sql: str) -> QueryTooLargeError:
        reason = f"a row is larger than max_bytes ({self._limits.max_bytes:,})"
        return QueryTooLargeError(
            f"the statement was ended: {reason}; ask for less of it, as left(message,"
            " 1000), or raise that setting",
            sql=sql,
            reason=reason,
        )


async def _connect(
    url: str, limits: ReadLimits, *, is_embedded: bool
) -> asyncpg.Connection:
    try:
        return await connect(url, limits=session_settings(limits))
    except DatabaseUnavailableError as error:
        no_role = asyncpg.InvalidAuthorizationSpecificationError
        if is_embedded and isinstance(error.__cause__, no_role):
            raise _not_migrated(url) from error
        raise


async def _become_reader(
    connection: asyncpg.Connection, url: str, limits: ReadLimits
) -> None:
    blocks = read_blocks("penstock.reader.sql", "session")
    major = connection.get_server_version().major
    needed = "SET" if major >= SET_OPTION_MAJOR else "MEMBER"
    place = await connection.fetchrow(blocks["place"], needed)
    assert place is not None
    if not place["is_migrated"]:
        raise _not_migrated(url)
    if not place["may_read"]:
        raise DatabaseUnavailableError(
            f"the login {place['login']} may not read logs as penstock_query; have the"
            " owner of the tables run"
            f" `penstock db roles --reader {place['login']}`"
        )
    if place["may_limit_files"]:
        limit = kilobytes(limits.temp_file_limit_bytes)
        await connection.fetchval(blocks["limit_files"], limit)
    await connection.fetchval(blocks["take_role"])


def _not_migrated(url: str) -> DatabaseUnavailableError:
    return DatabaseUnavailableError(
        f"the schema in {without_password(url)} is not up to date;"
        " run `penstock db migrate`"
    )


def _refuse_what_cannot_be_sent(sql: str) -> None:
    """PostgreSQL takes a statement for ended at the character U+0000."""
    if "\0" in sql:
        raise QueryError("the statement has a character U+0000 in it", sql=sql)
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise QueryError(
            f"the statement is no text at {error.start + 1}: half a surrogate pair",
            sql=sql,
        ) from error


async def _close(connection: asyncpg.Connection) -> None:
    """End a connection, also one that has a statement running or is lost."""
    if connection.is_closed():
        connection.terminate()
        return
    try:
        await connection.close(timeout=CLOSE_SECONDS)
    except CONNECTION_ERRORS:
        connection.terminate()
