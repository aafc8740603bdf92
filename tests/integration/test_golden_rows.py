"""Golden records through the encoder and COPY into PostgreSQL, and back out of it.

What comes back is compared column by column with what is written here by hand, from
the msgpack specification and docs/records.md; the decoder is PostgreSQL.
"""

import base64
import itertools
import json
import math
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, NamedTuple

import asyncpg
import pytest

from tests import msgpack_bytes as m
from tests.integration.conftest import Database, batch_of, store_in

# 2015-09-07T01:23:04Z, the time of an entry that gives no other, and a minute later.
T_TEXT = "2015-09-07 01:23:04+00"
NOW_SECONDS = m.T + 60.0

COLUMNS = "ts::text, level::text, service, host, message, attributes::text"


class Row(NamedTuple):
    """A row as PostgreSQL shows it; numbers among the attributes are exact."""

    ts: str
    level: str | None
    service: str | None
    host: str | None
    message: str | None
    attributes: Any


def row(attributes: Any = None, ts: str = T_TEXT, **columns: str) -> Row:
    return Row(
        ts,
        columns.get("level"),
        columns.get("service"),
        columns.get("host"),
        columns.get("message"),
        {} if attributes is None else attributes,
    )


def record(*pairs: tuple[bytes, bytes], time: bytes | None = None) -> bytes:
    """Write an entry from a record's msgpack."""
    return m.fixarray(m.uint32(m.T) if time is None else time, m.fixmap(*pairs))


def of(value: bytes) -> bytes:
    """Write an entry whose record has this value under `v`."""
    return record((b"\xa1v", value))


def v(value: Any) -> Row:
    return row({"v": value})


def opaque(raw: bytes) -> str:
    return f"data:application/vnd.msgpack;base64,{base64.b64encode(raw).decode()}"


def nested(levels: int, innermost: Any = 1) -> Any:
    """Return maps within one another, so many, the innermost value in the last."""
    value = innermost
    for _ in range(levels):
        value = {"d": value}
    return value


def nested_bytes(levels: int) -> bytes:
    return b"\x81\xa1d" * levels + b"\x01"


LONG = "한글 and more 🎉 " * 20_000

Golden = tuple[bytes, Row]

