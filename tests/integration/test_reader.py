"""A reading session: what it reaches, what ends it, what its values are."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import orjson
import pytest

from penstock.embedded import EmbeddedPostgres, url_as
from penstock.errors import (
    DatabaseUnavailableError,
    QueryCancelledError,
    QueryError,
    QueryTimeoutError,
    QueryTooLargeError,
)
from penstock.reader import Session, open_session
from penstock.settings import ReadLimits
from penstock.sink.roles import make_roles
from tests import msgpack_bytes as m
from tests.integration.conftest import (
    Database,
    batch_of,
    create_database,
    drop_database,
    run_async,
    store_in,
    wait_until,
)
from tests.integration.roles_parts import events, store_as

LIMITS = ReadLimits()
SLEEP = "SELECT pg_sleep(60)"


@pytest.fixture(scope="module")
def stored(postgres: EmbeddedPostgres, template: str) -> Iterator[Database]:
    """A database with three days and a rejected event, as a reader's login sees it."""
    made = create_database(postgres, template)
    name = f"person_{made.name}"
    made.administer(f"CREATE ROLE {name} LOGIN")
    run_async(make_roles(made.url, readers=[name]))
    for days_ago in range(3):
        run_async(store_as(made, events(days_ago, days_ago=days_ago, message="hello")))
    run_async(store_in(made, batch_of(m.entry("no map"))))
    for statement in (
        "CREATE TABLE secret AS SELECT 'hunter2' AS word",
        "CREATE FUNCTION leak() RETURNS text SECURITY DEFINER RETURN 'hunter2'",
        "REVOKE ALL ON FUNCTION leak FROM PUBLIC",
    ):
        made.fetch(statement)
    yield made._replace(url=url_as(made.url, name))
    drop_database(made)
    made.administer(f"DROP ROLE {name}")


def opened(
    database: Database, limits: ReadLimits = LIMITS
) -> AbstractAsyncContextManager[Session]:
    return open_session(database.url, limits, is_embedded=False)


@pytest.fixture
async def session(stored: Database) -> AsyncIterator[Session]:
    async with opened(stored) as session:
        yield session


async def value(session: Session, sql: str, *params: object) -> object:
    ((found,),) = (await session.fetch(sql, params)).rows
    return found


# --- what it reaches


async def test_it_reads_the_views_and_nothing_else(session: Session) -> None:
    assert await value(session, "SELECT count(*) FROM logs") == 3
    assert await value(session, "SELECT reason FROM rejected_event") == (
        "record_not_a_map"
    )
    for refused in (
        "public.logs",
        "public.logs_default",
        "public.rejected_event",
        "public.penstock_schema",
        "public.ingest_chunk",
        "public.secret",
        "pg_catalog.pg_authid",
        "public.leak()",
        "public.penstock_begin_batch(1, 1, '', '{}', '{}', '{}', '{}', '{}', '{}')",
        "public.penstock_day_table('a', 'b')",
    ):
        with pytest.raises(QueryError) as error:
            await session.fetch(f"SELECT * FROM {refused}")
        assert error.value.sqlstate == "42501", refused
    with pytest.raises(QueryError, match='"raw" does not exist'):
        await session.fetch("SELECT raw FROM rejected_event")


async def test_names_mean_only_what_is_in_the_schema(session: Session) -> None:
    for sql in ("SELECT * FROM secret", "SELECT leak()"):
        with pytest.raises(QueryError, match="does not exist"):
            await session.fetch(sql)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO logs (id, ts, tag, attributes) VALUES (1, now(), 't', '{}')",
        "DELETE FROM logs",
        "UPDATE rejected_event SET tag = 'x'",
        "CREATE TABLE t ()",
        "CREATE TEMP TABLE t ()",
        "CREATE VIEW penstock_read.v AS SELECT 1",
        "SELECT 1; SELECT 2",
        "COPY logs TO '/dev/null'",
    ],
)
async def test_it_writes_nothing(session: Session, statement: str) -> None:
    with pytest.raises(QueryError):
        await session.fetch(statement)
    assert await value(session, "SELECT count(*) FROM logs") == 3


async def test_what_it_runs_as_may_nothing_by_itself(stored: Database) -> None:
    admin = await asyncpg.connect(url_as(stored.url, "postgres"))
    role = await admin.fetchrow(
        "SELECT * FROM pg_roles WHERE rolname = 'penstock_query'"
    )
    assert role is not None
    for right in ("super", "inherit", "createrole", "createdb", "canlogin"):
        assert not role[f"rol{right}"], right
    assert not await admin.fetch(
        "SELECT FROM pg_auth_members WHERE member = 'penstock_query'::regrole"
    )
    await admin.close()


async def test_who_may_not_read_is_told_what_to_run(database: Database) -> None:
    name = f"guest_{database.name}"
    database.administer(f"CREATE ROLE {name} LOGIN")
    guest = database._replace(url=url_as(database.url, name))
    with pytest.raises(DatabaseUnavailableError) as error:
        async with opened(guest):
            pass
    assert str(error.value).endswith(f"`penstock db roles --reader {name}`")
    await make_roles(database.url, readers=[name])
    async with opened(guest) as session:
        assert await value(session, "SELECT count(*) FROM logs") == 0
    database.administer(f"DROP OWNED BY {name}")
    database.administer(f"DROP ROLE {name}")


