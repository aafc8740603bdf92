"""One entry, the careful way: every form of it, and what becomes of a broken one."""

import math
from typing import Any

import orjson
import pytest

from penstock.model import RejectedEvent
from penstock.rows.entries import (
    GroupMarker,
    Outcome,
    ReadEntry,
    read_entry,
)
from tests import msgpack_bytes as m
from tests.pure_core import NOW

SECOND = 1_000_000
T_MICROSECONDS = m.T * SECOND
RECORD = m.pack({"a": 1})
GROUP_START, GROUP_END = m.event_time(0xFFFFFFFF), m.event_time(0xFFFFFFFE)


def outcome_of(entry: bytes) -> Outcome:
    """Read an entry that stands amid others."""
    before, behind = b"\xc1\xc1", m.entry({"next": True})
    outcome, end = read_entry(before + entry + behind, len(before), NOW)
    assert end == len(before) + len(entry)
    assert read_entry(entry, 0, NOW) == (outcome, len(entry))
    return outcome


def row_of(entry: bytes) -> ReadEntry:
    outcome = outcome_of(entry)
    assert isinstance(outcome, ReadEntry), outcome
    return outcome


def timed(time: bytes) -> ReadEntry:
    entry = row_of(m.fixarray(time, RECORD))
    assert entry.record == {"a": 1}
    assert entry.metadata is None
    return entry


# --- times


