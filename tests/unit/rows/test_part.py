"""The bytes of a row, its id and its day, and what is not written as it stands."""

import math
from typing import Any

import pytest

from penstock.model import Day, EncodedRows
from penstock.rows import stream
from penstock.rows.copy_format import ID_EPOCH_MICROSECONDS
from penstock.rows.entries import Outcome, read_entry
from tests import msgpack_bytes as m
from tests import pure_core
from tests.copy_tuples import Row, decode_rows
from tests.pure_core import NOW, Twins, parts_of

SECOND = 1_000_000
DAY = 86_400 * SECOND
RECEIVER = 7


def new_encoder(receiver: int = RECEIVER) -> Twins:
    return Twins(receiver=receiver)


def part_of(
    *entries: bytes, encoder: Twins | None = None, now: int = NOW
) -> EncodedRows:
    parts = parts_of(b"".join(entries), encoder=encoder or new_encoder(), now=now)
    assert len(parts) == 1
    return parts[0]


def ids_of(*parts: EncodedRows) -> list[int]:
    return [row.id for part in parts for row in decode_rows(part.data)]


def microseconds_entry(microseconds: int) -> bytes:
    """Write an entry of a time that EventTime cannot tell."""
    seconds, rest = divmod(microseconds, SECOND)
    time = m.ext8(-1, (rest * 1000).to_bytes(4) + seconds.to_bytes(8, signed=True))
    return m.entry({}, time)


def test_a_row_is_these_bytes() -> None:
    record = {"level": "info", "host": "h", "message": "hé", "a": None}
    entry = m.entry(record, m.event_time(946_684_800, 2999))
    part = part_of(entry, now=ID_EPOCH_MICROSECONDS + 1)
    assert part.data.hex(" ", -4) == bytes.fromhex(
        "0008"  # fields
        "00000008 0000000000001007"  # id: tick 1, receiver 7
        "00000008 0000000000000002"  # ts: microseconds since 2000
        "00000001 74"  # tag
        "00000004 494e464f"  # level
        "ffffffff"  # service
        "00000001 68"  # host
        "00000003 68c3a9"  # message
        "0000000b 01 7b2261223a6e756c6c7d"  # attributes: version 1, {"a":null}
    ).hex(" ", -4)
    assert (part.rows, part.rejected) == (1, ())
    assert part.days == {Day(10957)}


# --- days


