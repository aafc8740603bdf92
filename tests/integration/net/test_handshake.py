"""The handshake over real sockets, on both loops, with a client of its own.

What is behind it is the real session; a commit is the writer's steps by hand. Fluentd,
Fluent Bit and others as clients are in tests/acceptance.
"""

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from penstock.net.certificates import TlsServer, load_terms
from penstock.net.doorway import GuardedDoorway
from penstock.net.entering import Entrant
from penstock.net.handshake import LINGER_BYTES, HandshakeProtocol, Handshakes
from penstock.net.listener import ForwardListener
from penstock.net.peer import UNIX_SENDER, Peer
from penstock.net.rules import Rules
from penstock.net.session import ForwardSession
from penstock.settings import Listener, ListenSettings, SecuritySettings, TlsSettings
from penstock.settings.receive import NetworkRule, User
from penstock.wire.handshake import key_digest, password_digest
from tests.unit.net.test_session import Server as Behind

PATIENCE_SECONDS = 20.0
# What Fluentd reads at once, and with a new unpacker each time (protocol facts, 4.1).
READ_BYTES = 512
ALICE = User(name="alice", password="wonder")
BOB = User(name="bob", password="builder")
KEY = SecuritySettings(shared_key="secret", self_hostname="server")


class Watched(GuardedDoorway):
    """Notes who came."""

    def __init__(self, *args: Any, entrants: list[Entrant]) -> None:
        super().__init__(*args)
        self._entrants = entrants

    def open(self, entrant: Entrant) -> asyncio.Protocol | None:
        self._entrants.append(entrant)
        return super().open(entrant)


class Server:
    """A listener with its doorways, and the sessions behind them."""

    def __init__(
        self,
        settings: SecuritySettings,
        listen: ListenSettings,
        tls: TlsServer | None = None,
    ) -> None:
        self.behind = Behind()
        self.tls = tls
        self.handshakes = Handshakes(
            Rules(settings), self.behind.intake.metrics, handshake_seconds=30.0
        )
        self.entrants: list[Entrant] = []
        self.listener = ForwardListener(
            listen,
            replace(self.behind.intake, clock=time.monotonic),
            make_doorway=self._make_doorway,
        )
        self.path = listen.listeners[0].path if listen.listeners else ""
        self.clients: list[Client] = []

    def _make_doorway(self, listener: ListenSettings | Listener) -> GuardedDoorway:
        return Watched(listener, self.handshakes, self.tls, entrants=self.entrants)

    @property
    def peers(self) -> list[Peer]:
        """Return who was let in."""
        return [each.session.peer for each in self.entrants if each.session]

    @property
    def open_connections(self) -> float:
        return self.behind.metric("penstock_connections")

    @property
    def events(self) -> int:
        return self.behind.ring.used_events

    def failures(self, reason: str) -> float:
        return self.behind.metric("penstock_login_failures_total", reason=reason)

    def refused(self, reason: str) -> float:
        return self.behind.metric("penstock_connections_refused_total", reason=reason)


@contextlib.asynccontextmanager
async def serving(
    settings: SecuritySettings = KEY, tls: TlsServer | None = None, **listen: Any
) -> AsyncIterator[Server]:
    """Serve during the block; then every connection is closed, and gone."""
    spoken = "on" if tls else "off"
    where = ListenSettings(host="127.0.0.1", port=0, tls=spoken, **listen)
    server = Server(settings, where, tls)
    await server.listener.start()
    try:
        yield server
    finally:
        for client in server.clients:
            client.close()
        server.behind.commit_all()  # a session stays for the acks that it owes
        await until(lambda: server.open_connections == 0)
        await server.listener.stop_accepting()


