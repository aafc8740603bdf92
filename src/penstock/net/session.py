"""One sender's connection: bytes to frames to rows in the ring, acks back.

The shell that drives the pure core of the flow. It owns when this connection is
read and when it ends: it stops reading a peer that does not read its acks, and closes
it rather than ack late. It must not know PostgreSQL, nor how the peer was let in, and
it never writes a byte that is not an ack.
"""

import asyncio
import logging
import traceback
from typing import Protocol, cast

from penstock.errors import ProtocolError
from penstock.model import SourceId
from penstock.net import inbox
from penstock.net.inbox import Inbox
from penstock.net.incoming import Intake
from penstock.net.pace import Pace
from penstock.net.peer import Peer
from penstock.net.sockets import unread_bytes

logger = logging.getLogger(__name__)

# Read ahead of a sender whose messages wait for their turn, or for room: enough that
# it need not be woken for each of them.
READ_AHEAD_BYTES = 256 * 1024
# For a peer to take the last acks out of our memory before its connection is cut.
LAST_ACKS_SECONDS = 2.0
# Fluentd waits 190 s for an ack and then takes a later one for that of its next chunk
# (protocol facts, 3.3): well before, the connection is closed instead.
LATE_ACK_SECONDS = 150.0


class Keeper(Protocol):
    """Who keeps the session, and is told how it ends."""

    def disconnected(self, session: "ForwardSession") -> None:
        """Note that its connection is lost; it may have something left to do."""

    def ended(self, session: "ForwardSession") -> None:
        """Forget it: it has handed over all that came whole."""

    def watch(self, session: "ForwardSession") -> None:
        """Have it look after its patience, until it needs it no more."""

    def closed(self, session: "ForwardSession", reason: str) -> None:
        """Count a connection that is closed for a limit."""


