"""TLS as a listener speaks it: real sockets, real clients, both event loops.

The protocol within is an echo, or one that rests and ends as a test tells it to; that
it is given everything, once, in order, and can answer to the last, is what these look
at.
"""

import asyncio
import logging
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from penstock.net import tls as tls_module
from penstock.net.certificates import TlsServer, load_terms
from penstock.net.sockets import unread_bytes
from penstock.net.tls import MAX_FRUITLESS_BYTES, MAX_HANDSHAKE_BYTES, TlsProtocol
from penstock.net.tls_records import SLICE_RECORDS
from penstock.settings import TlsSettings
from tests.authority import Authority
from tests.tls_client import Forger, TlsClient, client_context

V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
KIB, MIB = 1024, 1024 * 1024
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(params=LOOPS)
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield runner


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def settings(authority: Authority, tmp_path: Path) -> TlsSettings:
    certificate, key = authority.issue("server", dns=["localhost"]).write(
        tmp_path, "server"
    )
    return TlsSettings(tls_certificate_file=str(certificate), tls_key_file=str(key))


@pytest.fixture(params=[V1_2, V1_3], ids=["1.2", "1.3"])
def context(request: pytest.FixtureRequest, authority: Authority) -> ssl.SSLContext:
    return client_context(authority, request.param)


class Within(asyncio.Protocol):
    """The protocol within: takes what comes, echoes it if told to."""

    def __init__(self, served: "Served", name: str) -> None:
        self.served, self.name = served, name
        self.received = b""
        self.pieces: list[int] = []
        self.happened: list[str] = []
        self.told = asyncio.Event()
        self.is_lost = False
        self.write_paused = 0
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.served.pauses:
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        assert "end" not in self.happened and not self.is_lost
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


class Served:
    """A listener of its own, and all that came of its connections."""

    def __init__(self, settings: TlsSettings) -> None:
        self.tls = TlsServer(load_terms(settings))
        self.echoes = self.pauses = self.stays = False
        self.connections: list[TlsProtocol] = []
        self.raws: list[asyncio.Transport] = []
        self.sessions: list[Within] = []
        self.failures: list[str] = []
        self.lost: list[TlsProtocol] = []
        self.changed = asyncio.Event()
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "Served":
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for each in self.connections:
            each.abort()
        await self.until(lambda: len(self.lost) == len(self.connections))

    def _connection(self) -> TlsProtocol:
        connection = TlsProtocol(
            self.tls.current,
            self._session,
            address="127.0.0.1",
            failed=self._failed,
            on_lost=self._lost,
        )
        self.connections.append(connection)
        self.changed.set()
        return connection

    def _session(self, name: str) -> Within:
        session = Within(self, name)
        self.sessions.append(session)
        self.changed.set()
        return session

    def _failed(self, reason: str) -> None:
        self.failures.append(reason)
        self.changed.set()

    def _lost(self, connection: TlsProtocol) -> None:
        self.lost.append(connection)
        self.changed.set()

    async def until(self, is_so: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not is_so():
                self.changed.clear()
                await self.changed.wait()

    async def session(self) -> Within:
        await self.until(lambda: self.sessions)
        return self.sessions[0]


def test_what_is_sent_comes_and_is_answered(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    def client(port: int) -> bytes:
        with TlsClient(port, context) as link:
            link.shake_hands().send(b"one")
            return link.receive()

    async def scenario() -> None:
        async with Served(settings) as served:
            served.echoes = True
            assert await asyncio.to_thread(client, served.port) == b"one"
            session = await served.session()
            await session.until(lambda: session.is_lost)
            assert session.received == b"one"
            assert served.failures == []

    runner.run(scenario())
