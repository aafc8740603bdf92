"""A listener that speaks TLS, and a protocol within that notes what it is given."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, cast

import uvloop

from penstock.net.certificates import TlsServer, load_terms
from penstock.net.tls import TlsProtocol
from penstock.settings import TlsSettings
from tests.tls_client import TlsClient

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Within(asyncio.Protocol):
    """The protocol within: takes what comes, echoes it if told to."""

    def __init__(self, served: "Served", name: str) -> None:
        self.served, self.name = served, name
        self.received = b""
        self.pieces: list[int] = []
        self.happened: list[str] = []
        self.told = asyncio.Event()
        self.is_lost = self.fails = False
        self.write_paused = 0
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.served.pauses:
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        assert "end" not in self.happened and not self.is_lost
        if self.fails:
            raise RuntimeError("a bug within")
        self.received += data
        self.pieces.append(len(data))
        self.tell("data")
        if self.served.echoes:
            self.transport.write(data)
        if self.served.pauses:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self.tell("end")
        return self.served.stays

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.tell("lost")

    def pause_writing(self) -> None:
        self.write_paused += 1
        self.tell("pause")

    def resume_writing(self) -> None:
        self.tell("resume")

    def tell(self, what: str) -> None:
        if not self.happened or self.happened[-1] != what:
            self.happened.append(what)
        self.told.set()

    async def until(self, is_so: Callable[[], Any]) -> None:
        """Wait for something to be so, a moment after something happened."""
        async with asyncio.timeout(20):
            while not is_so():
                self.told.clear()
                await self.told.wait()


class Noted(TlsProtocol):
    """Notes the transport that it is given, for the test."""

    served: "Served"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.served.raws.append(cast("asyncio.Transport", transport))
        self.served.changed.set()


class Served:
    """A listener of its own, and all that came of its connections."""

    def __init__(self, settings: TlsSettings) -> None:
        self.tls = TlsServer(load_terms(settings))
        self.echoes = self.pauses = self.stays = False
        self.connections: list[TlsProtocol] = []
        self.raws: list[asyncio.Transport] = []
        self.sessions: list[Within] = []
        self.failures: list[str] = []
        self.errors: list[str] = []
        self.lost: list[TlsProtocol] = []
        self.changed = asyncio.Event()
        self.port = 0
        self._clients: list[TlsClient] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "Served":
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for link in self._clients:
            link.socket.close()
        for each in self.connections:
            each.abort()
        await self.until(lambda: len(self.lost) == len(self.connections))

    def _connection(self) -> TlsProtocol:
        connection = Noted(
            self.tls.current, self._session, failed=self._failed, on_lost=self._lost
        )
        connection.served = self
        self.connections.append(connection)
        self.changed.set()
        return connection

    def _session(self, name: str) -> Within:
        session = Within(self, name)
        self.sessions.append(session)
        self.changed.set()
        return session

    def _failed(self, reason: str, error: str) -> None:
        self.failures.append(reason)
        self.errors.append(error)
        self.changed.set()

    def _lost(self, connection: TlsProtocol) -> None:
        self.lost.append(connection)
        self.changed.set()

    async def until(self, is_so: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not is_so():
                self.changed.clear()
                await self.changed.wait()

    def client(
        self, context: ssl.SSLContext, session: ssl.SSLSession | None = None
    ) -> TlsClient:
        """Return a client that is connected, and closed at the end."""
        self._clients.append(TlsClient(self.port, context, session=session))
        return self._clients[-1]

    async def connect(self, context: ssl.SSLContext) -> tuple[TlsClient, Within]:
        """Return a client that has shaken hands, and what it talks to."""
        before = len(self.sessions)
        link = self.client(context)
        await asyncio.to_thread(link.shake_hands)
        await self.until(lambda: len(self.sessions) > before)
        return link, self.sessions[before]

    async def session(self) -> Within:
        await self.until(lambda: self.sessions)
        return self.sessions[0]
