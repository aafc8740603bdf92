"""The steps of one round of maintenance, in their order.

It owns the order and what each step is told. How a day is made, dropped or sealed is
known to `partitions`, `claim_periods`, `retention` and `seal`. Each thing is done in
short transactions of its own: a round that is cut off leaves nothing half done, and
the next does what is left. No sender may wait longer than a lock is waited for.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import asyncpg

from penstock.amounts import amount
from penstock.postgres.archiver import read_archiver
from penstock.settings import MaintenanceSettings, PartitionSettings
from penstock.sink.claim_periods import ClaimPeriods
from penstock.sink.maintenance_report import Deed, Entry, MaintenanceReport
from penstock.sink.partitions import DAY_SECONDS, Partitions, day_name
from penstock.sink.retention import (
    DayPartition,
    count_expired,
    days_to_drop,
    delete_expired,
    drop_partition,
    expiry_seconds,
)
from penstock.sink.seal import (
    create_index,
    forget_dropped,
    is_closed,
    missing_indexes,
    seal_day,
)
from penstock.sink.sql import load_blocks

# Up to this size the rows of the default partition are counted, past it estimated.
COUNTED_BYTES = 8 * 1024 * 1024
# A batch that has waited behind us for a lock that we did not get is not to meet us
# again at its next table.
AFTER_FAILURE_SECONDS = 1.0


class Upkeep(NamedTuple):
    """The settings of maintenance."""

    partitions: PartitionSettings
    maintenance: MaintenanceSettings


class MaintenanceRound:
    """One round, over one connection, told in one report."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        settings: Upkeep,
        report: MaintenanceReport,
        *,
        now_seconds: float,
        most_sealed_days: int | None,
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._report = report
        self._now_seconds = now_seconds
        self._earliest_now_seconds = now_seconds
        self._most_sealed_days = most_sealed_days
        self._blocks = load_blocks("maintenance")

    async def run(self) -> None:
        """Do all steps; a step that fails keeps none of the others from being done.

        Raises:
            asyncpg.PostgresError: the connection is lost, the server ends.
        """
        await self._connection.execute(self._blocks["limit_waiting"])
        server_seconds = await self._connection.fetchval(self._blocks["now_seconds"])
        # A clock of ours that runs ahead must not drop what the server's would keep.
        self._earliest_now_seconds = min(self._now_seconds, server_seconds)
        steps = {
            "make days": self._make_days,
            "make periods of ingest_chunk": self._make_periods,
            "drop days": self._drop_days,
            "delete from logs_default": self._delete_expired,
            "drop periods of ingest_chunk": self._drop_periods,
            "count logs_default": self._count_default,
            "look at the WAL archive": self._look_at_archive,
            "seal days": self._seal_days,  # the one that takes long
        }
        for what, step in steps.items():
            try:
                await step()
            except asyncpg.PostgresError as error:
                self._report.note_failure(self._connection, error, what)

    async def _make_days(self) -> None:
        partitions = Partitions(self._settings.partitions)
        dated = partitions.dated(self._now_seconds)
        today = int(self._now_seconds // DAY_SECONDS)
        rows = await self._connection.fetch(
            self._blocks["days_in_default"],
            float(dated.start * DAY_SECONDS),
            float(dated.stop * DAY_SECONDS),
        )
        days = {*range(today, dated.stop), *(row["day"] for row in rows)}
        existing = await partitions.existing(self._connection)
        for name in sorted({day_name(day) for day in days} - existing):
            entry = Entry(Deed.MADE, f"logs_{name}")
            if not await self._attempt(entry, partitions.make, name):
                break  # the others would wait for the same lock

    async def _make_periods(self) -> None:
        periods = ClaimPeriods()
        if self._report.is_dry_run:
            made = await periods.missing(self._connection)
        else:
            made = await periods.ensure(self._connection)
        self._report.entries += [Entry(Deed.MADE, name) for name in made]

    async def _drop_days(self) -> None:
        for day in self._without_room(await self._days()):
            entry = Entry(Deed.DROPPED, day.partition, day.size_bytes)
            if not await self._attempt(entry, drop_partition, day.partition):
                break

    async def _delete_expired(self) -> None:
        before_seconds = expiry_seconds(
            self._settings.partitions, self._earliest_now_seconds
        )
        if before_seconds is None:
            return
        rows = await count_expired(self._connection, before_seconds)
        if rows:
            before = day_name(int(before_seconds // DAY_SECONDS))
            what = f"{amount(rows, 'row')} from before {before} in logs_default"
            entry = Entry(Deed.DELETED, what, rows=rows)
            await self._attempt(entry, delete_expired, before_seconds)

    async def _drop_periods(self) -> None:
        window_seconds = self._settings.maintenance.dedupe_window_seconds
        for period in await ClaimPeriods().ended(self._connection, window_seconds):
            entry = Entry(Deed.DROPPED, period.partition, period.size_bytes)
            if not await self._attempt(entry, drop_partition, period.partition):
                break

    async def _count_default(self) -> None:
        size_bytes = await self._connection.fetchval(self._blocks["default_bytes"])
        if size_bytes <= COUNTED_BYTES:
            rows = await self._connection.fetchval(self._blocks["count_default"])
        else:
            plan = await self._connection.fetchval(self._blocks["estimate_default"])
            rows = json.loads(plan)[0]["Plan"]["Plan Rows"]
        self._report.default_rows = rows

    async def _look_at_archive(self) -> None:
        self._report.archiver = await read_archiver(self._connection)

    async def _seal_days(self) -> None:
        if not self._report.is_dry_run:
            await forget_dropped(self._connection)
        days = await self._days()
        # What is to go, and could not or was not to be dropped now, needs no seal.
        going = self._without_room(days)
        sealed_days = 0
        for day in days:
            closed = is_closed(
                day, self._settings.maintenance, self._earliest_now_seconds
            )
            missing = missing_indexes(day, self._settings.maintenance)
            if not closed or day in going or (day.is_sealed and not missing):
                continue
            if sealed_days == self._most_sealed_days:
                self._report.is_unfinished = True
                return
            sealed_days += await self._seal(day)

    async def _seal(self, day: DayPartition) -> bool:
        """Give the day what it lacks; return whether anything was done."""
        did = False
        if not day.is_sealed:
            entry = Entry(Deed.SEALED, day.partition, day.size_bytes)
            did |= await self._attempt(entry, seal_day, day)
        for index in missing_indexes(day, self._settings.maintenance):
            entry = Entry(Deed.INDEXED, index.name)
            did |= await self._attempt(entry, create_index, index)
        return did

    def _without_room(self, days: list[DayPartition]) -> list[DayPartition]:
        return days_to_drop(days, self._settings.partitions, self._earliest_now_seconds)

    async def _days(self) -> list[DayPartition]:
        rows = await self._connection.fetch(self._blocks["days"])
        return [DayPartition(*row) for row in rows]

    async def _attempt(
        self, entry: Entry, work: Callable[..., Awaitable[object]], *arguments: object
    ) -> bool:
        connection = self._connection
        if await self._report.attempt(connection, entry, work, *arguments):
            return True
        await asyncio.sleep(AFTER_FAILURE_SECONDS)
        return False
