"""The listening socket of the forward protocol and the sessions behind it.

It owns accepting and the set of open sessions; what a session does is its own.
"""

import asyncio
import errno
import os

from penstock.errors import UnavailableError
from penstock.model import SourceId
from penstock.net.incoming import Intake
from penstock.net.session import ForwardSession
from penstock.settings import ListenSettings

# Connections that may wait to be accepted: a fleet of senders that reconnects at
# once, after a restart, is not to be refused.
BACKLOG = 1024
# A sender that has written nothing for so long is done for now: what it has written
# is in our socket by then, on any network.
QUIET_SECONDS = 0.2
# A sender that does not stop writing is waited for so long, and then until what it has
# written is read, or so much of it: more than its socket and ours held when the stop
# began (Linux: tcp_wmem up to 4 MiB, tcp_rmem up to 6 MiB).
LAST_WORDS_SECONDS = 3.0
LAST_BYTES = 16 * 1024 * 1024
# Between two looks at whether connections still come out of the backlog,
# and how often at most: somebody may connect all the time.
ACCEPT_SECONDS = 0.02
ACCEPT_ROUNDS = 25
# How often acks are looked at that come too late.
LATE_ACK_SECONDS = 1.0


class ForwardListener:
    """Accepts senders on one address."""

    def __init__(self, settings: ListenSettings, intake: Intake) -> None:
        self._settings = settings
        self._intake = intake
        self._server: asyncio.Server | None = None
        self._sessions: set[ForwardSession] = set()
        self._has_none = asyncio.Event()
        self._taken = 0
        # Who is read at the stop, and what had come from it when that began.
        self._last_read: dict[ForwardSession, int] = {}

    @property
    def is_accepting(self) -> bool:
        """Tell whether senders can connect."""
        return self._server is not None and self._server.is_serving()

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen.

        Raises:
            UnavailableError: the address is taken, not ours, or not allowed.
        """
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                self._open_session,
                self._settings.host,
                self._settings.port,
                backlog=BACKLOG,
            )
        except OSError as error:
            raise cannot_listen(
                error, self._settings.host, self._settings.port, "--port", "--host"
            ) from error

    async def stop_accepting(self) -> None:
        """Take the connections that were made before, and no new ones."""
        # uvloop takes one in each round of the loop; closing resets the others.
        for _ in range(ACCEPT_ROUNDS):
            taken = self._taken
            await asyncio.sleep(ACCEPT_SECONDS)
            if taken == self._taken:
                break
        if self._server is not None:
            self._server.close()

    async def close_late(self) -> None:
        """Close, until cancelled, connections whose acks would come too late."""
        while True:
            await asyncio.sleep(LATE_ACK_SECONDS)
            for session in list(self._sessions):
                session.close_if_late()

    async def read_last(self, timeout_seconds: float) -> None:
        """Read what is still on its way, then no more.

        Who asks for acks sends again what is not read. From the others all is read
        that they have written, until they are quiet or the time is up.
        """
        clock = self._intake.clock
        began = clock()
        reading = self._last_read = {
            each: each.received_bytes
            for each in self._sessions
            if not each.asks_for_acks
        }
        for session in self._sessions - reading.keys():
            session.stop()
        while reading and clock() - began < timeout_seconds:
            await asyncio.sleep(QUIET_SECONDS)
            now = clock()
            is_long = now - began > LAST_WORDS_SECONDS
            for session, before_bytes in list(reading.items()):
                said_bytes = session.received_bytes - before_bytes
                if said_bytes > LAST_BYTES or (
                    not session.is_resting
                    and not session.unread_bytes
                    and (is_long or session.is_quiet(now - QUIET_SECONDS))
                ):
                    del reading[session]
                    session.stop()
        for session in reading:
            session.stop()

    @property
    def unread_senders(self) -> int:
        """Count those of whom not all has been read that they had written.

        At the stop, and of those who do not send it again.
        """
        return sum(
            1
            for session in self._last_read
            if session.unread_bytes and not session.asks_for_acks
        )

    async def ended(self) -> None:
        """Wait until every session has handed over what came, and ended."""
        if self._sessions:
            self._has_none.clear()
            await self._has_none.wait()

    def abort(self) -> None:
        """End the sessions that have not ended by themselves."""
        for session in list(self._sessions):
            session.abort()

    def _open_session(self) -> ForwardSession:
        self._taken += 1
        session = ForwardSession(
            self._intake, SourceId(self._taken), on_lost=self._forget
        )
        self._sessions.add(session)
        return session

    def _forget(self, session: ForwardSession) -> None:
        self._sessions.discard(session)
        if not self._sessions:
            self._has_none.set()


def cannot_listen(
    error: OSError, host: str, port: int, port_flag: str, host_flag: str
) -> UnavailableError:
    """Return the one line for a socket that could not be bound."""
    where = f"{host}:{port}"
    match error.errno:
        case errno.EADDRINUSE:
            return UnavailableError(
                f"{where} is in use; stop what listens there, or choose another"
                f" port with {port_flag}"
            )
        case errno.EACCES:
            return UnavailableError(
                f"no permission to listen on {where}; choose a port of 1024 or"
                f" more with {port_flag}"
            )
        case errno.EADDRNOTAVAIL:
            return UnavailableError(
                f"{host} is no address of this machine; choose one with {host_flag}"
            )
        case number:
            reason = os.strerror(number) if number else str(error)
            return UnavailableError(f"cannot listen on {where}: {reason}")
