"""A message's entries to rows, part by part: all of them, once, in order, bounded."""

import math
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest

from penstock.model import RejectedEvent
from penstock.rows import part, reference
from penstock.rows import stream as stream_module
from penstock.rows.entries import Outcome, read_entry
from penstock.rows.part import PART_ROWS
from penstock.rows.stream import PART_BYTES
from tests import msgpack_bytes as m
from tests import pure_core
from tests.copy_tuples import decode_rows
from tests.pure_core import NOW, new_encoder, parts_of, receive, rows_and_rejected

SECOND = 1_000_000
GROUP_START, GROUP_END = m.event_time(0xFFFFFFFF), m.event_time(0xFFFFFFFE)


# A record that the skipper takes and no decoder does: its key is an array.
KEYED_BY_ARRAY = m.fixmap((m.fixarray(), m.NIL))


def numbered(n: int, **record: Any) -> bytes:
    return m.entry({"n": n, **record})


def marker(time: bytes, body: Any, metadata: Any = None) -> bytes:
    return m.fixarray(m.fixarray(time, m.pack(metadata)), m.pack(body))


def numbers_of(entries: bytes, **arguments: Any) -> list[int]:
    rows, rejected = rows_and_rejected(entries, **arguments)
    assert rejected == []
    return [row.attributes["n"] for row in rows]


class Reads:
    """Counts the entries that the plain encoder leaves to the careful way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(pure_core, "encoders", (False,))
        monkeypatch.setattr(stream_module, "read_entry", self._read)

    def _read(self, entries: bytes, offset: int, now: int) -> tuple[Outcome, int]:
        self.count += 1
        return read_entry(entries, offset, now)


@pytest.fixture
def careful(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


TINY = m.fixarray(b"\x01", b"\x80")
FEW = 16


@pytest.fixture
def few_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a part full after a few events."""
    monkeypatch.setattr(part, "PART_ROWS", FEW)


# --- which way an entry goes

USUAL_RECORDS: list[dict[str, Any]] = [
    {"log": "GET / 200", "container_name": "/web", "source": "stdout"},
    {
        "level": "info",
        "msg": "héllo 日本 🎉",
        "kubernetes": {"host": "n", "labels": {}},
    },
    {"a": [1, -1, 2.5, None, True, {"b": []}], "n": 2**64 - 1, "z": -(2**63)},
    {"message": 'a "quoted" \\u0000 \\\\u0000 text\n\t\x01'},
    {"message": "null", "a": None},
    {"trace": "java.lang.NullPointerException: null\n\tat a.b.C(D.java:1)\n" * 40},
    {"": "", "x" * 300: "y" * 70_000},
    {},
]


@pytest.mark.parametrize(
    "time",
    [
        *(m.uint32(m.T), m.int32(m.T), m.int64(m.T), m.uint64(m.T), b"\x05"),
        *(m.event_time(m.T, 5), m.ext8(0, m.time_payload(m.T)), m.uint32(2**32 - 1)),
        m.fixarray(m.event_time(m.T, 5), b"\x80"),
        m.fixarray(m.event_time(m.T, 5), m.pack({"k": "v", "n": None})),
        m.fixarray(m.uint32(m.T), m.NIL),
    ],
    ids=bytes.hex,
)
def test_what_well_behaved_senders_send_goes_the_plain_way(
    time: bytes, careful: Reads
) -> None:
    entries = b"".join(m.entry(record, time) for record in USUAL_RECORDS)
    rows, rejected = rows_and_rejected(entries)
    assert len(rows) == len(USUAL_RECORDS)
    assert (rejected, careful.count) == ([], 0)


def test_a_message_mode_event_with_its_option_goes_the_plain_way(
    careful: Reads,
) -> None:
    # Docker sends an option with each line, be it empty.
    for option in (b"\x80", m.NIL, m.pack({"chunk": "c"})):
        frame = m.fixarray(m.fixstr(b"t"), m.int32(m.T), m.pack({"log": "x"}), option)
        assert [row.message for row in receive([frame]).rows] == ["x"]
    assert careful.count == 0


