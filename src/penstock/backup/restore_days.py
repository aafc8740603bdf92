"""A restore of days into a database that is in use: what it would lose, and doing it.

It owns that nothing is lost that was not said, that rows which arrive meanwhile stay,
and that no sender waits for it. It must not touch another table than those of logs.
"""

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import asyncpg

from penstock.amounts import amount
from penstock.backup.archive import quoted
from penstock.backup.checksum import prepare, sum_rows
from penstock.backup.loading import Dumps, Place, load
from penstock.backup.manifest import Part
from penstock.backup.restore_whole import check_rows
from penstock.backup.target import Target, open_alone
from penstock.errors import BackupError, DatabaseUnavailableError

# Its lock_timeout is 2 s (migrations/0006_days.sql), and long readers are none of ours.
MAKE_DAY_TRIES = 5
# A row that somebody else changes at the same moment: maintenance, of penstock_day.
DAY_TRIES = 3
BESIDE = "penstock_beside"


class Held(NamedTuple):
    """Rows that are there already, where a restore would put others."""

    table: str
    rows: int
    first_ts: datetime | None
    last_ts: datetime | None

    def words(self, tag: str | None) -> str:
        """Return what is there."""
        of_tag = f" of tag {tag}" if tag is not None else ""
        times = ""
        if self.first_ts is not None and self.last_ts is not None:
            times = f" ({self.first_ts:%Y-%m-%d %H:%M:%S} .. {self.last_ts:%H:%M:%S})"
        rows = amount(self.rows, "row")
        return f"{self.table} holds {rows}{of_tag}{times}"


class Difference(NamedTuple):
    """Rows that only the database has, and rows that only the backup has."""

    lost_rows: int
    missing_rows: int


async def held_rows(
    connection: asyncpg.Connection, target: Target, part: Part, tag: str | None
) -> Held | None:
    """Return what a restore of the part would meet; None: nothing, or just the same."""
    table = await _table_of(connection, target, part)
    source = table or _outside(target, part)
    if tag is None and await _is_same(connection, source, part):
        return None
    held = await _held(connection, target, part, source, tag)
    if held is not None and table is None:
        return held._replace(table=f"logs_default, of the day {part.day},")
    return held


async def compare(
    connection: asyncpg.Connection,
    target: Target,
    dumps: Dumps,
    part: Part,
    tag: str | None,
) -> Difference:
    """Compare what is there with what is in the backup; reads all of both.

    Raises:
        CorruptError, StoreError: the dump cannot be read.
    """
    table = await _table_of(connection, target, part)
    source = table or _outside(target, part)
    async with connection.transaction():
        logs = target.table("logs")
        await connection.execute(target.block("make_beside", table=logs))
        await load(connection, dumps, part, Place(table=BESIDE, tag=tag))
        return Difference(
            *[
                await connection.fetchval(target.block(block, table=source), tag)
                for block in ("count_lost", "count_missing")
            ]
        )


