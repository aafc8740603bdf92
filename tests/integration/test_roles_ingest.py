"""What ingest does as penstock_writer: all that it ever did."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from penstock.errors import NotOwnerError, PenstockError
from penstock.model import Outcome
from penstock.postgres.connection import connect
from penstock.sink import claims
from penstock.sink.maintenance import maintain
from penstock.sink.migrations import migrate
from penstock.sink.partitions import DAY_SECONDS
from penstock.sink.postgres import UNKNOWN_TRIES, PostgresWriter, next_receiver
from penstock.sink.roles import take_writer_role
from tests import msgpack_bytes as m
from tests.integration.conftest import Database, batch_of, new_writer, numbers_in
from tests.integration.roles_parts import (
    claimed,
    events,
    store,
    store_as,
    tell_who_stores,
)
from tests.integration.upkeep_parts import clock, named, upkeep

CHUNK = b"\xa5chunk"


@pytest.fixture
async def person(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection."""
    connection = await asyncpg.connect(database.url)
    yield connection
    connection.terminate()


@pytest.fixture
async def writer(login: Database) -> AsyncIterator[PostgresWriter]:
    made = new_writer(login.url)
    await made.connect()
    yield made
    made.terminate()


# --- what ingest does, as a member of the role


async def test_rows_go_to_their_days_which_are_made_on_demand(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    days_ago = [0, 1, 30, 31]
    parts = (events(n, days_ago=ago) for n, ago in enumerate(days_ago))
    outcome = await store(writer, batch_of(b"".join(parts)))
    assert outcome == Outcome(stored_events=4)
    rows = await person.fetch(
        "SELECT tableoid::regclass::text AS name FROM logs ORDER BY id"
    )
    assert [row["name"] for row in rows] == [
        *(named(ago) for ago in days_ago[:3]),
        "logs_default",
    ]
    owners = await person.fetch(
        "SELECT DISTINCT pg_get_userbyid(relowner) AS name FROM pg_class"
        " WHERE relname ~ '^(logs|ingest_chunk)'"
    )
    assert [row["name"] for row in owners] == ["penstock_owner"]


async def test_rows_move_out_of_the_default_partition_when_their_day_is_made(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    await store(writer, batch_of(events(1, days_ago=-2)))
    where = "SELECT tableoid::regclass::text FROM logs WHERE attributes @> '{\"n\": 1}'"
    assert await person.fetchval(where) == "logs_default"
    two_days_later = clock() + 2 * DAY_SECONDS
    await store(writer, batch_of(events(2, days_ago=-2)), two_days_later)
    assert await person.fetchval(where) == named(-2)


async def test_a_chunk_that_comes_again_is_stored_once(
    writer: PostgresWriter, database: Database
) -> None:
    await store(writer, claimed(batch_of(events(1, 2), chunk=CHUNK)))
    again = await store(writer, claimed(batch_of(events(1, 2), chunk=CHUNK)))
    assert again == Outcome(duplicate_events=2, duplicate_segments=1)
    assert numbers_in(database) == [1, 2]


async def test_what_the_spool_has_of_a_stored_batch_is_stored_once(
    writer: PostgresWriter, login: Database, database: Database
) -> None:
    batch = batch_of(events(1))
    await store(writer, batch)
    await store(writer, batch)
    assert numbers_in(database) == [1]
    another = new_writer(login.url)
    await another.connect()
    replayed = claimed(batch_of(events(1)), b"of the spool", tried_in=batch.name)
    assert (await store(another, replayed)).duplicate_events == 1
    await another.close()


async def test_what_is_refused_is_kept_and_costs_one_record(
    writer: PostgresWriter, person: asyncpg.Connection, database: Database
) -> None:
    await person.execute("ALTER TABLE logs ADD CONSTRAINT x CHECK (tag <> 'no')")
    await person.execute("ALTER TABLE logs ADD CONSTRAINT y CHECK (message <> 'no')")
    blob = events(1) + events(2, message="no") + m.entry("no map") + events(3)
    outcome = await store(writer, batch_of(blob))
    assert outcome == Outcome(stored_events=2, rejected_events=1, refused_events=1)
    assert numbers_in(database) == [1, 3]
    reasons = await person.fetch("SELECT reason FROM rejected_event ORDER BY reason")
    assert [row["reason"] for row in reasons] == ["record_not_a_map", "refused: y"]


async def test_the_table_is_probed_where_an_error_is_somebodys_own(
    writer: PostgresWriter, person: asyncpg.Connection, database: Database
) -> None:
    await person.execute(
        "CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF new.message = 'no' THEN RAISE 'x' USING ERRCODE = 'MY001'; END IF;"
        " RETURN new; END $$;"
        " CREATE TRIGGER own BEFORE INSERT ON logs FOR EACH ROW EXECUTE FUNCTION own()"
    )
    batch = batch_of(events(1) + events(2, message="no"))
    for _ in range(UNKNOWN_TRIES):
        with pytest.raises(PenstockError):
            await store(writer, batch)
    assert (await store(writer, batch)).refused_events == 1
    assert numbers_in(database) == [1]


async def test_a_new_connection_ends_the_session_of_the_one_before(
    login: Database, database: Database, person: asyncpg.Connection
) -> None:
    for url in (login.url, database.url):
        writer = new_writer(url)
        await writer.connect()
        before = writer._connection
        assert before is not None
        pid = before.get_server_pid()
        writer._connection = None  # lost, and nobody has told the server
        await writer.connect()
        assert await is_gone(person, pid)
        await store(writer, batch_of(events(1)))
        await writer.close()
        before.terminate()


async def test_a_session_that_stands_still_with_claims_in_hand_is_ended(
    login: Database,
    database: Database,
    person: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claims, "STALLED_SECONDS", 0.0)
    for url in (login.url, database.url):
        stalled, writer = await connect(url), new_writer(url)
        await take_writer_role(stalled)
        await writer.connect()
        await store(writer, batch_of(events(1)))
        await stalled.execute("BEGIN; SET LOCAL timezone = 'UTC'")
        await asyncio.sleep(0.1)
        connection = writer._connection
        assert connection is not None
        await writer._claims.end_stalled(connection)
        assert await is_gone(person, stalled.get_server_pid())
        assert not await connection.fetchval("SELECT current_user = 'postgres'"), (
            "the rights are not back"
        )
        await writer.close()
        stalled.terminate()


async def is_gone(person: asyncpg.Connection, pid: int) -> bool:
    """Tell whether a session ends within a moment."""
    alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"
    for _ in range(1000):
        if not await person.fetchval(alive, pid):
            return True
        await asyncio.sleep(0.01)
    return False


# --- who gives up rights


async def test_a_superuser_who_stores_does_it_as_the_writer(database: Database) -> None:
    tell_who_stores(database)
    await store_as(database, events(1))
    assert database.value("SELECT host FROM logs") == "penstock_writer"


async def test_in_a_database_that_the_roles_are_not_for_the_login_is_used(
    empty_database: Database,
) -> None:
    """Roles are those of the cluster, and of another database maybe."""
    await migrate(empty_database.url)
    tell_who_stores(empty_database)
    await store_as(empty_database, events(1))
    assert empty_database.value("SELECT host FROM logs") == "postgres"


async def test_the_owner_maintains_and_the_writer_cannot(
    login: Database, database: Database
) -> None:
    await store_as(login, events(1, days_ago=5) + events(2))
    settings = upkeep(retention_max_age_days=3)
    with pytest.raises(NotOwnerError):
        await maintain(login.url, settings, now_seconds=clock())
    assert numbers_in(database) == [1, 2]
    report = await maintain(database.url, settings, now_seconds=clock())
    assert report.failures == []
    assert numbers_in(database) == [2]


async def test_a_spool_is_opened_and_a_number_is_had_as_the_writer(
    login: Database,
) -> None:
    assert await migrate(login.url) == []
    assert 0 <= await next_receiver(login.url) < 4096
