"""The parts that a window is looked at in: all of it, once, in order."""

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from penstock.search.pages import FIRST_SLICE, GROWTH, Slices
from penstock.search.statements import Order
from penstock.search.times import Window

END = datetime(2026, 11, 5, tzinfo=UTC)
HOUR = Window(END - timedelta(hours=1), END)


@given(
    st.timedeltas(timedelta(microseconds=1), timedelta(days=400)),
    st.lists(st.integers(0, 100), max_size=30),
    st.sampled_from(["newest", "oldest"]),
)
def test_parts_are_the_window_without_gap_or_overlap(
    length: timedelta, found: list[int], order: Order
) -> None:
    window = Window(END - length, END)
    slices, parts, rows = Slices(window, order), list[Window](), 0
    while part := slices.next(min(rows, 99), 100):
        parts.append(part)
        rows += found.pop() if found else 0

    in_time = parts if order == "oldest" else parts[::-1]
    assert in_time[0].start == window.start
    assert in_time[-1].end == window.end
    for one, other in itertools.pairwise(in_time):
        assert one.end == other.start


def test_parts_without_rows_grow_fast() -> None:
    slices = Slices(HOUR, "newest")

    lengths = []
    while part := slices.next(0, 100):
        lengths.append(part.end - part.start)

    assert lengths[0] == FIRST_SLICE
    assert lengths[1] == FIRST_SLICE * GROWTH
    assert len(lengths) == 4


def test_a_part_is_as_long_as_the_rows_before_it_tell() -> None:
    slices = Slices(HOUR, "newest")
    slices.next(0, 100)

    part = slices.next(25, 100)

    assert part is not None
    assert part.end - part.start == FIRST_SLICE * 6
