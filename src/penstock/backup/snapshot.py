"""One look at the database that all parts of a backup share.

Owns the connections of a backup and the exported snapshot (PostgreSQL documentation,
section 9.28.5). Must not know what is looked at.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple

import asyncpg

from penstock.backup import checksum
from penstock.backup.sql import load_blocks
from penstock.postgres.connection import LOST_ERRORS, connect

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# A close waits for the answer to a cancel, which takes as long as a round trip.
CLOSE_SECONDS = 5.0


class Snapshot(NamedTuple):
    """What was committed at one moment, as long as the block that holds it lasts."""

    database_url: str
    id: str  # as pg_dump's --snapshot takes it
    created_at: datetime
    holder_pid: int
    holder: asyncpg.Connection
    turn: asyncio.Lock  # of asking the holder

    @asynccontextmanager
    async def session(self) -> AsyncIterator[asyncpg.Connection]:
        """Yield a connection that sees it. What it locks it holds until its end."""
        async with open_connection(self.database_url) as connection:
            await checksum.prepare(connection)
            await connection.execute(BEGIN)
            take = load_blocks()["take_snapshot"].replace("{snapshot}", self.id)
            await connection.execute(take)
            yield connection

    async def require_held(self) -> None:
        """Ask whether it is still there.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError: the connection that
                holds it is lost.
        """
        async with self.turn:
            await self.holder.execute("SELECT")


@asynccontextmanager
async def hold_snapshot(database_url: str) -> AsyncIterator[Snapshot]:
    """Take a snapshot and hold it for the block; it locks no table.

    Raises:
        DatabaseUnavailableError: out of reach.
        asyncpg.PostgresError, OSError: it is lost later.
    """
    async with open_connection(database_url) as connection:
        await connection.execute(BEGIN)
        row = await connection.fetchrow(load_blocks()["export_snapshot"])
        assert row is not None
        yield Snapshot(
            database_url,
            row["id"],
            row["created_at"],
            row["holder_pid"],
            connection,
            asyncio.Lock(),
        )
        # Had it been lost, what came after would have been another look.
        await connection.execute("COMMIT")


@asynccontextmanager
async def open_connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection that waits for locks as a backup does; else without limits.

    Raises:
        DatabaseUnavailableError: out of reach.
    """
    connection = await connect(database_url)
    try:
        blocks = load_blocks()
        await connection.execute(blocks["unlimited"])
        await connection.execute(blocks["limit_waiting"])
        yield connection
    finally:
        await asyncio.shield(_close(connection))


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=CLOSE_SECONDS)
    except LOST_ERRORS:  # TimeoutError is an OSError
        connection.terminate()
