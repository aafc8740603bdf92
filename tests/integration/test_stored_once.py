"""A chunk that comes again is stored once, and so is a batch that we try again."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from penstock.buffer.identity import chunk_identity, part_claim
from penstock.errors import TransientSinkError, UnknownSinkError
from penstock.model import Batch, Outcome
from penstock.postgres.connection import connect
from penstock.sink import claims, postgres
from penstock.sink.claim_periods import PERIOD_SECONDS
from penstock.sink.postgres import PostgresWriter
from tests import msgpack_bytes as m
from tests.database_proxy import DatabaseProxy
from tests.integration.conftest import (
    PATIENCE_SECONDS,
    Database,
    batch_of,
    new_writer,
)
from tests.integration.conftest import until as until_true

CHUNK = m.fixstr(b"chunk")
# A COMMIT stands still for as long as somebody has this lock.
COMMIT_WAITS = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON logs
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait();
SELECT pg_advisory_lock(7)
"""
LET_COMMIT = "SELECT pg_advisory_unlock(7)"


def entries(*numbers: int) -> bytes:
    return b"".join(m.entry({"n": n}) for n in numbers)


def chunk_of(
    *numbers: int, sender: str = "192.0.2.7", tag: str = "app", chunk: bytes = CHUNK
) -> Batch:
    """Make a batch of one chunk as a session hands it over."""
    blob = entries(*numbers)
    identity = chunk_identity(
        sender=sender, tag=tag, chunk=chunk, metadata=None, entries=blob
    )
    batch = batch_of(blob, sender=sender, tag=tag, chunk=chunk)
    for segment in batch.segments:
        segment.claim = part_claim(identity, segment.encoded)
    return batch


def together(*batches: Batch) -> Batch:
    """Make one batch of several."""
    segments = tuple(segment for batch in batches for segment in batch.segments)
    return Batch(
        segments,
        sum(batch.size_bytes for batch in batches),
        sum(batch.rows for batch in batches),
        batches[0].name,
    )


def large() -> Batch:
    return batch_of(entries(*range(2, 9000)))


class Writers:
    def __init__(self, database: Database) -> None:
        self.database = database
        self._open: list[PostgresWriter] = []

    async def connected(self, url: str = "") -> PostgresWriter:
        writer = new_writer(url or self.database.url)
        await writer.connect()
        self._open.append(writer)
        return writer

    async def close(self) -> None:
        for writer in self._open:
            writer.terminate()

    def numbers(self) -> list[int]:
        rows = self.database.fetch(
            "SELECT (attributes->>'n')::int FROM logs ORDER BY 1"
        )
        return [row[0] for row in rows]


@pytest.fixture
async def writers(database: Database) -> AsyncIterator[Writers]:
    made = Writers(database)
    yield made
    await made.close()


async def store(writer: PostgresWriter, batch: Batch) -> Outcome:
    return await asyncio.wait_for(writer.store(batch, now_seconds=1.8e9), 20)


async def in_thread(function: Any, *arguments: Any) -> Any:
    return await asyncio.to_thread(function, *arguments)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.005)


async def commits(person: asyncpg.Connection) -> bool:
    count: int = await person.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^COMMIT'"
        " AND state = 'active' AND datname = current_database()"
    )
    return count > 0


async def has_rows(person: asyncpg.Connection, count: int) -> bool:
    return bool(await person.fetchval("SELECT count(*) = $1 FROM logs", count))


# --- chunks


async def test_a_chunk_that_comes_again_is_not_stored_again(writers: Writers) -> None:
    writer = await writers.connected()
    assert await store(writer, chunk_of(1, 2)) == Outcome(stored_events=2)
    duplicate = Outcome(duplicate_events=2, duplicate_segments=1)
    assert await store(writer, chunk_of(1, 2)) == duplicate
    elsewhere = await writers.connected()
    assert await store(elsewhere, chunk_of(1, 2)) == duplicate, "another Penstock"
    assert await in_thread(writers.numbers) == [1, 2]


