"""A partition for each day that a batch falls on, made before its COPY.

It owns the names and bounds of partitions and remembers which exist. A partition
that cannot be made now is no reason to make a sender wait: the default partition
takes the rows.
"""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import asyncpg

from penstock.model import Day
from penstock.settings import PartitionSettings
from penstock.sink.sql import load_blocks

logger = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_SECONDS = 86_400


class Partitions:
    """The daily partitions of `logs`, as one process knows them."""

    def __init__(self, settings: PartitionSettings) -> None:
        self._settings = settings
        self._blocks = load_blocks("partitions")
        self._existing: set[str] | None = None

    def wanted(self, days: Iterable[Day], now_seconds: float) -> list[str]:
        """Return the names of the days' partitions that are not known to exist.

        Days too old or too far ahead have none.
        """
        today = int(now_seconds // DAY_SECONDS)
        oldest = today - self._settings.partition_past_days
        newest = today + self._settings.partition_ahead_days
        known = self._existing or set()
        names = {day_name(day) for day in days if oldest <= day <= newest}
        return sorted(names - known)

    async def ensure(
        self, connection: asyncpg.Connection, days: Iterable[Day], now_seconds: float
    ) -> None:
        """Make the partitions that the days need and do not have yet."""
        if not self.wanted(days, now_seconds):
            return
        if self._existing is None:
            await self._load_existing(connection)
        for name in self.wanted(days, now_seconds):
            try:
                await self._create(connection, name)
            except asyncpg.LockNotAvailableError:
                logger.warning(
                    "a day's partition has to wait for a lock; its rows go to"
                    " logs_default until it can be made",
                    extra={"partition": f"logs_{name}"},
                )

    def forget(self) -> None:
        """Look at the database again before the next batch: it may have changed."""
        self._existing = None

    async def _load_existing(self, connection: asyncpg.Connection) -> None:
        rows = await connection.fetch(self._blocks["existing_days"])
        self._existing = {row["day"] for row in rows}

    async def _create(self, connection: asyncpg.Connection, name: str) -> None:
        start = datetime.strptime(name, "%Y%m%d").replace(tzinfo=UTC)
        values = {
            "partition": f"logs_{name}",
            "start": start.isoformat(),
            "end": (start + timedelta(days=1)).isoformat(),
        }
        async with connection.transaction():
            await connection.execute(self._blocks["limit_waiting"])
            await connection.execute(self._blocks["one_at_a_time"])
            await self._load_existing(connection)
            assert self._existing is not None
            if name not in self._existing:
                for block in ("create_day", "move_from_default", "attach_day"):
                    await connection.execute(self._blocks[block].format(**values))
        self._existing.add(name)


def day_name(day: Day) -> str:
    """Return a day as partitions are named: 20260731."""
    return f"{_EPOCH + timedelta(days=day):%Y%m%d}"