async def test_a_database_without_the_views_is_told(empty_database: Database) -> None:
    with pytest.raises(DatabaseUnavailableError, match="`penstock db migrate`"):
        async with opened(empty_database):
            pass


async def test_the_tables_may_be_in_another_schema(empty_database: Database) -> None:
    from penstock.sink.migrations import migrate

    empty_database.fetch("CREATE SCHEMA own")
    name = empty_database.name
    empty_database.administer(f"ALTER DATABASE {name} SET search_path = own")
    await migrate(empty_database.url)
    await make_roles(empty_database.url)
    await store_as(empty_database, events(1))
    async with opened(empty_database) as session:
        assert await value(session, "SELECT count(*) FROM logs") == 1


# --- the planner sees through the views


def nodes(plan: dict) -> list[dict]:
    below = [node for each in plan.get("Plans", []) for node in nodes(each)]
    return [plan, *below]


async def test_days_are_pruned_and_brin_is_used(stored: Database) -> None:
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    sql = "SELECT * FROM logs WHERE ts >= $1 AND level >= 'WARN'"
    async with opened(stored) as session:
        plan = (await session.explain(sql, [start]))["Plan"]
    tables = {each["Relation Name"] for each in nodes(plan) if "Relation Name" in each}
    assert f"logs_{start:%Y%m%d}" in tables
    for days_ago in (1, 2):
        day = datetime.fromtimestamp(start.timestamp() - days_ago * 86400, UTC)
        assert f"logs_{day:%Y%m%d}" not in tables
    without = {"enable_seqscan": "off"}
    connection = await asyncpg.connect(stored.url, server_settings=without)
    rows = await connection.fetch(
        f"EXPLAIN SELECT * FROM penstock_read.logs WHERE ts >= '{start}'"
    )
    assert "Bitmap Index Scan on logs_" in "\n".join(row[0] for row in rows)
    await connection.close()


# --- limits


async def test_rows_past_the_limit_are_cut_and_that_is_told(stored: Database) -> None:
    series = "SELECT * FROM generate_series(1, {}) AS n"
    async with opened(stored, replace(LIMITS, max_rows=100)) as session:
        for rows, is_cut in ((99, False), (100, False), (101, True), (10**5, True)):
            found = await session.fetch(series.format(rows))
            assert (len(found.rows), found.is_cut) == (min(rows, 100), is_cut)
        assert found.rows[-1] == (100,)


async def test_bytes_past_the_limit_are_cut_and_that_is_told(stored: Database) -> None:
    sql = "SELECT repeat('x', 20000) FROM generate_series(1, {})"
    async with opened(stored, replace(LIMITS, max_bytes=1_000_000)) as session:
        found = await session.fetch(sql.format(10_000))
        assert found.is_cut
        assert 40 <= len(found.rows) <= 60
        assert not (await session.fetch(sql.format(40))).is_cut


async def test_a_row_of_any_size_takes_no_more_memory_than_the_limit(
    stored: Database,
) -> None:
    async with opened(stored, replace(LIMITS, max_bytes=1_000_000)) as session:
        with pytest.raises(QueryTooLargeError, match="max_bytes"):
            await session.fetch("SELECT repeat('x', 100000000)")


async def test_time_past_the_limit_ends_it(stored: Database) -> None:
    limits = replace(LIMITS, statement_timeout_seconds=0.2)
    async with opened(stored, limits) as session:
        with pytest.raises(
            QueryTimeoutError, match=r"statement_timeout_seconds \(0.2 s\)"
        ):
            await session.fetch(SLEEP)
        assert await value(session, "SELECT 1") == 1


async def test_planning_has_a_limit_of_its_own(stored: Database) -> None:
    limits = replace(LIMITS, explain_timeout_seconds=0.2)
    folded = "SELECT md5(repeat('x', 1000000000 - 9))"
    async with opened(stored, limits) as session:
        with pytest.raises(QueryTimeoutError, match="explain_timeout_seconds"):
            await session.explain(folded)
        assert await value(session, "SELECT current_setting('statement_timeout')") == (
            "30s"
        )


