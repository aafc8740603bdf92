"""Which entry a row comes from, and that it is the same row when it comes alone."""

from typing import Any

import msgpack
import pytest

from penstock.model import EncodedRows
from penstock.rows.copy_format import row_bounds
from penstock.rows.retrace import entries_of_rows
from penstock.settings import ColumnSettings
from tests import msgpack_bytes as m
from tests.copy_tuples import Row, decode_rows
from tests.pure_core import NOW, Twins, parts_of

GROUP_START, GROUP_END = m.event_time(0xFFFFFFFF), m.event_time(0xFFFFFFFE)
OPENING = m.fixarray(m.fixarray(GROUP_START, m.fixmap()), m.pack({"g": 1}))
CLOSING = m.fixarray(m.fixarray(GROUP_END, m.fixmap()), m.fixmap())
LATER = NOW + 86_400_000_000


def rows_of(part: EncodedRows) -> list[Row]:
    return [row._replace(id=0) for row in decode_rows(part.data)]


def retraced(entries: bytes, *, metadata: bytes | None = None) -> list[bytes]:
    """Retrace the entries of one message; each alone is the row that it was."""
    found = []
    for part in parts_of(entries, metadata=metadata):
        ours = entries_of_rows(part)
        assert len(ours) == part.rows
        for entry, row in zip(ours, rows_of(part), strict=True):
            # Hours later, by a process that knows nothing of the message.
            (alone,) = parts_of(entry, now=LATER)
            assert rows_of(alone) == [row]
            assert alone.rejected == ()
        found += ours
    return found


# --- what needs nothing else

ALONE = [
    pytest.param(m.entry({"a": 1}), id="seconds"),
    pytest.param(m.entry({"a": 1}, m.event_time(m.T, 5000)), id="EventTime"),
    pytest.param(
        m.entry({"a": 1}, m.ext8(0, m.time_payload(m.T, 7))), id="EventTime as ext8"
    ),
    pytest.param(m.entry({"a": 1}, m.ext8(-1, m.time_payload(1, m.T))), id="Timestamp"),
    pytest.param(m.entry({"a": 1}, m.float64(m.T + 0.25)), id="float"),
    pytest.param(m.entry({"a": 1}, m.int32(-5)), id="before 1970"),
    pytest.param(
        m.entry({"a": 1}, m.fixarray(m.event_time(m.T), m.fixmap())), id="no metadata"
    ),
    pytest.param(
        m.entry({"a": 1}, m.fixarray(m.event_time(m.T), m.pack({"m": 1}))),
        id="its own metadata",
    ),
    pytest.param(m.fixarray(m.uint32(m.T), m.fixmap(), m.NIL), id="three elements"),
    pytest.param(
        m.array32(m.uint64(m.T), m.map32((m.str32(b"a"), m.bin8(b"\xff\0")))),
        id="longer than it need be",
    ),
    pytest.param(
        m.fixarray(m.uint32(m.T), m.fixmap((m.NIL, m.float64(float("nan"))))),
        id="not plain",
    ),
    pytest.param(
        m.fixarray(m.uint32(m.T), m.fixmap((m.fixstr(b"d"), m.nested_arrays(2000)))),
        id="deeper than msgpack goes",
    ),
]


@pytest.mark.parametrize("entry", ALONE)
def test_an_entry_that_needs_nothing_else_is_returned_to_the_byte(
    entry: bytes,
) -> None:
    assert retraced(entry) == [entry]
    beside = m.entry({"beside": 1})
    assert retraced(beside + entry + beside) == [beside, entry, beside]


@pytest.mark.parametrize("entry", ALONE)
def test_it_is_found_among_what_is_no_row(entry: bytes) -> None:
    junk = [m.NIL, m.fixarray(m.uint32(m.T), m.NIL), b"\x07\x07", OPENING + CLOSING]
    assert retraced(entry.join(junk) + entry + b"\x92\x01") == [entry] * 4


def test_no_rows_have_no_entries() -> None:
    assert retraced(m.NIL) == []
    assert retraced(OPENING) == []
    assert entries_of_rows(EncodedRows(b"", 0, frozenset())) == []


def test_a_part_is_retraced_without_the_others() -> None:
    entries = [m.entry({"n": n, "fill": "x" * 4000}) for n in range(500)]
    assert len(parts_of(b"".join(entries))) > 2
    assert retraced(b"".join(entries)) == entries


# --- what its row has from elsewhere


def content_of(entry: bytes) -> tuple[Any, Any]:
    time, record = msgpack.unpackb(entry, strict_map_key=False)
    return time, record


def test_the_messages_metadata_is_written_into_the_entry() -> None:
    (entry,) = retraced(m.entry({"a": 1}), metadata=m.pack({"m": 2}))
    assert content_of(entry)[1] == {"a": 1, "_metadata": {"m": 2}}


def test_metadata_that_is_empty_is_none() -> None:
    entry = m.entry({"a": 1})
    assert retraced(entry, metadata=m.fixmap()) == [entry]


