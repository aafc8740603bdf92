"""Messages that are encoded together have the rows that each has by itself."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.model import EncodedRows
from penstock.rows import RowEncoder
from penstock.rows.copy_format import row_bounds
from penstock.rows.together import RowsTogether
from penstock.settings import ColumnSettings
from tests import msgpack_bytes as m
from tests import msgpack_strategies as some
from tests import twin_strategies as twin
from tests.copy_tuples import decode_rows
from tests.pure_core import BOTH, LIMITS, NOW

_ID = slice(6, 14)  # within a row: behind its count of fields and a length

messages = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "", "ü\\x00"]),
        st.lists(some.entries | twin.entries, min_size=1, max_size=3).map(b"".join),
    ),
    max_size=6,
)


def new_encoder(is_native: bool) -> RowEncoder:
    return RowEncoder(ColumnSettings(), receiver=7, limits=LIMITS, is_native=is_native)


def without_ids(rows: EncodedRows) -> list[bytes]:
    found = []
    for start, end in row_bounds(rows.data):
        row = bytearray(rows.data[start:end])
        row[_ID] = bytes(8)
        found.append(bytes(row))
    return found


@settings(max_examples=80, deadline=None)
@given(messages, st.sampled_from(BOTH))
def test_together_or_one_by_one_the_rows_are_the_same(
    messages: list[tuple[str, bytes]], is_native: bool
) -> None:
    together = RowsTogether(new_encoder(is_native), NOW)
    alone = new_encoder(is_native)
    rows: list[bytes] = []
    rejected: list[object] = []
    days: set[object] = set()
    for tag, entries in messages:
        extent = together.add(entries, tag=tag)
        stream = alone.start(entries, tag=tag)
        parts = []
        while not stream.exhausted:
            parts.append(stream.next_part(NOW))
        assert extent.rows == sum(each.rows for each in parts)
        assert extent.rejected == sum(len(each.rejected) for each in parts)
        assert extent.data_bytes == sum(len(each.data) for each in parts)
        assert extent.entries_bytes == len(entries)
        for each in parts:
            rows += without_ids(each)
            rejected += each.rejected
            days |= each.days
    encoded = together.finish()
    assert without_ids(encoded) == rows
    assert list(encoded.rejected) == rejected
    assert encoded.days >= days
    assert encoded.entries == b"".join(entries for _, entries in messages)
    ids = [row.id for row in decode_rows(encoded.data)]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("is_native", BOTH)
def test_ids_go_on_behind_those_of_other_parts(is_native: bool) -> None:
    encoder = new_encoder(is_native)
    ids: list[int] = []
    for _ in range(3):
        together = RowsTogether(encoder, NOW)
        together.add(2 * m.entry({"n": 1}), tag="t")
        ids += [row.id for row in decode_rows(together.finish().data)]
        part = encoder.start(m.entry({"n": 1}), tag="t").next_part(NOW)
        ids += [row.id for row in decode_rows(part.data)]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("is_native", BOTH)
def test_a_message_that_fails_leaves_nothing_behind(is_native: bool) -> None:
    encoder = new_encoder(is_native)
    together = RowsTogether(encoder, NOW)
    together.add(m.entry({"n": 1}), tag="t")
    with pytest.raises(ValueError, match="NUL"):
        together.add(m.entry({"n": 2}), tag="\0")
    together.add(m.entry({"n": 3}), tag="t")
    encoded = together.finish()
    assert [row.attributes["n"] for row in decode_rows(encoded.data)] == [1, 3]
    assert encoded.entries == m.entry({"n": 1}) + m.entry({"n": 3})
