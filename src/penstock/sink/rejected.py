"""The events in `rejected_event`: found, counted, looked at, deleted.

It owns the statements about what could not become a row of `logs`. It must not make
rows of it: `replay` does.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from penstock.postgres.connection import connect, without_password
from penstock.postgres.words import unavailable
from penstock.sink.sql import load_blocks

# Deleted in one transaction: so that nobody waits long, nor much is done over.
PURGE_EVENTS = 5_000

# What a connection that is open raises; any other error in its block is our own.
DATABASE_ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events a command is about: those that all which is given applies to."""

    ids: tuple[int, ...] | None = None
    reason: str | None = None  # `refused` is every `refused: name`
    tag: str | None = None
    sqlstate: str | None = None
    younger_than: timedelta | None = None
    older_than: timedelta | None = None

    def values(self) -> tuple[object, ...]:
        """Return the values of the block `matching`."""
        return (
            self.ids,
            self.reason,
            self.tag,
            self.sqlstate,
            self.younger_than,
            self.older_than,
        )


class Listed(NamedTuple):
    """A rejected event without its bytes."""

    id: int
    received_at: datetime
    sender: str
    tag: str
    chunk: bytes | None
    reason: str
    sqlstate: str | None
    bytes: int


class Kind(NamedTuple):
    """How many events have one reason, SQLSTATE and tag, and since when."""

    events: int
    reason: str
    sqlstate: str | None
    tag: str
    oldest: datetime
    newest: datetime


class Whole(NamedTuple):
    """A rejected event with its bytes."""

    id: int
    received_at: datetime
    sender: str
    tag: str
    chunk: bytes | None
    reason: str
    sqlstate: str | None
    raw: bytes


class Extent(NamedTuple):
    """How many events are wanted, and the last of them."""

    events: int
    last_id: int


def statement(name: str) -> str:
    """Return a statement of `rejected.sql`."""
    blocks = load_blocks("rejected")
    return blocks[name].replace("{matching}", blocks["matching"])


@asynccontextmanager
async def opened(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection for the block.

    Raises:
        DatabaseUnavailableError: out of reach, lost, without our schema, or we have
            not the right.
    """
    connection = await connect(database_url)
    try:
        yield connection
    except DATABASE_ERRORS as error:
        raise unavailable(error, without_password(database_url)) from error
    finally:
        connection.terminate() if connection.is_closed() else await connection.close()


async def list_events(database_url: str, wanted: Wanted, *, limit: int) -> list[Listed]:
    """Return so many events, the newest first.

    Raises:
        DatabaseUnavailableError: as `opened`.
    """
    async with opened(database_url) as connection:
        rows = await connection.fetch(statement("list"), *wanted.values(), limit)
    return [Listed(*row) for row in rows]


async def count_by_kind(database_url: str, wanted: Wanted) -> list[Kind]:
    """Return how many there are of each kind, most first.

    Raises:
        DatabaseUnavailableError: as `opened`.
    """
    async with opened(database_url) as connection:
        rows = await connection.fetch(statement("count_by_kind"), *wanted.values())
    return [Kind(*row) for row in rows]


async def find_event(database_url: str, event_id: int) -> Whole | None:
    """Return one event, None if there is none of this number.

    Raises:
        DatabaseUnavailableError: as `opened`.
    """
    async with opened(database_url) as connection:
        row = await connection.fetchrow(statement("one"), event_id)
    return None if row is None else Whole(*row)


async def extent_of(connection: asyncpg.Connection, wanted: Wanted) -> Extent:
    """Return how many events are wanted now."""
    row = await connection.fetchrow(statement("extent"), *wanted.values())
    assert row is not None
    return Extent(*row)


async def count_events(database_url: str, wanted: Wanted) -> Extent:
    """Return how many events are wanted now.

    Raises:
        DatabaseUnavailableError: as `opened`.
    """
    async with opened(database_url) as connection:
        return await extent_of(connection, wanted)


async def purge_events(database_url: str, wanted: Wanted, *, last_id: int) -> int:
    """Delete the events that are wanted, up to `last_id`; return how many they were.

    Raises:
        DatabaseUnavailableError: as `opened`; some may be deleted.
    """
    deleted = 0
    async with opened(database_url) as connection:
        while some := await connection.fetchval(
            statement("purge"), *wanted.values(), last_id, PURGE_EVENTS
        ):
            deleted += some
    return deleted
