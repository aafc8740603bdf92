"""What stands between a new connection and its session: TLS, the handshake, or nothing.

It owns a connection until its session begins. It must not know what the stages do, nor
which of them a listener has: whoever makes the listener's doorway does.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from penstock.net.peer import Peer
from penstock.net.session import ForwardSession
from penstock.net.sockets import unread_bytes


class Entrant(asyncio.Protocol):
    """A connection on its way in.

    While a stage has it, this stands before it and hears what comes. When the session
    has begun it steps aside.
    """

    __slots__ = (
        "_begin",
        "_leave",
        "_stage",
        "_transport",
        "began_seconds",
        "clock",
        "heard_seconds",
        "is_overdue",
        "peer",
        "session",
    )

    def __init__(
        self,
        peer: Peer,
        *,
        begin: Callable[[Peer, "Entrant"], ForwardSession],
        leave: Callable[["Entrant"], None],
        clock: Callable[[], float],
    ) -> None:
        self.peer = peer
        self.clock = clock
        self.began_seconds = self.heard_seconds = clock()
        self.is_overdue = False
        self.session: ForwardSession | None = None
        self._begin = begin
        self._leave = leave
        self._stage: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None

    # For the doorway and its stages.

    def begin(self, peer: Peer) -> asyncio.Protocol:
        """Return the session of this connection, as its last stage; to be called once.

        `peer` is what is known of the other end by now.
        """
        assert self.session is None, "one connection, one session"
        self.session = self._begin(peer, self)
        # A transport reads to its buffer; a stage hands over as to any protocol.
        return cast("asyncio.Protocol", self.session)

    def lost(self, _stage: object = None) -> None:
        """Note that the connection is lost: the outermost stage tells it."""
        self._stage = self._transport = None
        self._leave(self)

    # For the server.

    @property
    def unread_bytes(self) -> int:
        """Return how many bytes wait in our socket."""
        return unread_bytes(self._transport)

    def enter(self, stage: asyncio.Protocol) -> asyncio.BaseProtocol:
        """Return the protocol to connect: this one, unless the session has begun."""
        first: object = stage
        if self.session is not None and first is self.session:
            return self.session
        self._stage = stage
        return self

    def abort(self) -> None:
        """Close the connection now."""
        if self._transport is not None:
            self._transport.abort()

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the stage begin."""
        self._transport = cast("asyncio.Transport", transport)
        if self._stage is not None:
            self._stage.connection_made(transport)
            self._step_aside()

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the stage."""
        self.heard_seconds = self.clock()
        if self._stage is not None:
            self._stage.data_received(data)
            self._step_aside()

    def eof_received(self) -> bool | None:
        """Tell the stage that the peer sends no more."""
        return self._stage is not None and self._stage.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the stage; what it still holds may be a session's."""
        if self._stage is None or self._transport is None:  # it never was connected
            self.lost()
        else:
            self._stage.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell the stage that the peer does not read."""
        if self._stage is not None:
            self._stage.pause_writing()

    def resume_writing(self) -> None:
        """Tell the stage that the peer reads again."""
        if self._stage is not None:
            self._stage.resume_writing()

    def _step_aside(self) -> None:
        """Let the stage be told directly, once the deadline is not ours to keep."""
        transport, stage = self._transport, self._stage
        if self.session and transport is not None and stage is not None:
            # The stage may have put another in its place.
            if transport.get_protocol() is self:
                transport.set_protocol(stage)
            self._stage = self._transport = None


class Doorway(Protocol):
    """What a listener asks of a new connection before its session begins."""

    def open(self, entrant: Entrant) -> asyncio.Protocol | None:
        """Return the connection's first stage; None closes it.

        The last stage is `entrant.begin(peer)`, the session. A first stage that is not
        the session calls `entrant.lost` when the connection is lost.
        """


class OpenDoorway:
    """A doorway for everybody: there is nothing before the session."""

    def open(self, entrant: Entrant) -> asyncio.Protocol:
        """Return the session."""
        return entrant.begin(entrant.peer)
