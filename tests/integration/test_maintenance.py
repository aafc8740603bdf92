"""Maintenance: what it does once, that it does it once, and one process at a time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from penstock.errors import DatabaseUnavailableError
from penstock.postgres.connection import connect
from penstock.sink import maintenance, maintenance_round, retention
from penstock.sink.maintenance import maintain_periodically
from penstock.telemetry.metrics import Metrics
from tests.database_proxy import DatabaseProxy
from tests.integration.conftest import (
    PATIENCE_SECONDS,
    Database,
    Here,
    the_line,
    wait_until,
)
from tests.integration.upkeep_parts import (
    NOW,
    add_rows,
    maintained,
    make_day,
    make_period,
    named,
    partitions_of,
    upkeep,
)

HOLD_LOCK = "SELECT pg_advisory_lock(hashtext('penstock.maintenance'))"


@pytest.fixture
async def person(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's connection to the database."""
    connection = await asyncpg.connect(database.url)
    yield connection
    connection.terminate()


# --- days and periods ahead


async def test_days_are_made_ahead_and_periods_of_claims(
    database: Database, person: asyncpg.Connection
) -> None:
    report = await maintained(database, partition_ahead_days=3)
    days = [named(0), named(-1), named(-2), named(-3)]
    assert await partitions_of(person, "logs") == [*days, "logs_default"]
    periods = await partitions_of(person, "ingest_chunk")
    assert len(periods) == 3
    assert report.lines() == [f"made {name}" for name in [*days, *periods]]
    assert report.failures == []


async def test_what_was_done_is_not_done_again(database: Database) -> None:
    await maintained(database)
    assert (await maintained(database)).lines() == ["nothing to do"]


async def test_a_day_that_the_default_partition_holds_rows_of_is_made_and_they_move(
    database: Database, person: asyncpg.Connection
) -> None:
    for days_ago in (3, 40, -5):
        await add_rows(person, days_ago, 7)
    report = await maintained(database)
    assert await partitions_of(person, "logs") == [
        *(named(3), named(0), named(-1)),
        "logs_default",
    ]
    assert await person.fetchval(f"SELECT count(*) FROM {named(3)}") == 7
    assert await person.fetchval("SELECT count(*) FROM logs") == 21
    assert report.default_rows == 14, "those of no day of ours stay there"


