"""TLS with peers that are lost, mistaken or hostile: each costs its own connection."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Iterator

import pytest

from penstock.net.sockets import unread_bytes
from penstock.net.tls import MAX_FRUITLESS_BYTES
from penstock.settings import TlsSettings
from tests.authority import Authority
from tests.tls_client import (
    HANDSHAKE,
    KEY_UPDATE,
    V1_3,
    Forger,
    TlsClient,
    client_context,
)
from tests.tls_parts import Served, Within

KIB = 1024
PLAIN_TEXT = {
    b"GET / HTTP/1.1\r\nHost: here\r\n\r\n": "an HTTP request",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n": "a header of the PROXY protocol",
    b"\x92\xa3app\x90": "the forward protocol in plain text",
    b'["app",1,{}]': "the forward protocol in plain text",
    b"SSH-2.0-OpenSSH_9.9\r\n": "unknown bytes",
    b"\0": "unknown bytes",
}


async def failed(served: Served, reason: str, error: str) -> None:
    """Wait until the one connection is lost; it has failed, for this reason."""
    await served.until(lambda: served.lost)
    assert served.failures == [reason]
    assert served.errors == [error]


@pytest.mark.parametrize("said", PLAIN_TEXT, ids=list(PLAIN_TEXT.values()))
def test_plain_text_is_closed_unanswered_and_named(
    runner: asyncio.Runner,
    settings: TlsSettings,
    said: bytes,
) -> None:
    def client(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
            link.sendall(said)
            return link.recv(100)

    async def scenario() -> None:
        async with Served(settings) as served:
            assert await asyncio.to_thread(client, served.port) == b""
            await failed(served, "handshake", f"no TLS: {PLAIN_TEXT[said]}")

    runner.run(scenario())


def test_probes_and_heartbeats_are_silent(
    runner: asyncio.Runner,
    settings: TlsSettings,
    context: ssl.SSLContext,
) -> None:
    def probe(port: int) -> None:
        socket.create_connection(("127.0.0.1", port), timeout=30).close()

    def heartbeat(port: int) -> None:
        with TlsClient(port, context) as link:
            link.socket.sendall(link.last_flight() + link.goodbye())

    async def scenario() -> None:
        async with Served(settings) as served:
            for _ in range(5):
                await asyncio.to_thread(probe, served.port)
                await asyncio.to_thread(heartbeat, served.port)
            await served.until(lambda: len(served.lost) == 10)
            assert served.failures == []
            assert len(served.sessions) == 5

    runner.run(scenario())


@pytest.mark.parametrize("where", ["within", "beneath"])
def test_our_own_abort_of_a_handshake_is_no_failure(
    runner: asyncio.Runner, settings: TlsSettings, where: str
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            with socket.create_connection(("127.0.0.1", served.port)) as link:
                link.sendall(b"\x16\x03\x01")
                await served.until(lambda: served.raws)
                await asyncio.sleep(0.05)
                (served.connections if where == "within" else served.raws)[0].abort()
                await served.until(lambda: served.lost)
            assert served.failures == []

    runner.run(scenario())


def test_a_reset_in_the_middle_of_the_handshake_is_a_failure(
    runner: asyncio.Runner, settings: TlsSettings
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            with socket.create_connection(("127.0.0.1", served.port)) as link:
                link.sendall(b"\x16\x03\x01")
                await served.until(lambda: served.raws)
                await asyncio.sleep(0.05)
                linger = struct.pack("ii", 1, 0)
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            await failed(
                served, "handshake", "the peer has closed the connection in the middle"
            )

    runner.run(scenario())


def test_an_end_in_the_middle_of_the_handshake_is_a_failure(
    runner: asyncio.Runner, settings: TlsSettings
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            with socket.create_connection(("127.0.0.1", served.port)) as link:
                link.sendall(b"\x16\x03\x01")
            await failed(
                served, "handshake", "the peer has closed the connection in the middle"
            )

    runner.run(scenario())


def test_a_client_that_does_not_trust_us_is_named(
    runner: asyncio.Runner,
    settings: TlsSettings,
    context: ssl.SSLContext,
) -> None:
    stranger = client_context(Authority("Another"), context.minimum_version)

    async def scenario() -> None:
        async with Served(settings) as served:
            link = served.client(stranger)
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.to_thread(link.shake_hands)
            link.socket.sendall(link.pending_output())
            await failed(served, "handshake", "the peer sent an alert: unknown ca")

    runner.run(scenario())


def test_a_damaged_record_ends_the_connection_behind_what_was_whole(
    runner: asyncio.Runner,
    settings: TlsSettings,
    context: ssl.SSLContext,
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            link, session = await served.connect(context)
            damaged = bytearray(link.encrypted(b"whole") + link.encrypted(b"damaged"))
            damaged[-1] ^= 1
            await asyncio.to_thread(link.socket.sendall, damaged)
            await session.until(lambda: session.is_lost)
            assert session.received == b"whole"
            with pytest.raises(ssl.SSLError):  # it is told, by an alert
                await asyncio.to_thread(link.receive)
            await failed(served, "broken", "decryption failed or bad record mac")

    runner.run(scenario())


def test_what_follows_a_goodbye_is_not_taken(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            served.stays = True
            link, session = await served.connect(context)
            link.socket.settimeout(0.2)
            farewell = link.encrypted(b"last words") + link.goodbye()
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(
                    link.socket.sendall, farewell + b"\x17\x03\x03\x40\0" * 8_000_000
                )
            await session.until(lambda: "end" in session.happened)
            connection = served.connections[0]
            held_bytes = connection._ciphertext.waiting_bytes
            assert held_bytes + connection._incoming.pending == 0
            assert unread_bytes(session.transport) == 0  # none that is to be read
            assert session.received == b"last words"
            assert not session.transport.is_closing()
            session.transport.write(b"ack")
            assert await asyncio.to_thread(link.receive) == b"ack"

    runner.run(scenario())


@pytest.fixture
def forger(authority: Authority) -> Iterator["Forged"]:
    forged = Forged(authority)
    yield forged
    forged.forger.close()


class Forged:
    """A connection of TLS 1.3 whose records are made by hand."""

    def __init__(self, authority: Authority) -> None:
        self._context = client_context(authority, V1_3)
        self.forger = Forger(self._context)

    async def connect(self, served: Served) -> tuple[TlsClient, Within]:
        link, session = await served.connect(self._context)
        self.forger.begin()
        return link, session


def test_a_change_of_the_key_is_followed_and_answered(
    runner: asyncio.Runner, settings: TlsSettings, forger: Forged
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            served.echoes = True
            link, _ = await forger.connect(served)
            records = forger.forger.key_update(answer=True)
            records += forger.forger.record(b"under the new key")
            await asyncio.to_thread(link.socket.sendall, records)
            assert await asyncio.to_thread(link.receive) == b"under the new key"
            assert served.failures == []

    runner.run(scenario())


@pytest.mark.parametrize("what", ["keys", "keys with answers", "empty records"])
def test_a_flood_without_data_ends_its_connection_and_lets_others_in_between(
    runner: asyncio.Runner,
    settings: TlsSettings,
    forger: Forged,
    what: str,
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            link, session = await forger.connect(served)
            flood = b""
            while len(flood) < 2 * MAX_FRUITLESS_BYTES:
                if what == "empty records":
                    flood += forger.forger.record(b"")
                else:
                    flood += forger.forger.key_update(answer="answers" in what)
            sending = asyncio.create_task(asyncio.to_thread(send_some, link, flood))
            turns = 0  # of ours, in between
            while not session.is_lost:
                await asyncio.sleep(0)
                turns += 1
            # Of empty records OpenSSL itself takes 32 and no more.
            assert turns > (0 if what == "empty records" else 10)
            await sending
            assert session.received == b""
            await served.until(lambda: served.lost)
            is_empty = what == "empty records"  # of which OpenSSL takes 32 itself
            assert served.failures == ["broken" if is_empty else "fruitless"]

    runner.run(scenario())


def send_some(link: TlsClient, data: bytes) -> None:
    """Send until the peer has closed."""
    try:
        link.socket.sendall(data)
    except OSError:
        return


def test_a_few_changes_of_the_key_between_data_are_no_flood(
    runner: asyncio.Runner, settings: TlsSettings, forger: Forged
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            link, session = await forger.connect(served)
            records = b"".join(
                forger.forger.key_update() + forger.forger.record(b"x")
                for _ in range(2000)
            )
            await asyncio.to_thread(link.socket.sendall, records)
            await session.until(lambda: len(session.received) == 2000)
            assert served.failures == []

    runner.run(scenario())


def test_half_a_change_of_the_key_ends_the_connection_that_it_would_hold_up(
    runner: asyncio.Runner,
    settings: TlsSettings,
    forger: Forged,
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            link, session = await forger.connect(served)
            records = forger.forger.record(b"chunk")
            records += forger.forger.record(KEY_UPDATE, HANDSHAKE)
            await asyncio.to_thread(link.socket.sendall, records)
            await session.until(lambda: session.received)
            await asyncio.sleep(0.05)
            session.transport.write(b"an ack that OpenSSL will not take")
            await failed(served, "broken", "half a change of the key")

    runner.run(scenario())


def test_a_handshake_that_goes_on_and_on_is_ended(
    runner: asyncio.Runner, settings: TlsSettings, authority: Authority
) -> None:
    def client(port: int) -> None:
        with TlsClient(port, client_context(authority, V1_3)) as link:
            link.socket.sendall(link.hello())
            # A change of the cipher means nothing there (RFC 8446, D.4).
            send_some(link, b"\x14\x03\x03\0\1\1" * (100_000))
            link.socket.recv(100)

    async def scenario() -> None:
        async with Served(settings) as served:
            await asyncio.to_thread(client, served.port)
            await failed(served, "handshake", "unexpected ccs message")

    runner.run(scenario())


def test_a_handshake_byte_by_byte_is_a_handshake(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    def client(port: int) -> bytes:
        with TlsClient(port, context) as link:
            link.trickles = True
            link.shake_hands().send(b"slowly")
            return link.receive()

    async def scenario() -> None:
        async with Served(settings) as served:
            served.echoes = True
            assert await asyncio.to_thread(client, served.port) == b"slowly"

    runner.run(scenario())


def test_renegotiation_is_not_offered(settings: TlsSettings) -> None:
    from penstock.net.certificates import load_terms

    options = load_terms(settings).context.options
    assert options & ssl.OP_NO_RENEGOTIATION
    assert options & ssl.OP_NO_COMPRESSION
