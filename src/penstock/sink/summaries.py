"""Keeps the BRIN of the day that is written to up with its rows.

It owns how often. What PostgreSQL has no summary of, a search for the newest rows reads
whole, and summaries are made by VACUUM: by autovacuum, each minute at best, at 50,000
rows/s after three million rows, which take a second to read. Made here they cost one
look at each new page, while it is in memory.
"""

import asyncio
import logging

import asyncpg

from penstock.errors import DatabaseUnavailableError
from penstock.postgres.connection import CONNECTION_ERRORS, connect
from penstock.postgres.words import describe
from penstock.sink.sql import load_blocks

logger = logging.getLogger(__name__)

# At 50,000 rows/s a hundred megabytes come meanwhile, read in a tenth of a second.
SUMMARIZE_SECONDS = 5.0
# A connection that was lost, and whoever may not do it, need not be tried as often.
AFTER_FAILURE_SECONDS = 60.0


async def summarize(connection: asyncpg.Connection) -> int:
    """Make the summaries that are missing; return of how many ranges of pages.

    What somebody has locked meanwhile is left to the next time.

    Raises:
        asyncpg.PostgresError: the login is not the owner, the connection is lost.
    """
    blocks = load_blocks("summaries")
    await connection.execute(blocks["limit_waiting"])
    made = 0
    for row in await connection.fetch(blocks["indexes"]):
        try:
            made += await connection.fetchval(blocks["summarize"], row["oid"])
        except (asyncpg.LockNotAvailableError, asyncpg.UndefinedTableError):
            continue
    return made


async def summarize_periodically(database_url: str) -> None:
    """Make them every few seconds until cancelled.

    It is for who searches: where it cannot be done, storing goes on as ever, and
    searches are as slow as autovacuum is. So errors are told to who looks closely.
    """
    while True:
        await asyncio.sleep(SUMMARIZE_SECONDS)
        try:
            await _summarize_until_lost(database_url)
        except (*CONNECTION_ERRORS, DatabaseUnavailableError) as error:
            logger.debug(
                "no summaries of new rows are made", extra={"error": describe(error)}
            )
        except Exception:
            logger.exception("making summaries has failed; it will be tried again")
        await asyncio.sleep(AFTER_FAILURE_SECONDS)


async def _summarize_until_lost(database_url: str) -> None:
    connection = await connect(database_url)
    try:
        while True:
            await summarize(connection)
            await asyncio.sleep(SUMMARIZE_SECONDS)
    finally:
        connection.terminate()
