"""Events that come one by one, of all connections, put together on their way.

Docker sends each event as a message of its own, over a connection for each container:
what a part of rows costs on its way through the ring, the books and the database would
be paid for a few events, were it one connection's. It owns what has been taken from
connections within one round of turns and is not yet in the ring. It must not keep
anything beyond that round: whoever looks between two rounds finds all in the ring or
with the connections.
"""

from collections.abc import Callable
from typing import NamedTuple

from penstock.buffer.books import Books
from penstock.buffer.ring import Ring
from penstock.model import (
    SHARE_OVERHEAD_BYTES,
    TOGETHER,
    Delivery,
    Segment,
    Share,
    SourceId,
)
from penstock.net.turns import Turns
from penstock.rows import RowEncoder
from penstock.rows.together import RowsTogether
from penstock.telemetry.receive import ReceiveMetrics
from penstock.wire.messages import TOGETHER_BYTES, TOGETHER_FRAMES, Message, Mode

# What these become in the ring, rows and entries, as a multiple of what they were:
# they are encoded at the end of the round, and a turn is over before.
RING_TIMES = 2


class Taken(NamedTuple):
    """What was taken of a connection; `give_up` ends it if it met a bug."""

    message: Message
    source: SourceId
    sender: str
    give_up: Callable[[Exception], None]


class Together:
    """The events taken in this round."""

    def __init__(
        self,
        ring: Ring,
        books: Books,
        encoder: RowEncoder,
        metrics: ReceiveMetrics,
        turns: Turns,
        *,
        wall_clock_ns: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._ring = ring
        self._books = books
        self._encoder = encoder
        self._metrics = metrics
        self._turns = turns
        self._wall_clock_ns = wall_clock_ns
        self._clock = clock
        self._taken: list[Taken] = []
        self._is_awaited = False  # the end of the round is
        self._bytes = 0
        self._frames = 0
        self._oldest_seconds = 0.0

    def add(self, taken: Taken, received_seconds: float) -> int:
        """Take lone events; return how much work they are going to be."""
        if not self._taken:
            self._oldest_seconds = received_seconds
            if not self._is_awaited:
                self._is_awaited = True
                self._turns.at_end_of_round(self._end_round)
        self._taken.append(taken)
        self._oldest_seconds = min(self._oldest_seconds, received_seconds)
        size_bytes = len(taken.message.entries)
        self._bytes += size_bytes
        self._frames += taken.message.frames
        if self._bytes >= TOGETHER_BYTES or self._frames >= TOGETHER_FRAMES:
            self.hand_over()
        return RING_TIMES * size_bytes

    def hand_over(self) -> None:
        """Encode what was taken, and put it into the ring as one segment."""
        if not self._taken:
            return
        taken, self._taken = self._taken, []
        self._metrics.received_frames(Mode.MESSAGE, self._frames)
        self._bytes = self._frames = 0
        try:
            segment = self._encode(taken)
        except Exception as error:
            for each in taken:
                each.give_up(error)
            return
        if segment is not None:
            self._metrics.encoded(Mode.MESSAGE, segment.encoded)
            self._books.received += segment.events
            self._ring.append(segment)

    def _encode(self, taken: list[Taken]) -> Segment | None:
        rows = RowsTogether(self._encoder, self._wall_clock_ns() // 1000)
        shares: list[Share] = []
        for message, source, sender, give_up in taken:
            try:
                extent = rows.add(message.entries, tag=message.tag)
            except Exception as error:
                # A bug of ours costs the connection that brought it up, as in a turn.
                give_up(error)
                continue
            size_bytes = extent.size_bytes + SHARE_OVERHEAD_BYTES
            shares.append(Share(source, sender, message.tag, None, *extent, size_bytes))
        if not shares:
            return None
        delivery = Delivery(
            TOGETHER,
            "",
            "",
            None,
            None,
            self._oldest_seconds,
            self._settled,
            pending_segments=1,
            sealed=True,
        )
        return Segment(rows.finish(), delivery, shares=tuple(shares))

    def _end_round(self) -> None:
        self._is_awaited = False
        self.hand_over()

    def _settled(self, delivery: Delivery) -> None:
        delivery.settled_seconds = self._clock()
        waited_seconds = delivery.settled_seconds - delivery.received_seconds
        self._metrics.committed(waited_seconds)