def test_one_odd_entry_does_not_send_its_neighbours_the_careful_way(
    careful: Reads,
) -> None:
    odd = [
        m.fixarray(m.uint32(m.T), m.fixmap((m.bin8(b"n"), b"\x01"))),
        m.fixarray(m.float64(m.T), m.pack({"n": 1})),
        m.fixarray(m.uint32(m.T), m.NIL),
        m.fixarray(m.uint32(m.T), KEYED_BY_ARRAY),
        m.fixarray(m.uint32(m.T), m.fixmap((m.fixstr(b"\xff"), m.NIL))),
        m.entry({"n": math.nan}),
        m.entry({"n": "\0"}),
    ]
    entries = b"".join(numbered(0) * 100 + entry for entry in odd)
    rows_and_rejected(entries)
    assert careful.count == len(odd)


def test_one_entry_too_deep_to_skip_goes_the_careful_way_alone(
    careful: Reads,
) -> None:
    unreadable = m.entry({})[:-1] + b"\x81\xa1a" + m.nested_arrays(1500)
    small = numbered(1, pad="x" * 1000)
    per_window = PART_BYTES // len(small)
    entries = small * 10 + unreadable + small * (per_window * 4)
    rows, rejected = rows_and_rejected(entries)
    assert len(rows) == 10 + 1 + per_window * 4
    assert rejected == []
    assert careful.count == 1


# --- one definition of a row, by two ways

# Each once as an entry among plain ones, once with a neighbour that forces its window
# the careful way.
BOTH_WAYS = [
    *(m.entry(record) for record in USUAL_RECORDS),
    m.entry({"a": 1}, m.event_time(m.T, 999)),
    m.entry({"a": 1}, m.event_time(0xFFFFFFFD)),
    m.entry({"a": 1}, m.event_time(m.T, 4_294_967_295)),
    m.entry({"a": 1}, m.uint64(10**11 - 1)),
    m.entry({"a": 1}, m.uint64(10**11)),
    m.entry({"level": "warn", "message": "m", "host": "h", "service": "s", "a": 1}),
    m.entry({"kubernetes": {"labels": {"app": "x"}, "host": "n"}, "log": "l"}),
    m.entry({"level": 30, "severity": "error"}),
    m.entry({"a": 1}, m.fixarray(m.event_time(m.T), m.pack({"k": [1, {"x": None}]}))),
    m.entry({"_metadata": 1}, m.fixarray(m.event_time(m.T), m.pack({"k": 1}))),
    m.entry({"_metadata": 1}, m.fixarray(m.event_time(m.T), b"\x80")),
    m.fixarray(m.uint32(m.T), b"\x81\xa1a" + m.nested_arrays(253)),
    m.fixarray(m.uint32(m.T), b"\x81\xa1a" + m.nested_arrays(254)),
    m.fixarray(m.uint32(m.T), b"\x81\xa1a" + m.nested_arrays(1022)),
    m.fixarray(m.uint32(m.T), b"\x81\xa1a" + m.nested_arrays(1023)),
    m.fixarray(m.uint32(m.T), b"\x81\xa1a" + b"\x81\xa1b" * 252 + b"\x80"),
    m.fixarray(m.uint32(m.T), b"\x81\xa1a" + b"\x91" * 253 + m.TRUE),
    m.fixarray(m.fixarray(m.uint32(m.T), b"\x81\xa1k" + m.nested_arrays(252)), b"\x80"),
    m.fixarray(m.fixarray(m.uint32(m.T), b"\x81\xa1k" + m.nested_arrays(253)), b"\x80"),
    m.fixarray(
        m.uint32(m.T),
        m.fixmap((m.fixstr(b"a"), b"\x01"), (m.fixstr(b"b"), b"\x02"))[:1]
        + m.fixstr(b"a")
        + b"\x01"
        + m.fixstr(b"a")
        + b"\x02",
    ),
    m.fixarray(m.uint32(m.T), m.fixmap((m.str32(b"a"), m.float32(0.1)))),
    # What a decoder makes of these is no JSON, or another JSON than ours.
    m.fixarray(m.uint32(m.T), m.fixmap((m.fixstr(b"a"), m.float32(math.inf)))),
    m.entry({"a": math.nan, "b": [{"c": -math.inf}], "d": None}),
    m.fixarray(m.uint32(m.T), m.fixmap((m.fixstr(b"a"), m.fixext(-1, b"\0\0\0\x05")))),
    m.fixarray(m.fixext(-1, b"\0\0\0\x05"), b"\x80"),
    m.fixarray(m.uint32(m.T), m.fixmap((m.fixstr(b"a"), m.event_time(m.T)))),
    m.fixarray(m.uint32(m.T), m.fixmap((b"\x05", b"\x06"))),
]