async def test_a_lock_is_not_waited_for(stored: Database) -> None:
    limits = replace(LIMITS, lock_timeout_seconds=0.2)
    admin = await asyncpg.connect(url_as(stored.url, "postgres"))
    async with admin.transaction(), opened(stored, limits) as session:
        await admin.execute("LOCK TABLE logs IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(QueryTimeoutError, match="lock_timeout_seconds"):
            await session.fetch("SELECT * FROM logs")
    await admin.close()


async def test_the_settings_are_ours_whatever_the_logins_are(stored: Database) -> None:
    login = url_as(stored.url, "postgres")
    admin = await asyncpg.connect(login)
    name = f"person_{stored.name}"
    for setting in ("search_path = public", "standard_conforming_strings = off"):
        await admin.execute(f"ALTER ROLE {name} SET {setting}")
    await admin.close()
    async with opened(stored) as session:
        for setting, expected in (
            ("search_path", "penstock_read, pg_catalog, pg_temp"),
            ("standard_conforming_strings", "on"),
            ("transaction_read_only", "on"),
            ("work_mem", "16MB"),
            ("temp_file_limit", "4GB"),  # by `db roles --reader`
        ):
            found = await value(session, "SELECT current_setting($1)", setting)
            assert found == expected


# --- values


async def test_values_lose_nothing(session: Session) -> None:
    found = await session.fetch(
        """SELECT '{"n": 12345678901234567890123, "a": [1e400]}'::jsonb AS j,"""
        " 'infinity'::timestamptz AS t, '2026-01-02 03:04:05.678901+09'::timestamptz,"
        " level, '1 mon'::interval FROM logs LIMIT 1"
    )
    ((document, endless, moment, level, month),) = found.rows
    assert isinstance(document, orjson.Fragment)
    assert orjson.dumps(document) == (
        b'{"a":[1' + b"0" * 400 + b'],"n":12345678901234567890123}'
    )
    assert (endless, month, level) == ("infinity", "1 mon", None)
    assert moment == datetime(2026, 1, 1, 18, 4, 5, 678901, UTC)
    assert found.types == [
        "jsonb",
        "timestamptz",
        "timestamptz",
        "log_level",
        "interval",
    ]


async def test_values_come_as_parameters(session: Session) -> None:
    found = await session.fetch(
        "SELECT $1::text, $2::timestamptz, $3::jsonb -> 'a' FROM logs WHERE"
        " attributes @> $4 AND ts < $2",
        ["'; DROP", datetime(2100, 1, 1, tzinfo=UTC), '{"a": 1}', '{"n": 1}'],
    )
    ((text, moment, number),) = found.rows
    assert (text, moment) == ("'; DROP", datetime(2100, 1, 1, tzinfo=UTC))
    assert orjson.dumps(number) == b"1"


@pytest.mark.parametrize(
    "duration",
    [timedelta(days=3, milliseconds=1), timedelta(hours=-1), timedelta(0)],
)
async def test_durations_come_as_parameters(
    session: Session, duration: timedelta
) -> None:
    sql = "SELECT ($1::timestamptz + $2::interval)"
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    assert await value(session, sql, moment, duration) == moment + duration


async def test_all_rows_come_in_blocks(stored: Database) -> None:
    limits = replace(LIMITS, max_rows=10)
    sql = "SELECT n FROM generate_series(1, $1::int) AS n"
    async with opened(stored, limits) as session:
        blocks = [block async for block in session.stream(sql, [20_000])]
    assert [n for block in blocks for (n,) in block] == list(range(1, 20_001))
    assert max(map(len, blocks)) < 5_000


# --- errors


@pytest.mark.parametrize(
    ("sql", "words", "position"),
    [
        ("SELECT\n  1 +", "syntax error at end of input", 13),
        ("SELEC 1", 'syntax error at or near "SELEC"', 1),
        (
            "SELECT servce FROM logs",
            'column "servce" does not exist; perhaps you meant to reference the colu',
            8,
        ),
        ("SELECT 1/0", "division by zero", None),
        ("SELECT $1::int", "expects 1 argument", None),
        ("SELECT '\0'", "U+0000", None),
        ("SELECT '\ud800'", "half a surrogate pair", None),
    ],
)
async def test_what_is_wrong_is_told_in_one_line_and_where(
    session: Session, sql: str, words: str, position: int | None
) -> None:
    with pytest.raises(QueryError) as error:
        await session.fetch(sql)
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert error.value.position == position
    assert await value(session, "SELECT 1") == 1, "the session goes on"


async def test_a_lost_connection_is_not_the_statements_fault(
    database: Database,
) -> None:
    async with opened(database) as session:
        asking = asyncio.create_task(session.fetch(SLEEP))
        await asyncio.to_thread(
            wait_until, lambda: asleep(database), "the statement runs"
        )
        await asyncio.to_thread(database.kill_connections)
        with pytest.raises(DatabaseUnavailableError):
            await asking


# --- ended by who asked


def asleep(database: Database) -> bool:
    asked = (
        "SELECT count(*) FROM pg_stat_activity WHERE query = $1 AND state = 'active'"
    )
    return bool(run_async(_value(database.admin_url, asked, SLEEP)))


async def _value(url: str, sql: str, *values: object) -> object:
    connection = await asyncpg.connect(url)
    found = await connection.fetchval(sql, *values)
    await connection.close()
    return found


@pytest.mark.parametrize("way", ["cancel", "task"])
async def test_who_ends_it_ends_it_on_the_server_too(
    stored: Database, way: str
) -> None:
    async with opened(stored) as session:
        asking = asyncio.create_task(session.fetch(SLEEP))
        await asyncio.to_thread(wait_until, lambda: asleep(stored), "it runs")
        if way == "cancel":
            await session.cancel()
            with pytest.raises(QueryCancelledError):
                await asking
        else:
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        await asyncio.to_thread(wait_until, lambda: not asleep(stored), "it is ended")
        assert await value(session, "SELECT 1") == 1
