"""The stage that asks for the key: what it writes, when, and what it hands over.

The stage is the real one; the transport records what it is told, and the clock and the
timers go on when the test says so. Real sockets: tests/integration/net.
"""

import gc
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from penstock.net.handshake import (
    AHEAD_BYTES,
    LINGER_BYTES,
    LINGER_SECONDS,
    HandshakeProtocol,
    Handshakes,
)
from penstock.net.peer import Peer
from penstock.net.rules import Rules
from penstock.settings import SecuritySettings
from penstock.settings.receive import NetworkRule, User
from penstock.telemetry.receive import DuplicateMetrics, ReceiveMetrics
from penstock.wire.handshake import key_digest, password_digest
from tests.pure_core import NEXT_FRAME, WAYS, arriving
from tests.unit.net.test_session import RecordingTransport

CASES: dict[str, bytes] = {
    case["id"]: bytes.fromhex(case["hex"])
    for case in json.loads(
        (Path(__file__).parents[2] / "data" / "handshake_cases.json").read_text()
    )
}
KEY = SecuritySettings(shared_key="secret", self_hostname="server")
USER = User(name="user", password="pass")
ADDRESS = "192.0.2.7"


class Following:
    """The next stage; it says what it is told, in order."""

    def __init__(self, peer: Peer, *, keeps_half_open: bool = False) -> None:
        self.peer = peer
        self.told: list[Any] = []
        self._keeps_half_open = keeps_half_open

    def connection_made(self, transport: Any) -> None:
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def pause_writing(self) -> None:
        self.told.append("unread")

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self._keeps_half_open


class HandshakeTransport(RecordingTransport):
    def __init__(self) -> None:
        super().__init__((ADDRESS, 50_000))
        self.has_written_eof = False
        self.protocol: Any = None
        self.on_write: Callable[[], None] = lambda: None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.has_written_eof, "written behind the end"
        super().write(data)
        self.on_write()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.has_written_eof = True

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


class Timer:
    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Server:
    """What handshakes share; its clock stands until `pass_time`."""

    def __init__(self, settings: SecuritySettings = KEY) -> None:
        self.now = 1000.0
        self.registry = CollectorRegistry()
        self.timers: list[Timer] = []
        self.lost: list[HandshakeProtocol] = []
        self.sizes: list[int] = []
        self.shared = Handshakes(
            Rules(settings),
            ReceiveMetrics(self.registry, DuplicateMetrics(self.registry)),
            handshake_seconds=30.0,
            clock=lambda: self.now,
            random_bytes=self._not_random,
            later=self._later,
        )

    def _not_random(self, size: int) -> bytes:
        self.sizes.append(size)
        return (b"N" if len(self.sizes) % 2 else b"S") * size

    def _later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now + seconds, callback))
        return self.timers[-1]

    @property
    def waiting(self) -> list[float]:
        """Return in how many seconds something is due."""
        return [each.due - self.now for each in self.timers if each.callback]

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for timer in list(self.timers):
            if timer.callback is not None and timer.due <= self.now:
                callback, timer.callback = timer.callback, None
                callback()

    def connect(self, address: str = ADDRESS) -> "Client":
        return Client(self, address)

    def failures(self, reason: str) -> float | None:
        return self.registry.get_sample_value(
            "penstock_login_failures_total", {"reason": reason}
        )

    def all_failures(self) -> float:
        reasons = ("no_ping", "shared_key", "password", "user_not_allowed", "too_soon")
        return sum(self.failures(reason) or 0 for reason in reasons)