@pytest.mark.parametrize("entry", BOTH_WAYS, ids=lambda entry: entry.hex()[:40])
def test_the_plain_and_the_careful_way_write_the_same_bytes(
    entry: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = parts_of(entry)
    careful = Reads(monkeypatch)
    # Metadata for the whole message sends each entry the careful way, empty or not.
    assert parts_of(entry, metadata=b"\x80") == plain
    assert careful.count == 1


# --- what stands beside a record


def row_with(entries: bytes, metadata: bytes | None = None) -> dict[str, Any]:
    (row,), rejected = rows_and_rejected(entries, metadata=metadata)
    assert rejected == []
    return row.attributes


def test_an_entrys_metadata_is_kept_under_one_key() -> None:
    metadata = m.fixmap((m.fixstr(b"k"), m.bin8(b"\xff")))
    head = m.fixarray(m.event_time(m.T), metadata)
    expected = {"a": 1, "_metadata": {"k": "data:;base64,/w=="}}
    assert row_with(m.fixarray(head, m.pack({"a": 1}))) == expected


@pytest.mark.parametrize("rest", [[], [m.NIL], [b"\x80"]])
def test_no_metadata_leaves_no_trace(rest: list[bytes]) -> None:
    head = m.fixarray(m.event_time(m.T), *rest)
    assert row_with(m.fixarray(head, m.pack({"a": 1}))) == {"a": 1}
    assert row_with(m.entry({"a": 1}), metadata=b"\x80") == {"a": 1}


def test_a_messages_metadata_stands_for_each_entrys_own() -> None:
    metadata = m.pack({"m": 1})
    assert row_with(m.entry({"a": 1}), metadata) == {"a": 1, "_metadata": {"m": 1}}
    own = m.fixarray(m.fixarray(m.event_time(m.T), m.pack({"e": 1})), m.pack({"a": 1}))
    assert row_with(own, metadata) == {"a": 1, "_metadata": {"e": 1}}
    rows, _ = rows_and_rejected(m.entry({"a": 1}) * 3, metadata=metadata)
    assert [row.attributes["_metadata"] for row in rows] == [{"m": 1}] * 3


@pytest.mark.parametrize("levels", [252, 253, 254, 2000])
def test_metadata_and_groups_may_nest_as_deep_as_they_like(levels: int) -> None:
    deep = m.fixmap((m.fixstr(b"k"), m.nested_arrays(levels)))
    by_message = row_with(m.entry({"a": 1}), deep)
    own = m.fixarray(m.fixarray(m.event_time(m.T), deep), m.pack({"a": 1}))
    assert row_with(own) == by_message
    start = m.fixarray(m.fixarray(GROUP_START, b"\x80"), deep)
    grouped = row_with(start + m.entry({"a": 1}))
    assert grouped["_group"] == by_message["_metadata"]


def test_metadata_fills_no_column_of_its_own_accord() -> None:
    head = m.fixarray(m.event_time(m.T), m.pack({"level": "error", "host": "h"}))
    (row,), _ = rows_and_rejected(m.fixarray(head, m.pack({"level": "info"})))
    assert (row.level, row.host) == ("INFO", None)
    assert row.attributes == {"_metadata": {"level": "error", "host": "h"}}


def test_the_records_own_keys_stay_where_ours_would_stand() -> None:
    record = {"_metadata": "mine", "_group": "mine", "_time": "mine", "_time_": 1}
    head = m.fixarray(m.NIL, m.pack({"k": 1}))
    entries = marker(GROUP_START, {"g": 1}) + m.fixarray(head, m.pack(record))
    assert row_with(entries) == {
        **record,
        "_metadata_": {"k": 1},
        "_group_": {"g": 1},
        "_time__": None,
    }


def test_a_time_that_was_not_taken_as_it_stood_is_kept() -> None:
    for time, raw in (
        (m.NIL, None),
        (b"\x00", 0),
        (m.float64(1.7e12), 1.7e12),
        (m.uint64(1_700_000_000_123), 1_700_000_000_123),
        (m.event_time(0), "1970-01-01T00:00:00.000000000Z"),
    ):
        assert row_with(m.entry({"a": 1}, time)) == {"a": 1, "_time": raw}
    for time in (m.uint32(m.T), m.event_time(m.T), m.float64(m.T + 0.5), b"\xfb"):
        assert row_with(m.entry({"a": 1}, time)) == {"a": 1}


@pytest.mark.usefixtures("few_events")
def test_events_without_a_time_get_that_of_their_parts_arrival() -> None:
    entries = m.entry({"a": 1}, m.NIL) * (FEW + 1)
    stream = new_encoder().start(entries, tag="t")
    for now in (NOW, NOW + 5 * SECOND):
        assert {row.ts for row in decode_rows(stream.next_part(now).data)} == {now}


# --- log groups


def test_a_groups_body_stands_beside_each_row_within_it() -> None:
    body = {"resource": {"attributes": {"host": "h"}}}
    entries = (
        numbered(0)
        + marker(GROUP_START, body)
        + numbered(1)
        + numbered(2)
        + marker(GROUP_END, {})
        + numbered(3)
    )
    rows, rejected = rows_and_rejected(entries)
    assert rejected == []
    assert [row.attributes for row in rows] == [
        {"n": 0},
        {"n": 1, "_group": body},
        {"n": 2, "_group": body},
        {"n": 3},
    ]


def test_what_stands_beside_a_groups_body_is_kept_within_it() -> None:
    ids = {"schema": "otlp", "resource_id": 0, "scope_id": 0}
    for body, key in (({"g": 1}, "_metadata"), ({"_metadata": 2}, "_metadata_")):
        entries = marker(GROUP_START, body, ids) + m.entry({})
        assert row_with(entries) == {"_group": {**body, key: ids}}
    deep = m.fixmap((m.fixstr(b"k"), m.nested_arrays(300)))
    start = m.fixarray(m.fixarray(GROUP_START, deep), b"\x80")
    assert list(row_with(start + m.entry({}))["_group"]) == ["_metadata"]


def test_a_group_within_a_group_takes_its_place() -> None:
    entries = (
        marker(GROUP_START, {"g": 1})
        + numbered(0)
        + marker(GROUP_START, {"g": 2})
        + numbered(1)
    )
    rows, _ = rows_and_rejected(entries)
    assert [row.attributes["_group"] for row in rows] == [{"g": 1}, {"g": 2}]


def test_markers_alone_are_no_rows_and_nothing_is_rejected() -> None:
    for entries in (
        marker(GROUP_START, {"a": 1}) + marker(GROUP_END, {}),
        marker(GROUP_END, {}),
        marker(GROUP_START, {}) * 1000,
        marker(GROUP_END, {}) * (2 * PART_ROWS + 1),
    ):
        assert rows_and_rejected(entries) == ([], [])


def test_a_group_left_open_ends_with_its_message() -> None:
    encoder = new_encoder()
    parts_of(marker(GROUP_START, {"g": 1}) + numbered(0), encoder=encoder)
    (encoded,) = parts_of(numbered(1), encoder=encoder)
    assert decode_rows(encoded.data)[0].attributes == {"n": 1}


@pytest.mark.usefixtures("few_events")
def test_a_group_lasts_over_the_parts_of_its_message() -> None:
    entries = marker(GROUP_START, {"g": 1}) + m.entry({}) * (3 * FEW)
    rows, _ = rows_and_rejected(entries)
    assert len(rows) == 3 * FEW
    assert all(row.attributes == {"_group": {"g": 1}} for row in rows)


def test_no_row_is_dated_2106_by_a_marker() -> None:
    entries = marker(GROUP_START, {}) + numbered(1) + marker(GROUP_END, {})
    rows, _ = rows_and_rejected(entries)
    assert [row.ts for row in rows] == [m.T * SECOND]


# --- damage

NO_MAP = m.fixarray(m.uint32(m.T), m.fixstr(b"line"))
NO_TIME = m.fixarray(m.TRUE, m.pack({"a": 1}))
NO_RECORD = m.fixarray(m.uint32(m.T))
GOOD_BUT_ODD = [
    m.fixarray(m.uint32(m.T), KEYED_BY_ARRAY),  # unhashable key
    m.fixarray(m.uint32(m.T), m.fixmap((m.fixmap(), m.NIL))),
    m.fixarray(m.uint32(m.T), m.fixmap((m.fixstr(b"a"), m.fixext(-1, b"\0\1")))),
    m.fixarray(m.uint32(m.T), m.fixmap((m.fixstr(b"a"), m.ext8(-1, b"")))),
    m.fixarray(
        m.uint32(m.T),
        # A timestamp of two thousand million nanoseconds.
        m.fixmap((m.fixstr(b"a"), m.ext8(-1, (2 * 10**9).to_bytes(4) + bytes(8)))),
    ),
    m.fixarray(m.uint32(m.T), b"\x81\xa1a" + m.nested_arrays(2000)),
    m.fixarray(m.uint32(m.T), m.fixmap((m.fixstr(b"\xff\0"), m.bin8(b"\xff")))),
]


@pytest.mark.parametrize("at", [0, 1, 5, 10])
@pytest.mark.parametrize("odd", GOOD_BUT_ODD, ids=lambda entry: entry.hex()[:40])
def test_what_the_c_unpacker_refuses_is_a_row_and_so_are_its_neighbours(
    odd: bytes, at: int
) -> None:
    entries = [numbered(i) for i in range(10)]
    entries.insert(at, odd)
    rows, rejected = rows_and_rejected(b"".join(entries))
    assert rejected == []
    numbers = [row.attributes.get("n") for row in rows]
    assert numbers == [*range(at), None, *range(at, 10)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (NO_MAP, "record_not_a_map"),
        (NO_TIME, "invalid_time"),
        (NO_RECORD, "no_record"),
        (b"\x90", "no_record"),
        (m.fixarray(m.uint32(m.T), m.NIL), "record_not_a_map"),
        (m.fixarray(m.fixext(-1, b"\0\1"), m.pack({})), "invalid_time"),
        (b"\x05", "not_an_entry"),
        (b"\x05" * 50, "not_an_entry"),
        (b"2024-01-01", "not_an_entry"),
        (m.NIL, "not_an_entry"),
        (m.fixstr(b"\x92\x92\x92"), "not_an_entry"),
        (m.pack({"a": 1}), "not_an_entry"),
        (m.fixext(0, bytes(8)), "not_an_entry"),
        (m.fixext(-1, b"\0\1"), "not_an_entry"),
        (m.fixmap((b"\x00", m.uint32(m.T)), (b"\x01", m.pack({}))), "not_an_entry"),
        (m.fixmap((m.FALSE, m.uint32(m.T)), (m.TRUE, m.pack({}))), "not_an_entry"),
        (m.bin8(m.entry({"a": 1})), "not_an_entry"),
    ],
    ids=lambda value: value.hex()[:30] if isinstance(value, bytes) else None,
)
@pytest.mark.parametrize("at", [0, 3, 10])
def test_what_is_no_event_is_rejected_with_its_bytes_and_the_others_are_rows(
    bad: bytes, reason: str, at: int
) -> None:
    before = b"".join(numbered(i) for i in range(at))
    behind = b"".join(numbered(i) for i in range(at, 10))
    rows, rejected = rows_and_rejected(before + bad + behind)
    assert [row.attributes["n"] for row in rows] == list(range(10))
    assert rejected == [RejectedEvent(reason, bad)]


