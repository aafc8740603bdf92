"""One sender's connection: bytes to frames to rows in the ring, acks back.

The shell that drives the pure core of the flow. It owns when this connection is
read and when it rests: it gives others a turn, waits when the ring has no room,
and stops reading a peer that does not read its acks. It must not know PostgreSQL,
and it never writes a byte that is not an ack.
"""

import asyncio
import logging
import traceback
from typing import TYPE_CHECKING, cast
from weakref import WeakMethod

from penstock.buffer.acks import AckTracker
from penstock.errors import ProtocolError
from penstock.model import SourceId
from penstock.net.arrivals import Arrivals
from penstock.net.incoming import Incoming, Intake, Origin
from penstock.net.sockets import keep_alive, unread_bytes
from penstock.wire.messages import Message, MessageReader

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

# Read ahead of a sender whose messages wait for their turn, or for room: enough that
# it need not be woken for each of them.
READ_AHEAD_BYTES = 256 * 1024
# What a message costs besides its entries, as bytes that are encoded meanwhile: some
# 20 microseconds. A peer may send nothing but messages without an event.
MESSAGE_BYTES = 1024
# Acks a peer has not read. An ack is 30 to 50 bytes; a peer that leaves a thousand
# of them does not read acks at all (fluent-logger-node, unless asked to).
UNREAD_ACK_BYTES = 64 * 1024
# For a peer to take the last acks out of our memory before its connection is cut.
LAST_ACKS_SECONDS = 2.0
# Messages that wait for their acks; one without an event takes no room in the ring.
# More than any client sends ahead (Fluentd and Fluent Bit: one).
MAX_PENDING_ACKS = 4096
# Fluentd waits 190 s for an ack and then takes a later one for that of its next chunk
# (protocol facts, 3.3): well before, the connection is closed instead.
LATE_ACK_SECONDS = 150.0

# A connection that was reset before it was accepted: uvloop asks for its peer too late.
UNKNOWN_SENDER = "unknown"