class Client:
    """The other end: what it writes, and what it got."""

    def __init__(self, server: Server, address: str = ADDRESS) -> None:
        self.transport = HandshakeTransport()
        self.session: Following | None = None
        self.keeps_half_open = False
        self.stage = HandshakeProtocol(
            server.shared,
            Peer(address=address),
            self._follow,
            on_lost=server.lost.append,
        )
        self.stage.connection_made(self.transport)

    def _follow(self, peer: Peer) -> Any:
        self.session = Following(peer, keeps_half_open=self.keeps_half_open)
        return self.session

    def send(self, *pieces: bytes) -> None:
        """Write; after a hand-over the bytes go to whom the transport tells."""
        for piece in pieces:
            (self.transport.protocol or self.stage).data_received(piece)

    def end(self) -> None:
        if not self.stage.eof_received():
            self.transport.close()

    def lose(self) -> None:
        self.stage.connection_lost(None)

    @property
    def pong(self) -> list[Any] | None:
        """Return the one write behind HELO."""
        if len(self.transport.writes) == 1:
            return None
        (_, written) = self.transport.writes
        message = msgpack.unpackb(written)
        assert isinstance(message, list) and len(message) == 5
        return message

    @property
    def was_refused(self) -> str:
        """Return why, of a client that was refused and whose connection ends."""
        pong = self.pong
        assert pong is not None and pong[:2] == ["PONG", False]
        assert pong[3:] == ["", ""]
        assert self.session is None
        assert self.transport.closed or self.transport.has_written_eof
        text: str = pong[2]
        return text

    @property
    def is_in(self) -> bool:
        return self.session is not None


def ping(
    *,
    hostname: bytes = b"client",
    key: bytes = b"secret",
    user: bytes = b"",
    password: bytes = b"",
    salt: bytes = b"salt",
) -> bytes:
    digest = key_digest(salt, hostname, b"N" * 16, key)
    proof = password_digest(b"S" * 16, user, password) if user else b""
    message = ["PING", hostname, salt, digest, user, proof]
    packed: bytes = msgpack.packb(message, use_bin_type=False)
    return packed


WRONG = ping(key=b"guess")


# --- conformance cases, over a connection

WITH_USER = SecuritySettings(shared_key="secret", users=(USER,), self_hostname="server")
EMPTY = SecuritySettings(empty_shared_key="on", users=(USER,), self_hostname="server")


def test_h01_helo_is_one_write_and_all_that_is_said_first() -> None:
    client = Server(WITH_USER).connect()
    assert client.transport.writes == [CASES["H01"]]


def test_helo_asks_for_no_user_where_none_is_needed() -> None:
    server = Server()
    client = server.connect()
    assert server.sizes == [16, 0]
    (helo,) = client.transport.writes
    assert msgpack.unpackb(helo) == [
        "HELO",
        {"nonce": b"N" * 16, "auth": b"", "keepalive": True},
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("case_id", "settings", "expected"),
    [
        ("H03", WITH_USER, None),
        ("H04", KEY, None),
        ("H05", KEY, None),
        ("H06", KEY, "shared_key mismatch"),
        ("H07", WITH_USER, "username/password mismatch"),
        ("H08", KEY, "invalid ping message"),
        ("H09", KEY, "invalid ping message"),
        # The empty key is right; without a user it opens nothing.
        ("H13", EMPTY, "username/password mismatch"),
        ("H15", KEY, "invalid ping message"),
    ],
)
def test_conformance(
    case_id: str, settings: SecuritySettings, expected: str | None, way: str
) -> None:
    server = Server(settings)
    client = server.connect()
    client.send(*arriving(way, CASES[case_id]))
    if expected is None:
        assert client.session is not None
        glued = [NEXT_FRAME] if way == "next frame glued on" else []
        assert client.session.told == ["made", *glued]
        assert client.pong is not None
        assert client.pong[:4] == ["PONG", True, "", "server"]
        assert server.all_failures() == 0
    else:
        assert client.was_refused == expected
        assert server.all_failures() == 1


@pytest.mark.parametrize("way", WAYS)
def test_h11_who_is_in_no_network_is_told_so(way: str) -> None:
    server = Server(
        SecuritySettings(
            shared_key="secret",
            networks=(NetworkRule(cidr="10.0.0.0/8"),),
            other_networks="deny",
        )
    )
    client = server.connect()
    client.send(*arriving(way, ping()))
    assert client.was_refused == f"anonymous source host '{ADDRESS}' denied"
    refused = "penstock_connections_refused_total"
    labels = {"reason": "network_denied"}
    assert server.registry.get_sample_value(refused, labels) == 1
    assert server.all_failures() == 0