class Client:
    """A client that reads as Fluentd does: each message is one read, or broken."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self.nonce = self.auth = b""

    @classmethod
    async def open(cls, server: Server) -> "Client":
        family = socket.AF_UNIX if server.path else socket.AF_INET
        client = cls(socket.socket(family, socket.SOCK_STREAM))
        server.clients.append(client)
        client._socket.setblocking(False)
        where = server.path or ("127.0.0.1", server.listener.port)
        await asyncio.get_running_loop().sock_connect(client._socket, where)
        return client

    @classmethod
    async def connect(cls, server: Server) -> "Client":
        client = await cls.open(server)
        client.take_helo(await client.read())
        return client

    def take_helo(self, read: bytes) -> None:
        kind, options = msgpack.unpackb(read)
        assert kind == "HELO"
        self.nonce, self.auth = options["nonce"], options["auth"]

    async def read(self) -> bytes:
        reading = asyncio.get_running_loop().sock_recv(self._socket, READ_BYTES)
        return await asyncio.wait_for(reading, PATIENCE_SECONDS)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    def ping(self, key: bytes = b"secret", user: str = "", password: str = "") -> bytes:
        salt, name = b"\xf0\xf1" * 8, user.encode()
        digest = key_digest(salt, b"client", self.nonce, key)
        proof = password_digest(self.auth, name, password.encode()) if user else b""
        message = ["PING", b"client", salt, digest, name, proof]
        packed: bytes = msgpack.packb(message, use_bin_type=False)
        return packed

    async def log_in(self, *args: Any) -> str:
        """Return what the server says; empty if it lets us in and proves the key."""
        await self.send(self.ping(*args))
        _, is_in, reason, hostname, digest = msgpack.unpackb(await self.read())
        if is_in:
            key = args[0] if args else b"secret"
            expected = key_digest(b"\xf0\xf1" * 8, hostname.encode(), self.nonce, key)
            assert digest == expected.decode()
        assert is_in == (reason == "")
        return str(reason)

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()


async def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.005)


def event(chunk: str, *, tag: str = "app") -> bytes:
    packed: bytes = msgpack.packb([tag, 1, {"n": 1}, {"chunk": chunk}])
    return packed


# --- in


@pytest.mark.parametrize("is_unix", [False, True], ids=["TCP", "Unix socket"])
def test_a_session_behind_the_handshake_is_as_any_other(
    runner: asyncio.Runner, is_unix: bool, tmp_path: Path
) -> None:
    async def scenario() -> None:
        socket_there = Listener(path=str(tmp_path / "s"), handshake="on")
        async with serving(listeners=(socket_there,) if is_unix else ()) as server:
            client = await Client.connect(server)
            assert await client.log_in() == ""
            for chunk in ("one", "two"):
                await client.send(event(chunk))
                await until(lambda: server.events == 1)
                server.behind.commit_all()
                assert msgpack.unpackb(await client.read()) == {"ack": chunk}
            address = UNIX_SENDER if is_unix else "127.0.0.1"
            assert server.peers == [Peer(address=address, client_hostname="client")]

    runner.run(scenario())


def test_events_right_behind_the_ping_are_taken(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        async with serving() as server:
            client = await Client.connect(server)
            await client.send(client.ping() + event("c"))
            assert msgpack.unpackb(await client.read())[1] is True
            await until(lambda: server.events == 1)

    runner.run(scenario())


OF_HERE = NetworkRule(
    cidr="127.0.0.0/8", shared_key="of-here", users=("bob",), tags=("app.*",)
)
TAGS_OF_HERE = NetworkRule(cidr="127.0.0.0/8", tags=("app.*",))
OF_THERE = NetworkRule(cidr="10.0.0.0/8", shared_key="of-there")


@pytest.mark.parametrize(
    ("login", "reason", "counted"),
    [
        ((b"of-here", "bob", "builder"), "", ""),
        ((b"secret", "bob", "builder"), "shared_key mismatch", "shared_key"),
        ((b"of-there", "bob", "builder"), "shared_key mismatch", "shared_key"),
        ((b"of-here", "bob", "wonder"), "username/password mismatch", "password"),
        ((b"of-here", "", ""), "username/password mismatch", "password"),
        (
            (b"of-here", "alice", "wonder"),
            "username/password mismatch",
            "user_not_allowed",
        ),
    ],
)
def test_users_networks_and_tags_hold(
    runner: asyncio.Runner, login: tuple[bytes, str, str], reason: str, counted: str
) -> None:
    settings = SecuritySettings(
        shared_key="secret", users=(ALICE, BOB), networks=(OF_THERE, OF_HERE)
    )

    async def scenario() -> None:
        async with serving(settings) as server:
            client = await Client.connect(server)
            assert await client.log_in(*login) == reason
            if reason:
                assert await client.read() == b""
                assert (server.peers, server.failures(counted)) == ([], 1)
            else:
                (peer,) = server.peers
                assert (peer.user, peer.tags) == ("bob", ("app.*",))

    runner.run(scenario())


def test_each_connection_has_a_nonce_and_a_salt_of_its_own(
    runner: asyncio.Runner,
) -> None:
    settings = SecuritySettings(shared_key="secret", users=(ALICE,))

    async def scenario() -> None:
        async with serving(settings) as server:
            clients = [await Client.connect(server) for _ in range(50)]
            assert len({each.nonce for each in clients}) == 50
            assert len({each.auth for each in clients}) == 50
            assert {len(each.nonce + each.auth) for each in clients} == {32}
            await clients[1].send(clients[0].ping(b"secret", "alice", "wonder"))
            pong = msgpack.unpackb(await clients[1].read())
            assert pong[:3] == ["PONG", False, "shared_key mismatch"]

    runner.run(scenario())


# --- out


@pytest.mark.parametrize("behind_bytes", [0, 1, 300_000, LINGER_BYTES // 2])
def test_who_is_refused_reads_why_and_then_the_end_whatever_it_wrote_on(
    runner: asyncio.Runner, behind_bytes: int
) -> None:
    """Bytes that are unread when a connection closes reset it, and the PONG is lost."""

    async def scenario() -> None:
        async with serving() as server:
            client = await Client.connect(server)
            await client.send(client.ping(b"guess") + event("c") + b"x" * behind_bytes)
            pong = msgpack.unpackb(await client.read())
            assert pong == ["PONG", False, "shared_key mismatch", "", ""]
            assert await client.read() == b""
            client.close()
            await until(lambda: not server.open_connections)
            assert (server.peers, server.events) == ([], 0)

    runner.run(scenario())


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(msgpack.packb(["app", 1, {"n": 1}]), id="H08 an event"),
        pytest.param(b"\x03", id="H15 an int"),
        pytest.param(b"\xc0", id="nil"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
        pytest.param(b'["t",1,{}]', id="JSON"),
    ],
)
def test_who_knows_no_handshake_is_told_and_closed(
    runner: asyncio.Runner, sent: bytes
) -> None:
    async def scenario() -> None:
        async with serving() as server:
            client = await Client.connect(server)
            await client.send(sent)
            assert msgpack.unpackb(await client.read())[2] == "invalid ping message"
            assert await client.read() == b""
            assert (server.peers, server.failures("no_ping")) == ([], 1)

    runner.run(scenario())


def test_h11_who_is_in_no_network_is_told_and_closed(runner: asyncio.Runner) -> None:
    settings = SecuritySettings(
        shared_key="secret", networks=(OF_THERE,), other_networks="deny"
    )

    async def scenario() -> None:
        async with serving(settings) as server:
            client = await Client.connect(server)
            reason = await client.log_in()
            assert reason == "anonymous source host '127.0.0.1' denied"
            assert await client.read() == b""

    runner.run(scenario())


def test_a_refused_client_that_stays_is_closed_all_the_same(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fluent Bit puts the socket of a failed handshake back into its pool."""
    monkeypatch.setattr("penstock.net.handshake.LINGER_SECONDS", 0.05)

    async def scenario() -> None:
        async with serving() as server:
            client = await Client.connect(server)
            assert await client.log_in(b"guess") != ""
            await until(lambda: not server.open_connections)
            with contextlib.suppress(ConnectionError):
                for _ in range(10):
                    await client.send(event("c"))
            assert server.events == 0

    runner.run(scenario())


