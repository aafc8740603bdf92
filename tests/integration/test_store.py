"""A batch into PostgreSQL: all of it or nothing, and each day in its partition."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from penstock.errors import TransientSinkError
from penstock.model import Batch, Day
from penstock.pieces import PIECE_BYTES
from penstock.postgres.connection import connect
from penstock.settings import PartitionSettings
from penstock.sink.partitions import POSTPONE_SECONDS, Partitions
from penstock.sink.postgres import MOST_REJECTED_ROWS, PostgresWriter
from tests import msgpack_bytes as m
from tests.database_proxy import DatabaseProxy
from tests.integration.conftest import (
    PATIENCE_SECONDS,
    Database,
    batch_of,
    new_writer,
    numbers_in,
)

# 2026-07-31T12:00:00Z, the time at which all batches come.
NOW = datetime(2026, 7, 31, 12, tzinfo=UTC).timestamp()
DAY = 86_400
# As long as a test needs, where what is looked at is what waits beside it.
PATIENT_DAYS = "ALTER FUNCTION penstock_make_day SET lock_timeout = '30s'"
STORED = "SELECT (attributes->>'n')::int AS n, tableoid::regclass::text AS partition"


def event(n: int, days: int = 0, **more: Any) -> bytes:
    """Write an entry of so many days before or after now."""
    return m.entry({"n": n, **more}, m.uint32(int(NOW) + days * DAY))


def yesterday(*numbers: int) -> Batch:
    """Make a batch of events of one day that needs only its own partition."""
    return batch_of(b"".join(event(n, -1) for n in numbers))


class Writers:
    """Writers of one database, of one process or of several."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.of_one_process = Partitions(PartitionSettings())
        self._open: list[PostgresWriter] = []

    async def connected(self, partitions: Partitions | None = None) -> PostgresWriter:
        writer = new_writer(self.database.url, partitions or self.of_one_process)
        self._open.append(writer)
        await writer.connect()
        return writer

    async def of_another_process(self) -> PostgresWriter:
        return await self.connected(Partitions(PartitionSettings()))

    async def close(self) -> None:
        for writer in self._open:
            await writer.close()


@pytest.fixture
async def writers(database: Database) -> AsyncIterator[Writers]:
    made = Writers(database)
    yield made
    await made.close()


@pytest.fixture
async def writer(writers: Writers) -> PostgresWriter:
    return await writers.connected()


@pytest.fixture
async def person(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's connection to the database."""
    connection = await asyncpg.connect(database.url)
    yield connection
    connection.terminate()


async def store(writer: PostgresWriter, batch: Batch, now: float = NOW) -> None:
    await asyncio.wait_for(writer.store(batch, now_seconds=now), 20)


async def numbers(person: asyncpg.Connection) -> list[int]:
    return [row["n"] for row in await person.fetch(f"{STORED} FROM logs ORDER BY id")]


async def partition_of(person: asyncpg.Connection, n: int) -> str:
    statement = f"SELECT partition FROM ({STORED} FROM logs) AS all_of WHERE n = $1"
    found: str = await person.fetchval(statement, n)
    return found


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.005)


async def waits_for_lock(person: asyncpg.Connection) -> bool:
    waiting: int = await person.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database()"
    )
    return waiting > 0


# --- rows


