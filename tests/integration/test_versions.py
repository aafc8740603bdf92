"""Two versions side by side: nobody's schema is changed under his feet."""

import asyncio
import signal

import asyncpg
import pytest

from penstock.errors import DatabaseUnavailableError
from penstock.sink import migrations
from penstock.sink.migrations import migrate
from penstock.sink.sql import Migration, load_migrations
from penstock.sink.versions import join
from tests.integration.conftest import (
    Database,
    Here,
    Program,
    Sender,
    Start,
    numbers_in,
    run_async,
    the_line,
    wait_until,
)

KNOWN = load_migrations()
NEXT = KNOWN[-1].version + 1
PLAIN = Migration(NEXT, "plain", "CREATE TABLE new_one ()")
BREAKING = Migration(NEXT, "breaking", "-- breaks: older\nCREATE TABLE new_one ()")


@pytest.fixture
def older(database: Database, start: Start) -> Program:
    """A server of the version that is in this checkout."""
    return start("serve", "--database-url", database.url).wait_ready()


def know(monkeypatch: pytest.MonkeyPatch, *new: Migration) -> None:
    """Let this process be of a newer version."""
    monkeypatch.setattr(migrations, "load_migrations", lambda: (*KNOWN, *new))


def stores(server: Program, database: Database, number: int) -> bool:
    with Sender(server.port) as sender:
        sender.send(range(number, number + 1), str(number))
        assert sender.acks(1) == [str(number)]
    return number in numbers_in(database)


def test_no_migration_that_was_ever_made_breaks_older_servers() -> None:
    """The first that does is to be listed here, with its reason."""
    assert [each.name for each in KNOWN if each.breaks_older] == []


def test_a_migration_that_would_break_a_running_server_is_refused_in_one_line(
    older: Program,
    database: Database,
    here: Here,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    know(monkeypatch, BREAKING)
    line = the_line(here("db", "migrate", "--database-url", database.url), 3)
    assert line == (
        f"penstock: schema version {NEXT} would break 1 older Penstock server"
        " connected from a Unix socket; stop it first"
    )
    assert not database.value("SELECT to_regclass('new_one') IS NOT NULL")
    assert stores(older, database, 1)
    assert older.stop() == 0
    assert run_async(migrate(database.url)) == [BREAKING]


def test_each_server_is_counted_once_however_many_writers_it_has(
    older: Program, database: Database, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("serve", "--database-url", database.url, "--writers", "3").wait_ready()
    know(monkeypatch, BREAKING)
    with pytest.raises(
        DatabaseUnavailableError, match=r"2 older Penstock servers .* stop them"
    ):
        run_async(migrate(database.url))


def test_a_server_of_another_database_is_not_in_the_way(
    older: Program, empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, BREAKING)
    assert run_async(migrate(empty_database.url)) == [*KNOWN, BREAKING]


def test_a_server_goes_on_beside_a_newer_schema_that_does_not_break_it(
    older: Program, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, PLAIN)
    assert run_async(migrate(database.url)) == [PLAIN]
    assert stores(older, database, 1)
    assert database.kill_connections() > 0
    assert stores(older, database, 2), "also over a new connection"


def test_an_older_server_starts_again_on_a_newer_schema_that_does_not_break_it(
    database: Database, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else no upgrade with a migration could be undone."""
    know(monkeypatch, PLAIN)
    run_async(migrate(database.url))
    program = start("serve", "--database-url", database.url).wait_ready()
    assert f"schema version {NEXT}, this Penstock knows {NEXT - 1}" in program.stderr
    assert stores(program, database, 1)


def test_an_older_server_does_not_start_on_a_schema_that_breaks_it(
    database: Database, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, BREAKING)
    run_async(migrate(database.url))
    program = start("serve", "--database-url", database.url)
    assert program.wait_ended() == 3
    (line,) = program.stderr.splitlines()
    assert f"schema version {NEXT}, which a Penstock that knows {NEXT - 1}" in line


def test_a_schema_of_another_line_of_penstocks_is_refused(
    database: Database, here: Here
) -> None:
    run_async(migrate(database.url))
    change = "UPDATE penstock_schema SET version = $1 WHERE version = $2"
    database.fetch(change, NEXT, NEXT - 1)
    line = the_line(here("db", "migrate", "--database-url", database.url), 3)
    assert f"schema version {NEXT}, and not {NEXT - 1}, which" in line


def test_roles_of_an_older_penstock_take_nothing_from_a_newer_ones_servers(
    database: Database, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    here("db", "migrate", "--database-url", database.url)
    here("db", "roles", "--database-url", database.url)
    know(monkeypatch, PLAIN)
    run_async(migrate(database.url))
    database.fetch("GRANT SELECT (message) ON logs TO penstock_writer")
    ran = here("db", "roles", "--database-url", database.url)
    assert ran.returncode == 0
    assert "a newer Penstock's" in ran.stdout + ran.stderr
    assert database.value(
        "SELECT has_column_privilege('penstock_writer', 'logs', 'message', 'SELECT')"
    )


def test_a_server_that_comes_back_to_a_schema_that_breaks_it_writes_nothing(
    older: Program, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was cut off when the schema was migrated, so nobody knew of it."""
    older.send_signal(signal.SIGSTOP)
    database.kill_connections()
    know(monkeypatch, BREAKING)
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2"
    wait_until(lambda: database.value(held) == 0, "its sessions have ended")
    assert run_async(migrate(database.url)) == [BREAKING]
    older.send_signal(signal.SIGCONT)
    with Sender(older.port) as sender:
        sender.send(range(3), "never")
        told = f"the database has schema version {NEXT}, which a Penstock that knows"
        wait_until(lambda: told in older.stderr, "it says why")
        assert sender.is_silent_for(0.5)
    assert numbers_in(database) == []


async def test_who_connects_during_a_migration_sees_what_it_has_done(
    database: Database,
) -> None:
    migrating = await asyncpg.connect(database.url)
    joining = await asyncpg.connect(database.url)
    try:
        async with migrating.transaction():
            await migrating.execute(
                "SELECT pg_advisory_xact_lock(hashtext('penstock.migrations'))"
            )
            task = asyncio.create_task(join(joining, 7))
            await asyncio.sleep(0.2)
            assert not task.done(), "it waits"
            await migrating.execute(
                "INSERT INTO penstock_schema (version, name, breaks_older)"
                " VALUES (9998, 'x', true), (9999, 'y', false)"
            )
        with pytest.raises(DatabaseUnavailableError, match="schema version 9998"):
            await task
    finally:
        await migrating.close()
        await joining.close()
