"""What is too old, or too much, and goes: whole days, oldest first.

It owns which days those are and how a partition is dropped under load. Rows are
deleted one by one only in the default partition, which cannot be dropped.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from penstock.settings import PartitionSettings
from penstock.sink.partitions import DAY_SECONDS
from penstock.sink.sql import load_blocks

# To drop a partition locks the partitioned table, and everybody who comes to it waits
# behind us until those before us end. Batches end within a moment; a long query does
# not, and is asked again in the next round.
LOCK_WAITS_SECONDS = (0.1, 0.5, 2.0)
# Between them, time for those who have waited.
BETWEEN_TRIES_SECONDS = 1.0
# Pages of the default partition that one transaction reads and deletes from: 10 MiB.
PAGES_AT_A_TIME = 1_280


class DayPartition(NamedTuple):
    """A day's partition as the catalog tells of it."""

    partition: str
    oid: int
    start_seconds: float
    end_seconds: float
    size_bytes: int
    is_sealed: bool
    indexes: list[str]


def expiry_seconds(settings: PartitionSettings, now_seconds: float) -> float | None:
    """Return the time before which events have expired, a midnight; None: never."""
    if not settings.retention_max_age_days:
        return None
    today = now_seconds // DAY_SECONDS
    return (today - settings.retention_max_age_days) * DAY_SECONDS


def days_to_drop(
    days: Sequence[DayPartition], settings: PartitionSettings, now_seconds: float
) -> list[DayPartition]:
    """Return those of the days, given oldest first, that retention does not keep."""
    before_seconds = expiry_seconds(settings, now_seconds)
    today_seconds = now_seconds // DAY_SECONDS * DAY_SECONDS
    left_bytes = sum(day.size_bytes for day in days)
    dropped = []
    for day in days:
        if day.end_seconds > today_seconds:
            break
        expired = before_seconds is not None and day.end_seconds <= before_seconds
        most_bytes = settings.retention_max_bytes
        if not expired and not (most_bytes and left_bytes > most_bytes):
            break
        dropped.append(day)
        left_bytes -= day.size_bytes
    return dropped


async def drop_partition(connection: asyncpg.Connection, partition: str) -> None:
    """Drop a partition; senders wait for it no longer than a lock is waited for.

    Raises:
        asyncpg.LockNotAvailableError: somebody uses the table for long.
    """
    blocks = load_blocks("retention")
    for wait_seconds in LOCK_WAITS_SECONDS:
        limit = blocks["limit_waiting"].format(milliseconds=int(wait_seconds * 1000))
        try:
            async with connection.transaction():
                await connection.execute(limit)
                await connection.execute(blocks["drop"].format(partition=partition))
            return
        except asyncpg.LockNotAvailableError:
            if wait_seconds == LOCK_WAITS_SECONDS[-1]:
                raise
        await asyncio.sleep(BETWEEN_TRIES_SECONDS)


async def count_expired(connection: asyncpg.Connection, before_seconds: float) -> int:
    """Return how many rows of the default partition have expired."""
    blocks = load_blocks("retention")
    # The table's BRIN index answers this at once where there are none.
    if not await connection.fetchval(blocks["holds_expired"], before_seconds):
        return 0
    count: int = await connection.fetchval(blocks["count_expired"], before_seconds)
    return count


async def delete_expired(connection: asyncpg.Connection, before_seconds: float) -> None:
    """Delete what has expired in the default partition, some pages at a time.

    The space is for autovacuum to give back: it makes way for who waits, as a vacuum
    of ours would not.
    """
    blocks = load_blocks("retention")
    pages: int = await connection.fetchval(blocks["default_pages"])
    for first_page in range(0, pages, PAGES_AT_A_TIME):
        statement = blocks["delete_expired"].format(
            first_page=first_page, end_page=first_page + PAGES_AT_A_TIME
        )
        await connection.execute(statement, before_seconds)
