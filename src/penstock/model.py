"""What travels along the flow: the values that rows, buffer, net and sink share.

A leaf above the errors. It must hold no behaviour but arithmetic on itself.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, NewType

if TYPE_CHECKING:
    from collections.abc import Callable

# A receiving connection, as the ring's shares are counted.
SourceId = NewType("SourceId", int)

# A day of the calendar in UTC, as days since 1970-01-01.
Day = NewType("Day", int)


class RejectedEvent(NamedTuple):
    """An event, or bytes in its place, that cannot become a row of `logs`."""

    reason: str
    raw: bytes


class EncodedRows(NamedTuple):
    """Rows as binary COPY tuples, one behind the other, without header and trailer.

    `days` are the calendar days, UTC, that the rows' times fall on.
    """

    data: bytes
    rows: int
    days: frozenset[Day]
    rejected: tuple[RejectedEvent, ...] = ()


@dataclass(slots=True, eq=False)
class Delivery:
    """One message on its way: acked when its last segment is committed.

    `ack` is the response to write then, or None. `received_seconds` is the
    receiver's monotonic clock. `sealed` turns true when the last segment of the
    message has been handed to the ring; `on_settled` is called when the last of them
    is committed after that, and notes when that was.
    """

    source: SourceId
    sender: str
    tag: str
    chunk: bytes | None
    ack: bytes | None
    received_seconds: float
    on_settled: "Callable[[Delivery], None]"
    pending_segments: int = 0
    sealed: bool = False
    settled_seconds: float = 0.0

    @property
    def is_settled(self) -> bool:
        """Tell whether nothing of this message is still to be committed."""
        return self.sealed and self.pending_segments == 0


# What a segment costs besides its rows: the objects around them, measured once by
# `sys.getsizeof` over a segment, its delivery and their fields, rounded up.
SEGMENT_OVERHEAD_BYTES = 1024


@dataclass(slots=True, eq=False)
class Segment:
    """A part of one message, encoded: what the ring holds and a batch is made of."""

    encoded: EncodedRows
    delivery: Delivery
    size_bytes: int = field(init=False)
    events: int = field(init=False)

    def __post_init__(self) -> None:
        self.events = self.encoded.rows + len(self.encoded.rejected)
        rejected_bytes = sum(len(each.raw) for each in self.encoded.rejected)
        self.size_bytes = (
            len(self.encoded.data) + rejected_bytes + SEGMENT_OVERHEAD_BYTES
        )


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Segments that one transaction stores."""

    segments: tuple[Segment, ...]
    size_bytes: int
    rows: int

    @property
    def rejected_events(self) -> int:
        """Count what goes to `rejected_event` with this batch."""
        return sum(len(segment.encoded.rejected) for segment in self.segments)

    @property
    def days(self) -> frozenset[Day]:
        """Return the days, UTC, that need a partition before this batch is stored."""
        return frozenset().union(*(each.encoded.days for each in self.segments))
