"""What the spool knows of one segment file, without the records: a few numbers.

Below `spool.py`. It owns what counts as done. It must not do I/O.
"""

from dataclasses import dataclass, field
from typing import NamedTuple


class Position(NamedTuple):
    """Where a part stands in the spool: a token, in the order of reading."""

    segment: int
    offset: int
    end: int
    events: int
    spool: int = 0  # of several


@dataclass(slots=True, eq=False)
class Segment:
    """A segment file: how long, how much of it is pending, what of it is done.

    Done is what is before `done_until`, what is in `done_ahead` (offset to end), and
    what is in `lost`, the ranges that are damaged. `taken` are those that were read
    and are not done (offset to events): they are pending whatever the file has now.
    """

    number: int
    mark: bytes
    size_bytes: int = 0
    pending_parts: int = 0
    pending_events: int = 0
    done_until: int = 0
    done_ahead: dict[int, int] = field(default_factory=dict)
    lost: list[tuple[int, int]] = field(default_factory=list)
    taken: dict[int, int] = field(default_factory=dict)

    def appended(self, size_bytes: int, *, parts: int, events: int) -> None:
        """Count records that are on disk now, behind those before."""
        self.size_bytes += size_bytes
        self.pending_parts += parts
        self.pending_events += events

    def is_done(self, offset: int) -> bool:
        """Tell whether the record at `offset` need not be read again."""
        return (
            offset < self.done_until
            or offset in self.done_ahead
            or any(start <= offset < end for start, end in self.lost)
        )

    def mark_done(self, offset: int, end: int, events: int) -> None:
        """Note that the record is done; twice is once."""
        if self.is_done(offset):
            return
        self.pending_parts -= 1
        self.pending_events -= events
        self.taken.pop(offset, None)
        self._pass(offset, end)

    def mark_lost(self, offset: int, end: int) -> None:
        """Note that there is nothing to read from `offset` to `end`."""
        self.lost.append((offset, end))
        for taken in [each for each in self.taken if offset <= each < end]:
            del self.taken[taken]
        self._pass(offset, end)

    def first_behind(self, after: Position | None) -> int:
        """Return the offset to read on from, when `after` was read last."""
        if after is None or self.number > after.segment:
            return self.done_until
        if self.number < after.segment:
            return self.size_bytes
        return max(self.done_until, after.end)

    def _pass(self, offset: int, end: int) -> None:
        self.done_ahead[offset] = end
        while self.done_until in self.done_ahead:
            self.done_until = self.done_ahead.pop(self.done_until)
