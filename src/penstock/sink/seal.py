"""The seal of closed days: frozen, and indexed as a hot day could not afford to be.

It owns which days are closed and what they lack. Nothing here locks out a writer: a
late row goes into a sealed day as into any other.
"""

from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg

from penstock.settings import MaintenanceSettings
from penstock.sink.retention import DayPartition
from penstock.sink.sql import load_blocks

HOUR_SECONDS = 3_600
# What is said of an index that was not begun.
BUSY = "it would wait for a transaction that has been open for long"


class MissingIndex(NamedTuple):
    """An index that a closed day is to have and has not, or not whole."""

    name: str
    partition: str
    block: str


def is_closed(
    day: DayPartition, settings: MaintenanceSettings, now_seconds: float
) -> bool:
    """Tell whether the day ended long enough ago."""
    seal_seconds = settings.seal_after_hours * HOUR_SECONDS
    return day.end_seconds + seal_seconds <= now_seconds


def missing_indexes(
    day: DayPartition, settings: MaintenanceSettings
) -> list[MissingIndex]:
    """Return the indexes that the settings want and the day does not have."""
    wanted = {
        "message_trgm": settings.seal_message_trgm,
        "attributes_gin": settings.seal_attributes_gin,
    }
    names = {
        f"{day.partition}_{kind}": f"create_{kind}"
        for kind, choice in wanted.items()
        if choice == "on"
    }
    return [
        MissingIndex(name, day.partition, block)
        for name, block in names.items()
        if name not in day.indexes
    ]


async def seal_day(connection: asyncpg.Connection, day: DayPartition) -> None:
    """Vacuum and freeze the day, and remember it."""
    blocks = load_blocks("seal")
    await connection.execute(blocks["vacuum"].format(partition=day.partition))
    date = datetime.fromtimestamp(day.start_seconds, UTC).date()
    await connection.execute(blocks["record"], date, day.oid)


async def create_index(connection: asyncpg.Connection, index: MissingIndex) -> None:
    """Make the index anew, whatever an interrupted build has left of it.

    Raises:
        asyncpg.ObjectInUseError: it would have to wait for somebody's transaction.
        asyncpg.PostgresError: it cannot be made, for want of pg_trgm for one.
    """
    blocks = load_blocks("seal")
    if await connection.fetchval(blocks["long_transaction"]):
        raise asyncpg.ObjectInUseError(BUSY)
    values = index._asdict() | {"index": index.name}
    if index.block == "create_message_trgm":
        await connection.execute(blocks["create_trgm"])
        values["trgm_schema"] = await connection.fetchval(blocks["trgm_schema"])
    await connection.execute(blocks["wait_for_others"])
    try:
        for block in ("drop_index", index.block):
            await connection.execute(blocks[block].format(**values))
    finally:
        if not connection.is_closed():
            await connection.execute(blocks["limit_waiting"])


async def forget_dropped(connection: asyncpg.Connection) -> None:
    """Forget the days whose partition is gone."""
    await connection.execute(load_blocks("seal")["forget_dropped"])
