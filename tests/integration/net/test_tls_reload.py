"""Certificates and CAs that are replaced while senders connect and send, with acks.

The protocol within is the real session, with a ring and a writer's steps by hand. What
is looked at: no connection is lost or refused, no event is missing, old connections go
on under the terms that they began with, new ones get the new certificate.
"""

import asyncio
import itertools
import ssl
import threading
import time
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
from cryptography import x509

from penstock.errors import SettingsError
from penstock.model import SourceId
from penstock.net.certificates import TlsServer, load_terms
from penstock.net.peer import Peer
from penstock.net.session import ForwardSession
from penstock.net.tls import TlsProtocol
from penstock.settings import TlsSettings
from tests.authority import Authority, Issued
from tests.integration.conftest import PATIENCE_SECONDS
from tests.tls_client import TlsClient, client_context
from tests.unit.net.test_session import Server, message

SENDERS = 2  # of each kind; each takes one of the six threads there are
CHUNKS = 4  # over each connection of a sender
RELOADS = 12


class Listener:
    """A listener with the real session within."""

    def __init__(self, settings: TlsSettings) -> None:
        self.server = Server()
        self.tls = TlsServer(load_terms(settings))
        self.failures: list[str] = []
        self.names: set[str] = set()
        self._sources = itertools.count(1)
        self.is_over = threading.Event()

    async def __aenter__(self) -> "Listener":
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self.connection, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._committing = asyncio.create_task(self.commit())
        return self

    async def __aexit__(self, *error: object) -> None:
        self.is_over.set()
        self._committing.cancel()
        self._server.close()

    def connection(self) -> TlsProtocol:
        return TlsProtocol(
            self.tls.current,
            self._session,
            failed=lambda reason, _: self.failures.append(reason),
        )

    def _session(self, name: str) -> ForwardSession:
        self.names.add(name)
        peer = Peer(address="127.0.0.1", certificate_name=name)
        source = SourceId(next(self._sources))
        return ForwardSession(self.server.intake, source, peer, self.server)

    async def commit(self) -> None:
        while True:
            self.server.commit_all()
            await asyncio.sleep(0.001)


class Sender:
    """Connects, sends chunks and waits for each ack, closes, and again."""

    def __init__(self, port: int, context: ssl.SSLContext, first: int) -> None:
        self._port, self._context = port, context
        self._numbers = itertools.count(first)
        self.connections = 0
        self.sent: list[int] = []

    def run(self, is_over: threading.Event, *, one_connection: bool = False) -> None:
        while not is_over.is_set():
            with TlsClient(self._port, self._context) as link:
                link.shake_hands()
                self.connections += 1
                for number in itertools.count(1):
                    self._send(link)
                    if is_over.is_set() or (number >= CHUNKS and not one_connection):
                        break
                link.socket.sendall(link.goodbye())
                assert link.receive() == b""

    def wait_until_sent(self, count: int) -> None:
        """Wait in another thread until so many chunks are acked."""
        until = time.monotonic() + PATIENCE_SECONDS
        while len(self.sent) < count:
            assert time.monotonic() < until
            time.sleep(0.01)

    def _send(self, link: TlsClient) -> None:
        n = next(self._numbers)
        link.send(message(n, f"chunk {n}"))
        assert msgpack.unpackb(link.receive()) == {"ack": f"chunk {n}"}
        self.sent.append(n)


class Files:
    """The files of [tls], written anew for each reload: two CAs take turns."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.authorities = (Authority("One"), Authority("Other"))
        self.settings = TlsSettings(
            tls_certificate_file=str(directory / "server.pem"),
            tls_key_file=str(directory / "server.key"),
            tls_client_ca_file=str(directory / "ca.pem"),
            tls_client_names=("sender-*", "*.senders.example"),
        )

    def write(self, turn: int) -> Issued:
        one, other = self.authorities[turn % 2], self.authorities[(turn + 1) % 2]
        issued = one.issue(f"server {turn}", dns=["localhost"])
        issued.write(self._directory, "server")
        one.write(self._directory).write_bytes(one.certificate + other.certificate)
        return issued

    def context(self, number: int) -> ssl.SSLContext:
        """Return a client's context: a certificate of one CA, trust in both."""
        context = client_context(self.authorities[0])
        context.load_verify_locations(cadata=self.authorities[1].certificate.decode())
        issued = self.authorities[number % 2].issue(
            dns=[f"s{number}.senders.example"], for_clients=True
        )
        context.load_cert_chain(*issued.write(self._directory, f"sender {number}"))
        return context