def test_a_failure_slows_down_the_next_answer_even_a_right_one(
    runner: asyncio.Runner,
) -> None:
    settings = SecuritySettings(shared_key="secret", slow_down_seconds=0.2)

    async def scenario() -> None:
        async with serving(settings) as server:
            first, second = [await Client.connect(server) for _ in range(2)]
            began = time.monotonic()
            assert await first.log_in(b"guess") != ""
            assert await second.log_in() == ""
            assert time.monotonic() - began >= 0.19

    runner.run(scenario())


# --- who comes and goes


async def beat(server: Server, how: int) -> None:
    client = await Client.connect(server)
    if how % 2:
        assert await client.log_in() == ""
    if how % 4 < 2:
        client.close()
    else:
        client.reset()


def test_heartbeats_with_a_handshake_are_healthy_and_leave_nothing(
    runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    """Fluentd does a full handshake each second and closes (protocol facts, 5)."""

    def alive() -> int:
        kinds = (HandshakeProtocol, ForwardSession, Entrant)
        return sum(isinstance(each, kinds) for each in gc.get_objects())

    async def scenario() -> None:
        async with serving() as server:
            gc.collect()
            gc.disable()
            try:
                before = alive()
                for _ in range(250):
                    await asyncio.gather(*[beat(server, how) for how in range(8)])
                    server.clients.clear()
                await until(lambda: not server.open_connections)
                assert len(server.peers) == 1000
                server.entrants.clear()
                await until(lambda: alive() == before)
            finally:
                gc.enable()
            reasons = ("no_ping", "shared_key", "password", "too_soon")
            assert sum(server.failures(reason) for reason in reasons) == 0
            assert [each for each in caplog.records if "penstock" in each.name] == []

    runner.run(scenario())


def test_clients_that_reset_before_their_helo_do_no_harm(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        async with serving() as server:
            for _ in range(50):
                where = ("127.0.0.1", server.listener.port)
                Client(socket.create_connection(where)).reset()
            client = await Client.connect(server)
            assert await client.log_in() == ""

    runner.run(scenario())


# --- listeners that ask for nothing


def test_a_listener_without_handshake_writes_no_byte_and_its_networks_hold(
    runner: asyncio.Runner,
) -> None:
    settings = SecuritySettings(networks=(NetworkRule(cidr="::/0"), TAGS_OF_HERE))

    async def scenario() -> None:
        async with serving(settings) as server:
            client = await Client.open(server)
            await client.send(event("c1", tag="root") + event("c2", tag="app.web"))
            await until(lambda: server.events == 2)
            server.behind.commit_all()
            acks = msgpack.packb({"ack": "c1"}) + msgpack.packb({"ack": "c2"})
            read = b""
            while len(read) < len(acks):
                read += await client.read()
            assert read == acks
            assert [row.tag for row in server.behind.rows()] == ["app.web"]
            rejected = "penstock_rejected_events_total"
            assert server.behind.metric(rejected, reason="tag_not_allowed") == 1

    runner.run(scenario())


def test_a_listener_without_handshake_closes_whom_it_denies_without_a_byte(
    runner: asyncio.Runner,
) -> None:
    settings = SecuritySettings(networks=(OF_THERE,), other_networks="deny")

    async def scenario() -> None:
        async with serving(settings, handshake="off") as server:
            client = await Client.open(server)
            with contextlib.suppress(ConnectionResetError):
                assert await client.read() == b""
            assert (server.peers, server.refused("network_denied")) == ([], 1)

    runner.run(scenario())


def test_a_key_that_a_reload_brings_is_asked_for_at_once(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        async with serving(SecuritySettings()) as server:
            before = await Client.open(server)
            await before.send(event("c1"))
            await until(lambda: server.events == 1)
            server.handshakes.rules = Rules(KEY)
            after = await Client.connect(server)
            assert await after.log_in() == ""
            await before.send(event("c2"))
            await until(lambda: server.events == 2)

    runner.run(scenario())


# --- within TLS


@pytest.mark.parametrize("key", [b"secret", b"guess"])
def test_within_tls_the_handshake_is_the_same(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext, key: bytes
) -> None:
    def talk(port: int) -> list[bytes]:
        raw = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        with context.wrap_socket(raw, server_hostname="localhost") as link:
            client = Client(link)
            client.take_helo(link.recv(READ_BYTES))
            link.sendall(client.ping(key) + event("c"))
            return [link.recv(READ_BYTES), link.recv(READ_BYTES)]

    async def scenario() -> None:
        async with serving(tls=TlsServer(load_terms(settings))) as server:
            talking = asyncio.create_task(asyncio.to_thread(talk, server.listener.port))
            if key == b"secret":
                await until(lambda: server.events == 1)
                server.behind.commit_all()
                pong, ack = await talking
                assert msgpack.unpackb(pong)[:2] == ["PONG", True]
                assert msgpack.unpackb(ack) == {"ack": "c"}
                (peer,) = server.peers
                assert peer.client_hostname == "client"
            else:
                pong, end = await talking
                assert msgpack.unpackb(pong)[1:3] == [False, "shared_key mismatch"]
                assert (end, server.peers) == (b"", [])

    runner.run(scenario())


def test_connections_that_speak_no_tls_are_counted_each_and_logged_once(
    runner: asyncio.Runner, settings: TlsSettings, caplog: pytest.LogCaptureFixture
) -> None:
    def talk(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as link:
            link.sendall(b"GET / HTTP/1.1\r\n\r\n")
            return link.recv(READ_BYTES)

    async def scenario() -> None:
        async with serving(tls=TlsServer(load_terms(settings))) as server:
            for _ in range(3):
                assert await asyncio.to_thread(talk, server.listener.port) == b""
            failures = "penstock_tls_failures_total"
            assert server.behind.metric(failures, reason="handshake") == 3

    runner.run(scenario())
    [line] = [each for each in caplog.records if each.name.startswith("penstock")]
    assert line.levelname == "WARNING"
    assert line.__dict__["peer"] == "127.0.0.1"
    assert line.__dict__["reason"] == "handshake"
    assert line.__dict__["error"] == "no TLS: an HTTP request"