class ForwardSession(Inbox, asyncio.BufferedProtocol):
    """Speaks the forward protocol with one peer.

    A socket's transport is given the buffer to read to, so that it reads no more at
    once than there is memory for; a stage before it hands over what it has.
    """

    __slots__ = (
        "_cut",
        "_is_broken",
        "_is_reading",
        "_is_unread",
        "_keeper",
        "_paused_seconds",
        "_transport",
        "_unread_seconds",
    )

    def __init__(
        self, intake: Intake, source: SourceId, peer: Peer, keeper: Keeper
    ) -> None:
        super().__init__(intake, source, peer)
        self._keeper = keeper
        self._transport: asyncio.Transport | None = None
        self._is_unread = False  # the peer does not read its acks
        self._unread_seconds = 0.0  # since when
        self._is_reading = True
        self._paused_seconds = 0.0
        self._cut: asyncio.TimerHandle | None = None  # of a connection being closed
        self._is_broken = False  # what it sends is no longer looked at

    @property
    def _is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def unread_bytes(self) -> int:
        """Return how many bytes wait in our socket."""
        return unread_bytes(self._transport)

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: bound the acks that the peer leaves unread."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(
            high=self._intake.peers.max_unread_ack_bytes
        )
        if self._intake.waiting.is_full:
            # uvloop heeds it only then, and has read 64 KiB by that time.
            asyncio.get_running_loop().call_soon(self._pause_unread)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to."""
        return self._intake.partials.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take so many bytes that were read."""
        self.data_received(self._intake.partials.read(nbytes))

    def data_received(self, data: bytes | memoryview) -> None:
        """Take bytes from the peer, and go as far as they lead."""
        if not (self._is_broken or self._has_ended):
            self._keeper.watch(self)
            self._receive(data)

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
        if self._is_lost:
            return
        self._transport = None
        self._is_lost = True
        self._keeper.disconnected(self)
        if self._cut is not None:
            self._cut.cancel()
        self._end()
        self._close_if_done()
        self._finish_if_lost()

    def pause_writing(self) -> None:
        """Read no more from a peer that does not read its acks."""
        self._is_unread = True
        self._unread_seconds = self._intake.clock()
        self._keeper.watch(self)
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

    def look(self, seconds: float) -> bool:
        """Close the connection if patience is at its end; return if there is none.

        `seconds` have passed since the last look. To be called until there is nothing
        any more that takes time.
        """
        if self._is_lost or not self._is_open:
            return False
        now = self._intake.clock()
        if self._is_unread and self._unread_seconds < now - LATE_ACK_SECONDS:
            # An ack that it would read now is late anyway.
            self._close_for("unread_acks")
            self.abort()
            return False
        self.close_if_late()
        holds = self._reader.buffered_bytes
        if holds and self._is_reading and not self._is_resting:
            self._look_at_pace(seconds)
        is_waiting = holds or self._acks.pending or self._is_resting
        return bool(is_waiting or self._is_unread or not self._is_reading)

    def _look_at_pace(self, seconds: float) -> None:
        """Close the connection of one who only drips.

        What came whole is stored and acked.
        """
        if self.unread_bytes:
            return  # it is we who are slow
        if self._pace is None:
            self._pace = Pace(self.received_bytes)
        peers = self._intake.peers
        is_scarce = self._held_bytes > 0 and self._intake.partials.waiting > 0
        reason = self._pace.too_slow(
            seconds, self.received_bytes, peers, is_scarce=is_scarce
        )
        if reason is not None:
            self._close_for(reason)
            self._set_reading()
            self._close_if_done()

    def _close_for(self, reason: str) -> None:
        self._is_broken = self._has_ended = True
        self._keeper.closed(self, reason)

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
                extra={"peer": self.peer.sender, "pending_acks": self._acks.pending},
            )
            self._is_broken = True
            self.abort()

    def abort(self) -> None:
        """Close the connection now, whatever is still to be sent."""
        if self._transport is not None:
            self._transport.abort()

    # What became of its messages.

    def _settled(self) -> None:
        """All of a message is committed: write the acks that are due."""
        is_held_back = self._acks.pending >= inbox.MAX_PENDING_ACKS
        if self._acks.pending:  # nobody has looked while the process stood still
            self.close_if_late()
        for due in self._acks.due():
            # One write for each ack: clients read one at a time (facts, 3.1).
            transport = self._transport
            if transport and self._is_open and due.ack is not None:
                transport.write(due.ack)
                if self._acked is not None and due.identity is not None:
                    self._acked.wrote_ack(due.identity)
                self._intake.metrics.acked(self._intake.clock() - due.settled_seconds)
        if is_held_back and self._is_resting and not self._waits_for_room:
            self._ask_turn()
        self._close_if_done()

    def _break_off(self, error: ProtocolError) -> None:
        """Look at nothing more from this peer; what came before is stored and acked."""
        self._is_broken = self._has_ended = True
        self._intake.metrics.broke_protocol(error.reason)
        logger.warning(
            "closing a connection: the peer broke the protocol",
            extra={
                "peer": self.peer.sender,
                "reason": error.reason,
                "error": str(error),
            },
        )

    def _give_up(self, error: Exception) -> None:
        self._is_broken = self._has_ended = True
        logger.error(
            "closing a connection: its messages met a bug in Penstock",
            extra={
                "peer": self.peer.sender,
                # Where, not what: the error's own words may be those of a record.
                "error": type(error).__name__,
                "traceback": "".join(traceback.format_tb(error.__traceback__)),
            },
        )
        self.abort()

    # Reading, ending.

    def _set_reading(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        # Without room, what the sender writes waits in its socket: in memory it would
        # pile up with every sender and every try.
        is_ahead = self._is_resting and (
            self._reader.buffered_bytes >= READ_AHEAD_BYTES
            or (self._waits_for_room and self._is_known)
            or self._intake.turns.is_long
        )
        is_over = self._is_broken or self._has_ended
        wanted = self._may_read and not (is_ahead or self._is_unread or is_over)
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
            self._keeper.watch(self)
            self._transport.pause_reading()
            self._intake.waiting.read_later(self, self._set_reading)

    def _end(self) -> None:
        self._has_ended = True
        if self._is_resting:  # to see what of it need not wait any more
            self._ask_turn()

    def _close_if_done(self) -> None:
        if not self._has_ended or self._is_resting:
            return
        self._forget_half()  # it may be large
        if self.is_idle:
            self.close()

    def _finish_if_lost(self) -> None:
        if self._is_lost and not self._is_resting:
            self._intake.recent.leave(self._source)
            self._intake.waiting.forget(self)
            self._drop_incoming()
            self._intake.partials.forget(self, self._held_bytes)
            self._held_bytes = 0
            self._keeper.ended(self)
