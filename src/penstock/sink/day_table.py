"""Which table a batch of one day is copied into: the day's own, where that does it.

A row that goes through `logs` is formed twice, to find its partition and to be stored
there: 5% of what COPY costs. It owns when the day's table may be named instead, and
what is to be held, within the transaction, for it to be part of `logs` then. It must
not COPY, nor make a partition.
"""

import time
from collections.abc import Collection
from datetime import timedelta
from functools import lru_cache
from typing import NamedTuple

import asyncpg

from penstock.errors import DetachedError
from penstock.model import Day
from penstock.sink.classify import is_of_partitions
from penstock.sink.partitions import EPOCH, day_name
from penstock.sink.sql import load_blocks

# After a day's table could not be used, or is not there, batches go through `logs` this
# long: the question costs each of them a round trip.
LOOK_AGAIN_SECONDS = 30.0


class Table(NamedTuple):
    """A table by its name."""

    schema: str | None  # None: as search_path says
    name: str


LOGS = Table(None, "logs")


class Hold(NamedTuple):
    """A day's table, and the bounds it has while it is one."""

    schema: str
    name: str
    bounds: str


class DayTables:
    """What one writer knows of the table of the day that it writes."""

    def __init__(self) -> None:
        self._block = load_blocks("partitions")["day_table"]
        self._day: Day | None = None
        self._table: Table | None = None
        self._look_again_seconds = 0.0

    async def table_for(
        self, connection: asyncpg.Connection, days: Collection[Day]
    ) -> Table:
        """Return the table that rows of these days may be copied into."""
        if len(days) != 1:
            return LOGS
        (day,) = days
        now_seconds = time.monotonic()
        is_known = day == self._day and self._table is not None
        if not is_known and (
            day != self._day or now_seconds >= self._look_again_seconds
        ):
            self._day = day
            self._table = await self._find(connection, day)
            self._look_again_seconds = now_seconds + LOOK_AGAIN_SECONDS
        return self._table or LOGS

    def hold(self, table: Table) -> Hold | None:
        """Return what a transaction has to hold before it copies into the table.

        Locked as COPY locks it, nobody detaches, drops or renames it before COMMIT.
        """
        if table == LOGS or self._day is None or table.schema is None:
            return None
        return Hold(table.schema, table.name, _bounds_of(self._day))

    def distrust(self) -> None:
        """Let batches of this day go through `logs` for a while."""
        self._table = None
        self._look_again_seconds = time.monotonic() + LOOK_AGAIN_SECONDS

    async def _find(self, connection: asyncpg.Connection, day: Day) -> Table | None:
        found = await connection.fetchrow(
            self._block, f"logs_{day_name(day)}", _bounds_of(day)
        )
        return None if found is None else Table(found["schema"], found["name"])


def is_of_the_table(error: Exception) -> bool:
    """Tell whether it may be for the table's own name that the COPY failed.

    It is gone, is another's, has other bounds, or we may not write to it: a policy of
    its own is none of `logs`, and with one it takes no COPY (0A).
    """
    if isinstance(error, DetachedError):
        return True
    return isinstance(error, asyncpg.PostgresError) and (
        (error.sqlstate or "").startswith(("42", "0A")) or is_of_partitions(error)
    )


@lru_cache(1)
def _bounds_of(day: Day) -> str:
    """Return a day's bounds as PostgreSQL writes them where the time zone is UTC."""
    start = EPOCH + timedelta(days=day)
    end = start + timedelta(days=1)
    return (
        f"FOR VALUES FROM ('{start:%Y-%m-%d} 00:00:00+00')"
        f" TO ('{end:%Y-%m-%d} 00:00:00+00')"
    )
