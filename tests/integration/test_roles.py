"""What the roles cannot do: a server neither reads nor changes what is stored."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from penstock.embedded import EmbeddedPostgres, url_as
from penstock.postgres.connection import connect
from penstock.settings import PartitionSettings
from penstock.sink.roles import make_roles, take_writer_role
from penstock.sink.sql import load_migrations
from tests import msgpack_bytes as m
from tests.integration.conftest import (
    Database,
    create_database,
    drop_database,
    run_async,
)
from tests.integration.roles_parts import events, store_as
from tests.integration.upkeep_parts import named

# Stands for the name of this day's table, which is another one after midnight.
TODAYS = "logs_today"
# What a server runs as: a login that is a member of the role, or one with all rights
# that has given them up.
WAYS = ["member", "gave up"]
A_ROW = "(id, ts, tag, attributes) VALUES (1, now(), 't', '{}')"


@pytest.fixture
async def person(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection."""
    connection = await asyncpg.connect(database.url)
    yield connection
    connection.terminate()


@pytest.fixture(scope="module")
def stored(postgres: EmbeddedPostgres, template: str) -> Iterator[Database]:
    """A database with a day in it, as a server's own login sees it."""
    made = create_database(postgres, template)
    name = f"server_{made.name}"
    made.administer(f"CREATE ROLE {name} LOGIN")
    run_async(make_roles(made.url, writers=[name]))
    run_async(store_as(made, events(1)))
    yield made._replace(url=url_as(made.url, name))
    drop_database(made)
    made.administer(f"DROP ROLE {name}")


@pytest.fixture(params=WAYS)
async def session(
    request: pytest.FixtureRequest, stored: Database
) -> AsyncIterator[asyncpg.Connection]:
    """What a bug in the ingest path would have in hand."""
    is_member = request.param == "member"
    connection = await connect(
        stored.url if is_member else url_as(stored.url, "postgres")
    )
    if not is_member:
        assert await take_writer_role(connection)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


# --- what the server cannot do