def test_rejected_events_are_in_order_each_with_its_own_bytes() -> None:
    entries = (
        b"\x05"
        + numbered(0)
        + b"\x06\x07"
        + NO_MAP
        + b"\x08"
        + numbered(1)
        + NO_TIME
        + numbered(2)
        + NO_RECORD
        + b"\x09"
    )
    rows, rejected = rows_and_rejected(entries)
    assert [row.attributes["n"] for row in rows] == [0, 1, 2]
    assert rejected == [
        ("not_an_entry", b"\x05"),
        ("not_an_entry", b"\x06\x07"),
        ("record_not_a_map", NO_MAP),
        ("not_an_entry", b"\x08"),
        ("invalid_time", NO_TIME),
        ("no_record", NO_RECORD),
        ("not_an_entry", b"\x09"),
    ]


@pytest.mark.parametrize("length", range(1, len(m.entry({"a": "b"}))))
def test_an_entry_cut_short_at_the_end_is_kept_and_the_others_are_rows(
    length: int,
) -> None:
    cut = m.entry({"a": "b"})[:length]
    rows, rejected = rows_and_rejected(numbered(0) + numbered(1) + cut)
    assert [row.attributes["n"] for row in rows] == [0, 1]
    assert rejected == [RejectedEvent("truncated_entry", cut)]


