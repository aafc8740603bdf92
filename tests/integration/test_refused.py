"""One record that PostgreSQL refuses costs one record; the rules are its user's."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgpack
import pytest

from penstock.errors import UnknownSinkError
from penstock.model import (
    TOGETHER,
    Batch,
    Delivery,
    Outcome,
    Segment,
    Share,
    SourceId,
)
from penstock.rows import RowEncoder
from penstock.rows.together import RowsTogether
from penstock.settings import ColumnSettings
from penstock.sink.postgres import UNKNOWN_TRIES, PostgresWriter
from tests import msgpack_bytes as m
from tests.integration.conftest import Database, batch_of, new_writer

NO_POISON = """
ALTER TABLE logs ADD CONSTRAINT no_poison CHECK (message IS DISTINCT FROM 'poison')
"""
RAISES = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.message = 'poison' THEN
        RAISE EXCEPTION 'not this one' {using};
    END IF;
    RETURN new;
END $$;
CREATE {kind} refuse {when} INSERT ON logs {more} FOR EACH ROW EXECUTE FUNCTION refuse()
"""
TRIGGER = RAISES.format(using="", kind="TRIGGER", when="BEFORE", more="")
DEFERRED = RAISES.format(
    using="",
    kind="CONSTRAINT TRIGGER",
    when="AFTER",
    more="DEFERRABLE INITIALLY DEFERRED",
)
OF_ITS_OWN = RAISES.format(
    using="USING ERRCODE = 'MY001'", kind="TRIGGER", when="BEFORE", more=""
)
BROKEN = """
CREATE FUNCTION copy_out() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {condition} THEN
        INSERT INTO nowhere VALUES (new.message);
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER copy_out BEFORE INSERT ON logs FOR EACH ROW EXECUTE FUNCTION copy_out()
"""
BROKEN_FOR_ONE = BROKEN.format(condition="new.message = 'poison'")
BROKEN_FOR_ALL = BROKEN.format(condition="true")


def entry(n: int, message: str = "fine") -> bytes:
    return m.entry({"n": n, "message": message})


def entries(count: int, *poison: int) -> bytes:
    return b"".join(entry(n, "poison" if n in poison else "fine") for n in range(count))


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[PostgresWriter]:
    made = new_writer(database.url)
    await made.connect()
    yield made
    made.terminate()


@pytest.fixture
async def person(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.url)
    yield connection
    connection.terminate()


async def store(writer: PostgresWriter, blob: bytes, **more: Any) -> Outcome:
    batch = batch_of(blob, **more)
    return await asyncio.wait_for(writer.store(batch, now_seconds=1.8e9), 30)


async def numbers(person: asyncpg.Connection) -> list[int]:
    statement = "SELECT (attributes->>'n')::int AS n FROM logs ORDER BY id"
    return [row["n"] for row in await person.fetch(statement)]


@pytest.mark.parametrize(
    ("rule", "sqlstate", "reason"),
    [
        (NO_POISON, "23514", "refused: no_poison"),
        (TRIGGER, "P0001", "refused: RaiseError"),
        (DEFERRED, "P0001", "refused: RaiseError"),
        ("ALTER TABLE logs ADD CONSTRAINT x CHECK (100 / (length(message) - 6) < 99)",
         "22012", "refused: DivisionByZeroError"),
    ],
    ids=["constraint", "trigger", "deferred", "expression"],
)  # fmt: skip
async def test_one_refused_record_costs_one_record(
    writer: PostgresWriter,
    person: asyncpg.Connection,
    rule: str,
    sqlstate: str,
    reason: str,
) -> None:
    await person.execute(rule)
    poison = {0, 17, 18, 999}
    outcome = await store(writer, entries(1000, *poison), sender="s", tag="t")
    assert outcome == Outcome(stored_events=996, refused_events=4)
    assert await numbers(person) == [n for n in range(1000) if n not in poison]
    rejected = await person.fetch("SELECT * FROM rejected_event ORDER BY id")
    assert [each["raw"] for each in rejected] == [
        entry(n, "poison") for n in sorted(poison)
    ]
    for each in rejected:
        assert (each["sender"], each["tag"]) == ("s", "t")
        assert (each["sqlstate"], each["reason"]) == (sqlstate, reason)


