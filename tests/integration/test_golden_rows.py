"""A golden set of records through the encoder and COPY, and back out of PostgreSQL."""

import asyncio
import json
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgpack
import pytest

from penstock.embedded import EmbeddedPostgres
from penstock.model import Batch, Delivery, Segment, SourceId
from penstock.rows import RowEncoder
from penstock.settings import ColumnSettings, PartitionSettings
from penstock.sink.migrations import migrate, migration_status
from penstock.sink.partitions import Partitions
from penstock.sink.postgres import PostgresWriter, next_receiver

T = 1_441_588_984  # 2015-09-07T01:23:04Z
NOW_SECONDS = float(T + 60)

# An entry and its row: microseconds since 1970, the columns, the attributes.
Golden = tuple[bytes, tuple[int, str | None, str | None, str | None, str | None, Any]]


def entry(record: bytes, time: bytes = b"\xce" + struct.pack(">I", T)) -> bytes:
    return b"\x92" + time + record


def packed(value: object) -> bytes:
    result = msgpack.packb(value)
    assert isinstance(result, bytes)
    return result


def event_time(seconds: int, nanoseconds: int) -> bytes:
    return b"\xd7\x00" + struct.pack(">II", seconds, nanoseconds)


def row(attributes: Any, **columns: Any) -> Any:
    return (
        columns.get("us", T * 1_000_000),
        columns.get("level"),
        columns.get("service"),
        columns.get("host"),
        columns.get("message"),
        attributes,
    )


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"d": value}
    return value


GOLDEN: dict[str, Golden] = {
    "empty": (entry(b"\x80"), row({})),
    "columns": (
        entry(
            packed({"level": "warning", "app": "a", "host": "h", "msg": "m", "n": 1})
        ),
        row({"n": 1}, level="WARN", service="a", host="h", message="m"),
    ),
    "kubernetes": (
        entry(
            packed({"log": "l", "kubernetes": {"host": "k", "labels": {"app": "x"}}})
        ),
        row({"kubernetes": {"labels": {}}}, service="x", host="k", message="l"),
    ),
    "pino": (entry(packed({"level": 50})), row({}, level="ERROR")),
    "unknown level": (entry(packed({"level": "loud"})), row({"level": "loud"})),
    "microseconds": (
        entry(packed({}), event_time(T, 123_456_789)),
        row({}, us=T * 1_000_000 + 123_456),
    ),
    "before 1970": (entry(packed({}), b"\xfb"), row({}, us=-5_000_000)),
    "2106": (
        entry(packed({}), event_time(0xFFFFFFFD, 0)),
        row({}, us=0xFFFFFFFD * 1_000_000),
    ),
    "NUL": (
        entry(packed({"a\0": "b\0", "message": "c\0d"})),
        row({"a\\x00": "b\\x00"}, message="c\\x00d"),
    ),
    "not UTF-8": (
        entry(b"\x82\xa1a\xa4caf\xe9\xa7message\xa2\xff!"),
        row({"a": "caf\\xe9"}, message="\\xff!"),
    ),
    "literal escapes": (
        entry(packed({"a": "\\u0000 \\x00"})),
        row({"a": "\\u0000 \\x00"}),
    ),
    "integers": (
        entry(packed({"max": 2**64 - 1, "min": -(2**63)})),
        row({"max": 2**64 - 1, "min": -(2**63)}),
    ),
    "not finite": (
        entry(packed({"n": float("nan"), "i": [float("inf")], "m": float("-inf")})),
        row({"n": "NaN", "i": ["Infinity"], "m": "-Infinity"}),
    ),
    "bin": (
        entry(b"\x82\xa1t\xc4\x02hi\xa1b\xc4\x02\x00\xff"),
        row({"t": "hi", "b": "data:;base64,AP8="}),
    ),
    "keys": (
        entry(
            b"\x85\x01\xa1i\xc3\xa1b\xc0\xa1n\xcb"
            + struct.pack(">d", 1.0)
            + b"\xa1f\xc4\x01k\xa1y"
        ),
        row({"1": "i", "true": "b", "null": "n", "1.0": "f", "k": "y"}),
    ),
    "duplicate keys": (entry(b"\x82\xa1a\x01\xa1a\x02"), row({"a": 2})),
    "times inside": (
        entry(b"\x81\xa1t" + event_time(T, 5)),
        row({"t": "2015-09-07T01:23:04.000000005Z"}),
    ),
    "unknown ext": (
        entry(b"\x81\xa1e\xd4\x05\x01"),
        row({"e": "data:application/vnd.msgpack;base64,1AUB"}),
    ),
    "deep": (entry(packed({"r": nested(250)})), row({"r": nested(250)})),
    "long": (entry(packed({"s": "x" * 300_000})), row({"s": "x" * 300_000})),
    "metadata": (
        entry(packed({"a": 1}), b"\x92" + event_time(T, 0) + packed({"m": [1]})),
        row({"a": 1, "_metadata": {"m": [1]}}),
    ),
}
REJECTED = {"not_an_entry": b"\x05", "record_not_a_map": entry(packed("text"))}


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    """An embedded PostgreSQL with the schema, outside pytest's own directories."""
    with tempfile.TemporaryDirectory() as directory:
        postgres = EmbeddedPostgres(Path(directory) / "data")
        postgres.start()
        try:
            assert asyncio.run(migrate(postgres.url)), "a fresh database has no schema"
            yield postgres.url
        finally:
            postgres.stop()


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own, on empty tables."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("TRUNCATE logs, rejected_event")
    yield connection
    await connection.close()