# Every format of the msgpack specification, in each of its widths.
TYPES: dict[str, Golden] = {
    "nil": (of(m.NIL), v(None)),
    "false": (of(m.FALSE), v(False)),
    "true": (of(m.TRUE), v(True)),
    "positive fixint 0": (of(b"\x00"), v(0)),
    "positive fixint 127": (of(b"\x7f"), v(127)),
    "negative fixint -1": (of(b"\xff"), v(-1)),
    "negative fixint -32": (of(b"\xe0"), v(-32)),
    "uint8": (of(m.uint8(255)), v(255)),
    "uint16": (of(m.uint16(65_535)), v(65_535)),
    "uint32": (of(m.uint32(2**32 - 1)), v(2**32 - 1)),
    "uint64": (of(m.uint64(2**64 - 1)), v(18_446_744_073_709_551_615)),
    "uint64 beyond 2^53": (of(m.uint64(2**53 + 1)), v(9_007_199_254_740_993)),
    "int8": (of(m.int8(-128)), v(-128)),
    "int16": (of(m.int16(-32_768)), v(-32_768)),
    "int32": (of(m.int32(-(2**31))), v(-(2**31))),
    "int64": (of(m.int64(-(2**63))), v(-9_223_372_036_854_775_808)),
    "float32": (of(m.float32(0.5)), v(Decimal("0.5"))),
    "float32 not exact": (of(m.float32(0.1)), v(Decimal("0.10000000149011612"))),
    "float64": (of(m.float64(0.1)), v(Decimal("0.1"))),
    "float64 whole": (of(m.float64(3.0)), v(Decimal("3.0"))),
    "float64 largest": (
        of(m.float64(1.7976931348623157e308)),
        v(17976931348623157 * 10**292),
    ),
    "float64 smallest": (of(m.float64(5e-324)), v(Decimal("5e-324"))),
    # PostgreSQL's numeric has no minus zero.
    "float64 minus zero": (of(m.float64(-0.0)), v(Decimal("0.0"))),
    "NaN": (of(m.float64(math.nan)), v("NaN")),
    "float32 NaN": (of(m.float32(math.nan)), v("NaN")),
    "infinity": (of(m.float64(math.inf)), v("Infinity")),
    "minus infinity": (of(m.float32(-math.inf)), v("-Infinity")),
    "fixstr": (of(m.fixstr(b"abc")), v("abc")),
    "empty str": (of(m.fixstr(b"")), v("")),
    "str8": (of(m.str8("é".encode())), v("é")),
    "str16": (of(m.str16(b"x" * 300)), v("x" * 300)),
    "str32": (of(m.str32(LONG.encode())), v(LONG)),
    "bin8 that is text": (of(m.bin8("né".encode())), v("né")),
    "bin8 that is none": (
        of(m.bin8(b"\x00\xff\xfe\x80")),
        v("data:;base64,AP/+gA=="),
    ),
    "bin16": (of(m.bin16(b"y" * 300)), v("y" * 300)),
    "bin32": (of(m.bin32(b"")), v("")),
    "fixarray": (of(m.fixarray(b"\x01", m.NIL, b"\xa1a")), v([1, None, "a"])),
    "empty array": (of(m.fixarray()), v([])),
    "array16": (of(m.array16(*[b"\x01"] * 20)), v([1] * 20)),
    "array32": (of(m.array32(m.fixarray())), v([[]])),
    "fixmap": (of(m.fixmap((b"\xa1a", m.fixmap()))), v({"a": {}})),
    "map16": (of(m.map16((b"\xa1a", b"\x01"))), v({"a": 1})),
    "map32": (of(m.map32((b"\xa1a", b"\x01"))), v({"a": 1})),
    "fixext1": (of(m.fixext(5, b"a")), v(opaque(m.fixext(5, b"a")))),
    "fixext2": (of(m.fixext(-2, b"ab")), v(opaque(m.fixext(-2, b"ab")))),
    "fixext4": (of(m.fixext(127, b"abcd")), v(opaque(m.fixext(127, b"abcd")))),
    "fixext16": (of(m.fixext(1, b"a" * 16)), v(opaque(m.fixext(1, b"a" * 16)))),
    "ext8": (of(m.ext8(9, b"abc")), v(opaque(m.ext8(9, b"abc")))),
    "ext8 empty": (of(m.ext8(9, b"")), v(opaque(m.ext8(9, b"")))),
    "ext16": (of(m.ext16(9, b"x" * 300)), v(opaque(m.ext16(9, b"x" * 300)))),
    "ext32": (of(m.ext32(9, b"abc")), v(opaque(m.ext32(9, b"abc")))),
    "EventTime": (of(m.event_time(m.T, 5)), v("2015-09-07T01:23:04.000000005Z")),
    "EventTime, ext8": (
        of(m.ext8(0, m.time_payload(m.T, 5))),
        v("2015-09-07T01:23:04.000000005Z"),
    ),
    "Timestamp 32": (
        of(m.fixext(-1, m.T.to_bytes(4))),
        v("2015-09-07T01:23:04.000000000Z"),
    ),
    "Timestamp 64": (
        of(m.fixext(-1, (7 << 34 | m.T).to_bytes(8))),
        v("2015-09-07T01:23:04.000000007Z"),
    ),
    "Timestamp 96": (
        of(m.ext8(-1, (7).to_bytes(4) + (-1).to_bytes(8, signed=True))),
        v("1969-12-31T23:59:59.000000007Z"),
    ),
}
# What text and jsonb do not take, and what JSON cannot say.
STRANGE: dict[str, Golden] = {
    "empty record": (record(), row()),
    "NUL in a value": (of(m.fixstr(b"a\x00b")), v("a\\x00b")),
    "NUL in a key": (record((b"\xa2\x00k", b"\x01")), row({"\\x00k": 1})),
    "NUL in every column": (
        m.entry({"msg": "\0", "service": "\0s", "host": "h\0"}),
        row(message="\\x00", service="\\x00s", host="h\\x00"),
    ),
    "text that reads like an escape": (
        of(m.str8(rb"\u0000 \x00 \\")),
        v("\\u0000 \\x00 \\\\"),
    ),
    "no UTF-8 in a value": (of(m.fixstr(b"caf\xe9 \xff")), v("caf\\xe9 \\xff")),
    "no UTF-8 in a key": (record((b"\xa2k\xe9", b"\x01")), row({"k\\xe9": 1})),
    "no UTF-8 in a column": (
        record((m.fixstr(b"message"), m.fixstr(b"\xff!"))),
        row(message="\\xff!"),
    ),
    "a surrogate": (of(m.fixstr(b"\xed\xa0\x80")), v("\\xed\\xa0\\x80")),
    "overlong": (of(m.fixstr(b"\xc0\x80")), v("\\xc0\\x80")),
    "cut within a character": (of(m.fixstr("é".encode()[:1])), v("\\xc3")),
    "noncharacters and the last code point": (
        of(m.str8("\ufffe\uffff\U0010ffff".encode())),
        v("\ufffe\uffff\U0010ffff"),
    ),
    "control characters": (
        of(m.str8(bytes(range(1, 32)) + b"\x7f")),
        v("".join(map(chr, range(1, 32))) + "\x7f"),
    ),
    "quotes and line breaks": (
        m.entry({"message": 'a "q" \\ \r\n\tb', 'k"\n': "'"}),
        row({'k"\n': "'"}, message='a "q" \\ \r\n\tb'),
    ),
    "keys that are no strings": (
        record(
            (b"\x01", b"\xa1i"),
            (m.int8(-5), b"\xa1m"),
            (m.uint64(2**64 - 1), b"\xa1u"),
            (m.TRUE, b"\xa1b"),
            (m.NIL, b"\xa1n"),
            (m.float64(0.5), b"\xa1f"),
            (m.bin8(b"bin"), b"\xa1y"),
            (m.fixarray(b"\x01"), b"\xa1a"),
            (m.fixmap(), b"\xa1o"),
        ),
        row(
            {
                "1": "i",
                "-5": "m",
                "18446744073709551615": "u",
                "true": "b",
                "null": "n",
                "0.5": "f",
                "bin": "y",
                opaque(m.fixarray(b"\x01")): "a",
                opaque(m.fixmap()): "o",
            }
        ),
    ),
    "a key that comes twice": (
        record((b"\xa1a", b"\x01"), (b"\xa1b", b"\x02"), (b"\xa1a", b"\x03")),
        row({"a": 3, "b": 2}),
    ),
    "keys that become the same": (
        record((b"\x01", b"\x07"), (b"\xa11", b"\x08")),
        row({"1": 8}),
    ),
    "an empty key": (record((b"\xa0", b"\x01")), row({"": 1})),
    "a key of 100 kB": (
        record((m.str32(b"k" * 100_000), b"\x01")),
        row({"k" * 100_000: 1}),
    ),
    "1,000 keys": (
        m.entry({f"k{n}": n for n in range(1000)}),
        row({f"k{n}": n for n in range(1000)}),
    ),
    # The record itself is the first level; 254 are written.
    "254 levels": (
        m.fixarray(m.uint32(m.T), nested_bytes(254)),
        row(nested(254)),
    ),
    "255 levels": (
        m.fixarray(m.uint32(m.T), nested_bytes(255)),
        row(nested(254, opaque(nested_bytes(1)))),
    ),
    "2,000 levels": (
        m.fixarray(m.uint32(m.T), nested_bytes(2000)),
        row(nested(254, opaque(nested_bytes(2000 - 254)))),
    ),
    "254 levels with arrays": (
        of(m.nested_arrays(253)),
        v(json.loads("[" * 253 + "]" * 253)),
    ),
    "a string of 5 MB": (of(m.str32(b"x" * 5_000_000)), v("x" * 5_000_000)),
    "1 MB of what JSON escapes": (
        of(m.str32(b"\x01" * 1_000_000)),
        v("\x01" * 1_000_000),
    ),
}


