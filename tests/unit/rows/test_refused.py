"""What may not be stored is rejected event by event, and nothing of it is lost."""

import pytest

from penstock.model import EncodedRows
from penstock.rows.refused import refused
from tests import msgpack_bytes as m
from tests.pure_core import new_encoder, parts_of

ENTRY = m.fixarray(m.uint32(m.T), m.pack({"n": 1}))
OTHER = m.fixarray(m.uint32(m.T), m.pack({"n": [2, {"x": "y" * 300}]}))


@pytest.mark.parametrize(
    ("entries", "events"),
    [
        ([ENTRY], 1),
        ([ENTRY, OTHER, ENTRY], 3),
        ([ENTRY, b"\x01", OTHER], 2),
        ([b"2024-01-01"], 1),
        ([b"\x01\x02", ENTRY], 2),
        ([ENTRY, b"\xc1\xc1"], 1),
        ([ENTRY, OTHER[:-1]], 2),
        ([m.fixarray(), m.fixarray()], 2),
        ([OTHER] * 1000, 1000),
    ],
)
def test_each_event_is_rejected_as_it_was_written(
    entries: list[bytes], events: int
) -> None:
    data = b"".join(entries)
    parts = [refused(part, "why") for part in parts_of(data, encoder=new_encoder())]
    rejected = [event for part in parts for event in part.rejected]
    assert b"".join(event.raw for event in rejected) == data
    assert {event.reason for event in rejected} == {"why"}
    assert len(rejected) == events
    assert sum(part.rows for part in parts) == 0
    assert not any(part.data or part.days for part in parts)


def test_a_part_is_refused_where_it_was_cut() -> None:
    """A resend of the chunk is known by it."""
    before = parts_of(OTHER * 2000)
    assert [refused(part, "why").offset for part in before] == [
        part.offset for part in before
    ]
    assert len(before) > 1


def test_nothing_but_markers_is_no_event() -> None:
    part = EncodedRows(b"", 0, frozenset(), entries=b"\x92\xd7\x00")
    assert refused(part, "why") is part