@pytest.mark.parametrize(
    ("time", "microseconds"),
    [
        (m.event_time(m.T, 5), T_MICROSECONDS),
        (m.event_time(m.T, 999_999_999), T_MICROSECONDS + 999_999),
        (m.event_time(m.T, 1_500_000_000), T_MICROSECONDS + 1_500_000),
        (m.ext8(0, m.time_payload(m.T, 5000)), T_MICROSECONDS + 5),
        (m.ext16(0, m.time_payload(m.T, 5000)), T_MICROSECONDS + 5),
        (m.ext32(0, m.time_payload(m.T, 5000)), T_MICROSECONDS + 5),
        (m.event_time(0xFFFFFFFD), 0xFFFFFFFD * SECOND),
        (m.event_time(0xFFFFFFFF, 1), 0xFFFFFFFF * SECOND),
        (m.event_time(0xFFFFFFFE, 1000), 0xFFFFFFFE * SECOND + 1),
        (m.fixext(-1, m.T.to_bytes(4)), T_MICROSECONDS),
        (m.ext8(-1, bytes(4) + (-5).to_bytes(8, signed=True)), -5 * SECOND),
        (b"\x05", 5 * SECOND),
        (m.uint8(200), 200 * SECOND),
        (m.uint16(60_000), 60_000 * SECOND),
        (m.uint32(m.T), T_MICROSECONDS),
        (m.uint64(m.T), T_MICROSECONDS),
        (b"\xfb", -5 * SECOND),
        (m.int8(-100), -100 * SECOND),
        (m.int16(-30_000), -30_000 * SECOND),
        (m.int32(m.T), T_MICROSECONDS),  # golang's and Docker's
        (m.int64(m.T), T_MICROSECONDS),
        (m.int64(-m.T), -T_MICROSECONDS),
        (m.float64(m.T + 0.25), T_MICROSECONDS + 250_000),
        (m.float64(-0.25), -250_000),
        (m.float32(0.25), 250_000),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else None,
)
def test_a_time_of_any_form_is_the_rows_time(time: bytes, microseconds: int) -> None:
    entry = timed(time)
    assert entry.microseconds == microseconds
    assert not entry.time_was_replaced


@pytest.mark.parametrize(
    ("time", "microseconds", "raw"),
    [
        (m.float64(1.7e12 + 123), 1_700_000_000_123_000, 1.7e12 + 123),
        (m.uint64(1_700_000_000_123), 1_700_000_000_123_000, 1_700_000_000_123),
        (m.uint64(1_700_000_000_123_456), 1_700_000_000_123_456, 1_700_000_000_123_456),
        (
            m.uint64(1_700_000_000_123_456_789),
            1_700_000_000_123_456,
            1_700_000_000_123_456_789,
        ),
        (m.int64(-1_700_000_000_123), -1_700_000_000_123_000, -1_700_000_000_123),
        (m.uint64(2**64 - 1), 18_446_744_073_709_551, 2**64 - 1),
    ],
)
def test_a_finer_unit_in_the_seconds_place_is_read_and_kept_as_sent(
    time: bytes, microseconds: int, raw: int | float
) -> None:
    entry = timed(time)
    assert entry.microseconds == microseconds
    assert (entry.time_was_replaced, entry.raw_time) == (True, raw)


@pytest.mark.parametrize(
    ("time", "raw"),
    [
        (m.NIL, None),
        (b"\x00", 0),
        (m.uint32(0), 0),
        (m.int64(0), 0),
        (m.float64(0.0), 0.0),
        (m.float64(-0.0), 0.0),
        (m.event_time(0), "1970-01-01T00:00:00.000000000Z"),
        (m.event_time(0, 7), "1970-01-01T00:00:00.000000007Z"),
        (m.event_time(0, 999_999_999), "1970-01-01T00:00:00.999999999Z"),
        (m.fixext(-1, bytes(4)), "1970-01-01T00:00:00.000000000Z"),
    ],
)
def test_no_time_is_the_time_of_arrival_and_kept_as_sent(time: bytes, raw: Any) -> None:
    entry = timed(time)
    assert entry.microseconds == NOW
    assert (entry.time_was_replaced, entry.raw_time) == (True, raw)


@pytest.mark.parametrize(
    "time",
    [
        *(
            m.TRUE,
            m.FALSE,
            m.fixstr(b"2015"),
            m.bin8(b"x"),
            b"\x80",
            m.fixmap((RECORD,) * 2),
        ),
        *(m.fixext(0, bytes(4)), m.ext8(0, bytes(7)), m.ext8(0, bytes(9))),
        *(m.ext8(0, b""), m.fixext(0, bytes(16)), m.fixext(1, bytes(8))),
        *(m.fixext(-1, b"\0\1"), m.ext8(-1, b""), m.fixext(-2, bytes(8))),
        *(m.float64(math.nan), m.float64(math.inf), m.float64(-math.inf)),
        *(m.float32(math.nan), m.float64(1e300), m.float64(-1e300)),
        # Past what timestamptz has.
        m.ext8(-1, bytes(4) + (2**63 - 1).to_bytes(8)),
        m.ext8(-1, bytes(4) + (-(2**63)).to_bytes(8, signed=True)),
        m.ext8(-1, bytes(4) + (9_224_318_016_000).to_bytes(8)),
        m.ext8(-1, bytes(4) + (-210_866_803_201).to_bytes(8, signed=True)),
        m.fixarray(),
        m.fixarray(m.TRUE),
        m.fixarray(m.fixarray(m.uint32(m.T))),
    ],
    ids=bytes.hex,
)
def test_what_is_no_time_costs_the_event(time: bytes) -> None:
    entry = m.fixarray(time, RECORD)
    assert outcome_of(entry) == RejectedEvent("invalid_time", entry)


def test_the_last_times_that_timestamptz_has_are_taken() -> None:
    for seconds in (9_224_318_015_999, -210_866_803_200):
        time = m.ext8(-1, bytes(4) + seconds.to_bytes(8, signed=True))
        assert timed(time).microseconds == seconds * SECOND


# --- shapes


@pytest.mark.parametrize("array", [m.fixarray, m.array16, m.array32])
def test_an_entry_may_have_any_array_header_and_elements_to_spare(array: Any) -> None:
    for rest in ([], [m.NIL], [m.fixstr(b"extra"), b"\x90", m.TRUE]):
        entry = row_of(array(m.uint32(m.T), RECORD, *rest))
        assert entry == ReadEntry(T_MICROSECONDS, {"a": 1}, None, m.T, False)


@pytest.mark.parametrize("time", [m.uint32(m.T), m.event_time(m.T), m.float64(m.T)])
def test_metadata_stands_beside_the_time(time: bytes) -> None:
    forms: list[tuple[list[bytes], Any]] = [
        ([m.fixmap((m.fixstr(b"k"), m.fixstr(b"v")))], {"k": "v"}),
        ([b"\x80"], {}),
        ([m.NIL], None),
        ([], None),
        ([m.fixstr(b"no map")], "no map"),
        ([m.pack({"k": 1}), m.TRUE, m.TRUE], {"k": 1}),
    ]
    for rest, metadata in forms:
        for array in (m.fixarray, m.array32):
            entry = row_of(m.fixarray(array(time, *rest), RECORD))
            assert entry.microseconds == T_MICROSECONDS
            assert entry.metadata == metadata
            assert entry.record == {"a": 1}


def test_a_nil_time_with_metadata_is_the_time_of_arrival() -> None:
    entry = row_of(m.fixarray(m.fixarray(m.NIL, m.pack({"k": 1})), RECORD))
    assert (entry.microseconds, entry.metadata) == (NOW, {"k": 1})


@pytest.mark.parametrize("size", [0, 1])
def test_an_entry_without_a_record_is_rejected(size: int) -> None:
    entry = m.fixarray(*[m.uint32(m.T)] * size)
    assert outcome_of(entry) == RejectedEvent("no_record", entry)


@pytest.mark.parametrize(
    "record",
    [
        *(m.NIL, m.TRUE, b"\x05", m.fixstr(b"line"), m.bin8(b"x"), m.fixarray(RECORD)),
        *(m.float64(1.0), m.fixext(1, b"x"), m.event_time(m.T)),
    ],
    ids=bytes.hex,
)
def test_a_record_that_is_no_map_is_rejected_as_it_came(record: bytes) -> None:
    for time in (m.uint32(m.T), m.fixarray(m.event_time(m.T), b"\x80")):
        entry = m.fixarray(time, record)
        assert outcome_of(entry) == RejectedEvent("record_not_a_map", entry)


@pytest.mark.parametrize(
    "value",
    [
        *(
            m.NIL,
            b"\x05",
            m.fixstr(b"x"),
            RECORD,
            m.fixext(0, bytes(8)),
            m.float64(1.0),
        ),
        m.fixmap((b"\x00", m.uint32(m.T)), (b"\x01", RECORD)),
    ],
    ids=bytes.hex,
)
def test_a_value_that_is_no_array_is_no_entry(value: bytes) -> None:
    assert outcome_of(value) == RejectedEvent("not_an_entry", value)


def test_an_empty_record_is_a_row() -> None:
    for record in (b"\x80", m.map16(), m.map32()):
        assert row_of(m.fixarray(m.uint32(m.T), record)).record == {}


# --- groups


@pytest.mark.parametrize("with_metadata", [True, False])
def test_a_groups_markers_are_no_rows(with_metadata: bool) -> None:
    def marker(time: bytes, body: bytes) -> bytes:
        head = m.fixarray(time, m.pack({"schema": "otlp"})) if with_metadata else time
        return m.fixarray(head, body)

    body: Any = {"resource": {"attributes": {"host": "h"}}}
    assert outcome_of(marker(GROUP_START, m.pack(body))) == GroupMarker(
        orjson.dumps(
            {**body, "_metadata": {"schema": "otlp"}} if with_metadata else body
        )
    )
    assert outcome_of(marker(GROUP_END, m.pack(body))) == GroupMarker(None)


@pytest.mark.parametrize(
    "time", [m.event_time(0xFFFFFFFF, 1), m.event_time(0xFFFFFFFD)]
)
def test_a_time_beside_the_markers_is_a_time(time: bytes) -> None:
    assert row_of(m.fixarray(m.fixarray(time, b"\x80"), RECORD)).metadata == {}


def test_a_number_of_a_markers_seconds_is_a_time() -> None:
    assert timed(m.uint32(0xFFFFFFFF)).microseconds == 0xFFFFFFFF * SECOND


@pytest.mark.parametrize("time", [GROUP_START, GROUP_END])
def test_a_marker_whose_body_is_no_map_is_rejected(time: bytes) -> None:
    entry = m.fixarray(m.fixarray(time, b"\x80"), m.fixstr(b"x"))
    assert outcome_of(entry) == RejectedEvent("record_not_a_map", entry)


# --- damage


def test_an_entry_cut_anywhere_is_kept_with_all_that_is_left() -> None:
    entry = m.fixarray(m.fixarray(m.event_time(m.T), b"\x80"), m.pack({"a": ["x", 1]}))
    for length in range(1, len(entry)):
        cut = entry[:length]
        assert read_entry(RECORD + cut, len(RECORD), NOW) == (
            RejectedEvent("truncated_entry", cut),
            len(RECORD) + length,
        )


@pytest.mark.parametrize("at", [1, 6, 7, 9])
def test_behind_the_byte_that_is_never_used_no_entry_is_found(at: int) -> None:
    entry = m.entry({"a": 1})
    damaged = entry[:at] + m.NEVER_USED + entry[at + 1 :] + m.entry({"a": 2})
    assert read_entry(damaged, 0, NOW) == (
        RejectedEvent("malformed_msgpack", damaged),
        len(damaged),
    )


@pytest.mark.parametrize("header", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"])
def test_a_declared_count_past_the_bytes_is_an_entry_cut_short(header: bytes) -> None:
    rest = header + m.NIL * 1000
    assert read_entry(rest, 0, NOW) == (
        RejectedEvent("truncated_entry", rest),
        len(rest),
    )


def test_nesting_does_not_end_the_reading() -> None:
    deep = m.nested_arrays(5000)
    as_time = m.fixarray(deep, RECORD)
    assert outcome_of(as_time) == RejectedEvent("invalid_time", as_time)
    entry = row_of(m.fixarray(m.uint32(m.T), m.fixmap((m.fixstr(b"a"), deep))))
    assert list(entry.record) == ["a"]
