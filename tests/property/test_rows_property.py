"""Whatever the entries are: each a row or rejected, and a row has one definition."""

import json
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.model import EncodedRows
from penstock.rows import stream
from penstock.rows.entries import read_entry
from tests import msgpack_bytes as m
from tests import msgpack_strategies as some
from tests import pure_core
from tests.copy_tuples import Row, decode_rows
from tests.pure_core import (
    NOW,
    Received,
    new_encoder,
    parts_of,
    receive,
    rows_and_rejected,
)

CASES = settings(max_examples=60, deadline=None)


def carefully(entries: bytes, count: int) -> list[EncodedRows]:
    """Encode `count` entries the careful way; fail if it was not the one taken.

    Metadata for the whole message sends each entry that way, even if it is empty and
    nothing comes of it.
    """
    counting = mock.Mock(side_effect=read_entry)
    with (
        mock.patch.object(stream, "read_entry", counting),
        mock.patch.object(pure_core, "encoders", (False,)),
    ):
        parts = parts_of(entries, metadata=b"\x80")
    assert counting.call_count >= count
    return parts


def small_windows() -> Any:
    """Make parts small, so that a few entries are many parts."""
    return mock.patch.object(stream, "PART_BYTES", 64)


@CASES
@given(st.lists(some.entries, max_size=6))
def test_the_plain_and_the_careful_way_write_the_same_bytes(
    entries: list[bytes],
) -> None:
    blob = b"".join(entries)
    assert parts_of(blob) == carefully(blob, len(entries))


@settings(max_examples=25, deadline=None)
@given(some.deep_entries)
def test_deep_records_are_the_same_by_either_way(entry: bytes) -> None:
    assert parts_of(entry) == carefully(entry, 1)


@CASES
@given(st.lists(st.one_of(some.entries, some.markers, some.odd_entries), max_size=6))
def test_groups_and_broken_entries_are_the_same_by_either_way(
    entries: list[bytes],
) -> None:
    blob = b"".join(entries)
    assert parts_of(blob) == carefully(blob, 0)


@CASES
@given(st.lists(some.entries | some.odd_entries, max_size=8))
def test_each_entry_is_a_row_or_rejected(entries: list[bytes]) -> None:
    # Values that are no arrays are counted as runs: kept apart here by a row each.
    between = m.entry({"between": True})
    rows, rejected = rows_and_rejected(between.join([*entries, b""]))
    ours = [row for row in rows if row.attributes != {"between": True}]
    assert len(rows) - len(ours) >= len(entries)
    assert len(rows) + len(rejected) == 2 * len(entries)


@CASES
@given(st.lists(some.entries | some.odd_entries | some.markers, max_size=8))
def test_what_is_rejected_is_kept_to_the_byte_and_in_order(
    entries: list[bytes],
) -> None:
    blob = b"".join(entries)
    _, rejected = rows_and_rejected(blob)
    offset = 0
    for event in rejected:
        found = blob.find(event.raw, offset)
        assert found >= 0
        offset = found + len(event.raw)
    assert sum(len(event.raw) for event in rejected) <= len(blob)


@CASES
@given(
    st.one_of(
        st.binary(max_size=300),
        some.mutated(some.blobs),
        st.tuples(some.blobs, st.binary(max_size=20), some.blobs).map(b"".join),
    ),
    st.none() | some.maps,
)
def test_no_bytes_make_it_raise_and_every_row_is_one_postgresql_takes(
    entries: bytes, metadata: bytes | None
) -> None:
    # Decoding checks it: UTF-8 throughout, JSON without NaN, NUL or double keys.
    rows_and_rejected(entries, metadata=metadata)
    with small_windows():
        rows_and_rejected(entries, metadata=metadata)


def contents_of(entries: bytes) -> tuple[list[Row], bytes]:
    rows, rejected = rows_and_rejected(entries)
    return (
        [row._replace(id=0) for row in rows],
        b"".join(event.raw for event in rejected),
    )


@CASES
@given(st.lists(some.entries | some.markers | some.odd_entries, max_size=12))
def test_where_the_parts_are_cut_changes_no_row(entries: list[bytes]) -> None:
    blob = b"".join(entries)
    whole = contents_of(blob)
    with small_windows():
        assert contents_of(blob) == whole
    with mock.patch.object(stream, "PART_BYTES", 1):
        assert contents_of(blob) == whole


@CASES
@given(
    st.lists(some.entries, min_size=1, max_size=4),
    st.lists(st.integers(-(10**15), 2 * NOW), min_size=1, max_size=5),
)
def test_no_id_is_given_twice_whatever_the_clock_does(
    entries: list[bytes], clock: list[int]
) -> None:
    encoder = new_encoder()
    ids: list[int] = []
    for now in clock:
        for part in parts_of(b"".join(entries), encoder=encoder, now=now):
            ids += [row.id for row in decode_rows(part.data)]
    assert ids == sorted(set(ids))


@CASES
@given(
    st.lists(some.messages, max_size=5),
    st.lists(st.sampled_from([m.fixstr(b"t"), m.fixstr(b"u")]), max_size=6),
)
def test_events_put_together_are_the_rows_and_acks_of_each_alone(
    others: list[bytes], tags: list[bytes]
) -> None:
    lone = [m.fixarray(tag, m.uint32(m.T), m.pack({"n": 1})) for tag in tags]
    stream = [*lone[:3], *others, *lone[3:]]
    together, alone = receive([b"".join(stream)]), [receive([each]) for each in stream]
    errors = [i for i, each in enumerate(alone) if each.error]
    alone = alone[: errors[0] + 1] if errors else alone

    def contents(received: Received) -> list[Any]:
        return [row._replace(id=0) for row in received.rows]

    assert contents(together) == [row for each in alone for row in contents(each)]
    assert together.acks == [ack for each in alone for ack in each.acks]
    assert together.rejected == [event for each in alone for event in each.rejected]
    assert together.error == (alone[-1].error if alone else None)


# --- nothing is lost

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | some.texts.filter(lambda text: "\0" not in text),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.text("ab\\u0é", max_size=6), children, max_size=3)
    ),
    max_leaves=8,
)


def as_text(value: Any) -> str:
    """Write JSON to compare: 1 and 1.0 are not the same, two orders of keys are."""
    return json.dumps(value, sort_keys=True)


@CASES
@given(st.dictionaries(st.text("abc\\u0é", max_size=8), json_values, max_size=5))
def test_a_record_that_json_holds_is_stored_as_it_was_sent(
    record: dict[str, Any],
) -> None:
    (row,), _ = rows_and_rejected(m.entry(record))
    assert (row.level, row.service, row.host, row.message) == (None, None, None, None)
    assert as_text(row.attributes) == as_text(record)


@CASES
@given(
    st.dictionaries(
        st.sampled_from(["service", "host", "message", "hostname", "msg", "x"]),
        json_values,
        max_size=6,
    )
)
def test_what_leaves_the_attributes_is_in_a_column(record: dict[str, Any]) -> None:
    (row,), _ = rows_and_rejected(m.entry(record))
    moved = {key: record[key] for key in record if key not in row.attributes}
    kept = {key: value for key, value in record.items() if key not in moved}
    assert as_text(row.attributes) == as_text(kept)
    columns = [row.service, row.host, row.message]
    assert sorted(moved.values()) == sorted(
        text for text in columns if text is not None
    )