@pytest.mark.parametrize("within", [b"", b"\x92", b"\x92\x05\x81\xa1a"])
def test_from_the_byte_that_is_never_used_on_all_is_kept(within: bytes) -> None:
    rest = within + m.NEVER_USED + numbered(2)
    rows, rejected = rows_and_rejected(numbered(0) + numbered(1) + rest)
    assert [row.attributes["n"] for row in rows] == [0, 1]
    assert rejected == [RejectedEvent("malformed_msgpack", rest)]


@pytest.mark.parametrize(
    "header",
    [
        *(b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"),
        *(b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x00"),
        b"\xdd\x00\x00\x10\x00" * 1000,
    ],
    ids=lambda header: header.hex()[:20],
)
def test_a_declared_length_past_the_bytes_is_kept_and_not_waited_for(
    header: bytes,
) -> None:
    for rest in (header, header + numbered(1) * 5, b"\x92" + header):
        rows, rejected = rows_and_rejected(numbered(0) + rest)
        assert [row.attributes["n"] for row in rows] == [0]
        assert rejected == [RejectedEvent("truncated_entry", rest)]


def test_a_long_run_of_junk_is_one_event_a_window_in_linear_work(
    careful: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "PART_BYTES", 4096)
    junk = b"\x05" * (3 * 4096 - 7)
    rejected = [event for each in parts_of(junk) for event in each.rejected]
    assert b"".join(event.raw for event in rejected) == junk
    assert {event.reason for event in rejected} == {"not_an_entry"}
    assert len(rejected) <= 3
    assert careful.count <= 3


# --- parts


def cuts_of(entries: bytes, **arguments: Any) -> list[tuple[int, list[bytes]]]:
    return [
        (each.rows, [event.raw for event in each.rejected])
        for each in parts_of(entries, **arguments)
    ]


def mixed_entries() -> bytes:
    """Some megabytes of what a message may hold, good and bad."""
    pieces = []
    for i in range(3000):
        pieces.append(numbered(i, text="x" * (i * 7 % 1900)))
        if i % 97 == 0:
            pieces += [NO_MAP, b"\x05\x06", GOOD_BUT_ODD[i % len(GOOD_BUT_ODD)]]
        if i % 501 == 0:
            pieces.append(marker(GROUP_START if i % 2 else GROUP_END, {"i": i}))
    return b"".join(pieces)


def test_the_parts_together_are_all_entries_once_in_order() -> None:
    entries = mixed_entries()
    parts = parts_of(entries)
    rows = [row for each in parts for row in decode_rows(each.data)]
    numbers = [row.attributes["n"] for row in rows if "n" in row.attributes]
    assert numbers == list(range(3000))
    odd = len(range(0, 3000, 97))
    assert len(rows) == 3000 + odd
    rejected = [event.raw for each in parts for event in each.rejected]
    assert rejected == [NO_MAP, b"\x05\x06"] * odd
    ids = [row.id for row in rows]
    assert ids == sorted(set(ids))


def test_the_same_bytes_are_cut_into_the_same_parts() -> None:
    entries = mixed_entries()
    cuts = cuts_of(entries)
    assert len(cuts) > len(entries) // PART_BYTES
    experienced = new_encoder()
    parts_of(numbered(1) * 10_000 + b"\xc1", encoder=experienced, tag="other")
    again = cuts_of(entries, encoder=experienced, tag="longer.tag", now=NOW + SECOND)
    assert again == cuts


def test_a_part_takes_no_more_than_a_window_of_bytes() -> None:
    entry = m.entry({"n": 1, "text": "x" * 1000})
    parts = parts_of(entry * 2000)
    assert all(each.rows <= PART_BYTES // len(entry) + 1 for each in parts)
    # Short ones at the end only: a part is worth a transaction's overhead.
    assert all(each.rows >= PART_BYTES // len(entry) - 1 for each in parts[:-1])


@pytest.mark.parametrize("size", [PART_BYTES - 20, PART_BYTES, 5 * PART_BYTES + 11])
@pytest.mark.parametrize("ending", [b"", m.entry({"n": 9})[:-2]])
def test_an_entry_larger_than_a_part_is_one_row(size: int, ending: bytes) -> None:
    text = "x" * size
    entries = numbered(0) + numbered(1, text=text) + numbered(2) + ending
    rows, rejected = rows_and_rejected(entries)
    assert [row.attributes["n"] for row in rows] == [0, 1, 2]
    assert rows[1].attributes["text"] == text
    assert [event.raw for event in rejected] == ([ending] if ending else [])


def test_a_large_entry_that_goes_the_careful_way_is_one_row_too() -> None:
    large = m.fixmap((m.fixstr(b"a"), m.bin32(b"\xff" * (2 * PART_BYTES))))
    unhashable = m.fixmap((m.fixarray(), m.bin32(b"\xff" * (2 * PART_BYTES))))
    for record in (large, unhashable):
        entries = numbered(0) + m.fixarray(m.uint32(m.T), record) + numbered(2)
        rows, rejected = rows_and_rejected(entries)
        assert [row.attributes.get("n") for row in rows] == [0, None, 2]
        assert rejected == []


@pytest.mark.parametrize("entry", [TINY, NO_RECORD, GOOD_BUT_ODD[0]], ids=bytes.hex)
@pytest.mark.usefixtures("few_events")
def test_a_part_of_tiny_entries_has_no_more_than_its_events(entry: bytes) -> None:
    for events in (1, FEW - 1, FEW, FEW + 1, 10 * FEW + 3):
        counts = [each.rows + len(each.rejected) for each in parts_of(entry * events)]
        rest = [events % FEW] if events % FEW else []
        assert counts == [FEW] * (events // FEW) + rest


def test_a_part_that_is_full_has_some_thousand_events() -> None:
    counts = [each.rows for each in parts_of(TINY * (PART_ROWS + 1))]
    assert counts == [PART_ROWS, 1]
    assert PART_ROWS == 4096


@pytest.mark.parametrize("markers", [1, 5, FEW, FEW + 3])
@pytest.mark.parametrize("group", [(GROUP_START, GROUP_END), (GROUP_END,)])
@pytest.mark.usefixtures("few_events")
def test_markers_and_tiny_entries_together_are_each_counted_once(
    group: tuple[bytes, ...], markers: int
) -> None:
    for rows in (FEW - 1, FEW, FEW + 5, 3 * FEW):
        for at in (0, 5, FEW - 1):
            entries = [numbered(i) for i in range(rows)]
            entries[at:at] = [marker(time, {}) for time in group] * markers
            assert numbers_of(b"".join(entries)) == list(range(rows))


@pytest.mark.parametrize("bad", [b"\x05", NO_MAP, *GOOD_BUT_ODD])
@pytest.mark.usefixtures("few_events")
def test_tiny_entries_around_a_bad_one_are_each_counted_once(bad: bytes) -> None:
    for at in range(2 * FEW + 2):
        entries = [numbered(i) for i in range(2 * FEW + 3)]
        entries.insert(at, bad)
        rows = rows_and_rejected(b"".join(entries))[0]
        numbers = [row.attributes["n"] for row in rows if "n" in row.attributes]
        assert numbers == list(range(2 * FEW + 3))


def test_no_more_is_fed_to_the_skipper_than_a_window_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fed_bytes = 0

    class Unpacker:
        def __init__(self, **options: Any) -> None:
            self._unpacker = msgpack.Unpacker(**options)
            self.skip, self.tell = self._unpacker.skip, self._unpacker.tell

        def feed(self, data: memoryview) -> None:
            nonlocal fed_bytes
            fed_bytes += len(data)
            self._unpacker.feed(data)

    counting = SimpleNamespace(
        Unpacker=Unpacker,
        OutOfData=msgpack.OutOfData,
        UnpackException=msgpack.UnpackException,
    )
    monkeypatch.setattr(reference, "msgpack", counting)
    entries = TINY * (5 * PART_BYTES // len(TINY))
    stream = new_encoder().start(entries, tag="t")
    encoded = 0
    while not stream.exhausted:
        encoded += stream.next_part(NOW).rows
        assert fed_bytes <= encoded * len(TINY) + PART_BYTES + len(TINY)
    assert len(entries) <= fed_bytes <= len(entries) + 5 * len(TINY)


def test_no_entries_are_no_parts() -> None:
    stream = new_encoder().start(b"", tag="t")
    assert stream.exhausted
    assert parts_of(b"") == []


@pytest.mark.usefixtures("few_events")
def test_streams_of_one_encoder_take_turns_without_sharing_an_id() -> None:
    encoder = new_encoder()
    streams = [encoder.start(TINY * 100, tag=tag) for tag in ("a", "b", "c")]
    ids: list[int] = []
    clock = [NOW, NOW, NOW - 5 * SECOND, NOW - 5 * SECOND, NOW]
    while any(not stream.exhausted for stream in streams):
        for stream in streams:
            if not stream.exhausted:
                encoded = stream.next_part(clock[len(ids) % len(clock)])
                ids += [row.id for row in decode_rows(encoded.data)]
    assert len(ids) == 300
    assert ids == sorted(set(ids)), "in the order of arrival"
    assert {row_id & 4095 for row_id in ids} == {7}


def test_the_tag_is_in_every_row() -> None:
    rows, _ = rows_and_rejected(numbered(1) * 3 + GOOD_BUT_ODD[0], tag="kube.x")
    assert [row.tag for row in rows] == ["kube.x"] * 4


def test_the_json_has_no_blanks_and_what_fills_a_column_is_not_in_it() -> None:
    record = {"z": 1, "message": "m", "a": {"y": 1, "b": 2}, "m": 3}
    (row,), _ = rows_and_rejected(m.entry(record))
    assert row.json == '{"a":{"b":2,"y":1},"m":3,"z":1}'
