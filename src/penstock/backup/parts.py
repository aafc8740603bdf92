"""The parts of one backup: dumped into the store, or referred to in an earlier one.

Owns which of the two it is for each table, and that what is dumped and what is counted
are the same snapshot's. Must not write a manifest.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import asyncpg
import msgspec

from penstock.backup.checksum import RowSum, sum_rows
from penstock.backup.contents import (
    Contents,
    LogsTable,
    are_some_gone,
    is_replaced,
    require_unlocked,
)
from penstock.backup.dump import (
    PgDump,
    PgDumpError,
    database_arguments,
    day_arguments,
)
from penstock.backup.fingerprint import await_counts, is_exact, read_fingerprints
from penstock.backup.manifest import DATABASE, Fingerprint, Part, part_key
from penstock.backup.programs import Programs
from penstock.backup.snapshot import Snapshot, open_connection
from penstock.backup.store import Store, Stored
from penstock.backup.threads import in_thread, stoppable
from penstock.errors import PenstockError

# How it ends where a table has been dropped meanwhile, or is locked for long.
FAILURES = (PgDumpError, asyncpg.UndefinedTableError, asyncpg.LockNotAvailableError)


class Watch(Protocol):
    """Who is told how far a backup is."""

    def begin(self, parts: int, table_bytes: int) -> None:
        """So much there is to do; said again where it begins anew."""
        ...

    def sent(self, size_bytes: int) -> None:
        """So many bytes more are on their way to the store. From any thread."""
        ...

    def finish(self, rows: int, table_bytes: int) -> None:
        """A part is done, or need not be."""
        ...

    def say(self, text: str) -> None:
        """Something that a person should know. From any thread."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What parts are made with."""

    backup_id: str
    store: Store
    programs: Programs
    compress: str
    jobs: int
    watch: Watch


