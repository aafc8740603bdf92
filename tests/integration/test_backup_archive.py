"""A dump through pg_restore gives back the rows as they are, however they come."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from penstock.backup import archive
from penstock.backup.archive import Archive, Rows, entries, written
from penstock.backup.programs import Programs, find_programs
from penstock.errors import BackupError, CorruptError, StoreError
from tests.integration.conftest import Database, run_async

ROWS = r"""
CREATE TABLE "odd ""name" (id int, "a,b" text);
INSERT INTO "odd ""name" VALUES (1, E'\\.'), (2, E'x\n\\.\ny'), (3, NULL), (4, '');
CREATE TABLE nothing (id int);
CREATE TABLE bare ();
INSERT INTO bare DEFAULT VALUES;
INSERT INTO bare DEFAULT VALUES;
SELECT lo_from_bytea(0, 'large');
CREATE FUNCTION count_up() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
UPDATE nothing
SET id = id + 1;
END $$;
COMMENT ON FUNCTION count_up() IS E'as this\nSET default_x = 1';
CREATE FUNCTION last() RETURNS text LANGUAGE sql AS $$ SELECT E'\n--\n-- Name' $$;
"""


@pytest.fixture
def dump(empty_database: Database) -> tuple[Programs, bytes]:
    """A dump of tables with odd names and rows, and programs that read it."""
    programs = find_programs(18)
    run_async(_execute(empty_database.url, ROWS))
    made = programs.run("pg_dump", ["--format=custom"], empty_database.url)
    return programs, made.stdout


async def _execute(url: str, statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


async def read_rows(
    programs: Programs, chunks: Iterator[bytes]
) -> dict[tuple[str, tuple[str, ...]], bytes]:
    """Return the rows of each table of a dump."""
    found = {}
    async with Archive(programs, chunks, "a.dump", "--data-only") as opened:
        async for each in opened.statements_and_rows():
            if isinstance(each, Rows):
                pieces = [piece async for piece in each.pieces]
                found[each.table, each.columns] = b"".join(pieces)
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 5, 4096])
def test_rows_are_the_same_however_they_are_cut(
    dump: tuple[Programs, bytes], size: int, monkeypatch: pytest.MonkeyPatch
):
    programs, data = dump
    monkeypatch.setattr(archive, "PIPE_BYTES", size)
    chunks = (data[at : at + 100] for at in range(0, len(data), 100))
    assert run_async(read_rows(programs, chunks)) == {
        ("bare", ()): b"\n\n",
        ('odd "name', ("id", "a,b")): b"1\t\\\\.\n2\tx\\n\\\\.\\ny\n3\t\\N\n4\t\n",
        ("nothing", ("id",)): b"",
    }


def test_an_error_of_the_store_is_what_ends_it(dump: tuple[Programs, bytes]):
    programs, data = dump

    def cut() -> Iterator[bytes]:
        yield data[: len(data) // 2]
        raise StoreError("the store is away")

    with pytest.raises(StoreError, match="the store is away"):
        run_async(read_rows(programs, cut()))


def test_a_dump_that_is_cut_anywhere_is_no_whole_dump(dump: tuple[Programs, bytes]):
    programs, data = dump

    async def cut_everywhere() -> None:
        for size in (0, 3, 20, len(data) // 2, len(data) - 1):
            with pytest.raises(CorruptError, match=r"a\.dump is no whole dump"):
                await read_rows(programs, iter([data[:size]]))

    run_async(cut_everywhere())


def test_who_stops_in_the_middle_is_not_kept(dump: tuple[Programs, bytes]):
    programs, data = dump

    def endless() -> Iterator[bytes]:
        yield data
        while True:
            yield bytes(1024 * 1024)

    async def stop() -> None:
        async with Archive(programs, endless(), "a.dump", "--data-only") as opened:
            await opened.read()

    run_async(asyncio.wait_for(stop(), 30))


def test_programs_that_are_not_there_are_said(dump: tuple[Programs, bytes]):
    programs, data = dump
    none = Programs(programs.bin_dir / "none", programs.version, programs.major)
    with pytest.raises(BackupError, match="cannot run"):
        run_async(read_rows(none, iter([data])))


def test_the_things_of_a_schema_are_taken_apart(dump: tuple[Programs, bytes]):
    programs, data = dump

    async def read() -> str:
        async with Archive(
            programs, iter([data]), "a.dump", "--section=pre-data"
        ) as opened:
            return await opened.text()

    before, found = entries(run_async(read()))
    assert "SET client_encoding = 'UTF8';" in before
    assert "restrict" not in before
    kinds = [(each.kind, each.name) for each in found]
    assert kinds == [
        ("FUNCTION", "count_up()"),
        ("COMMENT", "FUNCTION count_up()"),
        ("FUNCTION", "last()"),
        ("TABLE", "bare"),
        ("TABLE", "nothing"),
        ("TABLE", 'odd "name'),
    ]
    assert found[2].statements.startswith("CREATE FUNCTION public.last()")
    assert found[5].statements.startswith('CREATE TABLE public."odd ""name" (')


def test_what_is_set_for_the_next_thing_is_no_line_of_a_function(
    dump: tuple[Programs, bytes],
):
    programs, data = dump

    async def read() -> str:
        async with Archive(
            programs, iter([data]), "a.dump", "--section=pre-data"
        ) as opened:
            return await opened.text()

    _, found = entries(run_async(read()))
    count_up, comment, last = found[:3]
    assert "UPDATE nothing\nSET id = id + 1;\nEND" in count_up.statements
    assert comment.statements.endswith("SET default_x = 1';")
    assert [each.settings for each in found if each is not last] == [""] * 5
    assert last.settings.splitlines() == [
        "SET default_tablespace = '';",
        "",
        "SET default_table_access_method = heap;",
    ]
    assert last.statements.endswith("OWNER TO postgres;")


def test_large_objects_do_not_end_the_transaction_of_who_restores(
    dump: tuple[Programs, bytes],
):
    programs, data = dump

    async def statements() -> str:
        async with Archive(
            programs, iter([data]), "a.dump", "--section=data"
        ) as opened:
            found = [each async for each in opened.statements_and_rows()]
            return "\n".join(each for each in found if isinstance(each, str))

    found = run_async(statements())
    assert "lowrite" in found
    assert "BEGIN" not in found
    assert "COMMIT" not in found


def test_a_tag_is_written_as_copy_writes_it(empty_database: Database):
    async def copied(text: str) -> bytes:
        connection = await asyncpg.connect(empty_database.url)
        pieces: list[bytes] = []

        async def keep(piece: bytes) -> None:
            pieces.append(piece)

        try:
            await connection.copy_from_query("SELECT $1::text", text, output=keep)
        finally:
            await connection.close()
        return b"".join(pieces)

    tag = "".join(map(chr, range(1, 256))) + "é\\N\\."
    assert written(tag) + b"\n" == run_async(copied(tag))