def test_an_entrys_own_metadata_goes_before_the_messages() -> None:
    entry = m.entry({"a": 1}, m.fixarray(m.event_time(m.T), m.pack({"own": 1})))
    assert retraced(entry, metadata=m.pack({"m": 2})) == [entry]


def test_a_group_is_written_into_the_entries_within_it() -> None:
    one, two = m.entry({"n": 1}), m.entry({"n": 2})
    inside = retraced(one + OPENING + two + CLOSING + one)
    assert inside[::2] == [one, one]
    assert content_of(inside[1])[1] == {"n": 2, "_group": {"g": 1}}


def test_a_group_goes_on_in_the_next_part() -> None:
    entries = [m.entry({"n": n, "fill": "x" * 900}) for n in range(300)]
    found = retraced(OPENING + b"".join(entries))
    assert [content_of(entry)[1]["_group"] for entry in found] == [{"g": 1}] * 300


def test_keys_that_are_taken_stay_the_records() -> None:
    record = {"_metadata": 1, "_group": 2, "_time": 3}
    found = retraced(OPENING + m.entry(record, m.NIL), metadata=m.pack({"m": 2}))
    assert content_of(found[0])[1] == {
        **record,
        "_metadata_": {"m": 2},
        "_group_": {"g": 1},
        "_time_": None,
    }


@pytest.mark.parametrize(
    "time",
    [
        pytest.param(m.NIL, id="nil"),
        pytest.param(b"\x00", id="0"),
        pytest.param(m.float64(0.0), id="0.0"),
        pytest.param(m.event_time(0, 5), id="EventTime of 0"),
        pytest.param(m.fixarray(m.NIL), id="nil in an array"),
    ],
)
def test_a_row_that_has_its_time_from_its_arrival_keeps_it(time: bytes) -> None:
    (entry,) = retraced(m.entry({"a": 1}, time))
    assert entry != m.entry({"a": 1}, time)
    assert "_time" in content_of(entry)[1]


def test_a_finer_unit_is_read_once() -> None:
    (entry,) = retraced(m.entry({"a": 1}, m.uint64(m.T * 1000 + 123)))
    assert content_of(entry)[1] == {"a": 1, "_time": m.T * 1000 + 123}


@pytest.mark.parametrize(
    "time",
    [
        pytest.param(m.event_time(0xFFFFFFFD, 999_999_999), id="the last EventTime"),
        pytest.param(m.event_time(0xFFFFFFFE, 1), id="like the end of a group"),
        pytest.param(m.event_time(0xFFFFFFFF, 1), id="like the start of a group"),
        pytest.param(m.event_time(m.T, 1_500_000_000), id="nanoseconds past a second"),
        pytest.param(m.float64(0.5), id="in the first second of 1970"),
        pytest.param(m.float64(-0.5), id="half a second before"),
        pytest.param(m.float64(1.5), id="in the second one"),
        pytest.param(m.int64(-70_000_000_000), id="in the year 250"),
        pytest.param(m.ext8(-1, b"\0\0\0\1" + b"\xff" * 8), id="Timestamp of 96 bits"),
        pytest.param(m.float64(9_000_000_000.0), id="in the year 2255"),
    ],
)
def test_any_time_is_written_so_that_it_is_the_same(time: bytes) -> None:
    retraced(m.entry({"a": 1}, time))
    retraced(OPENING + m.entry({"a": 1}, time))
    retraced(m.entry({"a": 1}, m.fixarray(time, m.pack({"own": 1}))))
    retraced(m.entry({"a": 1}, time), metadata=m.pack({"m": 2}))


def test_a_column_taken_from_what_stands_beside_is_every_rows() -> None:
    columns = ColumnSettings(
        service_keys=("_group.service",), host_keys=("_metadata.host",)
    )
    opening = m.fixarray(m.fixarray(GROUP_START, m.fixmap()), m.pack({"service": "s"}))
    entries = opening + m.entry({"n": 1}) + m.entry({"n": 2})
    encoder = Twins(columns)
    (part,) = parts_of(entries, metadata=m.pack({"host": "h"}), encoder=encoder)
    assert [(row.service, row.host) for row in rows_of(part)] == [("s", "h")] * 2
    for entry, row in zip(entries_of_rows(part), rows_of(part), strict=True):
        (alone,) = parts_of(entry, encoder=encoder)
        assert rows_of(alone) == [row]


# --- where a row's tuple is


def test_tuples_are_found_one_behind_the_other() -> None:
    entries = [m.entry({}), m.entry({"level": "info", "message": "é" * 15_000})]
    (part,) = parts_of(b"".join(entries * 3))
    bounds = row_bounds(part.data)
    assert [start for start, _ in bounds] == [0, *(end for _, end in bounds[:-1])]
    assert bounds[-1][1] == len(part.data)
    cut = [decode_rows(part.data[start:end]) for start, end in bounds]
    assert [row for rows in cut for row in rows] == decode_rows(part.data)
    assert {len(rows) for rows in cut} == {1}
    assert row_bounds(b"") == []
