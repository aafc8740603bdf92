"""Whatever the entries are: each row's entry, alone, is that row again."""

from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.model import EncodedRows
from penstock.rows import stream
from penstock.rows.copy_format import row_bounds
from penstock.rows.retrace import entries_of_rows
from tests import msgpack_strategies as some
from tests.copy_tuples import Row, decode_rows
from tests.pure_core import NOW, parts_of

CASES = settings(max_examples=50, deadline=None)
LATER = NOW + 3_600_000_000


def rows_of(part: EncodedRows) -> list[Row]:
    return [row._replace(id=0) for row in decode_rows(part.data)]


def check(entries: bytes, metadata: bytes | None = None) -> None:
    for part in parts_of(entries, metadata=metadata):
        retraced = entries_of_rows(part)
        assert len(row_bounds(part.data)) == part.rows
        assert len(retraced) == part.rows
        for entry, row in zip(retraced, rows_of(part), strict=True):
            (alone,) = parts_of(entry, now=LATER)
            # As JSON text too: the keys are in the order they were.
            assert (rows_of(alone), alone.rejected) == ([row], ())
            # Once retraced it stays as it is, however often it is refused.
            assert entries_of_rows(alone) == [entry]


@CASES
@given(
    st.lists(some.entries | some.markers | some.odd_entries, max_size=6),
    st.none() | some.maps | some.plain_maps,
)
def test_a_retraced_entry_is_the_row_that_it_was(
    entries: list[bytes], metadata: bytes | None
) -> None:
    blob = b"".join(entries)
    check(blob, metadata)
    with mock.patch.object(stream, "PART_BYTES", 64):
        check(blob, metadata)


@CASES
@given(st.lists(some.entries, max_size=4))
def test_one_with_nothing_beside_it_is_of_the_bytes_that_came(
    entries: list[bytes],
) -> None:
    for part in parts_of(b"".join(entries)):
        for entry, row in zip(entries_of_rows(part), rows_of(part), strict=True):
            assert entry in part.entries or "_time" in row.json


@settings(max_examples=25, deadline=None)
@given(some.deep_entries, st.none() | some.plain_maps)
def test_deep_ones_too(entry: bytes, metadata: bytes | None) -> None:
    check(entry, metadata)


@CASES
@given(st.binary(max_size=300) | some.mutated(some.blobs), st.none() | some.maps)
def test_no_bytes_make_it_lose_count(entries: bytes, metadata: bytes | None) -> None:
    check(entries, metadata)
