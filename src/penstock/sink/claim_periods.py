"""A partition of `ingest_chunk` for each six hours, there before a claim needs it.

It owns the names and bounds of those partitions. The periods are those of the
database's clock: receivers whose clocks differ claim in the same one. Nothing
stands in for a partition that is missing, there is no default one: without this
period's no batch can be stored.
"""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import asyncpg

from penstock.sink.sql import load_blocks

logger = logging.getLogger(__name__)

# The next period's partition is made with this one's, so what was found is good for
# at least six hours; an hour leaves room for a clock that is set.
REMEMBERED_SECONDS = 3_600.0
# After the next period's partition could not be made, batches go on without it this
# long: it has hours, and each try may cost a batch the wait for a lock.
POSTPONE_SECONDS = 30.0
PERIOD_SECONDS = 21_600  # from 2020-01-01, as in the statements: a multiple of it
# How far our clock may be from the database's.
CLOCK_SLACK_SECONDS = 600.0


class EndedPeriod(NamedTuple):
    """A partition whose claims nobody needs any more."""

    partition: str
    size_bytes: int


def in_two_periods(begin_seconds: float, end_seconds: float) -> bool:
    """Tell whether a period may have begun between the two, as seconds since 1970."""
    first = (begin_seconds - CLOCK_SLACK_SECONDS) // PERIOD_SECONDS
    return first != (end_seconds + CLOCK_SLACK_SECONDS) // PERIOD_SECONDS


class ClaimPeriods:
    """The partitions of `ingest_chunk`, as one process knows them."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._blocks = load_blocks("claims_periods")
        self._good_until: float | None = None

    async def ensure(self, connection: asyncpg.Connection) -> list[str]:
        """Make the partitions of the last, this and the next period; return those made.

        To be called outside of a transaction. Costs nothing for an hour after it has
        found all of them.

        Raises:
            asyncpg.PostgresError: this period's is not there and cannot be made.
        """
        if self._good_until is not None and self._clock() < self._good_until:
            return []
        remembered_seconds = REMEMBERED_SECONDS
        made: list[str] = []
        missing = await connection.fetch(self._blocks["missing_periods"])
        if missing:
            try:
                made = await self._create(connection, missing)
            except asyncpg.PostgresError as error:
                needed_now = any(period["is_current"] for period in missing)
                if needed_now or connection.is_closed():
                    logger.warning(
                        "this period of ingest_chunk cannot be made; nothing is stored"
                        " until it can",
                        extra={"reason": str(error)},
                    )
                    raise
                remembered_seconds = POSTPONE_SECONDS
                logger.warning(
                    "a period of ingest_chunk cannot be made now; it is not needed yet",
                    extra={"reason": str(error)},
                )
        self._good_until = self._clock() + remembered_seconds
        return made

    def forget(self) -> None:
        """Look at the database again before the next batch: it may have changed."""
        self._good_until = None

    async def missing(self, connection: asyncpg.Connection) -> list[str]:
        """Return the partitions that `ensure` would make."""
        missing = await connection.fetch(self._blocks["missing_periods"])
        return [period["partition"] for period in missing]

    async def ended(
        self, connection: asyncpg.Connection, window_seconds: float
    ) -> list[EndedPeriod]:
        """Return the periods that ended longer ago than the window, oldest first."""
        rows = await connection.fetch(self._blocks["ended_periods"], window_seconds)
        return [EndedPeriod(*row) for row in rows]

    async def _create(
        self, connection: asyncpg.Connection, missing: list[asyncpg.Record]
    ) -> list[str]:
        block = self._blocks["make_period"]
        # Whoever waited for the lock must see what its last holder has made.
        async with connection.transaction(isolation="read_committed"):
            return [
                period["partition"]
                for period in missing
                if await connection.fetchval(block, period["starts"])
            ]