async def test_every_row_is_there_once_when_store_returns(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    await store(writer, batch_of(b"".join(event(n) for n in range(3000))))
    assert await numbers(person) == list(range(3000))


async def test_small_and_large_segments_arrive_in_their_order(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    sizes = [1, 1, PIECE_BYTES, 1, 3 * PIECE_BYTES, PIECE_BYTES // 2]
    sizes += [PIECE_BYTES - 300] * 3 + [1]
    batch = batch_of(*(event(n, fill="x" * size) for n, size in enumerate(sizes)))
    assert len(batch.segments) == len(sizes)
    await store(writer, batch)
    assert await numbers(person) == list(range(len(sizes)))
    lengths = await person.fetch(
        "SELECT length(attributes->>'fill') AS found FROM logs ORDER BY id"
    )
    assert [row["found"] for row in lengths] == sizes


async def test_what_cannot_be_a_row_is_kept_as_it_came(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    raw = m.entry("no map")
    batch = batch_of(event(1) + raw + b"\x92\x01", tag="a.b", chunk=b"\xa2c1")
    await store(writer, batch)
    assert await numbers(person) == [1]
    kept = await person.fetch("SELECT * FROM rejected_event ORDER BY id")
    assert [(row["reason"], row["raw"]) for row in kept] == [
        ("record_not_a_map", raw),
        ("truncated_entry", b"\x92\x01"),
    ]
    for row in kept:
        assert (row["sender"], row["tag"], row["chunk"]) == (
            "192.0.2.7",
            "a.b",
            b"\xa2c1",
        )
        assert abs(row["received_at"].timestamp() - time.time()) < 60


async def test_a_batch_of_nothing_but_rejected_events_is_stored(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    await store(writer, batch_of(m.entry(5)))
    assert await person.fetchval("SELECT count(*) FROM rejected_event") == 1
    assert await numbers(person) == []


async def test_very_many_rejected_events_of_a_message_are_few_rows_with_all_bytes(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    no_map, no_record = m.entry(5), b"\x91\x01"
    others = batch_of(no_record, no_record)
    batch = batch_of((no_map + no_record) * 5000)
    assert len(batch.segments) > 2
    whole = replace(batch, segments=batch.segments + others.segments)
    outcome = await writer.store(whole, now_seconds=NOW)
    assert outcome.rejected_events == 10_000 + 2  # an event is counted as one
    kept = await person.fetch("SELECT reason, raw FROM rejected_event ORDER BY id")
    assert len(kept) == MOST_REJECTED_ROWS + 2 + 2
    for reason, raw, count in (
        ("record_not_a_map", no_map, 5000),
        ("no_record", no_record, 5002),
    ):
        of_reason = [row["raw"] for row in kept if row["reason"] == reason]
        assert b"".join(of_reason) == raw * count


# --- days


@pytest.mark.parametrize(
    ("days", "partition"),
    [
        (0, "logs_20260731"),
        (-1, "logs_20260730"),
        (-30, "logs_20260701"),
        (1, "logs_20260801"),
        (-31, "logs_default"),
        (2, "logs_default"),
        (365, "logs_default"),
    ],
)
async def test_a_row_is_in_the_partition_of_its_day(
    writer: PostgresWriter, person: asyncpg.Connection, days: int, partition: str
) -> None:
    await store(writer, batch_of(event(1, days)))
    assert await partition_of(person, 1) == partition


async def test_a_batch_may_fall_on_many_days(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    days = [0, -40, -2, 1, 5, -30]
    await store(writer, batch_of(b"".join(event(n, d) for n, d in enumerate(days))))
    assert await numbers(person) == list(range(len(days)))
    partitions = [await partition_of(person, n) for n in range(len(days))]
    assert partitions.count("logs_default") == 2
    assert len(set(partitions)) == 5


@pytest.mark.parametrize(("second", "day"), [(0, "20260730"), (86_399, "20260730")])
async def test_the_day_is_that_of_utc_whatever_the_database_thinks(
    database: Database,
    writers: Writers,
    person: asyncpg.Connection,
    second: int,
    day: str,
) -> None:
    await person.execute(f"ALTER DATABASE {database.name} SET timezone = 'Asia/Seoul'")
    writer = await writers.connected()
    midnight = int(datetime(2026, 7, 30, tzinfo=UTC).timestamp())
    time_of_it = m.event_time(midnight + second, 999_999_999 if second else 0)
    await store(writer, batch_of(m.entry({"n": 1}, time_of_it)))
    assert await partition_of(person, 1) == f"logs_{day}"


async def test_partitions_have_the_index_and_rules_of_the_table(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    await store(writer, yesterday(1))
    methods = await person.fetch(
        "SELECT amname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " JOIN pg_am ON pg_am.oid = relam"
        " WHERE indrelid = 'logs_20260730'::regclass"
    )
    assert [row["amname"] for row in methods] == ["brin"]
    with pytest.raises(asyncpg.NotNullViolationError):
        await person.execute("INSERT INTO logs_20260730 (id) VALUES (1)")


async def test_rows_in_the_default_partition_move_when_their_day_is_made(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    await store(writer, batch_of(event(1, 2) + event(2, 3)))
    assert await partition_of(person, 1) == "logs_default"
    two_days_later = NOW + 2 * DAY
    await store(writer, batch_of(event(3, 2)), two_days_later)
    assert await partition_of(person, 1) == "logs_20260802"
    assert await partition_of(person, 3) == "logs_20260802"
    assert await partition_of(person, 2) == "logs_20260803", "it is tomorrow's then"
    await store(writer, batch_of(event(4, 40)), two_days_later)
    assert await partition_of(person, 4) == "logs_default"
    assert sorted(await numbers(person)) == [1, 2, 3, 4]


@pytest.mark.parametrize("of_one_process", [True, False])
async def test_two_writers_may_make_the_same_day_at_once(
    writers: Writers, person: asyncpg.Connection, of_one_process: bool
) -> None:
    make = writers.connected if of_one_process else writers.of_another_process
    several = [await make() for _ in range(4)]
    await asyncio.gather(
        *(
            store(writer, batch_of(event(n) + event(10 + n, -3)))
            for n, writer in enumerate(several)
        )
    )
    assert sorted(await numbers(person)) == [*range(4), *range(10, 14)]
    assert await person.fetchval("SELECT count(*) FROM logs_default") == 0


async def test_a_partition_that_a_dba_has_made_is_used(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    await person.execute(
        "CREATE TABLE logs_20260730 PARTITION OF logs"
        " FOR VALUES FROM ('2026-07-30 00:00+00') TO ('2026-07-31 00:00+00')"
    )
    await store(writer, yesterday(1))
    assert await partition_of(person, 1) == "logs_20260730"


async def test_a_long_query_holds_up_a_new_day_for_two_seconds_and_once(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    reading = person.transaction()
    await reading.start()
    await person.fetch("SELECT * FROM logs")  # keeps its locks to the end
    began = time.monotonic()
    await store(writer, yesterday(1))
    assert 1.5 < time.monotonic() - began < 9, "by its own limit, not ingest's"
    began = time.monotonic()
    await store(writer, yesterday(2))
    assert time.monotonic() - began < 1.9, "the next batch does not wait again"
    await reading.rollback()
    assert await numbers(person) == [1, 2]
    assert await partition_of(person, 1) == "logs_default"

    await store(writer, yesterday(3), NOW + POSTPONE_SECONDS)
    for n in (1, 2, 3):
        assert await partition_of(person, n) == "logs_20260730"


async def test_others_read_and_write_while_a_day_waits_for_its_lock(
    writers: Writers, person: asyncpg.Connection, database: Database
) -> None:
    """What waits is the new day, not the rows of days that are there."""
    writer, other = await writers.connected(), await writers.connected()
    await store(other, yesterday(1))
    await person.execute(PATIENT_DAYS)
    reading = person.transaction()
    await reading.start()
    await person.fetch("SELECT * FROM logs")
    making = asyncio.create_task(store(writer, batch_of(event(2, -2))))
    third = await asyncpg.connect(database.url)
    await until(lambda: waits_for_lock(third))
    await store(other, yesterday(3))
    await third.fetchval("SELECT count(*) FROM logs_20260730")
    assert await waits_for_lock(third), "still"
    await third.close()
    await reading.rollback()
    await making
    assert sorted(await numbers(person)) == [1, 2, 3]


async def test_rows_that_another_adds_to_the_default_partition_meanwhile_move_too(
    writer: PostgresWriter, person: asyncpg.Connection, database: Database
) -> None:
    """Another receiver, who does not make this day, is about to commit such rows."""
    await person.execute(PATIENT_DAYS)
    adding = person.transaction()
    await adding.start()
    await person.execute(
        "INSERT INTO logs (id, ts, tag, attributes)"
        " VALUES (1, '2026-07-30 12:00+00', 't', '{\"n\": 1}')"
    )
    storing = asyncio.create_task(store(writer, yesterday(2)))
    third = await asyncpg.connect(database.url)
    await until(lambda: waits_for_lock(third))
    await third.close()
    await adding.commit()
    await storing
    assert sorted(await numbers(person)) == [1, 2]
    for n in (1, 2):
        assert await partition_of(person, n) == "logs_20260730"


# --- connections


async def test_to_store_without_a_connection_is_to_be_tried_again(
    database: Database,
) -> None:
    writer = new_writer(database.url)
    assert not writer.is_connected
    with pytest.raises(TransientSinkError):
        await store(writer, batch_of(event(1)))
    await writer.close()


async def test_a_database_out_of_reach_is_to_be_tried_again(database: Database) -> None:
    writer = new_writer(database.url)
    with database.out_of_reach(), pytest.raises(TransientSinkError):
        await writer.connect()
    await writer.connect()
    assert writer.is_connected
    await writer.close()


async def test_a_connection_that_was_killed_is_opened_anew(
    database: Database, writer: PostgresWriter
) -> None:
    await store(writer, batch_of(event(1)))
    assert database.kill_connections() == 1
    with pytest.raises(TransientSinkError):
        await store(writer, batch_of(event(2)))
    await writer.connect()
    assert writer.is_connected
    await store(writer, batch_of(event(2)))
    assert numbers_in(database) == [1, 2]


async def test_a_connection_killed_within_a_batch_stores_nothing_of_it(
    database: Database, writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    await store(writer, batch_of(event(1)))
    locking = person.transaction()
    await locking.start()
    await person.execute("LOCK TABLE rejected_event IN ACCESS EXCLUSIVE MODE")
    storing = asyncio.create_task(store(writer, batch_of(event(2) + m.entry("x"))))
    await until(lambda: waits_for_lock(person))
    await person.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with pytest.raises(TransientSinkError):
        await storing
    await locking.rollback()
    await writer.connect()
    await store(writer, batch_of(event(3)))
    assert await numbers(person) == [1, 3]


async def test_a_batch_that_is_given_up_stores_nothing_and_ends_quickly(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    """A stop that has waited long enough cancels the writers."""
    locking = person.transaction()
    await locking.start()
    await person.execute("LOCK TABLE logs IN EXCLUSIVE MODE")
    storing = asyncio.create_task(store(writer, batch_of(event(1, -40))))
    await until(lambda: waits_for_lock(person))
    storing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await storing
    async with asyncio.timeout(20):
        await writer.close()
    await locking.rollback()
    assert await numbers(person) == []


async def test_a_session_means_what_an_ack_promises(
    database: Database, person: asyncpg.Connection
) -> None:
    """Whatever the database's own settings are."""
    for setting, value in (
        ("synchronous_commit", "off"),
        ("statement_timeout", "1ms"),
        ("idle_in_transaction_session_timeout", "1ms"),
        ("timezone", "Asia/Seoul"),
    ):
        await person.execute(
            f"ALTER DATABASE {database.name} SET {setting} = '{value}'"
        )
    connection = await connect(database.url)
    found = {
        row["name"]: row["setting"]
        for row in await connection.fetch("SELECT name, setting FROM pg_settings")
    }
    await connection.close()
    assert found["synchronous_commit"] == "on"
    assert found["statement_timeout"] == "0"
    assert found["idle_in_transaction_session_timeout"] == "0"
    assert found["TimeZone"] == "UTC"
    assert found["application_name"] == "penstock"


async def test_to_close_is_harmless_however_often_and_after_whatever(
    database: Database, writers: Writers
) -> None:
    killed, idle = await writers.connected(), await writers.connected()
    assert database.kill_connections() == 2
    for writer in (killed, idle):
        await writer.close()
        await writer.close()
        assert not writer.is_connected


async def test_a_day_that_no_calendar_of_ours_has_goes_to_the_default_partition(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    far = m.entry({"n": 1}, m.float64(9.0e12 / 1000))
    before_christ = m.entry({"n": 2}, m.int64(-70_000_000_000))
    batch = batch_of(far + before_christ)
    assert min(batch.days) < Day(-719_162), "before the year 1"
    await store(writer, batch)
    assert sorted(await numbers(person)) == [1, 2]
    assert await person.fetchval("SELECT count(*) FROM logs_default") == 2


async def test_a_server_that_only_reads_is_left_for_the_one_that_writes(
    writers: Writers, database: Database, person: asyncpg.Connection
) -> None:
    setting = f"ALTER DATABASE {database.name} {{}} default_transaction_read_only"
    database.administer(setting.format("SET") + " = on")
    writer = await writers.connected()
    with pytest.raises(TransientSinkError, match="25006"):
        await store(writer, yesterday(1))
    assert not writer.is_connected
    database.administer(setting.format("RESET"))
    await writer.connect()
    await store(writer, yesterday(1))
    assert await numbers(person) == [1]


@pytest.mark.parametrize("last_words", [True, False])
async def test_a_server_that_ends_while_it_does_not_read_is_noticed(
    database: Database, last_words: bool
) -> None:
    text = "x" * 100_000
    large = batch_of(b"".join(event(n, -1, text=text) for n in range(300)))
    async with DatabaseProxy(database.url) as proxy:
        writer = new_writer(proxy.url)
        await writer.connect()
        await store(writer, yesterday(1000))
        proxy.hold_writes(after_bytes=1_000_000)  # within the COPY
        storing = asyncio.create_task(store(writer, large))
        await proxy.writes_are_held()
        await asyncio.sleep(0.5)  # the socket's buffers are full long before
        if last_words:
            database.kill_connections()
        else:
            proxy.cut()
        done, _ = await asyncio.wait({storing}, timeout=20)
        assert done, "it would wait for ever"
        assert isinstance(storing.exception(), TransientSinkError)
        assert not writer.is_connected
        proxy.flow()
        await writer.connect()
        await store(writer, large)
        await writer.close()
    person = await asyncpg.connect(database.url)
    assert await numbers(person) == [*range(300), 1000]
    await person.close()