def test_h14_a_silent_client_is_closed_by_the_listener_quietly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    client = server.connect()
    client.stage.abort()
    client.lose()
    assert client.transport.aborted
    assert server.lost == [client.stage]
    assert (caplog.records, server.all_failures()) == ([], 0)


# --- letting in


def test_who_is_let_in_is_known_by_name_and_by_what_it_may_send() -> None:
    rule = NetworkRule(cidr="192.0.2.0/24", tags=("app.*",))
    server = Server(
        SecuritySettings(shared_key="secret", users=(USER,), networks=(rule,))
    )
    client = server.connect()
    client.send(ping(hostname=b"web\0\n1", user=b"user", password=b"pass"))
    assert client.session is not None
    assert client.session.peer == Peer(
        address=ADDRESS, user="user", client_hostname="web\\x00\\n1", tags=("app.*",)
    )


def test_a_user_that_nobody_has_proved_is_none() -> None:
    client = Server().connect()
    client.send(ping(user=b"root", password=b"any"))
    assert client.session is not None
    assert client.session.peer.user == ""


def test_pong_is_written_before_the_next_stage_begins() -> None:
    client = Server().connect()
    were_in: list[bool] = []
    client.transport.on_write = lambda: were_in.append(client.is_in)
    client.send(ping())
    assert (were_in, client.is_in) == ([False], True)


def test_a_client_that_does_not_read_is_handed_over_as_such() -> None:
    client = Server().connect()
    client.stage.pause_writing()
    client.send(ping())
    assert client.session is not None
    assert client.session.told == ["made", "unread"]
    client = Server().connect()
    client.stage.pause_writing()
    client.stage.resume_writing()
    client.send(ping())
    assert client.session is not None
    assert client.session.told == ["made"]


@pytest.mark.parametrize("goes", ["before", "with"])
def test_a_client_that_is_gone_when_its_pong_is_written_is_not_handed_over(
    goes: str,
) -> None:
    client = Server().connect()
    if goes == "before":
        client.transport.closed = True
    else:
        client.transport.on_write = client.transport.close
    client.send(ping())
    assert not client.is_in
    client.lose()


def test_our_own_name_is_answered_all_the_same_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    for _ in range(3):
        client = server.connect()
        client.send(ping(hostname=b"server"))
        assert client.is_in
    (record,) = caplog.records
    assert "self_hostname" in record.message


def test_a_reload_holds_for_connections_that_come_after_it() -> None:
    server = Server()
    before = server.connect()
    server.shared.rules = Rules(SecuritySettings(shared_key="new"))
    after = server.connect()
    before.send(ping())
    assert before.is_in
    after.send(ping())
    assert after.was_refused == "shared_key mismatch"


# --- refusing


def test_nothing_behind_a_refusal_is_looked_at() -> None:
    client = Server().connect()
    client.send(WRONG, ping(), NEXT_FRAME)
    assert client.was_refused == "shared_key mismatch"


def test_a_refused_client_may_read_why_before_all_is_closed() -> None:
    server = Server()
    client = server.connect()
    client.send(WRONG)
    assert client.transport.has_written_eof and not client.transport.closed
    client.end()
    assert client.transport.closed and not client.transport.aborted
    client.lose()
    assert server.waiting == []


def test_a_refused_client_that_does_not_close_is_cut_off() -> None:
    server = Server()
    client = server.connect()
    client.send(WRONG)
    assert server.waiting == [LINGER_SECONDS]
    server.pass_time(LINGER_SECONDS)
    assert client.transport.aborted


def test_a_refused_client_that_writes_on_is_cut_off() -> None:
    client = Server().connect()
    client.send(WRONG, b"x" * LINGER_BYTES)
    assert not client.transport.aborted
    client.send(b"x")
    assert client.transport.aborted


