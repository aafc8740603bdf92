"""What senders had written when a stop began: it is read, and then no more.

It owns for how long each is read on. It must not close a listening socket.
"""

import asyncio

from penstock.net.connections import Connections
from penstock.net.entering import Entrant
from penstock.net.session import ForwardSession

# A sender that has written nothing for so long is done for now: what it has written
# is in our socket by then, on any network.
QUIET_SECONDS = 0.2
# A sender that does not stop writing is waited for so long, and then until what it has
# written is read, or so much of it: more than its socket and ours held when the stop
# began (Linux: tcp_wmem up to 4 MiB, tcp_rmem up to 6 MiB).
LAST_WORDS_SECONDS = 3.0
LAST_BYTES = 16 * 1024 * 1024


class LastWords:
    """The last of what is read, of each connection."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._clock = connections.intake.clock
        self._began_seconds = 0.0
        # Who is read, and what had come from it when that began.
        self._read_from: dict[ForwardSession, int] = {}
        self._seen: set[ForwardSession] = set()
        self._cut_entrants = 0

    @property
    def unread_senders(self) -> int:
        """Count those of whom not all has been read that they had written.

        Of those who do not send it again; of a connection that had not come in when
        it was cut, that is not known.
        """
        return self._cut_entrants + sum(
            1
            for session in self._read_from
            if session.unread_bytes and not session.asks_for_acks
        )

    async def read(self, timeout_seconds: float) -> None:
        """Read what is still on its way, then no more.

        Who asks for acks sends again what is not read. From the others all is read
        that they have written, until they are quiet or the time is up. Who is still on
        its way in may have written and gone: it is let in.
        """
        began = self._began_seconds = self._clock()
        self._take_new()
        while self._is_reading and self._clock() - began < timeout_seconds:
            await asyncio.sleep(QUIET_SECONDS)
            self._take_new()
            now = self._clock()
            for session in list(self._read_from):
                if self._has_said_all(session, now):
                    del self._read_from[session]
                    session.stop()
            for entrant in list(self._connections.entrants):
                if self._is_silent(entrant, now):
                    entrant.abort()
        for entrant in list(self._connections.entrants):
            self._cut_entrants += bool(entrant.unread_bytes)
            entrant.abort()
        for session in self._read_from:
            session.stop()

    @property
    def _is_reading(self) -> bool:
        return bool(self._read_from or self._connections.entrants)

    def _take_new(self) -> None:
        for session in self._connections.sessions - self._seen:
            self._seen.add(session)
            if session.asks_for_acks:
                session.stop()
            else:
                self._read_from[session] = session.received_bytes

    def _is_late(self, now_seconds: float) -> bool:
        return now_seconds - self._began_seconds > LAST_WORDS_SECONDS

    def _has_said_all(self, session: ForwardSession, now_seconds: float) -> bool:
        said_bytes = session.received_bytes - self._read_from[session]
        if said_bytes > LAST_BYTES:
            return True
        if session.is_resting or session.unread_bytes:
            return False
        return self._is_late(now_seconds) or session.is_quiet(
            now_seconds - QUIET_SECONDS
        )

    def _is_silent(self, entrant: Entrant, now_seconds: float) -> bool:
        if entrant.unread_bytes:
            return False
        is_quiet = entrant.heard_seconds < now_seconds - QUIET_SECONDS
        return is_quiet or self._is_late(now_seconds)
