"""A restore into an empty database: schema, small tables, days, indexes, in order.

It owns how each of these is made and that each can be interrupted. Nobody else is to
use the database until it is done. It must not decide whether the database is empty.
"""

from collections.abc import Collection

import asyncpg

from penstock.amounts import amount
from penstock.backup.archive import Rows, SchemaEntry, entries
from penstock.backup.checksum import prepare, sum_rows
from penstock.backup.loading import Dumps, Place, load
from penstock.backup.manifest import DATABASE, Part
from penstock.backup.target import Target, open_step
from penstock.errors import BackupError, CorruptError
from penstock.postgres.connection import unless_lost
from penstock.postgres.words import describe

# In one transaction: each takes locks to its end, of which a server has some thousands
# (max_locks_per_transaction).
ENTRIES_AT_ONCE = 200
PROGRESS = "penstock_restore"
# What a restore of some days needs of the small tables. The others tell of rows that
# are not restored: a claim, that its chunk is stored.
OF_SOME_DAYS = frozenset({"penstock_schema"})


async def restore_section(
    target: Target, dumps: Dumps, part: Part, section: str
) -> None:
    """Make a section's things that are not made yet: `pre-data` or `post-data`.

    Raises:
        BackupError: the database refuses one.
        CorruptError, StoreError: the dump cannot be read; nothing is made.
    """
    options = () if target.is_superuser else ("--no-owner",)
    async with dumps.archive(part, f"--section={section}", *options) as archive:
        before_all, made = entries(await archive.text())
    connection, noted = await open_step(target, section)
    try:
        await connection.execute(target.known(before_all))
        done = noted or 0
        for entry in made[:done]:  # of which others may need what they set
            await _set(connection, target, entry)
        for first in range(done, len(made), ENTRIES_AT_ONCE):
            batch = made[first : first + ENTRIES_AT_ONCE]
            async with connection.transaction():
                for entry in batch:
                    await _make(connection, target, entry)
                    await _set(connection, target, entry)
                await target.note(connection, section, first + len(batch))
        await target.note(connection, f"{section} is done")
    finally:
        await connection.close()


async def _make(
    connection: asyncpg.Connection, target: Target, entry: SchemaEntry
) -> None:
    if PROGRESS in entry.name.split():  # a half restored database was backed up
        return
    # Only its owner may say something of an extension.
    is_of_extension = entry.name.startswith("EXTENSION ")
    if entry.kind == "COMMENT" and is_of_extension and not target.is_superuser:
        return
    try:
        await connection.execute(entry.statements)
    except (asyncpg.InsufficientResourcesError, asyncpg.PostgresConnectionError):
        raise
    except asyncpg.PostgresError as error:
        raise BackupError(
            f"{target.name} does not take {entry.kind} {entry.name}: {describe(error)}"
        ) from error


async def _set(
    connection: asyncpg.Connection, target: Target, entry: SchemaEntry
) -> None:
    if settings := target.known(entry.settings).strip():
        await connection.execute(settings)


async def restore_small_tables(
    target: Target, dumps: Dumps, part: Part, days: Collection[Part], *, is_whole: bool
) -> None:
    """Copy the tables beside logs, set the sequences, and mark the days as sealed.

    Raises:
        CorruptError, StoreError: the dump cannot be read; nothing is changed.
    """
    connection, noted = await open_step(target, DATABASE)
    try:
        if noted is not None:
            return
        async with (
            connection.transaction(),
            dumps.archive(part, "--section=data") as archive,
        ):
            async for each in archive.statements_and_rows():
                if not isinstance(each, Rows):
                    await connection.execute(target.known(each))
                elif (is_whole and each.table != PROGRESS) or (
                    each.table in OF_SOME_DAYS
                ):
                    await unless_lost(
                        connection,
                        connection.copy_to_table(
                            each.table,
                            schema_name=each.schema,
                            columns=each.columns,
                            source=each.pieces,
                            format="text",
                        ),
                    )
            await connection.execute("SET TimeZone = 'UTC'")
            sealed = [each.day for each in days if each.is_sealed and each.day]
            for block in ("keep_seals", "forget_seals"):
                await connection.execute(target.block(block), sealed)
            await target.note(connection, DATABASE)
    finally:
        await connection.close()


async def restore_day(
    target: Target, dumps: Dumps, part: Part, tag: str | None = None
) -> int | None:
    """Copy a day's rows into its empty table, and see that they are those dumped.

    Returns how many there are; None where a run before has done it.

    Raises:
        CorruptError: they are not; the table is as it was.
        StoreError: the dump cannot be read; the table is as it was.
    """
    table = target.table(part.table)
    connection, noted = await open_step(target, part.table)
    try:
        if noted is not None:
            return None
        await prepare(connection)
        async with connection.transaction():
            await connection.execute(target.block("truncate", table=table))
            loaded = await load(connection, dumps, part, Place(tag=tag, is_frozen=True))
            rows = loaded.copied_rows
            if tag is None:
                await check_rows(connection, table, dumps, part)
            await target.note(connection, part.table, rows)
        await connection.execute(target.block("analyze", table=table))
        return rows
    finally:
        await connection.close()


async def check_rows(
    connection: asyncpg.Connection, table: str, dumps: Dumps, part: Part
) -> None:
    """See that a table holds a part's rows and no others. Raises CorruptError."""
    found = await sum_rows(connection, table)
    if (found.rows, found.checksum) != (part.rows, part.checksum):
        raise CorruptError(
            f"{dumps.store.url}/{part.key} came back otherwise than it was dumped:"
            f" {amount(found.rows, 'row')} with checksum {found.checksum}, and its"
            f" manifest says {part.rows:,} with {part.checksum}"
        )
