"""The listening socket of the forward protocol and the sessions behind it.

It owns accepting and the set of open sessions; what a session does is its own.
"""

import asyncio
import contextlib
import errno
import itertools
import os

from penstock.errors import UnavailableError
from penstock.model import SourceId
from penstock.net.session import ForwardSession, Intake
from penstock.settings import ListenSettings

# Connections that may wait to be accepted: a fleet of senders that reconnects at
# once, after a restart, is not to be refused.
BACKLOG = 1024


class ForwardListener:
    """Accepts senders on one address."""

    def __init__(self, settings: ListenSettings, intake: Intake) -> None:
        self._settings = settings
        self._intake = intake
        self._server: asyncio.Server | None = None
        self._sessions: set[ForwardSession] = set()
        self._has_none = asyncio.Event()
        self._sources = itertools.count(1)

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
        """Take no new connections; those that are open stay."""
        if self._server is not None:
            self._server.close()

    def stop_reading(self) -> None:
        """Read nothing more; sessions end when what they brought is stored."""
        for session in list(self._sessions):
            session.stop()

    async def close(self, timeout_seconds: float) -> None:
        """Wait for sessions to end by themselves, then end them."""
        if self._sessions:
            self._has_none.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._has_none.wait(), timeout_seconds)
        for session in list(self._sessions):
            session.abort()

    def _open_session(self) -> ForwardSession:
        session = ForwardSession(
            self._intake, SourceId(next(self._sources)), on_lost=self._forget
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
