"""Events are cut as they come, wherever the pieces end; a row that is known is none."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.event_stream import Event, EventReader

STREAM = (
    b"event: row\nid: 7\ndata: {}\n\n:\n\nevent: missed\ndata: 1\n\n"
    b"id: 8\nevent: live\ndata: a: b\n\n"
)
EVENTS = [
    Event("row", "7", b"{}"),
    Event("missed", "", b"1"),
    Event("live", "8", b"a: b"),
]


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=8).map(sorted))
def test_events_are_the_same_wherever_pieces_end(cuts: list[int]) -> None:
    reader = EventReader()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(STREAM)], strict=True):
        found += reader.feed(STREAM[start:end])

    assert found == EVENTS