@pytest.mark.parametrize("kind", ["no_ping", "shared_key", "password"])
def test_each_failure_is_counted_by_its_reason(kind: str) -> None:
    server = Server(WITH_USER)
    sent = {
        "no_ping": NEXT_FRAME,
        "shared_key": WRONG,
        "password": ping(user=b"user", password=b"guess"),
    }
    server.connect().send(sent[kind])
    assert (server.failures(kind), server.all_failures()) == (1, 1)


def test_a_user_of_another_network_is_counted_as_that_and_told_nothing_more() -> None:
    rule = NetworkRule(cidr="192.0.2.0/24", users=("other",))
    server = Server(
        SecuritySettings(shared_key="secret", users=(USER,), networks=(rule,))
    )
    client = server.connect()
    client.send(ping(user=b"user", password=b"pass"))
    assert client.was_refused == "username/password mismatch"
    assert server.failures("user_not_allowed") == 1


def test_handshake_without_a_key_lets_nobody_in() -> None:
    server = Server(SecuritySettings())
    for key in (b"", b"None"):
        client = server.connect("192.0.2.8")
        client.send(ping(key=key))
        server.pass_time(1)
        assert client.was_refused == "shared_key mismatch"


@pytest.mark.parametrize("sent", [b"", b"\x96\xa4PI"])
def test_a_client_that_goes_before_its_ping_is_healthy(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    client = server.connect()
    if sent:
        client.send(sent)
    client.end()
    client.lose()
    assert client.transport.closed
    assert (caplog.records, server.all_failures()) == ([], 0)
    assert client.transport.writes[1:] == []


# --- slowing down


def test_after_a_failure_the_next_answer_waits_right_or_wrong() -> None:
    for following in (WRONG, ping()):
        server = Server()
        server.connect().send(WRONG)
        client = server.connect()
        client.send(following)
        server.pass_time(0.99)
        assert client.pong is None and not client.is_in
        server.pass_time(0.02)
        assert client.pong is not None
        assert client.is_in is (following != WRONG)


def test_many_connections_at_once_do_not_get_around_it() -> None:
    server = Server()
    clients = [server.connect() for _ in range(100)]
    for client in clients:
        client.send(WRONG)
    answered = 0.0
    for _ in range(300):
        server.pass_time(0.1)
        answered = server.all_failures() - (server.failures("too_soon") or 0)
    assert answered == 5, "at 0, 1, 3, 7 and 15 s"
    assert server.failures("too_soon") == 95


def test_what_is_due_too_late_is_closed_without_being_looked_at() -> None:
    """As a right guess would be: an attacker must learn nothing from it."""
    server = Server()
    for _ in range(6):
        server.connect().send(WRONG)
    for sent in (WRONG, ping()):
        client = server.connect()
        client.send(sent)
        assert client.pong is None and not client.is_in
        assert client.transport.has_written_eof
    server.pass_time(31)
    assert not client.is_in


def test_an_answer_is_never_due_behind_the_deadline() -> None:
    server = Server()
    for _ in range(5):
        server.connect().send(WRONG)
    early = server.connect()
    server.pass_time(10)  # of 30 s
    early.send(ping())  # due in 21 s
    assert early.transport.has_written_eof and not early.is_in


def test_another_address_does_not_wait() -> None:
    server = Server()
    server.connect().send(WRONG)
    client = server.connect("192.0.2.8")
    client.send(ping())
    assert client.is_in


def test_events_without_a_ping_are_no_guess() -> None:
    """A Docker host beside a Fluent Bit of the same address must not hold it up."""
    server = Server()
    server.connect().send(NEXT_FRAME)
    client = server.connect()
    client.send(ping())
    assert client.is_in


def test_what_comes_while_an_answer_waits_is_kept_and_bounded() -> None:
    server = Server()
    server.connect().send(WRONG)
    client = server.connect()
    client.send(ping() + b"a", b"b" * AHEAD_BYTES)
    assert not client.transport.reading
    server.pass_time(1)
    assert client.transport.reading
    assert client.session is not None
    assert client.session.told == ["made", b"a" + b"b" * AHEAD_BYTES]


@pytest.mark.parametrize("keeps_half_open", [True, False])
def test_a_client_that_wrote_and_ended_meanwhile_is_heard(
    keeps_half_open: bool,
) -> None:
    server = Server()
    server.connect().send(WRONG)
    client = server.connect()
    client.keeps_half_open = keeps_half_open
    client.send(ping() + NEXT_FRAME)
    client.end()
    server.pass_time(1)
    assert client.session is not None
    assert client.session.told == ["made", NEXT_FRAME, "eof"]
    assert client.transport.closed is not keeps_half_open


def test_a_client_that_goes_meanwhile_leaves_no_timer() -> None:
    server = Server()
    server.connect().lose()
    wrong = server.connect()
    wrong.send(WRONG)
    wrong.lose()
    client = server.connect()
    client.send(ping())
    assert server.waiting == [1.0]
    client.end()
    assert client.transport.closed
    client.lose()
    assert server.waiting == []


# --- the log, and what may not be in it


def test_a_failure_is_logged_with_its_peer_and_user(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server(WITH_USER)
    server.connect().send(ping(user=b"us\ner", password=b"guess"))
    (record,) = caplog.records
    fields = vars(record)
    assert (fields["peer"], fields["user"]) == (ADDRESS, "us\\ner")
    assert (fields["reason"], record.levelno) == ("password", logging.WARNING)


def test_an_address_cannot_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    for _ in range(1000):
        server.connect().send(NEXT_FRAME)
    assert len(caplog.records) == 1
    server.connect("192.0.2.8").send(NEXT_FRAME)
    assert len(caplog.records) == 2
    server.pass_time(61)
    server.connect().send(NEXT_FRAME)
    assert vars(caplog.records[-1])["failures_without_a_line"] == 999


def test_a_client_without_handshake_gets_its_hint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Server().connect().send(CASES["H08"])
    (record,) = caplog.records
    assert "client sent events without handshake" in vars(record)["hint"]


def test_no_secret_and_no_digest_is_told_anywhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = SecuritySettings(
        shared_key="hunter2-key", users=(User(name="user", password="hunter2-pass"),)
    )
    sent = [
        ping(key=b"hunter2-key", user=b"user", password=b"hunter2-pass"),
        ping(key=b"hunter2-key", user=b"user", password=b"guess"),
        ping(key=b"hunter2-key", user=b"nobody", password=b"hunter2-pass"),
        ping(key=b"hunter2-key2", user=b"user", password=b"hunter2-pass"),
        ping(key=b"hunter2-key", hostname=b"penstock")[:-1] + b"\x00",
        b"hunter2-key",
        b"\x95" + ping(key=b"hunter2-key")[1:],
    ]
    server = Server(settings)
    for number, each in enumerate(sent):
        client = server.connect(f"192.0.2.{number}")
        client.send(each)
        repr(client.stage), repr(server.shared)
    told = "".join(repr(vars(record)) for record in caplog.records)
    told += generate_latest(server.registry).decode() + repr(server.shared)
    assert len(caplog.records) == 6
    assert "hunter2" not in told
    for each in sent:
        for digest in digests_in(each):
            assert digest not in told


def digests_in(data: bytes) -> list[str]:
    try:
        values = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException):
        return []
    if not isinstance(values, list):
        return []
    return [value for value in values if isinstance(value, str) and len(value) == 128]


# --- nothing is left


def test_a_thousand_handshakes_leave_nothing() -> None:
    def alive() -> int:
        return sum(isinstance(each, HandshakeProtocol) for each in gc.get_objects())

    server = Server()
    gc.collect()
    gc.disable()
    try:
        before = alive()
        for number in range(1000):
            client = server.connect()
            client.send((ping(), WRONG, NEXT_FRAME, b"\x96")[number % 4])
            client.end()
            if not client.is_in:
                client.lose()
            server.lost.clear()
            server.pass_time(40)
            server.timers.clear()
        del client
        assert alive() == before
    finally:
        gc.enable()
    assert len(server.shared.slow_down) == len(server.shared.log_book) == 1
