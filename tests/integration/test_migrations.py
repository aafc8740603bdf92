"""Migrations: all or none, once, and never over a schema that is newer."""

import asyncio

import asyncpg
import pytest

from penstock.errors import DatabaseUnavailableError
from penstock.sink import migrations
from penstock.sink.migrations import MigrationStatus, migrate, migration_status
from penstock.sink.postgres import next_receiver
from penstock.sink.sql import Migration, load_migrations
from penstock.sink.versions import join
from tests.integration.conftest import Database

KNOWN = list(load_migrations())

# design.md section 3, as PostgreSQL's catalog tells it.
LOGS = [
    ("id", "bigint", "NO"),
    ("ts", "timestamp with time zone", "NO"),
    ("tag", "text", "NO"),
    ("level", "USER-DEFINED", "YES"),
    ("service", "text", "YES"),
    ("host", "text", "YES"),
    ("message", "text", "YES"),
    ("attributes", "jsonb", "NO"),
]


async def test_a_fresh_database_gets_every_migration(empty_database: Database) -> None:
    assert await migrate(empty_database.url) == KNOWN
    statuses = await migration_status(empty_database.url)
    assert [(each.version, each.name) for each in statuses] == [
        (each.version, each.name) for each in KNOWN
    ]
    assert all(each.applied_at for each in statuses)


def test_the_schema_is_the_designs(database: Database) -> None:
    columns = (
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns"
        " WHERE table_schema = $1 AND table_name = 'logs' ORDER BY ordinal_position"
    )
    assert database.fetch(columns, "public") == LOGS
    views = [(name, kind, "YES") for name, kind, _ in LOGS]
    assert database.fetch(columns, "penstock_read") == views
    assert database.value("SELECT 'WARN'::log_level > 'INFO'::log_level")
    assert database.value("SELECT enum_range(NULL::log_level)::text") == (
        "{TRACE,DEBUG,INFO,WARN,ERROR,FATAL}"
    )
    partitioned = "SELECT pg_get_partkeydef('logs'::regclass)"
    assert database.value(partitioned) == "RANGE (ts)"


async def test_to_migrate_twice_changes_nothing(database: Database) -> None:
    before = await migration_status(database.url)
    assert await migrate(database.url) == []
    assert await migration_status(database.url) == before


async def test_two_who_migrate_at_once_do_it_once(empty_database: Database) -> None:
    url = empty_database.url
    applied = await asyncio.gather(*(migrate(url) for _ in range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, len(KNOWN)]


async def test_a_newer_schema_is_left_alone(database: Database) -> None:
    connection = await asyncpg.connect(database.url)
    await connection.execute(
        "INSERT INTO penstock_schema (version, name) VALUES (9998, 'x'), (9999, 'y')"
    )
    before = await migration_status(database.url)
    assert await migrate(database.url) == []
    await connection.execute(
        "UPDATE penstock_schema SET breaks_older = true WHERE version = 9998"
    )
    await connection.close()
    with pytest.raises(DatabaseUnavailableError) as caught:
        await migrate(database.url)
    assert caught.value.exit_code == 3
    assert "schema version 9998" in str(caught.value)
    assert f"knows {KNOWN[-1].version} does not work with" in str(caught.value)
    assert await migration_status(database.url) == before
    assert before[-1].name == "y", "and it is shown"


async def test_a_migration_that_fails_leaves_nothing_of_any(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Migration(len(KNOWN) + 1, "broken", "CREATE TABLE half (); SELECT 1/0;")
    monkeypatch.setattr(migrations, "load_migrations", lambda: (*KNOWN, broken))
    with pytest.raises(DatabaseUnavailableError, match="division by zero") as caught:
        await migrate(empty_database.url)
    assert "\n" not in str(caught.value)
    statuses = await migration_status(empty_database.url)
    assert [each.applied_at for each in statuses] == [None] * (len(KNOWN) + 1)
    monkeypatch.undo()
    assert await migrate(empty_database.url) == KNOWN


async def test_only_what_is_pending_is_applied(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Migration(len(KNOWN) + 1, "new", "CREATE TABLE new_one ()")
    monkeypatch.setattr(migrations, "load_migrations", lambda: (*KNOWN, new))
    statuses = await migration_status(database.url)
    assert statuses[-1] == MigrationStatus(new.version, "new", None)
    assert await migrate(database.url) == [new]
    assert await migrate(database.url) == []


async def test_to_ask_for_the_status_changes_nothing(empty_database: Database) -> None:
    statuses = await migration_status(empty_database.url)
    assert statuses == [
        MigrationStatus(each.version, each.name, None) for each in KNOWN
    ]
    connection = await asyncpg.connect(empty_database.url)
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert await connection.fetchval(tables) == 0
    await connection.close()


async def test_who_may_not_migrate_or_look_is_told_in_one_line(
    empty_database: Database, database: Database
) -> None:
    connection = await asyncpg.connect(database.url)
    await connection.execute("CREATE ROLE guest LOGIN")
    await connection.close()
    for ask, where in (
        (migrate, empty_database),
        (migrate, database),
        (migration_status, database),
        (next_receiver, database),
    ):
        url = where.url.replace("//postgres@", "//guest@")
        with pytest.raises(
            DatabaseUnavailableError, match="permission denied"
        ) as caught:
            await ask(url)
        assert "\n" not in str(caught.value)


async def test_receivers_are_told_apart(database: Database) -> None:
    numbers = [await next_receiver(database.url) for _ in range(3)]
    assert len(set(numbers)) == 3
    assert all(0 <= number < 4096 for number in numbers)


async def test_receivers_begin_again_after_the_last_number(database: Database) -> None:
    connection = await asyncpg.connect(database.url)
    await connection.execute("SELECT setval('penstock_receiver', 4095)")
    await connection.close()
    assert await next_receiver(database.url) == 0


async def test_a_receivers_number_is_given_to_nobody_else_while_it_is_connected(
    database: Database,
) -> None:
    connection = await asyncpg.connect(database.url)
    for taken in (4095, 0, 1):
        await join(connection, taken)
    await connection.execute("SELECT setval('penstock_receiver', 4094)")
    assert await next_receiver(database.url) == 2
    await connection.close()


async def test_a_database_without_our_schema_is_told_in_one_line(
    empty_database: Database,
) -> None:
    with pytest.raises(DatabaseUnavailableError) as caught:
        await next_receiver(empty_database.url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@127.0.0.1:1/logs",
        "postgresql://me:hunter2@/logs?host=/nowhere",
        "postgresql://me@127.0.0.1:1/logs?password=hunter2",
        "mysql://me:hunter2@127.0.0.1/logs",
        "postgresql://me:hunter2@no.such.host.invalid/logs",
        "not a URL at all",
        "",
    ],
)
async def test_a_database_out_of_reach_is_named_without_its_password(url: str) -> None:
    for ask in (migrate, migration_status, next_receiver):
        with pytest.raises(DatabaseUnavailableError) as caught:
            await ask(url)
        assert "hunter2" not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith("cannot use the database ")
