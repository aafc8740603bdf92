"""The way of one sender's messages: from bytes that came to rows in the ring.

It owns what of a sender waits here: for its turn to be encoded, for room in the ring,
for its acks. It must not touch a socket: the session that is built on it does.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING
from weakref import WeakMethod

from penstock.buffer.acked import AckedChunks
from penstock.buffer.acks import AckTracker
from penstock.errors import ProtocolError
from penstock.model import SourceId
from penstock.net.arrivals import Arrivals
from penstock.net.incoming import Incoming, Intake, Origin
from penstock.net.partials import SCARCE_FREE_BYTES
from penstock.net.peer import Peer, host_of
from penstock.net.rules import allows_tag
from penstock.net.together import Taken
from penstock.net.turns import TURN_BYTES
from penstock.wire.messages import Message, MessageReader, Mode

if TYPE_CHECKING:
    from penstock.net.pace import Pace

# What a message costs besides its entries, as bytes that are encoded meanwhile: some
# 20 microseconds. A peer may send nothing but messages without an event.
MESSAGE_BYTES = 1024
# Messages that wait for their acks; one without an event takes no room in the ring.
# More than any client sends ahead (Fluentd and Fluent Bit: one).
MAX_PENDING_ACKS = 4096
# What is compressed is inflated so much at a time, 4 ms: a few kilobytes may be half a
# second of work.
INFLATE_STEP_BYTES = 2 * 1024 * 1024
# What a byte of metadata costs, as bytes encoded: where it is all values, 5 us each,
# four times that.
METADATA_TIMES = 32


class Inbox(ABC):
    """What has come from one sender, until it is in the ring."""

    __slots__ = (
        "__weakref__",
        "_acked",
        "_acks",
        "_arrivals",
        "_asks_for_acks",
        "_counted_bytes",
        "_has_ended",
        "_heard_seconds",
        "_held_bytes",
        "_incoming",
        "_intake",
        "_is_known",
        "_is_lost",
        "_is_resting",
        "_may_read",
        "_pace",
        "_reader",
        "_sender",
        "_source",
        "_tell",
        "_waits_for_room",
        "has_work",
        "host",
        "peer",
        "received_bytes",
    )

    def __init__(self, intake: Intake, source: SourceId, peer: Peer) -> None:
        self.peer = peer
        self.host = host_of(peer.address)  # what it is counted as
        self._sender = peer.sender
        self.received_bytes = 0
        self.has_work = False  # has asked for a turn, and not yet come to an end
        self._intake = intake
        self._source = source
        self._reader = _reader(intake)
        self._acks = AckTracker()
        self._acked: AckedChunks | None = None  # once one is asked for
        self._tell = WeakMethod(self._settled)
        self._arrivals = Arrivals()
        self._heard_seconds = intake.clock()
        self._asks_for_acks = False
        self._is_known = False  # what `asks_for_acks` says has been seen
        self._incoming: Incoming | None = None  # the message being encoded
        self._is_resting = False  # waits for its turn, or for room in the ring
        self._waits_for_room = False
        self._counted_bytes = 0  # as what waits for room
        self._held_bytes = 0  # as what is not yet in the ring
        self._may_read = True  # more of a message that is large
        self._pace: Pace | None = None  # of the message that is on its way
        self._has_ended = False  # the peer will send no more
        self._is_lost = False  # and will not be written to

    @property
    def is_idle(self) -> bool:
        """Tell whether no whole message waits here and no ack is owed."""
        return not self._is_resting and not self._acks.pending

    @property
    def asks_for_acks(self) -> bool:
        """Tell whether the sender sends again what was not acked."""
        return self._asks_for_acks

    @property
    def is_midway(self) -> bool:
        """Tell whether a message is to be inflated: of all, one at a time.

        What it inflates to is counted only when it is begun.
        """
        return self._reader.is_inflating

    @property
    def is_resting(self) -> bool:
        """Tell whether whole messages wait here, for their turn or for room."""
        return self._is_resting

    @property
    def _holds_whole(self) -> bool:
        return self._incoming is not None or self._reader.asks_for_ack is not None

    def is_quiet(self, since_seconds: float) -> bool:
        """Tell whether nothing has come since then and nothing whole waits here."""
        return not self._is_resting and self._heard_seconds < since_seconds

    def _receive(self, data: bytes | memoryview) -> None:
        self._intake.metrics.received_bytes(len(data))
        self.received_bytes += len(data)
        self._reader.receive_data(data)
        self._heard_seconds = self._intake.clock()
        self._arrivals.received(len(data), self._heard_seconds)
        # Thousands may have sent something before the first of them has its turn.
        self._count_held(is_whole=self._waits_for_room)
        # Who waits for room may turn out to ask for acks.
        if not self._is_resting or (self._waits_for_room and not self._is_known):
            self._ask_turn()
            if not self._may_read or self._intake.turns.is_long:
                self._set_reading()
        else:
            self._set_reading()
        self._count_waiting()

    def _ask_turn(self) -> None:
        """Rest until it is this sender's turn to encode what has come whole."""
        self._is_resting = True
        self._waits_for_room = False
        if not self.has_work:
            self.has_work = True
            self._intake.turns.ask(self)

    def work(self, max_bytes: int) -> int:
        """Take about `max_bytes` of messages to the ring; return how much it was."""
        done_bytes = 0
        try:
            while done_bytes < max_bytes:
                if self._incoming is None and self._reader.is_empty:
                    self.has_work = self._is_resting = False
                    break
                if not self._is_known:
                    self._look_who_asks()
                if not self._has_room():
                    self._wait_for_room()
                    break
                if not self._is_lost and self._acks.pending >= MAX_PENDING_ACKS:
                    self.has_work = False  # until `_settled`
                    break
                if self._incoming is not None:
                    done_bytes += self._hand_over(self._incoming)
                elif (begun_bytes := self._begin_next()) is not None:
                    done_bytes += begun_bytes
                else:
                    self.has_work = self._is_resting = self._reader.is_inflating
                    break
        except ProtocolError as error:
            self.has_work = self._is_resting = False
            self._break_off(error)
        except Exception as error:
            # A bug of ours costs the connection that brought it up, not all of them.
            self.has_work = self._is_resting = False
            self._give_up(error)
        self._count_waiting()
        self._count_held(is_whole=self._is_resting)
        # While others have their turn, this sender's bytes wait in its socket.
        self._set_reading()
        self._close_if_done()
        self._finish_if_lost()
        # A look at what is not whole takes time too, and thousands may ask for one.
        return done_bytes or MESSAGE_BYTES

    def _begin_next(self) -> int | None:
        """Begin the next message; return what it was to read it.

        None if there is none to go on with: more has to come, or another connection's
        to be inflated first.
        """
        is_inflating = self._reader.is_inflating
        if is_inflating and not self._intake.turns.may_be_midway(self):
            return None
        before_bytes = self._reader.buffered_bytes
        message = self._reader.next_message()
        if message is not None:
            taken_bytes = max(0, before_bytes - self._reader.buffered_bytes)
            return self._begin_message(message) + _work_of(message, taken_bytes)
        if is_inflating:
            return INFLATE_STEP_BYTES
        return 0 if self._reader.is_inflating else None

    def _look_who_asks(self) -> None:
        asks = self._reader.asks_for_ack
        self._is_known = asks is not None
        self._asks_for_acks |= asks is True

    def _count_waiting(self) -> None:
        # Who asks for acks is not counted: it leaves nothing when it closes, and may
        # wait for as long as the database is away.
        is_counted = self._is_resting and not self._asks_for_acks
        self._counted_bytes = self._intake.waiting.counted(
            self._counted_bytes, self._reader.buffered_bytes if is_counted else None
        )

    def _count_held(self, *, is_whole: bool = False) -> None:
        """Count what is held here, in part or whole, and ask whether to read on."""
        held_bytes = self._reader.buffered_bytes
        if self._incoming is not None:
            held_bytes += self._incoming.size_bytes
        if held_bytes <= SCARCE_FREE_BYTES:
            held_bytes = 0
        if held_bytes or self._held_bytes:
            self._may_read = self._intake.partials.hold(
                self,
                self.host,
                self._held_bytes,
                held_bytes,
                is_whole=is_whole,
            )
            self._held_bytes = held_bytes

    def _has_room(self) -> bool:
        if self._incoming is None and self._reader.is_inflating:
            return True  # or others would begin to inflate theirs meanwhile
        return (
            self._incoming is not None or self._intake.opened.may_begin(self.host)
        ) and self._intake.ring.has_room(self._source, comes_again=self._asks_for_acks)

    def _wait_for_room(self) -> None:
        self.has_work = False
        comes_again = self._is_lost and self._asks_for_acks
        if comes_again or (self._has_ended and not self._holds_whole):
            self._drop_incoming()
            self._is_resting = False
            return
        self._waits_for_room = True
        if self._incoming is None and not self._intake.opened.may_begin(self.host):
            self._intake.opened.wait(self, self.host, self._ask_turn)
            return
        self._intake.ring.wait_for_room(
            self._source, self._ask_turn, comes_again=self._asks_for_acks
        )

    def _drop_incoming(self) -> None:
        if self._incoming is not None:
            size_bytes, self._incoming = self._incoming.size_bytes, None
            self._intake.opened.count(self.host, -size_bytes)

    def _begin_message(self, message: Message) -> int:
        """Start on a message; what is owed for it is known from here on.

        Returns how much more work it is, if it has gone to the ring.
        """
        self._pace = None  # the next one has its own
        received_seconds = self._arrivals.last_taken_seconds(
            self._reader.buffered_bytes
        )
        if self._acked is None and message.chunk is not None:
            self._acked = AckedChunks()
        if self._acked is not None:
            self._acked.began()
        if message.is_lone_event and allows_tag(self.peer.tags, message.tag):
            self._is_known = True
            taken = Taken(message, self._source, self._sender, self._give_up)
            return self._intake.together.add(taken, received_seconds)
        # In the ring, what came before is before it.
        self._intake.together.hand_over()
        self._incoming = Incoming(
            self._intake,
            message,
            Origin(
                self._source,
                self._sender,
                received_seconds,
                self._tell,
                self.peer.tags,
                self._acked,
            ),
        )
        self._intake.opened.count(self.host, self._incoming.size_bytes)
        self._acks.expect(self._incoming.delivery)
        self._asks_for_acks |= message.ack is not None
        self._is_known = True
        return 0

    def _hand_over(self, incoming: Incoming) -> int:
        size_bytes = incoming.hand_over_part()
        if incoming.is_whole:
            self._drop_incoming()
            incoming.seal()
        return size_bytes

    def _forget_half(self) -> None:
        """Drop half a message: it does not become whole any more."""
        if not self._reader.is_empty:
            self._reader = _reader(self._intake)
        self._intake.ring.forget(self._source)
        self._intake.opened.forget(self)
        self._count_held()

    def read_on(self) -> None:
        """Read on: what is held here may be more."""
        self._may_read = True
        self._set_reading()

    # What it needs of the session.

    @abstractmethod
    def _settled(self) -> None:
        """All of a message is committed."""

    @abstractmethod
    def _set_reading(self) -> None:
        """Read on, or do not, as things are now."""

    @abstractmethod
    def _break_off(self, error: ProtocolError) -> None:
        """Look at nothing more from this peer."""

    @abstractmethod
    def _give_up(self, error: Exception) -> None:
        """End the connection: its messages met a bug."""

    @abstractmethod
    def _close_if_done(self) -> None:
        """Close the connection if the peer has ended and is owed nothing."""

    @abstractmethod
    def _finish_if_lost(self) -> None:
        """Tell that the session is over, if it is."""


def _work_of(message: Message, taken_bytes: int) -> int:
    """Return what reading a message was, as bytes that are encoded meanwhile.

    Its options are read too, and one that is rejected for what it inflates to has been
    inflated so far: whoever sends such has had a turn with each.
    """
    was_inflated = (
        message.mode is Mode.COMPRESSED_PACKED_FORWARD and message.rejection is not None
    )
    inflated_bytes = TURN_BYTES if was_inflated else len(message.entries)
    work_bytes = MESSAGE_BYTES + taken_bytes + inflated_bytes
    if message.metadata is not None:
        work_bytes += METADATA_TIMES * len(message.metadata)
    return work_bytes


def _reader(intake: Intake) -> MessageReader:
    return MessageReader(intake.limits, INFLATE_STEP_BYTES)