async def test_a_large_default_partition_is_estimated_not_counted(
    database: Database, person: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_rows(person, 40, 20_000)
    await person.execute("ANALYZE logs_default")
    monkeypatch.setattr(maintenance_round, "COUNTED_BYTES", 0)
    assert (await maintained(database)).default_rows == pytest.approx(20_000, rel=0.1)


async def test_periods_of_claims_past_the_window_are_dropped_and_no_others(
    database: Database, person: asyncpg.Connection
) -> None:
    made = {hours: await make_period(person, hours) for hours in (6, 24, 30, 36, 300)}
    report = await maintained(database, dedupe_window_seconds=86_400)
    left = await partitions_of(person, "ingest_chunk")
    assert {hours for hours, name in made.items() if name in left} == {6, 24}
    dropped = [line for line in report.lines() if line.startswith("dropped")]
    assert [line.split(",")[0] for line in dropped] == [
        f"dropped {made[hours]}" for hours in (300, 36, 30)
    ]


async def test_the_least_window_leaves_the_period_before_this_one(
    database: Database, person: asyncpg.Connection
) -> None:
    """The ingest path would make it again."""
    await maintained(database)
    report = await maintained(database, dedupe_window_seconds=21_600)
    assert report.lines() == ["nothing to do"]
    assert len(await partitions_of(person, "ingest_chunk")) == 3


# --- what goes wrong


async def test_one_of_two_maintainers_does_it_and_the_other_says_so(
    database: Database, person: asyncpg.Connection
) -> None:
    await person.fetchval(HOLD_LOCK)
    report = await maintained(database)
    assert report.lines() == ["another process maintains this database now"]
    assert await partitions_of(person, "logs") == ["logs_default"]
    assert (await maintained(database, dry=True)).entries, "to look needs no lock"


async def test_many_maintainers_at_once_do_everything_once(
    database: Database, person: asyncpg.Connection
) -> None:
    for days_ago in range(2, 8):
        await make_day(person, days_ago)
    reports = await asyncio.gather(
        *(maintained(database, retention_max_age_days=4) for _ in range(5))
    )
    lines = [line for each in reports if not each.was_skipped for line in each.lines()]
    done = [line for line in lines if line != "nothing to do"]
    assert len(done) == len(set(done))
    assert sum(line.startswith("dropped logs_") for line in done) == 3
    assert not any(each.failures for each in reports)


async def test_a_table_that_somebody_locks_leaves_the_rest_to_be_done(
    database: Database, person: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LOCK_WAITS_SECONDS", (0.1, 0.2))
    monkeypatch.setattr(retention, "BETWEEN_TRIES_SECONDS", 0.05)
    monkeypatch.setattr(maintenance_round, "AFTER_FAILURE_SECONDS", 0.05)
    await make_day(person, 3)
    old = [await make_day(person, days_ago) for days_ago in (11, 10, 9)]
    reading = person.transaction()
    await reading.start()
    await person.fetch("SELECT count(*) FROM logs")  # keeps its locks to the end
    report = await maintained(database, retention_max_age_days=5)
    assert len(report.failures) == 2, "one try for the days, one for the drops"
    (drop,) = [each for each in report.failures if "drop" in each]
    assert old[0] in drop and "next round" in drop
    assert f"sealed {named(3)}" in "\n".join(report.lines())
    assert len(await partitions_of(person, "ingest_chunk")) == 3
    await reading.rollback()
    report = await maintained(database, retention_max_age_days=5)
    assert report.failures == []
    assert not {*old} & {*await partitions_of(person, "logs")}


STATEMENTS = (
    "SELECT penstock_make_day(",
    "SELECT penstock_make_claim_period(",
    "DROP TABLE IF EXISTS logs_",
    "DELETE FROM logs_default",
    "DROP TABLE IF EXISTS ingest_chunk_",
    "VACUUM (FREEZE",
    "INSERT INTO penstock_day",
    "CREATE INDEX CONCURRENTLY",
)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("statement", STATEMENTS)
async def test_a_round_that_is_cut_off_anywhere_is_finished_by_the_next(
    database: Database,
    person: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
    when: str,
) -> None:
    settings: dict[str, Any] = {
        "retention_max_age_days": 5,
        "seal_attributes_gin": "on",
    }
    await make_day(person, 3)
    old = await make_day(person, 9)
    await add_rows(person, 40, 5)
    old_period = await make_period(person, 300)

    async def connect_to_be_killed(url: str) -> asyncpg.Connection:
        connection = await connect(url)
        execute = connection.execute

        def killing(method: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
            async def do_and_be_killed(text: str, *values: object) -> Any:
                if statement not in text:
                    return await method(text, *values)
                if when == "after":
                    await method(text, *values)
                await person.fetchval(
                    "SELECT pg_terminate_backend($1, 5000)", connection.get_server_pid()
                )
                return await execute("SELECT 1")

            return do_and_be_killed

        # asyncpg's own methods call `execute` too.
        for name in ("execute", "fetchval"):
            method = killing(getattr(connection, name))
            monkeypatch.setattr(connection, name, method, raising=False)
        return connection

    with monkeypatch.context() as for_this_round:
        for_this_round.setattr(maintenance, "connect", connect_to_be_killed)
        with pytest.raises(DatabaseUnavailableError):
            await maintained(database, **settings)
    await person.fetchval(HOLD_LOCK)  # it is free again when its holder is gone
    await person.execute("SELECT pg_advisory_unlock_all()")
    assert (await maintained(database, **settings)).failures == []
    left = await partitions_of(person, "logs")
    assert old not in left and {named(3), named(0), named(-1)} <= {*left}
    assert old_period not in await partitions_of(person, "ingest_chunk")
    assert await person.fetchval("SELECT count(*) FROM logs") == 10
    assert (await maintained(database, **settings)).lines() == ["nothing to do"]


# --- the task


# That of a task which waits for PostgreSQL never comes.
END_SECONDS = 20.0


@contextlib.asynccontextmanager
async def periodically(
    database: Database, metrics: Metrics, *, each_seconds: int = 1, **settings: object
) -> AsyncIterator[asyncio.Task[None]]:
    """Run the task for the block."""
    task = asyncio.create_task(
        maintain_periodically(
            database.url,
            upkeep(maintenance_interval_seconds=each_seconds, **settings),
            metrics.maintenance,
        )
    )
    yield task
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(END_SECONDS):
            await task


async def until_told(metrics: Metrics, name: str, value: float) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        # Metrics set no event.
        while (metrics.registry.get_sample_value(name) or 0.0) < value:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def until_it_waits_for_a_lock(database: Database) -> None:
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        f" AND datname = '{database.name}'"
    )
    await asyncio.to_thread(
        wait_until, lambda: database.administer(waiting) != [(0,)], "it waits"
    )


async def test_the_task_comes_again_after_errors_and_tells_its_metrics(
    database: Database, person: asyncpg.Connection
) -> None:
    metrics = Metrics()
    await make_day(person, 3)
    await make_day(person, 9)
    await add_rows(person, 40, 5)
    await add_rows(person, -40, 5)
    database.administer(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false")
    async with periodically(database, metrics, retention_max_age_days=5):
        await until_told(metrics, "penstock_maintenance_failures_total", 1)
        database.administer(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS true")
        await until_told(metrics, "penstock_days_sealed_total", 1)
        last = "penstock_maintenance_last_success_timestamp_seconds"
        await until_told(metrics, last, NOW)
    sample = metrics.registry.get_sample_value
    assert sample("penstock_partitions_made_total") == 5
    assert sample("penstock_partitions_dropped_total") == 1
    assert sample("penstock_expired_default_rows_total") == 5
    assert sample("penstock_default_partition_rows") == 5


async def test_the_task_seals_day_after_day_without_waiting_between(
    database: Database, person: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics()
    for days_ago in range(2, 12):
        await make_day(person, days_ago)
    monkeypatch.setattr(maintenance, "FIRST_AFTER_SECONDS", 0.1)
    async with periodically(database, metrics, each_seconds=3600):
        await until_told(metrics, "penstock_days_sealed_total", 10)


async def test_the_task_ends_at_once_where_it_is_turned_off(database: Database) -> None:
    settings = upkeep(maintenance_interval_seconds=0)
    async with asyncio.timeout(END_SECONDS):
        await maintain_periodically(database.url, settings, Metrics().maintenance)


async def test_the_task_ends_quickly_in_the_middle_of_a_statement(
    database: Database, person: asyncpg.Connection
) -> None:
    await person.execute("BEGIN; LOCK TABLE logs IN ACCESS EXCLUSIVE MODE")
    async with periodically(database, Metrics()):
        await until_it_waits_for_a_lock(database)
    await person.execute("ROLLBACK")


async def test_the_task_ends_quickly_though_postgresql_hangs(
    database: Database, person: asyncpg.Connection
) -> None:
    """A stop of the server waits for it."""
    async with DatabaseProxy(database.url) as proxy:
        there = database._replace(url=proxy.url)
        await person.execute("BEGIN; LOCK TABLE logs IN ACCESS EXCLUSIVE MODE")
        async with periodically(there, Metrics()):
            await until_it_waits_for_a_lock(database)
            proxy.stand_still()
        proxy.cut()
        await person.execute("ROLLBACK")


# --- the command


def test_the_command_prints_a_line_for_each_thing_and_then_that_there_is_none(
    here: Here, database: Database
) -> None:
    maintain = ("db", "maintain", "--database-url", database.url)
    would = here(*maintain, "--dry-run")
    assert would.returncode == 0
    assert database.value("SELECT count(*) FROM pg_inherits") == 1 + 1, "nothing made"
    ended = here(*maintain)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"made {named(0)}\n" in ended.stdout
    assert would.stdout == ended.stdout.replace("made ", "would make ")
    again = here(*maintain)
    assert (again.returncode, again.stdout) == (0, "nothing to do\n")


def test_the_command_takes_its_settings_as_the_server_does(
    here: Here, database: Database
) -> None:
    maintain = ("db", "maintain", "--database-url", database.url)
    ended = here(*maintain, "--partition-ahead-days", "4")
    assert f"made {named(-4)}\n" in ended.stdout
    ended = here(*maintain, PENSTOCK_PARTITION_AHEAD_DAYS="5")
    assert ended.stdout == f"made {named(-5)}\n"
    line = the_line(here(*maintain, "--dedupe-window-seconds", "5"), 2)
    assert "--dedupe-window-seconds" in line and "21,600" in line


def test_what_could_not_be_done_is_an_error_of_the_command(
    here: Here, database: Database
) -> None:
    database.fetch(f"CREATE TABLE {named(0)} (n int)")
    ended = here("db", "maintain", "--database-url", database.url)
    assert ended.returncode == 1
    assert f"could not make {named(0)}" in ended.stderr
    assert "made ingest_chunk" in ended.stdout


def test_a_database_out_of_reach_is_told_in_one_line(here: Here) -> None:
    url = "postgresql://me:hunter2@127.0.0.1:1/logs"
    line = the_line(here("db", "maintain", "--database-url", url), 3)
    assert "127.0.0.1:1" in line and "hunter2" not in line


def test_a_database_without_our_schema_is_told_what_to_do(
    here: Here, empty_database: Database
) -> None:
    line = the_line(here("db", "maintain", "--database-url", empty_database.url), 3)
    assert "penstock db migrate" in line
