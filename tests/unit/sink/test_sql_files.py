"""The SQL in files: every named block is found, migrations are numbered in a row."""

import re
from importlib.resources import files

import pytest

from penstock.sink import sql
from penstock.sink.sql import load_blocks, load_migrations

FILES = sorted(path.name for path in files(sql).iterdir() if path.name.endswith(".sql"))


def text_of(name: str) -> str:
    return files(sql).joinpath(name).read_text(encoding="utf-8")


def statements_only(text: str) -> str:
    return re.sub(r"^\s*--.*$", "", text, flags=re.MULTILINE).strip()


def test_the_files_are_there() -> None:
    assert {"claims.sql", "migrations.sql", "partitions.sql", "store.sql"} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_every_named_block_is_loaded_once(name: str) -> None:
    named = re.findall(r"^-- (\w+) --\s*$", text_of(name), re.MULTILINE)
    assert len(set(named)) == len(named)
    assert list(load_blocks(name.removesuffix(".sql"))) == named


@pytest.mark.parametrize("name", FILES)
def test_every_statement_is_in_a_block_with_its_comments(name: str) -> None:
    blocks = load_blocks(name.removesuffix(".sql"))
    together = "\n".join(statements_only(block) for block in blocks.values())
    assert together.split() == statements_only(text_of(name)).split()
    for block in blocks.values():
        assert statements_only(block), "a name without a statement"
        assert block == block.strip()


@pytest.mark.parametrize(
    ("name", "used"),
    [
        (
            "migrations",
            ("lock", "create_schema_table", "has_schema_table", "applied", "record"),
        ),
        ("partitions", ("existing_days", "make_day")),
        ("store", ("reject", "next_receiver")),
    ],
)
def test_the_blocks_that_the_code_names_are_there(
    name: str, used: tuple[str, ...]
) -> None:
    assert set(used) <= set(load_blocks(name))


def test_a_file_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        load_blocks("nothing")


def test_migrations_are_numbered_from_one_without_gaps() -> None:
    versions = [each.version for each in load_migrations()]
    assert versions == list(range(1, len(versions) + 1))
    assert versions, "there is no schema without one"


def test_every_file_of_migrations_is_one() -> None:
    found = [path.name for path in files(sql).joinpath("migrations").iterdir()]
    for name in found:
        assert re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", name), name
    assert sorted(found) == [
        f"{each.version:04}_{each.name}.sql" for each in load_migrations()
    ]


def test_a_migration_can_run_in_the_transaction_of_all() -> None:
    for each in load_migrations():
        words = statements_only(each.statements).upper()
        assert words
        for forbidden in ("CONCURRENTLY", "COMMIT", "BEGIN;", "VACUUM", "ROLLBACK"):
            assert forbidden not in words, f"{each.name}: {forbidden}"
