"""A partition for each day that a batch falls on, made before its COPY.

It owns the names and bounds of partitions and remembers which exist. A partition
that cannot be made now is no reason to make a sender wait: the default partition
takes the rows.
"""

import logging
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import asyncpg

from penstock.settings import PartitionSettings
from penstock.sink.sql import load_blocks

logger = logging.getLogger(__name__)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_SECONDS = 86_400
# After a partition could not be made, batches go on without it this long: somebody's
# long query must not cost every batch the wait for the lock.
POSTPONE_SECONDS = 30.0
# Errors that are not about the partition: the batch itself would meet them too
# (PostgreSQL documentation, appendix A: connection, rollback, resources, shutdown).
PASSING_CLASSES = ("08", "25", "40", "53", "57")
# To name one takes longer than all else that a batch asks here; each asks for a few.
DAYS_REMEMBERED = 1_024


class Partitions:
    """The daily partitions of `logs`, as one process knows them."""

    def __init__(self, settings: PartitionSettings) -> None:
        self._settings = settings
        self._blocks = load_blocks("partitions")
        self._existing: set[str] = set()
        self._postponed_until: dict[str, float] = {}
        self._locked_until = 0.0

    def wanted(self, days: Collection[int], now_seconds: float) -> list[str]:
        """Return the names of the days' partitions that have to be made now.

        Days too old or too far ahead have none. Tomorrow's is made with today's, so
        that midnight finds it there.
        """
        today = int(now_seconds // DAY_SECONDS)
        with_tomorrow = {*days, today + 1} if today in days else days
        dated = self.dated(now_seconds)
        names = {day_name(day) for day in with_tomorrow if day in dated}
        return [
            name
            for name in sorted(names - self._existing)
            if self._postponed_until.get(name, 0.0) <= now_seconds
        ]

    def dated(self, now_seconds: float) -> range:
        """Return the days that have a partition of their own when rows come."""
        settings, today = self._settings, int(now_seconds // DAY_SECONDS)
        past_days = settings.partition_past_days
        # What retention is about to drop is not worth the locks of a new partition.
        if settings.retention_max_age_days:
            past_days = min(past_days, settings.retention_max_age_days)
        return range(today - past_days, today + settings.partition_ahead_days + 1)

    async def ensure(
        self, connection: asyncpg.Connection, days: Collection[int], now_seconds: float
    ) -> None:
        """Make the partitions that the days need and do not have yet."""
        if now_seconds < self._locked_until:
            return
        for name in self.wanted(days, now_seconds):
            try:
                await self.make(connection, name)
            except asyncpg.LockNotAvailableError:
                # The others would wait for the same lock.
                self._locked_until = now_seconds + POSTPONE_SECONDS
                _warn_of(name, "somebody holds a lock on it")
                return
            except asyncpg.PostgresError as error:
                sqlstate = error.sqlstate or ""
                if connection.is_closed() or sqlstate.startswith(PASSING_CLASSES):
                    raise
                self._postponed_until[name] = now_seconds + POSTPONE_SECONDS
                _warn_of(name, str(error))
            else:
                self._existing.add(name)
                self._postponed_until.pop(name, None)

    def forget(self) -> None:
        """Look at the database again before the next batch: it may have changed."""
        self._existing.clear()

    async def existing(self, connection: asyncpg.Connection) -> set[str]:
        """Return the names of the days that the database has a partition of."""
        return {
            row["day"] for row in await connection.fetch(self._blocks["existing_days"])
        }

    async def make(self, connection: asyncpg.Connection, name: str) -> None:
        """Make a day's partition unless it is there; rows of that day move into it.

        Raises:
            asyncpg.PostgresError: it cannot be made now.
        """
        day = datetime.strptime(name, "%Y%m%d").date()
        # Whoever waited for the lock must see what its last holder has made.
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(self._blocks["make_day"], day)


def _warn_of(name: str, reason: str) -> None:
    logger.warning(
        "a day's partition cannot be made now; its rows go to logs_default",
        extra={"partition": f"logs_{name}", "reason": reason},
    )


@lru_cache(DAYS_REMEMBERED)
def day_name(day: int) -> str:
    """Return a day as partitions are named: 20260731."""
    return f"{EPOCH + timedelta(days=day):%Y%m%d}"
