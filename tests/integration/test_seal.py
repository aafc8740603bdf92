"""The seal: a closed day is frozen and indexed once, and still takes late rows."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from penstock.sink import maintenance_round
from penstock.sink.partitions import DAY_SECONDS
from penstock.sink.sql import load_blocks
from tests.integration.conftest import PATIENCE_SECONDS, Database
from tests.integration.upkeep_parts import (
    NOW,
    TODAY,
    add_rows,
    maintained,
    make_day,
    named,
    valid_indexes,
)

BOTH: dict[str, Any] = {"seal_message_trgm": "on", "seal_attributes_gin": "on"}
# Pages that hold nothing but frozen rows, as the visibility map has it.
FROZEN = (
    "SELECT relfrozenxid::text::bigint >= $2 FROM pg_class WHERE oid = $1::regclass"
)


WAITING_BUILDS = (
    "FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONC%'"
    " AND wait_event_type = 'Lock'"
)


@pytest.fixture
async def person(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's connection to the database."""
    connection = await asyncpg.connect(database.url)
    yield connection
    connection.terminate()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.01)


async def test_closed_days_are_frozen_and_others_are_not_touched(
    database: Database, person: asyncpg.Connection
) -> None:
    closed, today = await make_day(person, 2), await make_day(person, 0)
    xid = int(await person.fetchval("SELECT pg_current_xact_id()::text"))
    report = await maintained(database)
    sealed = [line for line in report.lines() if line.startswith("sealed")]
    assert [line.split(",")[0] for line in sealed] == [f"sealed {closed}"]
    assert await person.fetchval(FROZEN, closed, xid)
    assert not await person.fetchval(FROZEN, today, xid)
    assert await valid_indexes(person, closed) == ["brin"], "the others are off"
    analyzed = await person.fetchval(
        "SELECT reltuples FROM pg_class WHERE oid = $1::regclass", closed
    )
    assert analyzed == 10


async def test_a_day_is_closed_hours_after_its_end(
    database: Database, person: asyncpg.Connection
) -> None:
    await make_day(person, 1)
    hours_since = (NOW - TODAY * DAY_SECONDS) / 3_600
    not_yet, since = int(hours_since) + 1, int(hours_since)
    report = await maintained(database, seal_after_hours=not_yet)
    assert not any("sealed" in line for line in report.lines())
    report = await maintained(database, seal_after_hours=since)
    assert any(f"sealed {named(1)}" in line for line in report.lines())


async def test_a_day_is_sealed_once_and_takes_late_rows(
    database: Database, person: asyncpg.Connection
) -> None:
    await make_day(person, 2)
    await maintained(database, **BOTH)
    await add_rows(person, 2, 5)
    assert (await maintained(database, **BOTH)).lines() == ["nothing to do"]
    assert await person.fetchval(f"SELECT count(*) FROM {named(2)}") == 15


async def test_a_day_that_was_dropped_and_made_again_is_sealed_again(
    database: Database, person: asyncpg.Connection
) -> None:
    await make_day(person, 2)
    await maintained(database)
    await person.execute(f"DROP TABLE {named(2)}")
    await make_day(person, 2)
    report = await maintained(database)
    assert len(report.entries) == 1
    assert await person.fetchval("SELECT count(*) FROM penstock_day") == 1
    await person.execute(f"DROP TABLE {named(2)}")
    await maintained(database)
    assert await person.fetchval("SELECT count(*) FROM penstock_day") == 0


async def test_the_indexes_serve_the_searches_that_they_are_for(
    database: Database, person: asyncpg.Connection
) -> None:
    await make_day(person, 2, rows=20_000)
    await maintained(database, **BOTH)
    assert await valid_indexes(person, named(2)) == ["brin", "gin", "gin"]
    for condition, index in (
        ("message LIKE '%number 12345%'", "message_trgm"),
        ("attributes @> '{\"n\": 777}'", "attributes_gin"),
    ):
        select = f"SELECT * FROM logs WHERE {condition}"
        plan = await person.fetch(f"EXPLAIN {select}")
        assert f"{named(2)}_{index}" in "\n".join(line for (line,) in plan)
        assert len(await person.fetch(select)) == 1


async def test_days_that_were_sealed_get_an_index_that_is_turned_on_later(
    database: Database, person: asyncpg.Connection
) -> None:
    await make_day(person, 2)
    await maintained(database)
    report = await maintained(database, seal_attributes_gin="on")
    assert report.lines() == [f"indexed {named(2)}_attributes_gin"]


async def test_an_index_that_a_crash_left_half_made_is_made_again(
    database: Database, person: asyncpg.Connection
) -> None:
    await make_day(person, 2)
    await maintained(database)
    inserting = person.transaction()
    await inserting.start()
    await add_rows(person, 2, 1)  # the build waits for us
    building = asyncio.create_task(maintained(database, **BOTH))
    another = await asyncpg.connect(database.url)

    async def waits() -> bool:
        return bool(await another.fetchval(f"SELECT count(*) {WAITING_BUILDS}"))

    await until(waits)
    await another.fetch(f"SELECT pg_terminate_backend(pid, 5000) {WAITING_BUILDS}")
    with pytest.raises(Exception, match=r"terminat|closed"):
        await building
    await inserting.commit()
    invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
    assert await another.fetchval(invalid) == 1
    report = await maintained(database, **BOTH)
    assert len([line for line in report.lines() if "indexed" in line]) == 2
    assert await another.fetchval(invalid) == 0
    assert await valid_indexes(another, named(2)) == ["brin", "gin", "gin"]
    await another.close()


async def test_no_writer_waits_for_an_index_that_waits_for_a_writer(
    database: Database, person: asyncpg.Connection
) -> None:
    await make_day(person, 2)
    await maintained(database)
    inserting = person.transaction()
    await inserting.start()
    await add_rows(person, 2, 1)
    building = asyncio.create_task(maintained(database, **BOTH))
    another = await asyncpg.connect(database.url)

    async def waits() -> bool:
        return bool(await another.fetchval(f"SELECT count(*) {WAITING_BUILDS}"))

    await until(waits)
    assert not building.done()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await add_rows(another, 2, 1)
        await add_rows(another, 0, 1)
    await inserting.commit()
    assert (await building).failures == []
    await another.close()


async def test_an_index_is_not_begun_while_somebodys_transaction_is_long_open(
    database: Database, person: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = load_blocks("seal")
    sooner = blocks["long_transaction"].replace("10 seconds", "1 second")
    monkeypatch.setitem(blocks, "long_transaction", sooner)
    monkeypatch.setattr(maintenance_round, "AFTER_FAILURE_SECONDS", 0.05)
    await make_day(person, 2)
    reading = person.transaction()
    await reading.start()
    await person.fetch("SELECT 1")
    await asyncio.sleep(1.2)
    report = await maintained(database, **BOTH)
    assert len(report.failures) == 2
    assert "a transaction that has been open for long" in report.failures[0]
    assert f"sealed {named(2)}" in "\n".join(report.lines())
    await reading.rollback()
    report = await maintained(database, **BOTH)
    assert len([line for line in report.lines() if "indexed" in line]) == 2


async def test_a_day_that_is_to_be_dropped_is_not_sealed_first(
    database: Database, person: asyncpg.Connection
) -> None:
    await make_day(person, 9)
    report = await maintained(database, dry=True, retention_max_age_days=3)
    assert not any("seal" in line for line in report.lines())
