"""What one message, entry, record or group may cost: each limit from both its sides."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock.model import EncodedRows, RejectedEvent
from penstock.rows import copy_format, reference, stream
from penstock.rows.part import PART_ROWS
from penstock.rows.retrace import entries_of_rows
from penstock.rows.stream import PART_BESIDE_BYTES, PART_BYTES
from penstock.settings import WireLimits
from penstock.wire.values import MAX_VALUES
from tests import msgpack_bytes as m
from tests import pure_core
from tests.copy_tuples import Row, decode_rows
from tests.pure_core import NOW, new_encoder
from tests.worst_entries import WORST

START, END = m.event_time(0xFFFFFFFF), m.event_time(0xFFFFFFFE)
TINY = m.fixarray(b"\x01", b"\x80")
BAD = m.fixarray(b"\x01", m.NIL)


def encoded(
    entries: bytes, *, metadata: bytes | None = None, **limits: int
) -> list[EncodedRows]:
    encoder = new_encoder(WireLimits(**limits))
    stream = encoder.start(entries, tag="t", metadata=metadata)
    parts = []
    while not stream.exhausted:
        parts.append(stream.next_part(NOW))
    return parts


def rows_of(parts: list[EncodedRows]) -> list[Row]:
    return [row for part in parts for row in decode_rows(part.data)]


def rejected_of(parts: list[EncodedRows]) -> list[RejectedEvent]:
    return [event for part in parts for event in part.rejected]


# --- max_chunk_entries


@pytest.mark.parametrize("entry", [TINY, BAD, m.entry({"a": "\0"})], ids=bytes.hex)
@pytest.mark.parametrize("limit", [1000, PART_ROWS, PART_ROWS + 1, 10_000])
def test_what_is_behind_the_last_entry_allowed_is_one_rejected_event(
    entry: bytes, limit: int
) -> None:
    def events(count: int) -> tuple[int, list[RejectedEvent]]:
        parts = encoded(entry * count, max_chunk_entries=limit)
        rejected = rejected_of(parts)
        return sum(part.rows for part in parts) + len(rejected), rejected

    count, rejected = events(limit)
    assert count == limit
    assert all(event.reason != "too_many_entries" for event in rejected)
    for more in (1, 500):
        count, rejected = events(limit + more)
        assert count == limit + 1
        assert rejected[-1] == RejectedEvent("too_many_entries", entry * more)


def test_a_long_tag_makes_the_entries_fewer() -> None:
    """It stands in each row: three bytes of a message would be a thousand of rows."""
    limits = WireLimits(max_decompressed_bytes=65_536)
    for tag, count in (
        ("t" * 1000, 65),
        ("t", 65_536),
        ("", 65_536),
        ("t" * 99_999, 1),
    ):
        encoder = new_encoder(limits)
        stream = encoder.start(TINY * (count + 2), tag=tag)
        parts = []
        while not stream.exhausted:
            parts.append(stream.next_part(NOW))
        assert sum(part.rows for part in parts) == count
        assert rejected_of(parts) == [RejectedEvent("too_many_entries", TINY * 2)]


def test_the_rest_is_not_looked_at() -> None:
    """Whatever it is, and however much: it is one event."""
    for rest in (m.NEVER_USED, b"\x05" * 999, TINY[:-1], BAD * 3, b"\x91" * 50_000):
        parts = encoded(TINY * 1000 + rest, max_chunk_entries=1000)
        assert sum(part.rows for part in parts) == 1000
        assert rejected_of(parts) == [RejectedEvent("too_many_entries", rest)]


def test_markers_of_groups_are_counted_too() -> None:
    marker = m.fixarray(m.fixarray(END, b"\x80"), b"\x80")
    parts = encoded(marker * 999 + TINY * 2, max_chunk_entries=1000)
    assert sum(part.rows for part in parts) == 1
    assert rejected_of(parts) == [RejectedEvent("too_many_entries", TINY)]


# --- max_map_keys


def map_of(keys: int) -> bytes:
    pairs = [(m.uint32(key), m.NIL) for key in range(keys)]
    return m.map32(*pairs) if keys > 65535 else m.map16(*pairs)


def records(keys: int) -> dict[str, bytes]:
    """Entries that hold a map of so many keys somewhere."""
    large = map_of(keys)
    time = m.uint32(m.T)
    return {
        "record": m.fixarray(time, large),
        "nested": m.fixarray(time, m.fixmap((m.fixstr(b"a"), m.fixarray(large)))),
        "in a key": m.fixarray(time, m.fixmap((m.fixarray(large), m.NIL))),
        "metadata": m.fixarray(m.fixarray(time, large), b"\x80"),
        "third element": m.fixarray(time, b"\x80", large),
        "str16 before": m.fixarray(
            time, m.fixmap((m.str16(b"\xde\xff" * 900), m.NIL), (b"\x01", large))
        ),
    }


@pytest.mark.parametrize("where", records(0))
@pytest.mark.parametrize("limit", [100, 10_000])
def test_a_record_with_more_keys_than_allowed_is_rejected_and_its_neighbours_are_not(
    where: str, limit: int
) -> None:
    fits, too_many = records(limit)[where], records(limit + 1)[where]
    entries = TINY + fits + TINY * 40 + too_many + TINY
    parts = encoded(entries, max_map_keys=limit)
    assert len(rows_of(parts)) == 43
    assert rejected_of(parts) == [RejectedEvent("too_many_keys", too_many)]
    # What was rejected for a limit is no row, whatever the limit is by then.
    assert [each for part in parts for each in entries_of_rows(part)] == (
        [TINY, fits] + [TINY] * 41
    )


def test_a_group_with_more_keys_than_allowed_is_rejected_and_does_not_begin() -> None:
    large = m.fixarray(m.fixarray(START, b"\x80"), map_of(101))
    parts = encoded(large + TINY, max_map_keys=100)
    assert rejected_of(parts) == [RejectedEvent("too_many_keys", large)]
    assert [row.attributes for row in rows_of(parts)] == [{}]


@pytest.mark.parametrize("careful", [False, True])
def test_only_entries_that_are_long_enough_are_looked_at(
    careful: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def excess_of(value: bytes, *, max_map_keys: int) -> None:
        looked.append(len(value))

    monkeypatch.setattr(pure_core, "encoders", (False,))
    monkeypatch.setattr(reference, "excess_of", excess_of)
    monkeypatch.setattr(stream, "excess_of", excess_of)
    entry = m.entry({"text": "x" * 190})
    metadata = b"\x80" if careful else None
    encoded(entry * 500, metadata=metadata, max_map_keys=100)
    assert looked and max(looked) >= 202
    looked.clear()
    encoded(entry * 500, metadata=metadata, max_map_keys=len(entry) // 2)
    assert not looked


# --- values in all


@pytest.mark.parametrize("value", [m.NIL, b"\x90", b"\x80", m.fixstr(b"a")])
@pytest.mark.parametrize("careful", [False, True])
def test_an_entry_with_too_many_values_is_rejected_whatever_they_are(
    value: bytes, careful: bool
) -> None:
    def entry(values: int) -> bytes:
        # Beside them: the entry, its time, the map and its key, the array.
        inner = m.array32(*[value] * (values - 5))
        return m.fixarray(b"\x01", m.fixmap((m.fixstr(b"a"), inner)))

    fits, too_many = entry(MAX_VALUES), entry(MAX_VALUES + 1)
    metadata = b"\x80" if careful else None
    parts = encoded(TINY + fits + too_many + TINY, metadata=metadata)
    assert len(rows_of(parts)) == 3
    assert rejected_of(parts) == [RejectedEvent("too_many_values", too_many)]


def test_where_no_end_is_in_sight_the_rest_is_rejected_with_it() -> None:
    # Too deep for the skipper, and too long to be walked.
    endless = b"\x92\x01\x81\xa1a" + m.nested_arrays(MAX_VALUES)
    rest = endless + TINY * 3
    for broken in (rest, endless[:-1], b"\x92" + m.NIL * MAX_VALUES + m.NEVER_USED):
        parts = encoded(TINY + broken)
        assert len(rows_of(parts)) == 1 or broken.startswith(b"\x92\xc0")
        assert b"".join(event.raw for event in rejected_of(parts)) in (broken, b"")


# --- how long a field may be


@pytest.mark.parametrize("key", ["message", "service", "host", "other", "kubernetes"])
@pytest.mark.parametrize("text", [b"x" * 43, b"x" * 40 + "é".encode()])
def test_a_field_that_is_longer_than_copy_can_tell_is_rejected(
    key: str, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def entry_of(raw: bytes) -> bytes:
        value = m.str8(raw)
        if key == "kubernetes":
            value = m.fixmap((m.fixstr(b"host"), value))
        return m.fixarray(m.uint32(m.T), m.fixmap((m.str8(key.encode()), value)))

    # {"other":"..."} and the version of jsonb are 13 bytes more than the text.
    most = len(text) + (13 if key == "other" else 0)
    monkeypatch.setattr(copy_format, "MAX_FIELD_BYTES", most)
    short, long = entry_of(text), entry_of(text + b"x")
    parts = encoded(short + long + long + short)
    assert len(rows_of(parts)) == 2
    assert rejected_of(parts) == [RejectedEvent("field_limit", long)] * 2


# --- what a group, or metadata, adds to its events


def group_of(size_bytes: int) -> bytes:
    body = m.fixmap((m.fixstr(b"g"), m.str32(b"x" * size_bytes)))
    return m.fixarray(m.fixarray(START, b"\x80"), body)


def test_copies_of_a_group_inflate_a_message_no_further_than_allowed() -> None:
    # `{"g":"xx..."}`
    size_bytes = 1016 + 8
    entries = group_of(1016) + TINY * 200
    limit = 100 * size_bytes
    parts = encoded(entries, max_decompressed_bytes=limit)
    rows, rejected = rows_of(parts), rejected_of(parts)
    assert (len(rows), len(rejected)) == (100, 100)
    assert set(rejected) == {RejectedEvent("beside_limit", TINY)}
    assert not rejected_of(encoded(entries, max_decompressed_bytes=200 * size_bytes))


def test_copies_of_a_messages_metadata_are_counted_and_an_entrys_own_is_not() -> None:
    metadata = m.fixmap((m.fixstr(b"m"), m.str32(b"x" * 1016)))
    own = m.fixarray(m.fixarray(m.uint32(m.T), m.pack({"own": 1})), b"\x80")
    parts = encoded((TINY + own) * 100, metadata=metadata, max_decompressed_bytes=65536)
    assert len(rows_of(parts)) == 64 + 100
    assert set(rejected_of(parts)) == {RejectedEvent("beside_limit", TINY)}


def test_a_part_ends_where_copies_have_made_it_large() -> None:
    entries = group_of(100_000) + TINY * 500
    parts = encoded(entries)
    assert sum(part.rows for part in parts) == 500
    assert max(len(part.data) for part in parts) < PART_BESIDE_BYTES + 200_000
    assert encoded(entries) == parts
    # Each part says what stood beside its entries, and is counted with it.
    assert all(part.beside is not None for part in parts[1:])


@pytest.mark.parametrize("entries", [group_of(10) * 20_000, group_of(40_000) * 30])
def test_markers_alone_are_handed_on_in_parts_of_bounded_work(entries: bytes) -> None:
    parts = encoded(entries)
    assert not any(part.rows or part.rejected for part in parts)
    assert max(len(part.entries) for part in parts) <= PART_BYTES + 50_000
    assert b"".join(part.entries for part in parts) == entries


# --- memory and work, whatever the bytes


def test_memory_for_a_part_is_bounded_whatever_the_bytes() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "tests.worst_entries"],
        cwd=Path(__file__).parents[3],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    grown = {
        kind: int(count)
        for count, _, kind in (line.partition(" ") for line in said.splitlines())
    }
    assert grown.keys() == WORST.keys()
    # What is rejected is kept, so its bytes are there twice. Else: the largest entry's
    # values, and its row.
    assert sum(grown.values()) < 64 * 1024 * 1024, grown


def test_a_part_takes_no_longer_for_all_that_is_behind_it() -> None:
    def seconds(behind: int) -> float:
        encoder = new_encoder()
        stream = encoder.start(TINY * 5000 + BAD * behind, tag="t")
        began = time.perf_counter()
        stream.next_part(NOW)
        return time.perf_counter() - began

    few, many = (min(seconds(n) for _ in range(5)) for n in (0, 2_000_000))
    assert many < 20 * few
