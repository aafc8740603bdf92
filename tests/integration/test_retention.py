"""Retention drops whole days, oldest first, and never what anybody wants to keep."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from penstock.settings import PartitionSettings
from penstock.sink import maintenance_round, retention
from penstock.sink.partitions import DAY_SECONDS, Partitions
from tests.integration.conftest import Database
from tests.integration.upkeep_parts import (
    add_rows,
    clock,
    maintained,
    make_day,
    named,
    partitions_of,
    this_day,
)


@pytest.fixture
async def person(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's connection to the database."""
    connection = await asyncpg.connect(database.url)
    yield connection
    connection.terminate()


async def days_left(person: asyncpg.Connection) -> list[str]:
    return (await partitions_of(person, "logs"))[:-1]


async def test_by_default_everything_is_kept(
    database: Database, person: asyncpg.Connection
) -> None:
    await make_day(person, 30)
    await add_rows(person, 5_000, 3)
    report = await maintained(database)
    assert not any("drop" in line or "delet" in line for line in report.lines())
    assert await person.fetchval("SELECT count(*) FROM logs") == 13


async def test_days_of_which_every_event_is_too_old_are_dropped(
    database: Database, person: asyncpg.Connection
) -> None:
    for days_ago in (1, 6, 7, 8, 9, 29):
        await make_day(person, days_ago)
    report = await maintained(database, retention_max_age_days=7)
    kept = [named(days_ago) for days_ago in (7, 6, 1, 0, -1)]
    assert await days_left(person) == kept, "some of the 7th day's are younger"
    dropped = [line for line in report.lines() if line.startswith("dropped")]
    sizes = [line.partition(", ")[2] for line in dropped]
    assert [line.split(",")[0].split()[1] for line in dropped] == [
        named(days_ago) for days_ago in (29, 9, 8)
    ]
    assert all(size.endswith(" KiB") for size in sizes)


async def test_expired_rows_of_the_default_partition_go_too(
    database: Database,
    person: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It cannot be dropped; its rows go some pages at a time."""
    monkeypatch.setattr(retention, "PAGES_AT_A_TIME", 3)
    for days_ago in (40, 5_000, -40, 2_000, -50, 33):
        await add_rows(person, days_ago, 500)
    settings: dict[str, Any] = {"partition_past_days": 5, "retention_max_age_days": 33}
    would = await maintained(database, dry=True, **settings)
    assert any("would delete 1,500 rows" in line for line in would.lines())
    report = await maintained(database, **settings)
    (line,) = [line for line in report.lines() if "deleted" in line]
    assert line.startswith("deleted 1,500 rows from before ")
    left = await person.fetch("SELECT DISTINCT ts::date AS day FROM logs ORDER BY 1")
    assert len(left) == 3
    assert report.default_rows == 1_500
    assert (await maintained(database, **settings)).lines() == ["nothing to do"]


async def test_the_oldest_days_go_until_the_rest_has_room(
    database: Database, person: asyncpg.Connection
) -> None:
    for days_ago in (0, 1, 2, 3, 4):
        await make_day(person, days_ago, rows=2_000, fill=500)
    day_bytes = await person.fetchval(
        "SELECT pg_total_relation_size($1::regclass)", named(3)
    )
    most_bytes = int(day_bytes * 3.5)
    would = await maintained(database, dry=True, retention_max_bytes=most_bytes)
    assert [line.split(",")[0] for line in would.lines() if "drop" in line] == [
        f"would drop {named(4)}",
        f"would drop {named(3)}",
    ]
    await maintained(database, retention_max_bytes=most_bytes)
    assert await days_left(person) == [named(n) for n in (2, 1, 0, -1)]
    await maintained(database, retention_max_bytes=1)
    assert await days_left(person) == [named(0), named(-1)], "today is never dropped"


async def test_a_clock_of_ours_that_runs_ahead_drops_nothing(
    database: Database, person: asyncpg.Connection
) -> None:
    await make_day(person, 3)
    await maintained(
        database, retention_max_age_days=7, now_seconds=clock() + 3_650 * DAY_SECONDS
    )
    assert named(3) in await partitions_of(person, "logs")


async def test_a_table_that_only_has_the_name_of_a_day_is_left_alone(
    database: Database, person: asyncpg.Connection
) -> None:
    """One that a DBA has detached; one that holds more than its name says."""
    await make_day(person, 20)
    await person.execute(f"ALTER TABLE logs DETACH PARTITION {named(20)}")
    await person.execute(
        "CREATE TABLE logs_20200101 PARTITION OF logs"
        " FOR VALUES FROM ('2020-01-01 00:00+00') TO (MAXVALUE)"
    )
    await person.execute(
        "CREATE TABLE logs_archive PARTITION OF logs"
        " FOR VALUES FROM ('2010-01-01 00:00+00') TO ('2011-01-01 00:00+00')"
    )
    report = await maintained(database, retention_max_age_days=1)
    assert not any("dropped" in line for line in report.lines())
    assert await person.fetchval(f"SELECT count(*) FROM {named(20)}") == 10


async def test_a_view_on_a_day_keeps_that_day_and_is_told(
    database: Database, person: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance_round, "AFTER_FAILURE_SECONDS", 0.05)
    await make_day(person, 9)
    await person.execute(f"CREATE VIEW kept AS SELECT * FROM {named(9)}")
    report = await maintained(database, retention_max_age_days=3)
    (failure,) = report.failures
    assert f"could not drop {named(9)}" in failure and "depend" in failure
    assert await person.fetchval("SELECT count(*) FROM kept") == 10


async def test_what_comes_too_late_to_be_kept_gets_no_day_of_its_own(
    database: Database, person: asyncpg.Connection
) -> None:
    """It would be dropped at once, for which everybody has to wait."""
    partitions = Partitions(PartitionSettings(retention_max_age_days=3))
    await partitions.ensure(person, {this_day() - 4, this_day() - 3}, clock())
    assert await days_left(person) == [named(3)]
    await add_rows(person, 4, 5)
    await maintained(database, retention_max_age_days=3)
    assert await person.fetchval("SELECT count(*) FROM logs") == 0