async def test_what_the_decoder_rejects_is_kept_beside_it(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    await person.execute(NO_POISON)
    no_map = m.fixarray(m.uint32(m.T), m.fixstr(b"line"))
    outcome = await store(writer, entries(3, 1) + no_map)
    assert outcome == Outcome(2, rejected_events=1, refused_events=1)
    rows = await person.fetch("SELECT reason, raw FROM rejected_event ORDER BY reason")
    assert [row["reason"] for row in rows] == [
        "record_not_a_map",
        "refused: no_poison",
    ]
    assert msgpack.unpackb(rows[1]["raw"])[1] == {"n": 1, "message": "poison"}


async def test_when_all_are_refused_all_are_kept(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    await person.execute(NO_POISON)
    outcome = await store(writer, entries(50, *range(50)))
    assert outcome == Outcome(refused_events=50)
    assert await person.fetchval("SELECT count(*) FROM rejected_event") == 50
    assert (await store(writer, entries(2))).stored_events == 2


async def test_refused_and_stored_are_one_transaction(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    await person.execute(NO_POISON)
    await person.execute("ALTER TABLE rejected_event RENAME TO elsewhere")
    with pytest.raises(UnknownSinkError):
        await store(writer, entries(10, 5))
    assert await numbers(person) == []


@pytest.mark.parametrize("events", [20, 8, 1], ids=["some", "others", "alone"])
@pytest.mark.parametrize(
    ("rule", "sqlstate"),
    [(OF_ITS_OWN, "MY001"), (BROKEN_FOR_ONE, "42P01")],
    ids=["of its own", "broken for one"],
)
async def test_an_error_of_somebodys_own_is_tried_a_few_times_then_taken_for_refusal(
    writer: PostgresWriter,
    person: asyncpg.Connection,
    rule: str,
    sqlstate: str,
    events: int,
) -> None:
    await person.execute(rule)
    poison = events - 1
    batch = batch_of(entries(events, poison))
    for _ in range(UNKNOWN_TRIES):
        with pytest.raises(UnknownSinkError, match=sqlstate):
            await writer.store(batch, now_seconds=1.8e9)
        assert await numbers(person) == []
    outcome = await writer.store(batch, now_seconds=1.8e9)
    assert outcome == Outcome(stored_events=events - 1, refused_events=1)
    assert await person.fetchval("SELECT sqlstate FROM rejected_event") == sqlstate
    assert await numbers(person) == list(range(events - 1)), "the probe is taken back"


@pytest.mark.parametrize(
    "away",
    [
        "ALTER TABLE logs RENAME TO elsewhere",
        "ALTER TABLE logs RENAME COLUMN host TO elsewhere",
        BROKEN_FOR_ALL,
    ],
    ids=["table", "column", "trigger"],
)
async def test_what_no_record_is_to_blame_for_rejects_none(
    writer: PostgresWriter, person: asyncpg.Connection, away: str
) -> None:
    await person.execute(away)
    batch = batch_of(entries(3))
    for _ in range(UNKNOWN_TRIES + 2):
        with pytest.raises(UnknownSinkError):
            await writer.store(batch, now_seconds=1.8e9)
    assert await person.fetchval("SELECT count(*) FROM rejected_event") == 0


async def test_a_rule_that_is_dropped_refuses_no_more(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    await person.execute(NO_POISON)
    await store(writer, entries(2, 1))
    await person.execute("ALTER TABLE logs DROP CONSTRAINT no_poison")
    for _ in range(3):
        assert (await store(writer, entries(2, 1))).stored_events == 2


async def test_what_is_refused_or_rejected_of_several_senders_keeps_whose_it_is(
    writer: PostgresWriter, person: asyncpg.Connection
) -> None:
    await person.execute(NO_POISON)
    together = RowsTogether(RowEncoder(ColumnSettings(), receiver=7), 10**15)
    no_record = m.fixarray(m.uint32(m.T), m.pack("no record"))
    whose = {
        ("s1", "t1"): entries(3),
        ("s2", "t2"): entries(2, 1),
        ("s3", "t1"): no_record + entries(3, 0, 2),
        ("s4", "t4"): entries(1),
    }
    shares = tuple(
        Share(SourceId(n), *who, None, *together.add(blob, tag=who[1]), 0)
        for n, (who, blob) in enumerate(whose.items())
    )
    delivery = Delivery(TOGETHER, "", "", None, None, 0.0, lambda done: None)
    segment = Segment(together.finish(), delivery, shares=shares)
    batch = Batch((segment,), segment.size_bytes, segment.encoded.rows, bytes(16))
    outcome = await asyncio.wait_for(writer.store(batch, now_seconds=1.8e9), 30)
    assert outcome == Outcome(6, 1, 3)
    found = await person.fetch("SELECT * FROM rejected_event ORDER BY sender, id")
    assert [(row["sender"], row["tag"], row["raw"]) for row in found] == [
        ("s2", "t2", entry(1, "poison")),
        ("s3", "t1", no_record),
        ("s3", "t1", entry(0, "poison")),
        ("s3", "t1", entry(2, "poison")),
    ]
