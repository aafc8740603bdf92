"""One message on its way to the ring: its rows, part by part, and what is owed for it.

It owns what of a message has been handed over. It must not know the connection that
it came by: `session` does.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple
from weakref import WeakMethod

from penstock.buffer.acked import AckedChunks
from penstock.buffer.books import Books
from penstock.buffer.identity import chunk_identity, part_claim
from penstock.buffer.recent import RecentChunk, RecentChunks
from penstock.buffer.ring import Ring
from penstock.model import Day, Delivery, EncodedRows, Segment, SourceId
from penstock.net.opened import Opened
from penstock.net.partials import Partials
from penstock.net.rules import allows_tag
from penstock.net.together import Together
from penstock.net.turns import Turns
from penstock.net.waiting import Waiting
from penstock.rows import RowEncoder, RowStream
from penstock.rows.refused import refused
from penstock.settings import PeerLimits, WireLimits
from penstock.telemetry.receive import ReceiveMetrics
from penstock.wire.messages import Message, Mode


@dataclass(frozen=True, slots=True)
class Intake:
    """What all sessions share."""

    ring: Ring
    books: Books
    encoder: RowEncoder
    limits: WireLimits
    metrics: ReceiveMetrics
    turns: Turns
    waiting: Waiting
    partials: Partials
    opened: Opened
    peers: PeerLimits = field(default_factory=PeerLimits)
    recent: RecentChunks = field(default_factory=RecentChunks)
    wall_clock_ns: Callable[[], int] = time.time_ns
    clock: Callable[[], float] = time.monotonic
    together: Together = field(init=False)

    def __post_init__(self) -> None:
        together = Together(
            self.ring,
            self.books,
            self.encoder,
            self.metrics,
            self.turns,
            wall_clock_ns=self.wall_clock_ns,
            clock=self.clock,
        )
        object.__setattr__(self, "together", together)


class Origin(NamedTuple):
    """Where a message came from, when its last byte came, who is told of its end.

    `tags` are the patterns of those that may come from there; empty: all. `acked` knows
    which acks have been read there. Of who `awaits` an answer that is no ack, it is
    sent again if it is lost here, as `identity` if that is given.

    Rows wait for PostgreSQL long after their connection is lost. They must not keep
    it, nor what it has half received.
    """

    source: SourceId
    sender: str
    received_seconds: float
    tell: WeakMethod[Callable[[], None]]
    tags: tuple[str, ...] = ()
    acked: AckedChunks | None = None
    awaits: bool = False
    identity: bytes | None = None


class Incoming:
    """A message being encoded."""

    def __init__(self, intake: Intake, message: Message, origin: Origin) -> None:
        intake.metrics.received_frames(message.mode, message.frames)
        self._intake = intake
        self._message = message
        self._events = 0
        self._rejected_events = 0
        self.size_bytes = len(message.entries) + (
            len(message.rejection.raw) if message.rejection else 0
        )
        # The delivery outlives us while it waits for PostgreSQL. It must not hold us:
        # the message's bytes would stay, in a cycle that only the collector ends.
        self.delivery = Delivery(
            origin.source,
            origin.sender,
            message.tag,
            message.chunk,
            b"" if origin.awaits else message.ack,
            origin.received_seconds,
            partial(_settled, intake, origin.tell),
            _identity_of(message, origin, intake.wall_clock_ns()),
        )
        self._is_allowed = allows_tag(origin.tags, message.tag)
        self._rows: RowStream | None = None
        self._twin = intake.recent.find(self.delivery.identity)
        if self._twin is None and message.rejection is None:
            self._rows = intake.encoder.start(
                message.entries, tag=message.tag, metadata=message.metadata
            )
        self.is_whole = self._rows is not None and self._rows.exhausted

    @property
    def events(self) -> int:
        """Count the events that were handed over, or are its twin's."""
        return self._events if self._twin is None else self._twin.events

    def hand_over_part(self) -> int:
        """Encode the next part into the ring; return how much work it was.

        That is its size in the ring or, where there is nothing to store in it, the
        size of its entries: the markers of log groups.
        """
        if self._twin is not None:
            self._join(self._twin)
            return 0
        encoded = self._next_part()
        if not encoded.rows and not encoded.rejected:
            return len(encoded.entries)
        self._intake.metrics.encoded(self._message.mode, encoded)
        self.delivery.pending_segments += 1
        identity = self.delivery.identity
        claim = None if identity is None else part_claim(identity, encoded)
        segment = Segment(
            encoded, self.delivery, claim, rejected_before=self._rejected_events
        )
        self._rejected_events += len(encoded.rejected)
        self._events += segment.events
        self._intake.books.received += segment.events
        self._intake.ring.append(segment)
        return segment.size_bytes

    def seal(self) -> None:
        """All has been handed over: the message is settled when that is committed."""
        self.delivery.sealed = True
        if self._twin is None:
            self._intake.recent.handed_over(self.delivery, self._events)
        if self.delivery.is_settled:
            self.delivery.on_settled(self.delivery)

    def _join(self, twin: RecentChunk) -> None:
        """Take part in what becomes of the same chunk, which came before."""
        self.is_whole = True
        self._intake.metrics.came_again(self._message.mode, twin.events)
        self._intake.books.received += twin.events
        self._intake.books.duplicate += twin.events
        self.delivery.duplicate_events = twin.events
        if not twin.is_stored:
            self._intake.recent.join(twin, self.delivery)

    def _next_part(self) -> EncodedRows:
        if self._rows is None:
            self.is_whole = True
            rejection = self._message.rejection
            assert rejection is not None
            return EncodedRows(b"", 0, frozenset[Day](), (rejection,))
        encoded = self._rows.next_part(self._intake.wall_clock_ns() // 1000)
        self.is_whole = self._rows.exhausted
        if self._message.mode is Mode.HTTP and encoded.rejected:
            encoded = _of_json(encoded)
        return encoded if self._is_allowed else refused(encoded, "tag_not_allowed")


def _settled(
    intake: Intake, tell: WeakMethod[Callable[[], None]], delivery: Delivery
) -> None:
    intake.recent.stored(delivery)  # of a twin it knows by then
    delivery.settled_seconds = intake.clock()
    intake.metrics.committed(delivery.settled_seconds - delivery.received_seconds)
    if (told := tell()) is not None:
        told()


def _of_json(encoded: EncodedRows) -> EncodedRows:
    """Name what is no entry by what it was in its body: text that is no JSON."""
    named = [
        each._replace(reason="not_json") if each.reason == "not_an_entry" else each
        for each in encoded.rejected
    ]
    return encoded._replace(rejected=tuple(named))


def _identity_of(message: Message, origin: Origin, now_ns: int) -> bytes | None:
    if origin.awaits:
        return origin.identity
    if message.chunk is None:
        return None
    rejected = message.rejection.raw if message.rejection else b""
    identity = chunk_identity(
        sender=origin.sender,
        tag=message.tag,
        chunk=message.chunk,
        metadata=message.metadata,
        entries=message.entries or rejected,
    )
    if origin.acked is None or not message.is_named_by_content:
        return identity
    return origin.acked.told_apart(identity, source=origin.source, now_ns=now_ns)