@pytest.mark.parametrize("table", ["logs", "logs_default", TODAYS, "rejected_event"])
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM {}",
        "SELECT count(*) FROM {}",
        "SELECT FROM {} WHERE tag LIKE 'a%'",
        "UPDATE {} SET tag = 'x'",
        "DELETE FROM {}",
        "TRUNCATE {}",
        "COPY {} TO '/dev/null'",
        "LOCK TABLE {} IN EXCLUSIVE MODE",
        "ALTER TABLE {} DISABLE TRIGGER ALL",
        "DROP TABLE {}",
        "CREATE INDEX ON {} (tag)",
        "CREATE RULE r AS ON INSERT TO {} DO INSTEAD NOTHING",
    ],
)
async def test_stored_logs_cannot_be_read_nor_changed(
    session: asyncpg.Connection, statement: str, table: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await session.execute(statement.format(table).replace(TODAYS, named(0)))


@pytest.mark.parametrize(
    "statement",
    [
        f"INSERT INTO logs {A_ROW} RETURNING tag",
        f"INSERT INTO logs_default {A_ROW}",
        f"INSERT INTO {TODAYS} {A_ROW} RETURNING tag",
        "INSERT INTO rejected_event (raw) VALUES ('') RETURNING id",
        "SELECT sender FROM ingest_chunk",
        "SELECT claimed_at FROM ingest_chunk",
        "UPDATE ingest_chunk SET events = 0",
        "DELETE FROM ingest_chunk",
        "DELETE FROM penstock_writer",
        "UPDATE penstock_writer SET receiver = 0",
        "INSERT INTO penstock_schema (version, name) VALUES (9, 'x')",
        "UPDATE penstock_schema SET breaks_older = true",
        "SELECT * FROM penstock_day",
        "INSERT INTO penstock_day (day, partition) VALUES (now(), 1)",
        "SELECT setval('penstock_receiver', 1)",
        "CREATE TABLE t ()",
        "CREATE TEMP TABLE t ()",
        "CREATE TABLE t (LIKE logs)",
        "CREATE VIEW v AS SELECT 1",
        "CREATE SCHEMA s",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER FUNCTION penstock_make_day RESET search_path",
        "DROP FUNCTION penstock_make_day",
        "CREATE EXTENSION pg_trgm",
        "CREATE ROLE r",
        "ALTER ROLE penstock_writer CREATEROLE",
        "COPY logs (id, ts, tag, attributes) FROM PROGRAM 'true'",
        "SELECT pg_read_file('PG_VERSION')",
    ],
)
async def test_nothing_else_can_be_done_either(
    session: asyncpg.Connection, statement: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await session.execute(statement.replace(TODAYS, named(0)))


async def test_a_login_of_its_own_has_no_rights_to_take_back(stored: Database) -> None:
    connection = await connect(stored.url)
    assert await take_writer_role(connection)
    for statement in (
        "SET ROLE postgres",
        "SET ROLE penstock_owner",
        "SET ROLE penstock_reader",
        "SET SESSION AUTHORIZATION postgres",
        "RESET ROLE; SELECT * FROM logs",
        "DO $$ BEGIN RESET ROLE; PERFORM FROM logs; END $$",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


@pytest.mark.parametrize(
    "day",
    [
        date.today() + timedelta(days=369),
        date.today() - timedelta(days=36_503),
        date(1, 1, 1),
        date(9999, 12, 31),
    ],
)
async def test_days_that_no_setting_allows_are_not_made(
    session: asyncpg.Connection, day: date
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await session.execute("SELECT penstock_make_day($1)", day)


@pytest.mark.parametrize("hours", [-24, 12, 0.5, 24 * 365])
async def test_periods_that_no_claim_needs_are_not_made(
    session: asyncpg.Connection, hours: float
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await session.execute(
            "SELECT penstock_make_claim_period("
            "date_bin('6 hours', now(), '2020-01-01 00:00+00') + $1)",
            timedelta(hours=hours),
        )


async def test_the_settings_allow_no_day_that_is_not_made(
    session: asyncpg.Connection,
) -> None:
    of = PartitionSettings.__dataclass_fields__
    ahead_days = of["partition_ahead_days"].metadata["is"].high
    past_days = of["partition_past_days"].metadata["is"].high
    today = datetime.now(UTC).date()
    for days in (ahead_days, -past_days):
        day = today + timedelta(days=days)
        assert await session.fetchval("SELECT penstock_make_day($1)", day)


async def test_nobody_else_may_call_the_functions(database: Database) -> None:
    guest = f"guest_{database.name}"
    database.administer(f"CREATE ROLE {guest} LOGIN")
    connection = await asyncpg.connect(url_as(database.url, guest))
    for call in (
        "SELECT penstock_make_day('2026-01-01')",
        "SELECT penstock_make_claim_period(now())",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(call)
    await connection.close()
    database.administer(f"DROP ROLE {guest}")


async def test_the_functions_are_no_superusers_and_look_into_one_schema(
    person: asyncpg.Connection,
) -> None:
    rows = await person.fetch(
        "SELECT proname, rolname, rolsuper, rolcanlogin, prosecdef, proconfig,"
        " proacl::text[] FROM pg_proc JOIN pg_roles ON pg_roles.oid = proowner"
        " WHERE proname LIKE 'penstock%'"
    )
    for row in rows:
        assert (row["rolname"], row["rolsuper"]) == ("penstock_owner", False)
        assert not row["rolcanlogin"]
    theirs = [row for row in rows if row["prosecdef"]]
    assert {row["proname"] for row in theirs} == {
        "penstock_make_day",
        "penstock_make_claim_period",
    }
    for row in theirs:
        assert "search_path=public, pg_temp" in row["proconfig"]
        assert not [each for each in row["proacl"] if each.startswith("=")]


async def test_a_temporary_table_stands_in_for_none_of_ours(
    login: Database, database: Database
) -> None:
    """Where somebody lets everybody make some."""
    database.fetch(f"GRANT TEMPORARY ON DATABASE {database.name} TO PUBLIC")
    session = await connect(login.url)
    await session.execute("CREATE TEMP TABLE logs_default (LIKE pg_class)")
    await session.execute("CREATE TEMP TABLE logs (id int) PARTITION BY RANGE (id)")
    day = datetime.now(UTC).date() - timedelta(days=3)
    assert await session.fetchval("SELECT public.penstock_make_day($1)", day)
    await session.close()
    made = f"public.logs_{day:%Y%m%d}"
    assert database.value("SELECT to_regclass($1) IS NOT NULL", made)


# --- the reader


async def test_a_reader_reads_and_does_nothing_else(database: Database) -> None:
    name = f"reader_{database.name}"
    database.administer(f"CREATE ROLE {name} LOGIN")
    await make_roles(database.url, readers=[name])
    await store_as(database, events(1) + events(2, days_ago=40) + m.entry("no map"))
    reader = await asyncpg.connect(url_as(database.url, name))
    for table, rows in (
        ("logs", 2),
        ("logs_default", 1),
        (named(0), 1),
        (named(-1), 0),
        ("rejected_event", 1),
        ("penstock_schema", len(load_migrations())),
    ):
        assert await reader.fetchval(f"SELECT count(*) FROM {table}") == rows
    for statement in (
        f"INSERT INTO logs {A_ROW}",
        "UPDATE logs SET tag = 'x'",
        "DELETE FROM logs_default",
        "TRUNCATE rejected_event",
        "SELECT nextval('penstock_receiver')",
        "SELECT penstock_make_day('2026-01-01')",
        "CREATE TABLE t ()",
        "CREATE TEMP TABLE t ()",
        "SET ROLE penstock_writer",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute(statement)
    await reader.close()
    database.administer(f"DROP ROLE {name}")