@pytest.mark.parametrize(
    "other",
    [
        {"sender": "192.0.2.8"},
        {"tag": "other"},
        {"chunk": m.fixstr(b"other")},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_a_chunk_is_another_one_if_anything_of_it_is(
    writers: Writers, other: dict[str, Any]
) -> None:
    writer = await writers.connected()
    await store(writer, chunk_of(1))
    await store(writer, chunk_of(1, **other))
    await store(writer, chunk_of(1, 1))
    assert await in_thread(writers.numbers) == [1, 1, 1, 1]


async def test_of_two_in_one_batch_one_is_stored(writers: Writers) -> None:
    writer = await writers.connected()
    outcome = await store(writer, together(chunk_of(1), chunk_of(2), chunk_of(1)))
    assert outcome == Outcome(stored_events=2, duplicate_events=1, duplicate_segments=1)
    assert await in_thread(writers.numbers) == [1, 2]


async def test_what_no_sender_sends_again_is_stored_each_time(writers: Writers) -> None:
    writer = await writers.connected()
    for _ in range(2):
        await store(writer, batch_of(entries(1)))
    assert await in_thread(writers.numbers) == [1, 1]


async def test_of_two_at_the_same_moment_one_stores_and_both_pass(
    writers: Writers,
) -> None:
    some = [await writers.connected() for _ in range(4)]
    chunks = [[chunk_of(n, chunk=m.fixstr(b"%d" % n)) for n in range(50)] for _ in some]
    for order, own in enumerate(chunks):
        own[:] = own[order * 12 :] + own[: order * 12]
    outcomes = await asyncio.gather(
        *(
            store(writer, together(*own))
            for writer, own in zip(some, chunks, strict=True)
        )
    )
    assert sum(outcome.stored_events for outcome in outcomes) == 50
    assert sum(outcome.duplicate_events for outcome in outcomes) == 150
    assert await in_thread(writers.numbers) == list(range(50))


async def test_a_chunk_whose_transaction_failed_is_not_taken_for_stored(
    writers: Writers, database: Database
) -> None:
    writer = await writers.connected()
    await store(writer, batch_of(entries(0)))  # makes the partitions
    gone = chunk_of(1)
    await in_thread(database.administer, "SELECT 1")
    person = await asyncpg.connect(database.url)
    await person.execute("ALTER TABLE logs RENAME TO elsewhere")
    with pytest.raises(UnknownSinkError):
        await store(writer, gone)
    await person.execute("ALTER TABLE elsewhere RENAME TO logs")
    await person.close()
    assert await store(writer, gone) == Outcome(stored_events=1)


# --- the window


async def test_a_claim_of_an_earlier_period_counts(
    writers: Writers, database: Database
) -> None:
    writer = await writers.connected()
    await store(writer, chunk_of(1))
    person = await asyncpg.connect(database.url)
    # In a period's first minutes the claim is in the one before already, too.
    await person.execute(
        "DELETE FROM ingest_chunk WHERE period < (SELECT max(period) FROM ingest_chunk)"
    )
    await person.execute(
        "UPDATE ingest_chunk SET period = date_bin('6 hours',"
        " now() - interval '6 hours', '2020-01-01T00:00:00Z')"
    )
    await person.close()
    outcome = await store(writer, chunk_of(1))
    assert outcome.duplicate_events == 1


async def test_two_around_the_beginning_of_a_period_meet(
    writers: Writers, database: Database
) -> None:
    """The database's clock cannot be set; its function can be told another time."""
    writer = await writers.connected()
    await store(writer, batch_of(entries(0)))
    person = await asyncpg.connect(database.url)
    begins = await person.fetchval(
        "SELECT date_bin('6 hours', now(), '2020-01-01T00:00:00Z')"
    )
    defined = await person.fetchval(
        "SELECT pg_get_functiondef('penstock_begin_batch'::regproc)"
    )
    for name, minutes in (("at_first", -1), ("second", 5), ("later", 20)):
        statement = defined.replace("penstock_begin_batch", name)
        at = f"('{begins}'::timestamptz + '{minutes} min')"
        await person.execute(statement.replace("now()", at))

    def claim(name: str) -> str:
        return (
            f"SELECT {name}(4096, {len(name)}, '{name}', '{{iiii}}', '{{s}}', '{{t}}',"
            " ARRAY[NULL::bytea], '{1}', ARRAY[''::bytea])"
        )

    before, after = (
        await asyncpg.connect(database.url),
        await asyncpg.connect(database.url),
    )
    first = before.transaction()
    await first.start()
    assert await before.fetchval(claim("at_first")) == [b"iiii"]
    waiting = asyncio.create_task(after.fetchval(claim("second")))
    await asyncio.sleep(0.3)
    assert not waiting.done(), "it waits for the other's end"
    await first.commit()
    assert await waiting == []
    assert await after.fetchval(claim("later")) == []
    for connection in (person, before, after):
        await connection.close()


# --- batches


@pytest.mark.parametrize("batch", [chunk_of(1), batch_of(entries(1))])
async def test_a_batch_whose_commit_was_not_answered_is_stored_once(
    writers: Writers, database: Database, batch: Batch
) -> None:
    async with DatabaseProxy(database.url) as proxy:
        writer = await writers.connected(proxy.url)
        await store(writer, batch_of(entries(0)))
        person = await asyncpg.connect(database.url)
        # The answer to the last statement before COMMIT is the last one that is heard.
        await person.execute(COMMIT_WAITS)
        storing = asyncio.create_task(store(writer, batch))
        await until(lambda: commits(person))
        proxy.hold_answers()
        await person.execute(LET_COMMIT)
        await until(lambda: has_rows(person, 2))
        proxy.cut()
        with pytest.raises(TransientSinkError):
            await storing
        proxy.flow()
        await writer.connect()
        assert await store(writer, batch) == Outcome(stored_events=1)
        assert await person.fetchval("SELECT count(*) FROM logs") == 2
        await person.close()


async def test_what_was_spooled_while_its_commit_hung_is_not_stored_again(
    writers: Writers,
) -> None:
    writer, later = await writers.connected(), await writers.connected()
    batch = batch_of(entries(1))
    await store(writer, batch)
    again = batch_of(entries(1))
    for segment in again.segments:  # as it comes back from the spool
        segment.claim, segment.tried_in = b"c" * 16, batch.name
    assert (await store(later, again)).duplicate_events == 1
    assert await in_thread(writers.numbers) == [1]


async def test_what_was_spooled_waits_for_its_commit_that_is_under_way(
    writers: Writers, database: Database
) -> None:
    """A stop has cut the COMMIT off; it ends after the next process has begun."""
    async with DatabaseProxy(database.url) as proxy:
        writer = await writers.connected(proxy.url)
        await store(writer, batch_of(entries(0)))
        person = await asyncpg.connect(database.url)
        await person.execute(COMMIT_WAITS)
        batch = batch_of(entries(1))
        storing = asyncio.create_task(store(writer, batch))
        await until(lambda: commits(person))
        proxy.cut(server_knows=False)
        with pytest.raises(TransientSinkError):
            await storing
        assert await person.fetchval("SELECT count(*) FROM logs") == 1, "under way"
        proxy.flow()
        later = await writers.connected()
        again = batch_of(entries(1))
        for segment in again.segments:  # as it comes back from the spool
            segment.claim, segment.tried_in = b"c" * 16, batch.name
        storing_again = asyncio.create_task(store(later, again))
        await asyncio.sleep(0.3)
        assert not storing_again.done(), "it waits for the other's end"
        await person.execute(LET_COMMIT)
        assert (await storing_again).duplicate_events == 1
        assert await person.fetchval("SELECT count(*) FROM logs") == 2
        await person.close()


async def test_a_claim_in_the_hand_of_a_penstock_that_stands_still_is_freed(
    writers: Writers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres.LIMITS, "lock_timeout", "100ms")
    async with DatabaseProxy(database.url) as proxy:
        frozen = await writers.connected(proxy.url)
        await store(frozen, batch_of(entries(0)))
        proxy.hold_writes(after_bytes=50_000)  # within the COPY
        storing = asyncio.create_task(store(frozen, together(chunk_of(1), large())))
        await proxy.writes_are_held()
        other = await writers.connected()
        with pytest.raises(TransientSinkError, match="55P03"):
            await store(other, chunk_of(1))
        assert not storing.done(), "it has time"
        monkeypatch.setattr(claims, "STALLED_SECONDS", 0.1)
        with pytest.raises(TransientSinkError, match="55P03"):
            await store(other, chunk_of(1))
        outcome = None
        while outcome is None:  # its session has ended some time after it is told to
            with contextlib.suppress(TransientSinkError):
                outcome = await store(other, chunk_of(1))
        assert outcome.stored_events == 1
        proxy.flow()
        with pytest.raises(TransientSinkError):
            await storing
        await frozen.connect()
        outcome = await store(frozen, together(chunk_of(1), large()))
        assert (outcome.stored_events, outcome.duplicate_events) == (8998, 1)
    assert await in_thread(writers.numbers) == list(range(9000))


async def test_a_penstock_that_stands_still_between_statements_holds_nothing_for_long(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres.LIMITS, "idle_in_transaction_session_timeout", "100ms")
    frozen = await connect(database.url, limits=postgres.LIMITS)
    await frozen.execute("BEGIN")
    await until_true(frozen.is_closed, "its session is ended")
    with pytest.raises((asyncpg.InterfaceError, asyncpg.PostgresError)):
        await frozen.execute("SELECT 1")
    assert frozen.is_closed()


async def test_a_batch_that_took_longer_than_its_claims_hold_is_stored_anew(
    writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = await writers.connected()
    monkeypatch.setattr(postgres, "OLDEST_CLAIM_SECONDS", 0)
    begin_of_a_period = 83_334 * PERIOD_SECONDS
    with pytest.raises(TransientSinkError, match="too long"):
        await writer.store(chunk_of(1), now_seconds=begin_of_a_period)
    assert await in_thread(writers.numbers) == []
    away_from_one = begin_of_a_period + 3600
    outcome = await writer.store(chunk_of(1), now_seconds=away_from_one)
    assert outcome == Outcome(stored_events=1), "or it would never end"


async def test_a_writer_is_connected_when_it_has_said_who_it_is(
    database: Database,
) -> None:
    person = await asyncpg.connect(database.url)
    # As a migration does: who comes waits for its end.
    await person.execute("SELECT pg_advisory_lock(hashtext('penstock.migrations'))")
    writer = new_writer(database.url)
    connecting = asyncio.create_task(writer.connect())
    await asyncio.sleep(0.3)
    assert not connecting.done()
    assert not writer.is_connected
    await person.close()
    await connecting
    assert writer.is_connected
    writer.terminate()


async def test_a_server_that_answers_late_is_given_more_time_at_each_try(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "CONNECT_TIMEOUT_SECONDS", 0.02)
    async with DatabaseProxy(database.url) as proxy:
        proxy.delay_answers(seconds=0.05)
        writer = new_writer(proxy.url)
        with pytest.raises(TransientSinkError, match=r"no answer within 0\.02 s"):
            await writer.connect()
        while not writer.is_connected:
            with contextlib.suppress(TransientSinkError):
                await writer.connect()
        assert (await store(writer, chunk_of(1))).stored_events == 1
        writer.terminate()


async def test_a_session_that_does_not_know_it_is_lost_is_ended(
    writers: Writers, database: Database
) -> None:
    batch = together(chunk_of(1), large())
    async with DatabaseProxy(database.url) as proxy:
        writer = await writers.connected(proxy.url)
        await store(writer, batch_of(entries(0)))
        proxy.hold_writes(after_bytes=50_000)  # within the COPY
        storing = asyncio.create_task(store(writer, batch))
        await proxy.writes_are_held()
        proxy.cut(server_knows=False)
        with pytest.raises(TransientSinkError):
            await storing
        proxy.flow()
        await writer.connect()
        assert (await store(writer, batch)).stored_events == 8999
    assert await in_thread(writers.numbers) == list(range(9000))


def test_segments_of_one_chunk_have_claims_of_their_own() -> None:
    batch = chunk_of(*range(60_000))
    assert len(batch.segments) > 2
    assert len({segment.claim for segment in batch.segments}) == len(batch.segments)