def wait_for_another_connection(senders: list[Sender]) -> None:
    """Wait in another thread until one of them has connected once more."""
    before = sum(sender.connections for sender in senders)
    until = time.monotonic() + PATIENCE_SECONDS
    while sum(sender.connections for sender in senders) == before:
        assert time.monotonic() < until
        time.sleep(0.01)


def seen(link: TlsClient) -> str:
    """Return the common name that the server showed."""
    encoded = link.tls.getpeercert(binary_form=True)
    assert encoded is not None
    name = x509.load_der_x509_certificate(encoded).subject
    return str(next(iter(name)).value)


def test_certificates_are_replaced_under_load_and_nobody_notices(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    files = Files(tmp_path)
    files.write(0)

    async def scenario() -> None:
        async with Listener(files.settings) as listener:
            senders = [
                Sender(listener.port, files.context(n), n * 1_000_000)
                for n in range(2 * SENDERS)
            ]
            running = [
                asyncio.create_task(
                    asyncio.to_thread(
                        sender.run, listener.is_over, one_connection=n < SENDERS
                    )
                )
                for n, sender in enumerate(senders)
            ]
            for turn in range(1, RELOADS):
                files.write(turn)
                listener.tls.current = load_terms(files.settings)
                await asyncio.to_thread(wait_for_another_connection, senders)
                with TlsClient(listener.port, files.context(turn)) as link:
                    await asyncio.to_thread(link.shake_hands)
                    assert seen(link) == f"server {turn}"
            listener.is_over.set()
            await asyncio.gather(*running)
        assert listener.failures == []
        sent = sorted(n for sender in senders for n in sender.sent)
        assert sorted(listener.server.numbers()) == sent
        assert [sender.connections for sender in senders[:SENDERS]] == [1] * SENDERS
        assert sum(sender.connections for sender in senders) >= RELOADS
        assert listener.names >= {f"s{n}.senders.example" for n in range(2 * SENDERS)}

    runner.run(scenario())


def test_new_terms_that_are_wrong_leave_the_old_ones(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.write(0)
    tls = TlsServer(load_terms(files.settings))
    before = tls.current
    (tmp_path / "server.key").write_text("half a file")
    with pytest.raises(SettingsError):
        tls.current = load_terms(files.settings)
    assert tls.current is before


def test_a_ca_that_is_gone_is_not_trusted_any_more_but_its_connections_stay(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    files = Files(tmp_path)
    files.write(0)

    async def scenario() -> None:
        async with Listener(files.settings) as listener:
            old = Sender(listener.port, files.context(1), 0)
            running = asyncio.create_task(
                asyncio.to_thread(old.run, listener.is_over, one_connection=True)
            )
            await asyncio.to_thread(old.wait_until_sent, 1)
            files.authorities[0].write(tmp_path)  # only that one's clients
            listener.tls.current = load_terms(files.settings)
            await asyncio.to_thread(old.wait_until_sent, len(old.sent) + 10)
            with TlsClient(listener.port, files.context(1)) as link:
                with pytest.raises(ssl.SSLError):
                    await asyncio.to_thread(refused, link)
            with TlsClient(listener.port, files.context(2)) as link:
                await asyncio.to_thread(link.shake_hands)
            listener.is_over.set()
            await running
            assert listener.failures == ["handshake"]

    runner.run(scenario())


def refused(link: TlsClient) -> None:
    """Shake hands, and read: TLS 1.3 says only then that it is refused."""
    link.shake_hands()
    link.receive()


def test_the_names_allowed_are_replaced_with_the_rest(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    files = Files(tmp_path)
    files.write(0)

    async def scenario() -> None:
        async with Listener(files.settings) as listener:
            listener.tls.current = load_terms(
                replace(files.settings, tls_client_names=("s1.senders.example",))
            )
            for number in (1, 2):
                with TlsClient(listener.port, files.context(number)) as link:
                    await asyncio.to_thread(link.shake_hands)
                    if number == 2:
                        assert await asyncio.to_thread(link.receive) == b""
            assert listener.names == {"s1.senders.example"}
            assert listener.failures == ["client_name"]

    runner.run(scenario())
