"""A part's rows, from its dump into a table.

It owns which rows those are, and that they are all that the dump holds. It must not
know which table they go to, nor whether they stay there.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

import asyncpg

from penstock.amounts import amount
from penstock.backup.archive import Archive, Rows, quoted, written
from penstock.backup.manifest import DATABASE, Manifest, Part
from penstock.backup.programs import Programs, find_programs
from penstock.backup.store import Store
from penstock.errors import AbsentError, BackupError, CorruptError
from penstock.postgres.connection import unless_lost
from penstock.postgres.words import describe

# What PostgreSQL says of rows that are none, or another day's.
NOT_TAKEN = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


@dataclass(frozen=True, slots=True)
class Dumps:
    """The dumps of a store, and what reads them.

    Attributes:
        on_bytes: called, from any thread, with the bytes of days that have been read.
    """

    store: Store
    programs: Programs
    on_bytes: Callable[[int], None] = field(default=lambda size: None)

    def archive(self, part: Part, *options: str) -> Archive:
        """Return a part's dump, to be opened."""
        name = f"{self.store.url}/{part.key}"
        return Archive(self.programs, self._chunks(part), name, *options)

    def _chunks(self, part: Part) -> Iterator[bytes]:
        chunks = self.store.open(
            part.key, size_bytes=part.size_bytes, sha256=part.sha256
        )
        try:
            for chunk in chunks:
                yield chunk
                if part.table != DATABASE:  # read more than once, and small
                    self.on_bytes(len(chunk))
        except AbsentError as error:
            raise CorruptError(
                f"{self.store.url}/{part.key} is not there, which the backup needs:"
                " somebody has removed it"
            ) from error


def reading_programs(manifest: Manifest, bin_dir: str) -> Programs:
    """Return programs that can read a backup's dumps.

    Args:
        bin_dir: where they are (backup_pg_bin), empty for wherever they are found.

    Raises:
        BackupError: there are none as new as those that made it.
    """
    major = int(re.split(r"\D", manifest.pg_dump_version, maxsplit=1)[0])
    try:
        return find_programs(major, bin_dir)
    except BackupError as error:
        raise BackupError(
            f"the backup {manifest.id} was made by pg_dump {manifest.pg_dump_version},"
            f" and no pg_restore as new is found{f' in {bin_dir}' if bin_dir else ''}:"
            f" install postgresql-client-{major} or newer, or name its directory with"
            " --backup-pg-bin"
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The table that rows go to, and which of them.

    Attributes:
        table: its name; where it is empty, the table that the dump says.
        schema: of the table; where that is empty, as the search_path has it.
        is_widened: whether it gets, as text, the columns that only the dump has.
    """

    table: str = ""
    schema: str = ""
    tag: str | None = None
    is_frozen: bool = False
    is_widened: bool = False


@dataclass(slots=True)
class Loaded:
    """What was in the dump, and what of it went into the table."""

    columns: tuple[str, ...] = ()
    dumped_rows: int = 0
    copied_rows: int = 0


async def load(
    connection: asyncpg.Connection, dumps: Dumps, part: Part, place: Place
) -> Loaded:
    """Copy a part's rows, in the connection's transaction; read the dump to its end.

    Raises:
        CorruptError: the dump is not what was stored, or not whole.
        StoreError: it cannot be read.
        asyncpg.PostgresError: the database does not take the rows.
    """
    loaded = Loaded()
    async with dumps.archive(part, "--data-only") as archive:
        async for each in archive.statements_and_rows():
            # What stands beside the rows are settings, of which COPY needs none.
            if isinstance(each, Rows):
                try:
                    await _copy(connection, each, place, loaded)
                except NOT_TAKEN as error:
                    raise CorruptError(
                        f"{dumps.store.url}/{part.key} holds rows that {each.table}"
                        f" does not take: {describe(error)}"
                    ) from error
    if loaded.dumped_rows != part.rows:
        raise CorruptError(
            f"{dumps.store.url}/{part.key} holds {amount(loaded.dumped_rows, 'row')},"
            f" and its manifest says {part.rows:,}"
        )
    return loaded


async def _copy(
    connection: asyncpg.Connection, rows: Rows, place: Place, loaded: Loaded
) -> None:
    loaded.columns = rows.columns
    pieces = _counted(rows.pieces, loaded)
    pieces = _copied(_of_tag(pieces, rows.columns, place.tag), loaded)
    first = await anext(pieces, b"")
    if not first:
        return
    if place.is_widened:
        added = (
            f"ADD COLUMN IF NOT EXISTS {quoted(each)} text" for each in rows.columns
        )
        await connection.execute(f"ALTER TABLE {place.table} {', '.join(added)}")
    await unless_lost(
        connection,
        connection.copy_to_table(
            place.table or rows.table,
            schema_name=(place.schema or None) if place.table else rows.schema,
            columns=rows.columns,
            source=_again(first, pieces),
            format="text",
            freeze=place.is_frozen or None,
        ),
    )


async def _again(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _counted(
    pieces: AsyncIterator[bytes], loaded: Loaded
) -> AsyncIterator[bytes]:
    async for piece in pieces:
        loaded.dumped_rows += piece.count(b"\n")
        yield piece


async def _copied(pieces: AsyncIterator[bytes], loaded: Loaded) -> AsyncIterator[bytes]:
    async for piece in pieces:
        loaded.copied_rows += piece.count(b"\n")
        yield piece


async def _of_tag(
    pieces: AsyncIterator[bytes], columns: tuple[str, ...], tag: str | None
) -> AsyncIterator[bytes]:
    """Yield the rows of one tag; of all where it is None."""
    if tag is None:
        async for piece in pieces:
            yield piece
        return
    wanted, position = written(tag), columns.index("tag")
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        kept = [
            line
            for line in lines
            if wanted in line and line.split(b"\t", position + 1)[position] == wanted
        ]
        if kept:
            yield b"\n".join((*kept, b""))
