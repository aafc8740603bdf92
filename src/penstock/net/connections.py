"""All connections of senders, on whatever listener and in whatever stage.

It owns how many there may be, in all and of one address, and how long one may take to
come in. It must not listen, nor know what a session does.
"""

import asyncio
import logging
import socket
from typing import Any

from penstock.model import SourceId
from penstock.net.entering import Doorway, Entrant
from penstock.net.incoming import Intake
from penstock.net.peer import UNIX_SENDER, Peer, host_of, normal_address
from penstock.net.session import ForwardSession
from penstock.net.sockets import keep_alive

logger = logging.getLogger(__name__)

# One line in so long for each reason: whoever is refused tries again at once.
LOG_SECONDS = 60.0
# Sessions that are looked at in one round of the loop: a millisecond or two.
LOOKS_A_ROUND = 500


class Connections:
    """The open connections, and the sessions that are not over.

    A session may outlive its connection, while what came whole waits for room.
    """

    def __init__(self, intake: Intake, *, max_files: int) -> None:
        self.intake = intake
        self.max_files = max_files  # that connections may have
        self.sessions: set[ForwardSession] = set()
        self.entrants: set[Entrant] = set()
        self.watched: set[ForwardSession] = set()
        self.taken = 0
        self._open = 0
        self._of_host: dict[str, int] = {}
        self._has_none = asyncio.Event()
        # When a reason was logged, and how often it has been met since.
        self._refusals: dict[str, tuple[float, int]] = {}

    def open(
        self, accepted: socket.socket, address: Any, doorway: Doorway
    ) -> asyncio.BaseProtocol | None:
        """Return the protocol of a connection just accepted; None if it is refused."""
        peer = Peer(address=_address_of(accepted, address))
        if (reason := self._limit_reached(peer)) is not None:
            self.refuse(reason, peer.address)
            return None
        entrant = Entrant(
            peer, begin=self._begin, leave=self._leave, clock=self.intake.clock
        )
        self._count(peer, 1)
        self.entrants.add(entrant)
        stage = None
        try:
            stage = doorway.open(entrant)
        finally:
            if stage is None:
                entrant.lost()
        if stage is None:
            return None
        if peer.address != UNIX_SENDER:
            keep_alive(accepted)
        return entrant.enter(stage)

    def refuse(self, reason: str, address: str = "") -> None:
        """Count a connection that is not taken, or closed, and log one in a while."""
        self.intake.metrics.refused(reason)
        now = self.intake.clock()
        logged_seconds, unlogged = self._refusals.get(reason, (-LOG_SECONDS, 0))
        if now - logged_seconds < LOG_SECONDS:
            self._refusals[reason] = logged_seconds, unlogged + 1
            return
        self._refusals[reason] = now, 0
        extra: dict[str, Any] = {"reason": reason, "connections": self._open}
        if address:
            extra["peer"] = address
        if unlogged:
            extra["others_without_a_line"] = unlogged
        logger.warning("a connection has met a limit and is closed", extra=extra)

    async def look(self, seconds: float) -> None:
        """Close the connections that are too slow; so many seconds have passed.

        Quietly those that do not come in, be it a probe or a sender that knows no key.
        """
        overdue = self.intake.clock() - self.intake.peers.handshake_seconds
        for entrant in list(self.entrants):
            if entrant.began_seconds < overdue:
                if not entrant.is_overdue:
                    entrant.is_overdue = True
                    self.intake.metrics.refused("handshake_timeout")
                entrant.abort()
        for count, session in enumerate(list(self.watched), 1):
            if not session.look(seconds):
                self.watched.discard(session)
            if count % LOOKS_A_ROUND == 0:
                await asyncio.sleep(0)

    async def all_ended(self) -> None:
        """Wait until every session has handed over what came, and ended."""
        while self.sessions or self.entrants:
            self._has_none.clear()
            await self._has_none.wait()

    def abort(self) -> None:
        """End the connections that have not ended by themselves."""
        for session in list(self.sessions):
            session.abort()
        for entrant in list(self.entrants):
            entrant.abort()

    # What sessions tell.

    def disconnected(self, session: ForwardSession) -> None:
        """Note that its connection is lost; it may have something left to do."""
        self._count(session.peer, -1)

    def ended(self, session: ForwardSession) -> None:
        """Forget it: it has handed over all that came whole."""
        self.sessions.discard(session)
        self.watched.discard(session)
        self._tell_if_none()

    def watch(self, session: ForwardSession) -> None:
        """Have it look after its patience, until it needs it no more."""
        self.watched.add(session)

    def closed(self, session: ForwardSession, reason: str) -> None:
        """Count a connection that is closed for a limit."""
        self.refuse(reason, session.peer.address)

    # What entrants tell.

    def _begin(self, peer: Peer, entrant: Entrant) -> ForwardSession:
        self.taken += 1
        session = ForwardSession(self.intake, SourceId(self.taken), peer, self)
        self.entrants.discard(entrant)
        self.sessions.add(session)
        return session

    def _leave(self, entrant: Entrant) -> None:
        if entrant in self.entrants:
            self.entrants.discard(entrant)
            self._count(entrant.peer, -1)
            self._tell_if_none()

    # Counting.

    def _limit_reached(self, peer: Peer) -> str | None:
        if self._open >= self.intake.peers.max_connections:
            return "max_connections"
        if self._open >= self.max_files:
            return "open_files"
        held = self._of_host.get(host_of(peer.address), 0)
        if peer.address == UNIX_SENDER:
            return None
        at_most = self.intake.peers.max_connections_per_address
        return "max_connections_per_address" if held >= at_most else None

    def _count(self, peer: Peer, more: int) -> None:
        self._open += more
        host = host_of(peer.address)
        held = self._of_host.get(host, 0) + more
        if held:
            self._of_host[host] = held
        else:
            del self._of_host[host]
        if more > 0:
            self.intake.metrics.connected()
        else:
            self.intake.metrics.disconnected()

    def _tell_if_none(self) -> None:
        if not (self.sessions or self.entrants):
            self._has_none.set()


def _address_of(accepted: socket.socket, address: Any) -> str:
    if accepted.family == socket.AF_UNIX:
        return UNIX_SENDER
    return normal_address(address[0])