async def store(url: str, entries: bytes, now_seconds: float = NOW_SECONDS) -> None:
    """Store entries as one batch, as a writer does."""
    stream = RowEncoder(ColumnSettings(), receiver=await next_receiver(url)).start(
        entries, tag="golden"
    )
    delivery = Delivery(SourceId(1), "10.0.0.1", "golden", None, None, 0.0, print)
    segments = []
    while not stream.exhausted:
        segments.append(Segment(stream.next_part(T * 1_000_000), delivery))
    batch = Batch(tuple(segments), 0, sum(each.encoded.rows for each in segments))
    writer = PostgresWriter(url, Partitions(PartitionSettings()))
    await writer.connect()
    try:
        await writer.store(batch, now_seconds=now_seconds)
    finally:
        await writer.close()


async def stored(connection: asyncpg.Connection) -> list[Any]:
    rows = await connection.fetch(
        "SELECT (extract(epoch FROM ts) * 1000000)::bigint, level::text, service,"
        " host, message, attributes::text FROM logs ORDER BY id"
    )
    return [(*values[:5], json.loads(values[5])) for values in map(tuple, rows)]


async def test_every_golden_record_comes_back_as_documented(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await store(database_url, b"".join(entry for entry, _ in GOLDEN.values()))
    for name, expected, found in zip(
        GOLDEN, GOLDEN.values(), await stored(connection), strict=True
    ):
        assert found == expected[1], name


async def test_ids_are_unique_and_in_the_order_of_arrival(
    database_url: str, connection: asyncpg.Connection
) -> None:
    entries = b"".join(entry(packed({"n": n})) for n in range(5000))
    await store(database_url, entries)
    numbers = await connection.fetch("SELECT attributes->>'n' FROM logs ORDER BY id")
    assert [int(row[0]) for row in numbers] == list(range(5000))
    assert await connection.fetchval("SELECT count(DISTINCT id) FROM logs") == 5000


async def test_what_is_no_event_is_kept_with_its_bytes_and_reason(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await store(database_url, b"".join(REJECTED.values()) + GOLDEN["empty"][0])
    kept = await connection.fetch("SELECT reason, raw, sender, tag FROM rejected_event")
    assert {row["reason"]: row["raw"] for row in kept} == REJECTED
    assert {(row["sender"], row["tag"]) for row in kept} == {("10.0.0.1", "golden")}
    assert await connection.fetchval("SELECT count(*) FROM logs") == 1


async def partition_of(connection: asyncpg.Connection, when: datetime) -> str:
    name = await connection.fetchval(
        "SELECT tableoid::regclass::text FROM logs WHERE ts = $1", when
    )
    assert isinstance(name, str)
    return name


@pytest.mark.parametrize(
    ("days", "partition"),
    [
        (0, "logs_20150907"),
        (-3, "logs_20150904"),
        (1, "logs_20150908"),
        (-31, "logs_default"),
        (2, "logs_default"),
    ],
)
async def test_a_day_gets_its_partition_before_the_copy_that_needs_it(
    database_url: str, connection: asyncpg.Connection, days: int, partition: str
) -> None:
    seconds = T + days * 86_400
    await store(database_url, entry(b"\x80", event_time(seconds, 0)))
    when = datetime.fromtimestamp(seconds, UTC)
    assert await partition_of(connection, when) == partition


async def test_rows_in_the_default_partition_move_when_their_day_is_made(
    database_url: str, connection: asyncpg.Connection
) -> None:
    seconds = T + 10 * 86_400
    ahead = entry(b"\x80", event_time(seconds, 0))
    await store(database_url, ahead)
    assert await connection.fetchval("SELECT count(*) FROM logs_default") == 1
    await store(database_url, ahead, now_seconds=float(seconds))
    assert await connection.fetchval("SELECT count(*) FROM logs_20150917") == 2
    assert await connection.fetchval("SELECT count(*) FROM logs_default") == 0


async def test_a_long_query_does_not_keep_rows_out(
    database_url: str, connection: asyncpg.Connection
) -> None:
    seconds = T + 20 * 86_400
    async with connection.transaction():
        await connection.fetch("SELECT * FROM logs")  # holds its locks to the end
        await store(
            database_url, entry(b"\x80", event_time(seconds, 0)), float(seconds)
        )
    assert await connection.fetchval("SELECT count(*) FROM logs_default") == 1


async def test_migrating_again_and_at_once_changes_nothing(database_url: str) -> None:
    for applied in await asyncio.gather(migrate(database_url), migrate(database_url)):
        assert not applied
    assert all(each.applied_at for each in await migration_status(database_url))
