"""Rows of many small messages, one behind the other, as if they were one part.

It owns how they are put together. Each is encoded by itself, as a message is: what one
of them holds changes nothing for the others. It must not know whose they are.
"""

from typing import NamedTuple

from penstock.model import REJECTED_OVERHEAD_BYTES, EncodedRows
from penstock.rows.encoder import RowEncoder


class Extent(NamedTuple):
    """How much of all is a message's, in rows and bytes."""

    rows: int
    rejected: int
    data_bytes: int
    entries_bytes: int

    @property
    def size_bytes(self) -> int:
        """Return about how much memory it takes: what was rejected is held twice."""
        size_bytes = self.data_bytes + self.entries_bytes
        if self.rejected:
            size_bytes += self.entries_bytes + self.rejected * REJECTED_OVERHEAD_BYTES
        return size_bytes


class RowsTogether:
    """Messages without metadata being encoded, all as of one time of arrival."""

    def __init__(self, encoder: RowEncoder, now_microseconds: int) -> None:
        self._encoder = encoder
        self._part = encoder.begin_part(now_microseconds)
        self._entries: list[bytes] = []

    def add(self, entries: bytes, *, tag: str) -> Extent:
        """Encode a message's entries behind the others; all of it, or it raises."""
        part = self._part
        start = part.position
        try:
            part.begin_message(tag)
            if not self._encoder.write_plain(part, entries):
                part.take_back(start)
                self._add_carefully(entries, tag)
        except BaseException:
            part.take_back(start)
            raise
        self._entries.append(entries)
        return Extent(*part.since(start), len(entries))

    def _add_carefully(self, entries: bytes, tag: str) -> None:
        rows = self._encoder.start(entries, tag=tag)
        while not rows.exhausted:
            assert self._part.events_left > 0, "more than a part holds"
            rows.write_part(self._part)

    def finish(self) -> EncodedRows:
        """Return all of them; this is of no further use."""
        return self._part.finish(b"".join(self._entries))