@dataclass(slots=True)
class Parts:
    """Makes the parts that a snapshot is to have.

    Args:
        earlier: by their table, parts that can be referred to.
        before: what was to be seen of the tables just before the snapshot, by oid.
        stored: the keys of all that may be in the store; for who has to remove it.
    """

    means: Means
    snapshot: Snapshot
    contents: Contents
    earlier: Mapping[str, Part]
    before: Mapping[int, Fingerprint]
    stored: set[str]
    left_out: list[str] = field(default_factory=list)
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.means.jobs)

    async def of_database(self) -> Part:
        """Dump all but the rows of logs.

        Raises:
            PgDumpError: it cannot be; mostly since a table has been dropped meanwhile.
        """
        contents = self.contents
        arguments = database_arguments(
            self.snapshot.id,
            contents.logs_in_sql,
            [table.in_sql for table in contents.tables],
            self.means.compress,
            self.means.programs.major,
        )
        stored = await self._dump(DATABASE, arguments, expected_bytes=0)
        self.means.watch.finish(0, 0)
        return self._part(DATABASE, RowSum(0, "0", None, None), stored)

    async def of_table(
        self, table: LogsTable, unchanged: "asyncio.Task[set[int]]"
    ) -> Part | None:
        """Return the part of a table; None if that has been dropped meanwhile.

        Args:
            unchanged: finds the tables of which nothing needs to be read.
        """
        part = await self._of_table(table, unchanged)
        if part is None:
            self.left_out.append(table.table)
            self.means.watch.say(
                f"{table.table} was dropped while the backup was made; it is not in it"
            )
        self.means.watch.finish(part.rows if part else 0, table.size_bytes)
        return part

    async def _of_table(
        self, table: LogsTable, unchanged: "asyncio.Task[set[int]]"
    ) -> Part | None:
        old = self.earlier.get(table.table) if table.is_sealed else None
        found: RowSum | None = None
        if old is not None:
            if table.oid in await unchanged:
                return msgspec.structs.replace(old, is_sealed=True, day=table.day)
            async with self._slots:
                try:
                    found = await self._sum(table)
                except FAILURES:
                    if await self.is_some_gone([table.oid]):
                        return None
                    raise
            if (found.rows, found.checksum) == (old.rows, old.checksum):
                return msgspec.structs.replace(
                    old,
                    is_sealed=True,
                    day=table.day,
                    fingerprint=self.before.get(table.oid),
                )
        async with self._slots:
            return await self._dump_table(table, found)

    async def find_unchanged(self, connection: asyncpg.Connection) -> set[int]:
        """Return, by oid, the sealed tables of which nothing needs to be read.

        Args:
            connection: one that is in no transaction, and nobody else's meanwhile.
        """
        contents = self.contents
        kept = {
            table.oid: old.fingerprint
            for table in contents.tables
            if table.is_sealed
            # A cluster that does not say which it is might be another.
            and contents.system_identifier
            and (old := self.earlier.get(table.table)) is not None
            and old.fingerprint is not None
        }
        seen = await read_fingerprints(connection, kept)
        same = {oid for oid in seen if seen[oid] == kept[oid]}
        exact = {oid for oid in same if is_exact(seen[oid], contents.block_bytes)}
        told = same - exact
        if not told or not contents.counts_changes:
            return exact
        await await_counts(connection, self.snapshot.holder_pid)
        seen = await read_fingerprints(connection, told)
        return exact | {oid for oid in seen if seen[oid] == kept[oid]}

    async def _dump_table(self, table: LogsTable, found: RowSum | None) -> Part | None:
        arguments = day_arguments(self.snapshot.id, table.in_sql, self.means.compress)
        try:
            async with asyncio.TaskGroup() as group:
                dumping = group.create_task(
                    self._dump(table.table, arguments, table.size_bytes)
                )
                if found is None:
                    summing = group.create_task(self._sum(table))
        except BaseExceptionGroup as group:
            if group.split(FAILURES)[1] is None and (
                await self.is_some_gone([table.oid])
            ):
                return None
            raise
        async with open_connection(self.snapshot.database_url) as connection:
            if await is_replaced(connection, table):
                return None
        return self._part(
            table.table,
            found or summing.result(),
            dumping.result(),
            day=table.day,
            is_sealed=table.is_sealed,
            fingerprint=self.before.get(table.oid),
        )

    async def is_some_gone(self, oids: Sequence[int]) -> bool:
        """Whether a table has been dropped since the snapshot: why a dump has failed.

        Raises:
            DatabaseUnavailableError: that is since somebody keeps readers out of one.
            DatabaseUnavailableError, asyncpg.PostgresError, asyncpg.InterfaceError,
                OSError: the database is lost.
        """
        await self.snapshot.require_held()
        async with open_connection(self.snapshot.database_url) as connection:
            if await are_some_gone(connection, oids):
                return True
            await require_unlocked(connection, oids)
            return False

    async def _sum(self, table: LogsTable) -> RowSum:
        async with self.snapshot.session() as connection:
            return await sum_rows(connection, table.in_sql)

    async def _dump(
        self, table: str, arguments: list[str], expected_bytes: int
    ) -> Stored:
        means = self.means
        key = part_key(table, means.backup_id)
        dump = PgDump(means.programs, arguments, self.snapshot.database_url, what=table)
        try:
            self.stored.add(key)
            stored = await stoppable(
                dump.stop,
                means.store.put,
                key,
                dump,
                expected_bytes=expected_bytes,
                on_bytes=means.watch.sent,
            )
            for note in dump.notes():
                means.watch.say(f"{table}: {note}")
            return stored
        except PenstockError:
            self.stored.discard(key)  # Store.put: nothing is there
            raise
        finally:
            await in_thread(dump.close)

    def _part(
        self,
        table: str,
        found: RowSum,
        stored: Stored,
        *,
        day: str | None = None,
        is_sealed: bool = False,
        fingerprint: Fingerprint | None = None,
    ) -> Part:
        return Part(
            key=part_key(table, self.means.backup_id),
            table=table,
            day=day,
            **found._asdict(),
            **stored._asdict(),
            dumped_in=self.means.backup_id,
            is_sealed=is_sealed,
            fingerprint=fingerprint,
        )