class DayRestore:
    """A restore of days, each in one transaction over a connection of its own."""

    def __init__(
        self, target: Target, dumps: Dumps, *, tag: str | None, is_replacing: bool
    ) -> None:
        self._target = target
        self._dumps = dumps
        self._tag = tag
        self._is_replacing = is_replacing

    async def restore(self, part: Part) -> int | None:
        """Put a part's rows where they belong; return how many, None if none had to be.

        Raises:
            BackupError: rows are there, and they are not to be replaced.
            CorruptError, StoreError: the dump cannot be read; nothing is changed.
        """
        connection = await open_alone(self._target, part.table)
        try:
            await prepare(connection)
            await self._put_off_triggers(connection)
            for left in reversed(range(DAY_TRIES)):
                try:
                    return await self._restore(connection, part)
                except asyncpg.SerializationError:
                    if not left:
                        raise
            raise AssertionError("one of them returns or raises")
        finally:
            await connection.close()

    async def _put_off_triggers(self, connection: asyncpg.Connection) -> None:
        if self._target.is_superuser:
            await connection.execute(self._target.block("put_off_triggers"))
            return
        logs = self._target.table("logs")
        name = await connection.fetchval(self._target.block("trigger"), logs)
        if name is not None:
            raise BackupError(
                f"logs has the trigger {name}, which may change what is restored, and"
                f" {self._target.login} may not put it off: restore as a superuser, or"
                " drop it first"
            )

    async def _restore(self, connection: asyncpg.Connection, part: Part) -> int | None:
        if part.day is None:
            return await self._add_outside(connection, part)
        table = await _table_of(connection, self._target, part)
        if table is None:
            if self._tag is not None and not await self._has_tag(connection, part):
                return 0
            table = await self._make_day(connection, part)
        # What is committed from now on is not seen, so the rows are those of the backup
        # and no others, whatever ingest adds meanwhile.
        async with connection.transaction(isolation="repeatable_read"):
            if self._tag is None and await _is_same(connection, table, part):
                return None
            await self._clear(connection, part, table)
            place = Place(table=part.table, schema=self._target.schema, tag=self._tag)
            loaded = await load(connection, self._dumps, part, place)
            if self._tag is None:
                await check_rows(connection, table, self._dumps, part)
            await connection.execute(self._target.block("forget_seal"), part.day)
        await connection.execute(self._target.block("analyze", table=table))
        return loaded.copied_rows

    async def _clear(
        self, connection: asyncpg.Connection, part: Part, table: str
    ) -> None:
        if self._is_replacing:
            block = self._target.block("delete_held", table=table)
            await connection.execute(block, self._tag)
            return
        held = await _held(connection, self._target, part, table, self._tag)
        if held is not None:
            raise BackupError(f"{held.words(self._tag)} by now; --replace deletes them")

    async def _make_day(self, connection: asyncpg.Connection, part: Part) -> str:
        """Make the day's table, and commit that: its locks hold up ingest."""
        day = _date(part)
        for _ in range(MAKE_DAY_TRIES):
            try:
                await connection.fetchval(self._target.block("make_day"), day)
            except asyncpg.LockNotAvailableError:
                continue
            table = await _table_of(connection, self._target, part)
            assert table is not None
            return table
        raise DatabaseUnavailableError(
            f"the table {part.table} cannot be made: somebody has held a lock on"
            " logs_default for long; try again when its transaction has ended"
        )

    async def _has_tag(self, connection: asyncpg.Connection, part: Part) -> bool:
        """Whether the part has rows of the tag; if not, the day needs no table."""
        async with connection.transaction():
            logs = self._target.table("logs")
            await connection.execute(self._target.block("make_beside", table=logs))
            place = Place(table=BESIDE, tag=self._tag)
            loaded = await load(connection, self._dumps, part, place)
            return loaded.copied_rows > 0

    async def _add_outside(self, connection: asyncpg.Connection, part: Part) -> int:
        """Add what has no day of its own; rows that are there already are let alone."""
        async with connection.transaction():
            logs = self._target.table("logs")
            await connection.execute(self._target.block("make_beside", table=logs))
            place = Place(table=BESIDE, tag=self._tag)
            loaded = await load(connection, self._dumps, part, place)
            if self._tag is None:
                await check_rows(connection, f"pg_temp.{BESIDE}", self._dumps, part)
            near = await connection.fetch(self._target.block("near_beside"))
            for table in near:
                block = self._target.block("drop_known_beside", table=table["name"])
                await connection.execute(block)
            columns = ", ".join(quoted(each) for each in loaded.columns)
            block = self._target.block("insert_beside", columns=columns)
            added = int((await connection.execute(block)).split()[-1])
        return added


async def _is_same(connection: asyncpg.Connection, table: str, part: Part) -> bool:
    found = await sum_rows(connection, table)
    return (found.rows, found.checksum) == (part.rows, part.checksum)


async def _held(
    connection: asyncpg.Connection,
    target: Target,
    part: Part,
    table: str,
    tag: str | None,
) -> Held | None:
    row = await connection.fetchrow(target.block("held", table=table), tag)
    assert row is not None
    return Held(part.table, *row) if row["rows"] else None


def _outside(target: Target, part: Part) -> str:
    """Return where rows of a day are that has no table; its making moves them there."""
    day = _date(part)
    return (
        f"(SELECT * FROM {target.table('logs_default')} WHERE ts >= '{day} 00:00Z'"
        f" AND ts < '{day + timedelta(days=1)} 00:00Z') AS outside"
    )


def _date(part: Part) -> date:
    assert part.day is not None
    return datetime.strptime(part.day, "%Y%m%d").replace(tzinfo=UTC).date()


async def _table_of(
    connection: asyncpg.Connection, target: Target, part: Part
) -> str | None:
    table: str | None = await connection.fetchval(target.block("child"), part.table)
    return table
