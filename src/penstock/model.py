"""What travels along the flow: the values that rows, buffer, net and sink share.

A leaf above the errors. It must hold no behaviour but arithmetic on itself.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, NewType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# A receiving connection, as the ring's shares are counted.
SourceId = NewType("SourceId", int)

# In place of a connection where several have put events together.
TOGETHER = SourceId(-1)

# A day of the calendar in UTC, as days since 1970-01-01.
Day = NewType("Day", int)


# A rejected event besides its bytes: a tuple and a bytes object.
REJECTED_OVERHEAD_BYTES = 160


class RejectedEvent(NamedTuple):
    """An event, or bytes in its place, that cannot become a row of `logs`."""

    reason: str
    raw: bytes


class Beside(NamedTuple):
    """What stood beside the entries of a part: the message's metadata, a log group.

    Both as JSON: it takes the memory that it is counted with.
    """

    metadata: bytes | None
    group: bytes | None

    @property
    def size_bytes(self) -> int:
        """Return how much memory it takes."""
        return len(self.metadata or b"") + len(self.group or b"")


class EncodedRows(NamedTuple):
    """Rows as binary COPY tuples, one behind the other, without header and trailer.

    `days` are the calendar days, UTC, that the rows' times fall on. `entries` are the
    msgpack entries that the rows were made of, from `offset` on in their message;
    `beside` is what else they were made of, and `received_microseconds` is the time of
    those that carry none.
    """

    data: bytes
    rows: int
    days: frozenset[Day]
    rejected: tuple[RejectedEvent, ...] = ()
    entries: bytes = b""
    offset: int = 0
    received_microseconds: int = 0
    beside: Beside | None = None

    @property
    def size_bytes(self) -> int:
        """Return how much memory it takes, the objects around it not counted."""
        size_bytes = len(self.data) + len(self.entries)
        if self.beside is not None:
            size_bytes += self.beside.size_bytes
        for event in self.rejected:
            size_bytes += len(event.raw) + REJECTED_OVERHEAD_BYTES
        return size_bytes


class Submission(NamedTuple):
    """A message that did not come by the forward protocol, and whose sender waits.

    `entries` are msgpack entries, `[time, record]`; what is no array among them is
    rejected. `chunk` is the name that its sender gave it, as msgpack, and `identity` is
    what it has each time it is sent; both are None where it has no name.
    """

    sender: str
    host: str  # whose turns it has
    tag: str
    entries: bytes
    chunk: bytes | None = None
    identity: bytes | None = None


class Receipt(NamedTuple):
    """What became of the events of a message, once all of it is committed."""

    stored: int
    rejected: int
    duplicate: int


@dataclass(slots=True, eq=False)
class Delivery:
    """One message on its way: acked when its last segment is committed.

    `ack` is the response to write then, or None. `identity` is what a resend of it has
    too, None where nobody will send it again. `received_seconds` is the
    receiver's monotonic clock. `sealed` turns true when the last segment of the
    message has been handed to the ring; `on_settled` is called when the last of them
    is committed after that, and notes when that was. Of its events those that were
    rejected, and those that were stored before, are counted as they are committed.
    """

    source: SourceId
    sender: str
    tag: str
    chunk: bytes | None
    ack: bytes | None
    received_seconds: float
    on_settled: "Callable[[Delivery], None]"
    identity: bytes | None = None
    pending_segments: int = 0
    sealed: bool = False
    settled_seconds: float = 0.0
    rejected_events: int = 0
    duplicate_events: int = 0

    @property
    def is_settled(self) -> bool:
        """Tell whether nothing of this message is still to be committed."""
        return self.sealed and self.pending_segments == 0


# What a segment costs besides its rows: the objects around them, measured once by
# `sys.getsizeof` over a segment, its delivery and their fields, rounded up.
SEGMENT_OVERHEAD_BYTES = 1024
# And each of the shares that it is put together of, so measured too.
SHARE_OVERHEAD_BYTES = 256


class Share(NamedTuple):
    """Whose a run of a segment's events is, and how much of it that is."""

    source: SourceId
    sender: str
    tag: str
    chunk: bytes | None
    rows: int
    rejected: int
    data_bytes: int
    entries_bytes: int
    size_bytes: int  # in the ring

    @property
    def events(self) -> int:
        """Count the rows and what was rejected."""
        return self.rows + self.rejected