def at(time: bytes) -> bytes:
    return m.fixarray(time, m.pack({}))


TIMES: dict[str, Golden] = {
    "seconds": (at(m.uint32(m.T)), row()),
    "seconds in 64 bits": (at(m.uint64(m.T)), row()),
    "nanoseconds are cut": (
        at(m.event_time(m.T, 123_456_999)),
        row(ts="2015-09-07 01:23:04.123456+00"),
    ),
    "the last nanosecond": (
        at(m.event_time(m.T, 999_999_999)),
        row(ts="2015-09-07 01:23:04.999999+00"),
    ),
    "one microsecond": (
        at(m.ext8(0, m.time_payload(m.T, 1000))),
        row(ts="2015-09-07 01:23:04.000001+00"),
    ),
    "a float": (
        at(m.float64(m.T + 0.123456)),
        row(ts="2015-09-07 01:23:04.123456+00"),
    ),
    "a second before 1970": (at(b"\xff"), row(ts="1969-12-31 23:59:59+00")),
    "half a second before 1970": (
        at(m.float64(-0.5)),
        row(ts="1969-12-31 23:59:59.5+00"),
    ),
    "1901": (at(m.int32(-(2**31))), row(ts="1901-12-13 20:45:52+00")),
    "2038": (at(m.uint32(2**31)), row(ts="2038-01-19 03:14:08+00")),
    "2106, the last EventTime": (
        at(m.event_time(0xFFFFFFFD, 999_999_999)),
        row(ts="2106-02-07 06:28:13.999999+00"),
    ),
    "after 2106": (at(m.uint64(2**32)), row(ts="2106-02-07 06:28:16+00")),
    "milliseconds": (
        at(m.uint64(m.T * 1000 + 7)),
        row({"_time": m.T * 1000 + 7}, ts="2015-09-07 01:23:04.007+00"),
    ),
    "nanoseconds as a number": (
        at(m.uint64(m.T * 10**9 + 7000)),
        row({"_time": m.T * 10**9 + 7000}, ts="2015-09-07 01:23:04.000007+00"),
    ),
    "zero": (at(b"\x00"), row({"_time": 0}, ts="2015-09-07 01:24:04+00")),
    "nil": (at(m.NIL), row({"_time": None}, ts="2015-09-07 01:24:04+00")),
    "with metadata": (
        m.fixarray(
            m.fixarray(m.event_time(m.T, 0), m.pack({"k": [1]})), m.pack({"a": 1})
        ),
        row({"a": 1, "_metadata": {"k": [1]}}),
    ),
}

LABELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
LEVELS: dict[str, Golden] = {
    **{
        label: (m.entry({"level": label.lower(), "a": 1}), row({"a": 1}, level=label))
        for label in LABELS
    },
    **{
        f"pino {number}": (m.entry({"level": number}), row(level=label))
        for number, label in zip(range(10, 70, 10), LABELS, strict=True)
    },
    **{
        f"syslog {number}": (m.entry({"PRIORITY": str(number)}), row(level=label))
        for number, label in enumerate(
            ("FATAL", "FATAL", "FATAL", "ERROR", "WARN", "INFO", "INFO", "DEBUG")
        )
    },
    "unknown": (m.entry({"level": "loud"}), row({"level": "loud"})),
    "a map": (m.entry({"level": {"a": 1}}), row({"level": {"a": 1}})),
    "all columns": (
        m.entry(
            {
                "severity": "Warning",
                "app": "shop",
                "hostname": "h1",
                "msg": "bought",
                "n": 1,
            }
        ),
        row({"n": 1}, level="WARN", service="shop", host="h1", message="bought"),
    ),
    "Kubernetes": (
        m.entry(
            {
                "log": "line",
                "stream": "stdout",
                "kubernetes": {"host": "node", "labels": {"app": "web"}},
            }
        ),
        row(
            {"stream": "stdout", "kubernetes": {"labels": {}}},
            service="web",
            host="node",
            message="line",
        ),
    ),
    "columns that are no text": (
        m.entry({"message": 5, "host": None, "service": ["a"]}),
        row({"message": 5, "host": None, "service": ["a"]}),
    ),
}
GOLDEN = {"types": TYPES, "strange": STRANGE, "times": TIMES, "levels": LEVELS}


@pytest.fixture
async def person(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.url)
    yield connection
    await connection.close()


async def rows_in(person: asyncpg.Connection) -> list[Row]:
    """Read the rows back, in the order of their ids."""
    await person.execute("SET timezone = 'UTC'; SET max_stack_depth = '4MB'")
    return [
        Row(
            *(ts, level, service, host, message),
            json.loads(attributes, parse_float=Decimal),
        )
        for ts, level, service, host, message, attributes in await person.fetch(
            f"SELECT {COLUMNS} FROM logs ORDER BY id"
        )
    ]


def exact(compared: Row) -> str:
    """Write a row so that true is not 1, 3.0 not 3, and the order of keys nothing."""
    attributes = json.dumps(
        compared.attributes, sort_keys=True, default=lambda number: f"number {number}"
    )
    return repr((*compared[:5], attributes))


