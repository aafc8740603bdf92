"""A batch of one day is copied into the day's table, and never past `logs`."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from penstock.model import Batch
from penstock.sink.partitions import DAY_SECONDS
from penstock.sink.postgres import PostgresWriter
from tests import msgpack_bytes as m
from tests.integration.conftest import Database, batch_of, new_writer, numbers_in
from tests.integration.roles_parts import claimed, events, store
from tests.integration.upkeep_parts import clock

COUNT_STATEMENTS = """
CREATE TABLE named (name text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO named VALUES (tg_table_name); RETURN NULL; END $$
"""


@pytest.fixture
async def person(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's connection to the database."""
    connection = await asyncpg.connect(database.url)
    await connection.execute(COUNT_STATEMENTS)
    yield connection
    connection.terminate()


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[PostgresWriter]:
    made = new_writer(database.url)
    await made.connect()
    yield made
    await made.close()


@pytest.fixture
async def today(writer: PostgresWriter, person: asyncpg.Connection) -> str:
    """The table of today, after a first batch has gone into it by its name."""
    await store(writer, batch_of(events(1)))
    name: str = await person.fetchval("SELECT tableoid::regclass::text FROM logs")
    assert name != "logs_default"
    await watch(person, name)
    return name


async def watch(person: asyncpg.Connection, table: str) -> None:
    """Note each statement that names the table, not those that reach it by `logs`."""
    await person.execute(
        f"CREATE TRIGGER named AFTER INSERT ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION note()"
    )


async def named(person: asyncpg.Connection) -> list[str]:
    return [row["name"] for row in await person.fetch("SELECT name FROM named")]


def resent(*numbers: int) -> Batch:
    return claimed(batch_of(events(*numbers)), b"claim of these")


async def test_a_batch_of_one_day_names_its_table(
    writer: PostgresWriter, person: asyncpg.Connection, today: str, database: Database
) -> None:
    await store(writer, batch_of(events(2), events(3)))
    assert await named(person) == [today]
    assert numbers_in(database) == [1, 2, 3]


async def test_a_batch_of_two_days_goes_through_logs(
    writer: PostgresWriter, person: asyncpg.Connection, today: str, database: Database
) -> None:
    await store(writer, batch_of(events(2), events(3, days_ago=1)))
    assert await named(person) == []
    days = await person.fetch("SELECT tableoid AS day, count(*) FROM logs GROUP BY 1")
    assert sorted(row["count"] for row in days) == [1, 2]


async def test_rows_without_a_day_of_their_own_go_to_the_default_partition(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    await watch(person, "logs_default")
    await store(writer, batch_of(events(1, days_ago=4000)))
    assert await named(person) == []
    assert await person.fetchval("SELECT count(*) FROM logs_default") == 1


@pytest.mark.parametrize("way", ["ALTER TABLE logs DETACH PARTITION", "DROP TABLE"])
async def test_no_row_is_lost_to_a_day_that_has_left_logs(
    writer: PostgresWriter,
    person: asyncpg.Connection,
    today: str,
    database: Database,
    way: str,
) -> None:
    await person.execute(f"{way} {today}")
    outcome = await store(writer, resent(2, 3))
    assert outcome.stored_events == 2
    assert [n for n in numbers_in(database) if n != 1] == [2, 3]
    if "DETACH" in way:
        left = f"SELECT count(*) FROM {today} WHERE attributes->>'n' <> '1'"
        assert await person.fetchval(left) == 0
    assert (await store(writer, resent(2, 3))).duplicate_events == 2


async def test_a_day_attached_with_other_bounds_takes_no_row_of_the_rest(
    writer: PostgresWriter, person: asyncpg.Connection, today: str, database: Database
) -> None:
    noon = int(clock()) // DAY_SECONDS * DAY_SECONDS + DAY_SECONDS // 2
    await person.execute(
        f"ALTER TABLE logs DETACH PARTITION {today}; TRUNCATE {today};"
        f"ALTER TABLE logs ATTACH PARTITION {today} FOR VALUES"
        f" FROM (to_timestamp({noon})) TO (to_timestamp({noon + 1}))"
    )
    morning = m.entry({"n": 2}, m.uint32(noon - 3600))
    await store(writer, batch_of(morning))
    assert numbers_in(database) == [2]


async def test_what_stands_on_logs_alone_is_not_passed_by(
    writer: PostgresWriter, person: asyncpg.Connection, today: str
) -> None:
    await store(writer, batch_of(events(2)))
    await watch(person, "logs")  # while the writer knows the day's table
    await store(writer, batch_of(events(3)))
    await store(writer, batch_of(events(4)))
    assert await named(person) == [today, "logs", "logs"]


async def test_a_day_of_another_name_is_reached_through_logs(
    writer: PostgresWriter, person: asyncpg.Connection, today: str, database: Database
) -> None:
    await person.execute(f"ALTER TABLE {today} RENAME TO of_another_name")
    await store(writer, batch_of(events(2)))
    assert await named(person) == []
    assert numbers_in(database) == [1, 2]


async def test_large_rows_are_not_compressed_slowly(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    text = "".join(f"{n} is not {n * n}; " for n in range(200))[:2500]
    await store(writer, batch_of(events(1, message=text)))
    stored = await person.fetch(
        "SELECT pg_column_compression(message), reloptions::text"
        " FROM logs JOIN pg_class ON pg_class.oid = logs.tableoid"
    )
    has_lz4 = await person.fetchval(
        "SELECT 'lz4' = ANY (enumvals) FROM pg_settings"
        " WHERE name = 'default_toast_compression'"
    )
    expected = ("lz4", None) if has_lz4 else (None, "{toast_tuple_target=4080}")
    assert [tuple(row) for row in stored] == [expected]


async def test_a_policy_of_the_day_alone_is_none_of_logs(
    writer: PostgresWriter, person: asyncpg.Connection, today: str, database: Database
) -> None:
    """As where nobody is to read a day past the policies of `logs`."""
    await person.execute(f"ALTER TABLE {today} ENABLE ROW LEVEL SECURITY")
    await store(writer, batch_of(events(2)))
    await store(writer, batch_of(events(3)))
    assert await named(person) == []
    assert numbers_in(database) == [1, 2, 3]