@pytest.mark.parametrize(
    "microseconds",
    [
        NOW,
        SECOND + 1,
        -1,
        -210_866_803_200_000_000,
        9_224_318_015_999_999_999,
        DAY,
        DAY - 1,
    ],
)
def test_any_time_postgresql_has_is_written(microseconds: int) -> None:
    part = part_of(microseconds_entry(microseconds))
    (row,) = decode_rows(part.data)
    assert row.ts == microseconds
    assert part.days == {Day(microseconds // DAY)}


def test_the_days_are_those_the_rows_fall_on() -> None:
    midnight = 20_000 * DAY
    times = [midnight, midnight - 1, midnight + DAY - 1, midnight + DAY, midnight]
    part = part_of(*map(microseconds_entry, times))
    assert part.days == {Day(19_999), Day(20_000), Day(20_001)}
    assert [row.ts for row in decode_rows(part.data)] == times


def test_the_day_of_a_plain_time_is_the_day_it_falls_on() -> None:
    midnight = 20_000 * 86_400
    for seconds, day in ((midnight, 20_000), (midnight - 1, 19_999)):
        for time in (m.uint32(seconds), m.event_time(seconds, 999_999_999)):
            assert part_of(m.entry({}, time)).days == {Day(day)}
    for order in ([midnight - 1, midnight], [midnight, midnight - 1]):
        part = part_of(*(m.entry({}, m.uint32(each)) for each in order))
        assert part.days == {Day(19_999), Day(20_000)}
    # A second's nanoseconds may carry over midnight.
    late = m.event_time(midnight - 1, 1_000_000_000)
    assert part_of(m.entry({}, late)).days == {Day(20_000)}


def test_a_rejected_event_is_on_no_day() -> None:
    part = part_of(m.fixarray(m.uint32(m.T), m.NIL))
    assert (part.rows, len(part.rejected), part.days) == (0, 1, frozenset())


# --- ids


def test_ids_increase_from_row_to_row_and_from_part_to_part() -> None:
    encoder = new_encoder()
    ids = ids_of(
        *(part_of(m.entry({}) * 3, encoder=encoder, now=NOW + i) for i in range(5))
    )
    assert ids == sorted(set(ids))
    assert len(ids) == 15


def test_an_id_tells_the_time_of_arrival_and_the_receiver() -> None:
    (row_id,) = ids_of(part_of(m.entry({}, b"\x01"), encoder=new_encoder(4095)))
    assert (row_id >> 12) + ID_EPOCH_MICROSECONDS == NOW
    assert row_id & 4095 == 4095


@pytest.mark.parametrize(
    "clock",
    [
        pytest.param([NOW] * 6, id="stands still"),
        pytest.param([NOW, NOW - 1, NOW - DAY, 0, -NOW, NOW], id="jumps back"),
        pytest.param([0, 0, 1, ID_EPOCH_MICROSECONDS, 5, NOW], id="before 2020"),
        pytest.param([NOW + i for i in range(6)], id="slower than the rows"),
    ],
)
def test_no_id_is_given_twice_whatever_the_clock_does(clock: list[int]) -> None:
    encoder = new_encoder()
    # Some of the careful way, one rejected.
    entries = [m.entry({}), m.entry({}, m.NIL), m.fixarray(m.NIL, m.NIL)] * 25
    ids = ids_of(*(part_of(*entries, encoder=encoder, now=now) for now in clock))
    assert len(set(ids)) == 300
    assert ids == sorted(ids)
    assert all(row_id > 0 for row_id in ids)


def test_parts_without_rows_use_up_no_ids_of_the_future() -> None:
    encoder = new_encoder()
    for _ in range(1000):
        part_of(m.NIL, encoder=encoder)
    later = part_of(m.entry({}), encoder=encoder)
    assert ids_of(later) == ids_of(part_of(m.entry({})))


def test_receivers_never_give_the_same_id() -> None:
    entries = m.entry({}) * 2
    ids = [ids_of(part_of(entries, encoder=new_encoder(i))) for i in (0, 1, 4095)]
    assert len({row_id for each in ids for row_id in each}) == 6


def test_ids_are_positive_bigints_until_2091() -> None:
    late_2090 = 3_818_000_000 * SECOND
    (row_id,) = ids_of(part_of(m.entry({}), encoder=new_encoder(4095), now=late_2090))
    assert 0 < row_id < 2**63


# --- what is not written as it stands

# The record on the wire, and the row's columns and attributes in the end.
K, TEXT = m.fixstr(b"a"), m.fixstr(b"x\0")
NOT_PLAIN: list[tuple[bytes, dict[str, Any], dict[str, Any]]] = [
    (m.fixmap((K, TEXT)), {}, {"a": "x\\x00"}),
    (m.fixmap((TEXT, K)), {}, {"x\\x00": "a"}),
    (m.fixmap((K, m.fixarray(m.fixstr(b"\0")))), {}, {"a": ["\\x00"]}),
    (m.fixmap((K, m.fixmap((TEXT, b"\1")))), {}, {"a": {"x\\x00": 1}}),
    (m.fixmap((K, m.fixstr(b"\\\0"))), {}, {"a": "\\\\x00"}),
    (m.fixmap((K, m.fixstr(b"\\\\\0"))), {}, {"a": "\\\\\\x00"}),
    (m.fixmap((m.fixstr(b"message"), TEXT)), {"message": "x\\x00"}, {}),
    (m.fixmap((m.fixstr(b"service"), TEXT)), {"service": "x\\x00"}, {}),
    (m.fixmap((m.fixstr(b"host"), TEXT)), {"host": "x\\x00"}, {}),
    (m.fixmap((m.fixstr(b"level"), TEXT)), {}, {"level": "x\\x00"}),
    (m.fixmap((K, m.float64(math.nan))), {}, {"a": "NaN"}),
    (m.fixmap((K, m.float32(math.inf))), {}, {"a": "Infinity"}),
    (
        m.fixmap((K, m.fixarray(b"\1", m.fixmap((K, m.float64(-math.inf)))))),
        {},
        {"a": [1, {"a": "-Infinity"}]},
    ),
    (m.fixmap((K, m.bin8(b"bytes"))), {}, {"a": "bytes"}),
    (m.fixmap((m.fixstr(b"message"), m.bin8(b"text"))), {"message": "text"}, {}),
    (m.fixmap((m.fixstr(b"service"), m.bin8(b"text"))), {"service": "text"}, {}),
    (m.fixmap((m.fixstr(b"level"), m.bin8(b"info"))), {"level": "INFO"}, {}),
    (m.fixmap((m.bin8(b"level"), m.fixstr(b"info"))), {"level": "INFO"}, {}),
    (m.fixmap((m.bin8(b"a"), b"\1")), {}, {"a": 1}),
    (m.fixmap((K, b"\1"), (m.bin8(b"a"), b"\2")), {}, {"a": 2}),
    (
        m.fixmap((m.fixstr(b"msg"), K), (m.bin8(b"msg"), m.fixstr(b"b"))),
        {"message": "b"},
        {},
    ),
    (m.fixmap((b"\1", b"\1"), (m.TRUE, b"\2")), {}, {"1": 1, "true": 2}),
    (m.fixmap((m.NIL, b"\1")), {}, {"null": 1}),
    (m.fixmap((K, m.event_time(m.T))), {}, {"a": "2015-09-07T01:23:04.000000000Z"}),
    (
        m.fixmap((m.fixstr(b"msg"), m.event_time(m.T))),
        {"message": "2015-09-07T01:23:04.000000000Z"},
        {},
    ),
    (m.fixmap((K, m.fixstr(b"\xff"))), {}, {"a": "\\xff"}),
    (m.fixmap((m.fixstr(b"\xff"), b"\1")), {}, {"\\xff": 1}),
    (m.fixmap((m.fixstr(b"message"), m.fixstr(b"\xff"))), {"message": "\\xff"}, {}),
    (m.fixmap((m.fixstr(b"service"), m.fixstr(b"\xff"))), {"service": "\\xff"}, {}),
    (m.fixmap((m.fixstr(b"host"), m.fixstr(b"\xff"))), {"host": "\\xff"}, {}),
]
# Records that only look as if they held something of that kind.
PLAIN: list[dict[str, Any]] = [
    {"a": "\\u0000"},  # six characters, no NUL
    {"a": "\\\\u0000"},
    {"\\u0000": "\\u0000"},
    {"a": '{"log":"\\u0000"}'},
    {"a": "C:\\users\\u0000x"},
    {"a": '\n\\u0000"\\u0000'},
    {"a": "null", "b": None, "c": ["null", None, 1.5]},
    {"a": "\x01\x1f\x7f\x80 \ufffe"},
    {"a": 2**64 - 1, "b": -(2**63), "c": 5e-324, "d": -0.0},
    {"a": {"message": "m", "level": "info"}},
]


@pytest.fixture
def careful(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note where each entry begins that the plain encoder leaves to the careful way."""
    offsets: list[int] = []

    def noting(entries: bytes, offset: int, now: int) -> tuple[Outcome, int]:
        offsets.append(offset)
        return read_entry(entries, offset, now)

    monkeypatch.setattr(pure_core, "encoders", (False,))
    monkeypatch.setattr(stream, "read_entry", noting)
    return offsets


def columns_of(row: Row) -> dict[str, Any]:
    columns = {name: getattr(row, name) for name in ("level", "service", "host")}
    columns["message"] = row.message
    return {name: value for name, value in columns.items() if value is not None}


@pytest.mark.parametrize(
    ("record", "columns", "attributes"),
    NOT_PLAIN,
    ids=lambda value: value.hex() if isinstance(value, bytes) else None,
)
def test_a_record_that_is_not_plain_is_one_row_like_its_neighbours(
    record: bytes,
    columns: dict[str, Any],
    attributes: dict[str, Any],
    careful: list[int],
) -> None:
    before = m.entry({"n": 1})
    part = part_of(before, m.fixarray(m.uint32(m.T), record), m.entry({"n": 2}))
    rows = decode_rows(part.data)
    assert [row.attributes for row in rows] == [{"n": 1}, attributes, {"n": 2}]
    assert columns_of(rows[1]) == columns
    assert [row.id - rows[0].id for row in rows] == [0, 1 << 12, 2 << 12]
    assert part.days == {Day(m.T // 86_400)}
    assert careful == [len(before)], "it alone is read again"


@pytest.mark.parametrize("record", PLAIN, ids=repr)
def test_a_record_that_only_looks_as_if_it_were_not_plain_is_stored_as_sent(
    record: dict[str, Any], careful: list[int]
) -> None:
    (row,) = decode_rows(part_of(m.entry(record)).data)
    assert row.attributes == record
    assert careful == []


@pytest.mark.parametrize("text", [*PLAIN[0].values(), "x\\u0000" * 3, "null", "\x01"])
def test_a_column_takes_such_a_text_as_sent_too(text: str, careful: list[int]) -> None:
    record = {"message": text, "service": text, "host": text}
    (row,) = decode_rows(part_of(m.entry(record)).data)
    assert (row.message, row.service, row.host) == (text, text, text)
    assert careful == []


@pytest.mark.parametrize("text", ["x\0", "\udcff"])
def test_a_tag_that_is_no_text_is_our_own_mistake(text: str) -> None:
    with pytest.raises(ValueError):
        parts_of(m.entry({}), tag=text)


def test_attributes_are_the_json_of_what_is_left() -> None:
    record = {"message": "m", "a": {"b": [1, 2.5, "x", None, True]}}
    (row,) = decode_rows(part_of(m.entry(record)).data)
    assert row.json == '{"a":{"b":[1,2.5,"x",null,true]}}'
