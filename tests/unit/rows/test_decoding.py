"""Tuples are found where they begin, whatever is in them; by the format's own rule."""

from typing import Any

import msgpack
import orjson
from hypothesis import given
from hypothesis import strategies as st

from penstock.rows import RowEncoder
from penstock.rows.copy_format import row_bounds
from penstock.rows.decoding import StoredRow, row_starts, stored_rows
from penstock.settings import ColumnSettings

# What looks like a head's bytes, as far as a text can: no NUL, but a backspace.
TEXTS = st.one_of(
    st.sampled_from(["", "\x08", "\x08" * 8, "abcdefgh", "x" * 256, "y" * 2048, "é😀"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
)
RECORDS = st.dictionaries(
    st.sampled_from(["message", "service", "host", "level", "a", "b"]), TEXTS
)
# The ends of times with 8 in their last byte, so that a tag's length follows.
TIMES = st.one_of(
    st.integers(1, 2**32 - 3),
    st.integers(0, 2**15).map(lambda n: n * 2**16 + 946_684_800),
)


def encoded(tag: str, events: list[tuple[int, dict[str, Any]]]) -> bytes:
    encoder = RowEncoder(ColumnSettings(), receiver=8)
    entries = b"".join(map(msgpack.packb, events))
    return encoder.start(entries, tag=tag).next_part(0x0008_0000_0008).data


@given(tag=TEXTS.filter(bool), events=st.lists(st.tuples(TIMES, RECORDS), max_size=8))
def test_rows_begin_where_the_format_says(
    tag: str, events: list[tuple[int, dict[str, Any]]]
) -> None:
    data = encoded(tag, events)

    assert row_starts(data) == [start for start, _ in row_bounds(data)]
    for row, (time, record) in zip(stored_rows(data), events, strict=True):
        assert row.microseconds == time * 1_000_000
        assert row.text("tag") == tag
        for column in ("message", "service", "host"):
            assert row.text(column) == record.get(column)
        kept = {key: record[key] for key in ("a", "b") if key in record}
        found = orjson.loads(row.attributes)
        assert {key: found[key] for key in kept} == kept


def test_a_head_within_a_time_and_a_tag_is_none() -> None:
    # A time that ends with 00 08 before a tag of 8 bytes, whose length is 00 00 00 08.
    data = bytearray(encoded("12345678", [(1, {"a": "b"}), (2, {})]))
    data[18:26] = (0x0006_0000_0000_0008).to_bytes(8)

    assert row_starts(bytes(data)) == [start for start, _ in row_bounds(bytes(data))]
    assert StoredRow(bytes(data), 0).text("tag") == "12345678"
