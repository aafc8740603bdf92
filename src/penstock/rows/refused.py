"""Rows that are not to be stored after all: their events, each rejected for a reason.

It owns where one event of a part ends and the next begins. It must not know why they
are refused: its caller does.
"""

from collections.abc import Iterator

from penstock.errors import ProtocolError
from penstock.model import Day, EncodedRows, RejectedEvent
from penstock.wire.values import ARRAY_32, skip_value

_ARRAY_16 = 0xDC


def refused(part: EncodedRows, reason: str) -> EncodedRows:
    """Return a part all of whose events are rejected, as the sender wrote them.

    A part without events, nothing but markers of log groups, is returned as it is.
    """
    if not part.rows and not part.rejected:
        return part
    events = tuple(RejectedEvent(reason, raw) for raw in _events_of(part.entries))
    return EncodedRows(b"", 0, frozenset[Day](), events, offset=part.offset)


def _events_of(entries: bytes) -> Iterator[bytes]:
    """Cut at each entry; what is none goes with the one before it, or is one in all."""
    start = 0
    while start < len(entries):
        end = _end_of(entries, start)
        while end < len(entries) and not _begins_entry(entries[end]):
            end = _end_of(entries, end)
        yield entries[start:end]
        start = end


def _end_of(entries: bytes, start: int) -> int:
    try:
        return skip_value(entries, start)
    except ProtocolError:
        return len(entries)


def _begins_entry(first: int) -> bool:
    return 0x90 <= first <= 0x9F or first in (_ARRAY_16, ARRAY_32)