@pytest.mark.parametrize("group", list(GOLDEN))
async def test_every_golden_record_comes_back_as_written_here(
    database: Database, person: asyncpg.Connection, group: str
) -> None:
    golden = GOLDEN[group]
    entries = b"".join(entry for entry, _ in golden.values())
    await store_in(database, batch_of(entries, now_seconds=NOW_SECONDS), NOW_SECONDS)
    assert await person.fetchval("SELECT count(*) FROM rejected_event") == 0
    differ = {
        name: (short(found), short(expected))
        for (name, (_, expected)), found in zip(
            golden.items(), await rows_in(person), strict=True
        )
        if exact(found) != exact(expected)
    }
    assert differ == {}


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 400 else f"{text[:200]} ... {text[-200:]}"


async def test_it_makes_no_difference_what_stands_beside_a_record(
    database: Database, person: asyncpg.Connection
) -> None:
    """Usual records and strange ones are read in two ways; rows are the same."""
    usual = m.entry({"level": "info", "message": "usual", "n": 1})
    chosen = [TYPES["NaN"], STRANGE["NUL in a value"], TIMES["1901"], LEVELS["INFO"]]
    mixed = b"".join(usual + entry for entry, _ in chosen) + usual
    await store_in(database, batch_of(mixed, *(entry for entry, _ in chosen)))
    found = await rows_in(person)
    expected = [expected for _, expected in chosen]
    assert found[1:9:2] == expected
    assert found[9:] == expected
    assert found[0:9:2] == [row({"n": 1}, level="INFO", message="usual")] * 5


async def test_levels_are_in_their_order(
    database: Database, person: asyncpg.Connection
) -> None:
    entries = b"".join(m.entry({"level": label}) for label in reversed(LABELS))
    await store_in(database, batch_of(entries))
    found = await person.fetch("SELECT level::text FROM logs ORDER BY logs.level")
    assert [row["level"] for row in found] == list(LABELS)
    statement = "SELECT count(*) FROM logs WHERE level >= 'WARN'"
    assert await person.fetchval(statement) == 3


async def test_numbers_can_be_reckoned_with_and_text_found(
    database: Database, person: asyncpg.Connection
) -> None:
    """They are jsonb's own, not text that looks like it."""
    entries = m.entry({"n": 2**64 - 1, "f": 0.1, "deep": {"list": [1, {"k": "v"}]}})
    await store_in(database, batch_of(entries))
    assert await person.fetchval(
        "SELECT (attributes->'n')::numeric + (attributes->'f')::numeric FROM logs"
    ) == Decimal("18446744073709551615.1")
    contains = 'attributes @> \'{"deep": {"list": [{"k": "v"}]}}\''
    assert await person.fetchval(f"SELECT {contains} FROM logs")


async def test_tags_come_as_they_were_sent(
    database: Database, person: asyncpg.Connection
) -> None:
    tags = ["app", "", "k8s.한글.🎉", "x" * 1024, "a'b\"c\\d\n", "../../etc"]
    for tag in tags:
        await store_in(database, batch_of(m.entry({}), tag=tag))
    found = await person.fetch("SELECT tag FROM logs")
    assert sorted(row["tag"] for row in found) == sorted(tags)


async def test_ids_are_unique_and_in_the_order_of_arrival(
    database: Database, person: asyncpg.Connection
) -> None:
    """Within a part, over parts, over messages, and for receivers side by side."""
    numbers = itertools.count()
    messages = [
        b"".join(m.entry({"n": next(numbers), "fill": "x" * 60}) for _ in range(count))
        for count in (1, 5000, 1, 3)
    ]
    batch = batch_of(*messages, now_seconds=NOW_SECONDS)
    assert len(batch.segments) > len(messages)
    await store_in(database, batch)
    found = await person.fetch(
        "SELECT (attributes->'n')::int AS n FROM logs ORDER BY id"
    )
    assert [row["n"] for row in found] == list(range(5005))
    other = batch_of(*messages, receiver=8, now_seconds=NOW_SECONDS)
    await store_in(database, other)
    ids = "SELECT count(*), count(DISTINCT id), min(id) > 0 FROM logs"
    (counted,) = await person.fetch(ids)
    assert tuple(counted) == (10_010, 10_010, True)
