"""The partitions of `ingest_chunk`: there before a claim needs them, made once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from penstock.postgres.connection import connect
from penstock.sink.claim_periods import (
    POSTPONE_SECONDS,
    REMEMBERED_SECONDS,
    ClaimPeriods,
)
from tests.integration.conftest import Database

PARTITIONS = (
    "SELECT inhrelid::regclass::text FROM pg_inherits"
    " WHERE inhparent = 'ingest_chunk'::regclass ORDER BY 1"
)
CLAIM = (
    "INSERT INTO ingest_chunk (identity, period, sender, tag, events) VALUES"
    " ($1, date_bin('6 hours', now(), '2020-01-01 00:00+00'), 's', 't', 1)"
)


class Clock:
    """A monotonic clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.seconds = 5.0

    def __call__(self) -> float:
        return self.seconds


def periods_now() -> list[str]:
    """Return the names of the last, this and the next period."""
    now = datetime.now(UTC)
    start = now.replace(hour=now.hour // 6 * 6, minute=0, second=0, microsecond=0)
    away = timedelta(hours=6)
    return [f"ingest_chunk_{start + n * away:%Y%m%d%H}" for n in (-1, 0, 1)]


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the ingest path has one."""
    made = await connect(database.url)
    yield made
    made.terminate()


@pytest.fixture
async def person(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's connection to the database."""
    made = await asyncpg.connect(database.url)
    yield made
    made.terminate()


async def partitions(connection: asyncpg.Connection) -> list[str]:
    return [name for (name,) in await connection.fetch(PARTITIONS)]


async def drop(connection: asyncpg.Connection, name: str) -> None:
    await connection.execute(f"DROP TABLE {name}")


async def test_a_claim_finds_its_period_and_those_beside_it(
    connection: asyncpg.Connection,
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute(CLAIM, b"before")
    expected = periods_now()
    assert await ClaimPeriods().ensure(connection) == expected
    assert await partitions(connection) == expected
    await connection.execute(CLAIM, b"one")
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(CLAIM, b"one")


async def test_each_period_takes_its_six_hours_and_nothing_else(
    connection: asyncpg.Connection,
) -> None:
    await ClaimPeriods().ensure(connection)
    for away in (-2, -1, 0, 1, 2):
        insert = connection.execute(
            "INSERT INTO ingest_chunk (identity, period, sender, tag, events)"
            " VALUES ('', date_bin('6 hours', now(), '2020-01-01 00:00+00')"
            f" + {away} * interval '6 hours', 's', 't', 1)"
        )
        if abs(away) == 2:
            with pytest.raises(asyncpg.CheckViolationError):
                await insert
        else:
            await insert
    found = await connection.fetch("SELECT tableoid::regclass::text FROM ingest_chunk")
    assert sorted(name for (name,) in found) == await partitions(connection)


async def test_what_is_remembered_costs_nothing_for_an_hour(
    connection: asyncpg.Connection, person: asyncpg.Connection
) -> None:
    clock = Clock()
    periods = ClaimPeriods(clock=clock)
    made = await periods.ensure(connection)
    said: list[str] = []
    connection.add_query_logger(lambda query: said.append(query.query))
    await drop(person, made[0])
    clock.seconds += REMEMBERED_SECONDS - 1
    assert await periods.ensure(connection) == []
    assert said == []
    clock.seconds += 1
    assert await periods.ensure(connection) == made[:1]
    assert said


async def test_it_looks_again_when_told_to_forget(
    connection: asyncpg.Connection, person: asyncpg.Connection
) -> None:
    periods = ClaimPeriods()
    made = await periods.ensure(connection)
    await drop(person, made[1])
    periods.forget()
    assert await periods.ensure(connection) == made[1:2]
    await connection.execute(CLAIM, b"one")


async def test_several_receivers_may_make_them_at_once(database: Database) -> None:
    connections = [await connect(database.url) for _ in range(6)]
    try:
        made = await asyncio.gather(
            *(ClaimPeriods().ensure(each) for each in connections)
        )
        assert sorted(name for names in made for name in names) == periods_now()
    finally:
        for each in connections:
            each.terminate()


async def test_claims_go_on_while_a_period_is_made(
    connection: asyncpg.Connection, person: asyncpg.Connection
) -> None:
    """Neither waits for the other: no claim is held up, no long claim holds up."""
    made = await ClaimPeriods().ensure(connection)
    await drop(person, made[2])
    claiming = person.transaction()
    await claiming.start()
    await person.execute(CLAIM, b"long")
    # It would be none of them if it had waited until it gave up.
    assert await ClaimPeriods().ensure(connection) == made[2:]
    await claiming.commit()


async def test_who_locks_the_table_holds_up_the_next_period_but_no_claim_twice(
    connection: asyncpg.Connection,
    person: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    periods = ClaimPeriods(clock=clock)
    made = await periods.ensure(connection)
    await drop(person, made[2])
    periods.forget()
    locking = person.transaction()
    await locking.start()
    await person.execute("LOCK TABLE ingest_chunk IN SHARE UPDATE EXCLUSIVE MODE")
    assert await periods.ensure(connection) == []
    assert "not needed yet" in caplog.text
    said: list[str] = []
    connection.add_query_logger(lambda query: said.append(query.query))
    await periods.ensure(connection)
    assert said == [], "the next one does not wait again"
    await connection.execute(CLAIM, b"one")
    await locking.rollback()
    clock.seconds += POSTPONE_SECONDS
    assert await periods.ensure(connection) == made[2:]


async def test_a_period_that_is_needed_now_and_cannot_be_made_is_an_error(
    connection: asyncpg.Connection, person: asyncpg.Connection
) -> None:
    periods = ClaimPeriods()
    locking = person.transaction()
    await locking.start()
    await person.execute("LOCK TABLE ingest_chunk IN SHARE UPDATE EXCLUSIVE MODE")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await periods.ensure(connection)
    await locking.rollback()
    assert await periods.ensure(connection) == periods_now()


async def test_a_period_that_somebody_detached_is_taken_back_with_its_claims(
    connection: asyncpg.Connection, person: asyncpg.Connection
) -> None:
    periods = ClaimPeriods()
    _, current, _ = await periods.ensure(connection)
    await connection.execute(CLAIM, b"one")
    await person.execute(f"ALTER TABLE ingest_chunk DETACH PARTITION {current}")
    periods.forget()
    assert await periods.ensure(connection) == [current]
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(CLAIM, b"one")