class ForwardSession(asyncio.Protocol):
    """Speaks the forward protocol with one peer."""

    def __init__(
        self,
        intake: Intake,
        source: SourceId,
        *,
        on_lost: "Callable[[ForwardSession], None]",
    ) -> None:
        self._intake = intake
        self._source = source
        self._on_lost = on_lost
        self._reader = MessageReader(intake.limits)
        self._acks = AckTracker()
        self._tell = WeakMethod(self._settled)
        self._asks_for_acks = False
        self._is_known = False  # what `asks_for_acks` says has been seen
        self._arrivals = Arrivals()
        self._heard_seconds = intake.clock()
        self._transport: asyncio.Transport | None = None
        self._sender = UNKNOWN_SENDER
        self._incoming: Incoming | None = None  # the message being encoded
        self.has_work = False  # has asked for a turn, and not yet come to an end
        self._is_resting = False  # waits for its turn, or for room in the ring
        self._waits_for_room = False
        self._is_unread = False  # the peer does not read its acks
        self._is_reading = True
        self._paused_seconds = 0.0
        self._cut: asyncio.TimerHandle | None = None  # of a connection being closed
        self._has_ended = False  # the peer will send no more
        self._counted_bytes = 0  # as what waits for room
        self.received_bytes = 0
        self._is_broken = False  # what it sends is no longer looked at

    @property
    def _is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def _holds_whole(self) -> bool:
        return self._incoming is not None or self._reader.asks_for_ack is not None

    @property
    def is_idle(self) -> bool:
        """Tell whether no whole message waits here and no ack is owed."""
        return not self._is_resting and not self._acks.pending

    @property
    def asks_for_acks(self) -> bool:
        """Tell whether the sender sends again what was not acked."""
        return self._asks_for_acks

    @property
    def is_resting(self) -> bool:
        """Tell whether whole messages wait here, for their turn or for room."""
        return self._is_resting

    @property
    def unread_bytes(self) -> int:
        """Return how many bytes wait in our socket."""
        return unread_bytes(self._transport)

    def is_quiet(self, since_seconds: float) -> bool:
        """Tell whether nothing has come since then and nothing whole waits here."""
        return not self._is_resting and self._heard_seconds < since_seconds

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: remember the peer, and bound the acks that it leaves unread."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=UNREAD_ACK_BYTES)
        keep_alive(self._transport)
        peer = self._transport.get_extra_info("peername")
        if peer is not None:
            self._sender = str(peer[0]) if isinstance(peer, tuple) else "unix"
        self._intake.metrics.connected()
        if self._intake.waiting.is_full:
            # uvloop heeds it only then, and has read 64 KiB by that time.
            asyncio.get_running_loop().call_soon(self._pause_unread)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket, and go as far as they lead."""
        if self._is_broken or self._has_ended:
            return
        self._intake.metrics.received_bytes(len(data))
        self.received_bytes += len(data)
        self._reader.receive_data(data)
        self._heard_seconds = self._intake.clock()
        self._arrivals.received(len(data), self._heard_seconds)
        # Who waits for room may turn out to ask for acks.
        if not self._is_resting or (self._waits_for_room and not self._is_known):
            self._ask_turn()
        else:
            self._set_reading()
        self._count_waiting()

    def eof_received(self) -> bool:
        """Keep the connection open: acks may still be owed to a half-closed peer."""
        self._end()
        self._close_if_done()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """End; messages that came whole are still stored, unless they come again.

        Who asks for acks and goes without them sends again, over and over while the
        database is away: what waits here for each of its tries would pile up.
        """
        self._transport = None
        self._intake.metrics.disconnected()
        if self._cut is not None:
            self._cut.cancel()
        self._end()
        self._close_if_done()
        self._finish_if_lost()

    def pause_writing(self) -> None:
        """Read no more from a peer that does not read its acks."""
        self._is_unread = True
        self._set_reading()

    def resume_writing(self) -> None:
        """Read on: the peer has read its acks."""
        self._is_unread = False
        self._set_reading()

    # What the server tells.

    def stop(self) -> None:
        """Read no more; what came whole is stored and acked, then the peer is told."""
        self._end()
        self._set_reading()
        self._close_if_done()

    def close(self) -> None:
        """Close the connection when what was written is sent, or is not read."""
        if self._transport is not None and self._is_open:
            self._transport.close()
            loop = asyncio.get_running_loop()
            self._cut = loop.call_later(LAST_ACKS_SECONDS, self.abort)

    def close_if_late(self) -> None:
        """Close the connection if a sender would get its ack too late.

        The sender counts from when it has written: what waits unread in its socket
        has waited since reading was paused.
        """
        waiting_since = [] if self._is_reading else [self._paused_seconds]
        if self._acks.pending:
            waiting_since.append(self._acks.oldest_seconds)
        if self._is_resting:
            left_bytes = self._reader.buffered_bytes
            arrived_seconds = self._arrivals.oldest_left_seconds(left_bytes)
            waiting_since += [] if arrived_seconds is None else [arrived_seconds]
        late = self._intake.clock() - LATE_ACK_SECONDS
        is_owed = self._asks_for_acks and self._is_open
        if is_owed and waiting_since and min(waiting_since) < late:
            self._intake.metrics.closed_late()
            logger.warning(
                "closing a connection: its acks would come too late",
                extra={"peer": self._sender, "pending_acks": self._acks.pending},
            )
            self._is_broken = True
            self.abort()

    def abort(self) -> None:
        """Close the connection now, whatever is still to be sent."""
        if self._transport is not None:
            self._transport.abort()

    # The way of a message.

    def _ask_turn(self) -> None:
        """Rest until it is this session's turn to encode what has come whole."""
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
                asks = self._asks_for_acks
                if not self._intake.ring.has_room(self._source, comes_again=asks):
                    self._wait_for_room()
                    break
                if self._transport and self._acks.pending >= MAX_PENDING_ACKS:
                    self.has_work = False  # until `_settled`
                    break
                if self._incoming is not None:
                    done_bytes += self._hand_over(self._incoming)
                elif (message := self._reader.next_message()) is not None:
                    done_bytes += MESSAGE_BYTES + len(message.entries)
                    self._begin_message(message)
                else:
                    self.has_work = self._is_resting = False
                    break
        except ProtocolError as error:
            self.has_work = self._is_resting = False
            self._break_off(error)
        except Exception as error:
            # A bug of ours costs the connection that brought it up, not all of them.
            self.has_work = self._is_resting = False
            self._give_up(error)
        self._count_waiting()
        # While others have their turn, this sender's bytes wait in its socket.
        self._set_reading()
        self._close_if_done()
        self._finish_if_lost()
        return done_bytes

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

    def _wait_for_room(self) -> None:
        self.has_work = False
        comes_again = self._transport is None and self._asks_for_acks
        if comes_again or (self._has_ended and not self._holds_whole):
            self._incoming = None
            self._is_resting = False
            return
        self._waits_for_room = True
        self._intake.ring.wait_for_room(
            self._source, self._ask_turn, comes_again=self._asks_for_acks
        )

    def _begin_message(self, message: Message) -> None:
        """Start on a message; what is owed for it is known from here on."""
        if self._sender == UNKNOWN_SENDER and message.chunk is not None:
            return  # it comes again, and would be another's: the sender is part of it
        received_seconds = self._arrivals.last_taken_seconds(
            self._reader.buffered_bytes
        )
        self._incoming = Incoming(
            self._intake,
            message,
            Origin(self._source, self._sender, received_seconds, self._tell),
        )
        self._acks.expect(self._incoming.delivery)
        self._asks_for_acks |= message.ack is not None
        self._is_known = True

    def _hand_over(self, incoming: Incoming) -> int:
        size_bytes = incoming.hand_over_part()
        if incoming.is_whole:
            self._incoming = None
            incoming.seal()
        return size_bytes

    def _settled(self) -> None:
        """All of a message is committed: write the acks that are due."""
        is_held_back = self._acks.pending >= MAX_PENDING_ACKS
        if self._acks.pending:  # nobody has looked while the process stood still
            self.close_if_late()
        for due in self._acks.due():
            # One write for each ack: clients read one at a time (facts, 3.1).
            transport = self._transport
            if transport and self._is_open and due.ack is not None:
                transport.write(due.ack)
                self._intake.metrics.acked(self._intake.clock() - due.settled_seconds)
        if is_held_back and self._is_resting and not self._waits_for_room:
            self._ask_turn()
        self._close_if_done()

    # Resting, reading, ending.

    def _set_reading(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        # Without room, what the sender writes waits in its socket: in memory it would
        # pile up with every sender and every try.
        is_ahead = self._is_resting and (
            self._reader.buffered_bytes >= READ_AHEAD_BYTES
            or (self._waits_for_room and self._is_known)
        )
        wanted = not (is_ahead or self._is_unread or self._is_broken or self._has_ended)
        if wanted and not self._is_reading:
            if self._intake.waiting.is_full and not self._asks_for_acks:
                self._intake.waiting.read_later(self, self._set_reading)
                return
            self._transport.resume_reading()
        elif self._is_reading and not wanted:
            self._paused_seconds = self._intake.clock()
            self._transport.pause_reading()
        self._is_reading = wanted

    def _pause_unread(self) -> None:
        if self._transport is not None and self._is_open and self._is_reading:
            self._paused_seconds = self._intake.clock()
            self._is_reading = False
            self._transport.pause_reading()
            self._intake.waiting.read_later(self, self._set_reading)

    def _break_off(self, error: ProtocolError) -> None:
        """Look at nothing more from this peer; what came before is stored and acked."""
        self._is_broken = self._has_ended = True
        self._intake.metrics.broke_protocol(error.reason)
        logger.warning(
            "closing a connection: the peer broke the protocol",
            extra={"peer": self._sender, "reason": error.reason, "error": str(error)},
        )

    def _give_up(self, error: Exception) -> None:
        self._is_broken = self._has_ended = True
        logger.error(
            "closing a connection: its messages met a bug in Penstock",
            extra={
                "peer": self._sender,
                # Where, not what: the error's own words may be those of a record.
                "error": type(error).__name__,
                "traceback": "".join(traceback.format_tb(error.__traceback__)),
            },
        )
        self.abort()

    def _end(self) -> None:
        self._has_ended = True
        if self._is_resting:  # to see what of it need not wait any more
            self._ask_turn()

    def _close_if_done(self) -> None:
        if not self._has_ended or self._is_resting:
            return
        # Half a message, which may be large, does not become whole any more.
        self._reader = MessageReader(self._intake.limits)
        self._intake.ring.forget(self._source)
        if self.is_idle:
            self.close()

    def _finish_if_lost(self) -> None:
        if self._transport is None and not self._is_resting:
            self._intake.recent.leave(self._source)
            self._intake.waiting.forget(self)
            self._on_lost(self)