@dataclass(slots=True, eq=False)
class Segment:
    """A part of one message, encoded: what the ring holds and a batch is made of.

    Or many small messages: `shares` say then whose each run of them is, in their order,
    and `delivery` is that of all. `claim` is what it is recognised by when it comes
    again, None where it cannot. `tried_in` names a batch of an earlier process that may
    have stored it. `rejected_before` counts what was rejected of its message in the
    parts before it. `is_duplicate` and `refused_events`, rows that PostgreSQL refused,
    are what its last try has come to.
    """

    encoded: EncodedRows
    delivery: Delivery
    claim: bytes | None = None
    tried_in: bytes = b""
    rejected_before: int = 0
    shares: tuple[Share, ...] = ()
    is_duplicate: bool = False
    refused_events: int = 0
    size_bytes: int = field(init=False)
    events: int = field(init=False)

    @property
    def comes_again(self) -> bool:
        """Tell whether it is sent or replayed again if it is lost here."""
        return self.claim is not None or self.delivery.ack is not None

    def __post_init__(self) -> None:
        self.events = self.encoded.rows + len(self.encoded.rejected)
        self.size_bytes = self.encoded.size_bytes + SEGMENT_OVERHEAD_BYTES
        if not self.shares:
            delivery = self.delivery
            whole = Share(
                delivery.source,
                delivery.sender,
                delivery.tag,
                delivery.chunk,
                self.encoded.rows,
                len(self.encoded.rejected),
                len(self.encoded.data),
                len(self.encoded.entries),
                self.size_bytes,
            )
            self.shares = (whole,)
        else:
            self.size_bytes += SHARE_OVERHEAD_BYTES * len(self.shares)

    def of_each_share(self) -> list[tuple[Share, EncodedRows]]:
        """Return each share with what is its own; copied, where there are several."""
        whole = self.encoded
        if len(self.shares) == 1:
            return [(self.shares[0], whole)]
        found: list[tuple[Share, EncodedRows]] = []
        data = entries = rejected = 0
        for share in self.shares:
            own = whole._replace(
                data=whole.data[data : data + share.data_bytes],
                rows=share.rows,
                rejected=whole.rejected[rejected : rejected + share.rejected],
                entries=whole.entries[entries : entries + share.entries_bytes],
            )
            found.append((share, own))
            data += share.data_bytes
            entries += share.entries_bytes
            rejected += share.rejected
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Segments that one transaction stores; `name` is the batch's own, 16 bytes."""

    segments: tuple[Segment, ...]
    size_bytes: int
    rows: int
    name: bytes = b""

    @property
    def days(self) -> frozenset[Day]:
        """Return the days, UTC, that need a partition before this batch is stored."""
        return frozenset().union(*(each.encoded.days for each in self.segments))


class Committed(NamedTuple):
    """What a transaction has stored: all rows of these segments but the refused ones.

    `refused` are the numbers of rows within a segment, by the segment's place here.
    """

    segments: "tuple[Segment, ...]"
    refused: "Mapping[int, frozenset[int]]"


class Outcome(NamedTuple):
    """What became of a batch's events, once it is committed."""

    stored_events: int = 0  # rows of logs
    rejected_events: int = 0  # rows of rejected_event that never were rows of logs
    refused_events: int = 0  # rows of rejected_event that PostgreSQL refused in logs
    duplicate_events: int = 0  # stored before
    duplicate_segments: int = 0
