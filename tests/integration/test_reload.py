"""SIGHUP: the configuration is read again, and no connection and no event is lost."""

import os
import pty
import re
import select
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

from penstock.wire.handshake import key_digest
from tests.authority import Authority
from tests.integration.conftest import (
    PATIENCE_SECONDS,
    Database,
    Program,
    Sender,
    Start,
    numbers_in,
    wait_until,
)
from tests.ports import free_port, free_ports
from tests.workers import one_worker

READ_AGAIN = "the configuration is read again, and in force"
REFUSED = "the new configuration is refused, the old one stays"


class Configured:
    """A server, its configuration file, and the places of its file that vary."""

    def __init__(self, start: Start, database: Database, home: Path) -> None:
        self._start, self._database = start, database
        self.home = home
        self.file = home / "penstock.toml"
        self.program: Program | None = None

    def start(self, text: str, **more: int) -> Program:
        self.file.write_text(text)
        self.program = self._start(
            *("serve", "--config", str(self.file)),
            *("--database-url", self._database.url),
            **more,
        ).wait_ready()
        return self.program

    def reload(self, text: str) -> None:
        """Have it read another text, and wait until it has."""
        assert self.program is not None
        self.file.write_text(text)
        before = self.reloads()
        self.program.send_signal(signal.SIGHUP)
        wait_until(lambda: self.reloads() > before, "it has read the file again")

    def reloads(self) -> int:
        assert self.program is not None
        return len(re.findall(f"{READ_AGAIN}|{REFUSED}", self.program.stderr))


@pytest.fixture
def configured(
    start: Start, database: Database, tmp_path: Path
) -> Iterator[Configured]:
    made = Configured(start, database, tmp_path)
    yield made
    if made.program is not None and made.program.process.poll() is None:
        assert made.program.stop() == 0
        assert "Traceback" not in made.program.stderr


def asks_for_key(port: int) -> bool:
    """Tell whether a new connection begins with HELO.

    A server that asks for none is silent until it has a message to ack, of no events.
    """
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as link:
        if not select.select([link], [], [], 0.2)[0]:
            link.sendall(msgpack.packb(["test", [], {"chunk": "empty"}]))
        said = msgpack.unpackb(link.recv(512), raw=True)
    assert said == {b"ack": b"empty"} or said[0] == b"HELO"
    return isinstance(said, list)


def listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS):
            return True
    except ConnectionRefusedError:
        return False


def test_new_rules_hold_for_new_connections_and_old_ones_go_on(
    configured: Configured, database: Database
) -> None:
    program = configured.start("")
    with Sender(program.port) as before:
        before.send(range(3), "a")
        assert before.acks(1) == ["a"]
        configured.reload('[security]\nshared_key = "secret"\n')
        assert asks_for_key(program.port)
        before.send(range(3, 6), "b")
        assert before.acks(1) == ["b"]
        configured.reload("")
        assert not asks_for_key(program.port)
        before.send(range(6, 9), "c")
        assert before.acks(1) == ["c"]
    assert numbers_in(database) == list(range(9))
    assert program.metric("penstock_config_reloads_total") == 2


def test_a_key_that_a_reload_brings_closes_every_listener(
    configured: Configured,
) -> None:
    """Also those that are there already, and not only the first."""
    port = free_port()
    listener = f'[[listeners]]\nhost = "127.0.0.1"\nport = {port}\n'
    program = configured.start(listener)
    assert not asks_for_key(port)
    configured.reload(f'[security]\nshared_key = "secret"\n{listener}')
    assert asks_for_key(port)
    assert asks_for_key(program.port)


def test_listeners_come_and_go(configured: Configured) -> None:
    one, two = free_ports(2)
    listener = '[[listeners]]\nhost = "127.0.0.1"\nport = {}\n'
    program = configured.start(listener.format(one))
    with Sender(one) as sender:
        sender.send(range(1), "a")
        assert sender.acks(1) == ["a"]
        configured.reload(listener.format(two))
        assert listens(two) and listens(program.port)
        assert not listens(one)
        sender.send(range(1, 2), "b")
        assert sender.acks(1) == ["b"], "its connection is not closed"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[listen\n", "not TOML"),
        ("[listen]\nprot = 1\n", "penstock.toml:2: prot is no setting"),
        ('[security]\nshared_key_file = "/nowhere"\n', "cannot be read"),
        ("[listen]\ntls = true\n", "tls_certificate_file"),
        ('[[listeners]]\nhost = "192.0.2.1"\nport = 1\n', "no address of this machine"),
        ('[[listeners]]\nhost = "a..example"\nport = 1\n', "not a host name"),
    ],
    ids=["syntax", "unknown", "secret", "certificate", "address", "name"],
)
def test_a_wrong_configuration_is_refused_and_the_old_one_stays(
    configured: Configured, text: str, said: str
) -> None:
    program = configured.start('[security]\nshared_key = "secret"\n')
    configured.reload(text)
    (line,) = [each for each in program.stderr.splitlines() if REFUSED in each]
    assert said in line
    assert asks_for_key(program.port)
    assert program.metric("penstock_config_last_reload_successful") == 0
    configured.reload("")
    assert not asks_for_key(program.port)
    assert program.metric("penstock_config_last_reload_successful") == 1


@one_worker
def test_what_only_a_restart_changes_is_named(configured: Configured) -> None:
    program = configured.start("")
    configured.reload('[ring]\nring_bytes = "9MiB"\n[process]\nlog_level = "info"\n')
    (line,) = [each for each in program.stderr.splitlines() if "a restart" in each]
    assert "ring_bytes" in line and "log_level" not in line


def test_at_a_terminal_that_stays_it_is_no_end(configured: Configured) -> None:
    ours, terminal = pty.openpty()
    try:
        configured.start("", terminal=terminal)
        configured.reload('[security]\nshared_key = "secret"\n')
    finally:
        os.close(ours)
        os.close(terminal)
    assert configured.program is not None
    assert configured.program.wait_ended() == 0, "the terminal is closed now"


def test_certificates_are_replaced_under_load_and_every_event_is_stored_once(
    configured: Configured, database: Database
) -> None:
    authorities = [Authority("one"), Authority("two")]
    home = configured.home
    trusted = home / "ca.pem"
    trusted.write_bytes(b"".join(each.certificate for each in authorities))

    def replace_certificate(number: int) -> str:
        issued = authorities[number % 2].issue("server", dns=["localhost"])
        certificate, key = issued.write(home, f"server{number}")
        return (
            "[listen]\ntls = true\n"
            '[security]\nshared_key = "secret"\n'
            f'[tls]\ntls_certificate_file = "{certificate}"\n'
            f'tls_key_file = "{key}"\n'
        )

    program = configured.start(replace_certificate(0))
    is_over = threading.Event()
    sent: list[int] = []
    failures: list[BaseException] = []

    def send(first: int, *, stays: bool) -> None:
        number = first
        try:
            while not is_over.is_set():
                with TlsSender(program.port, trusted) as sender:
                    while True:
                        sender.send(range(number, number + 1), str(number))
                        assert sender.acks(1) == [str(number)]
                        sent.append(number)
                        number += 1
                        if is_over.is_set() or not stays:
                            break
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=send, args=(n * 1_000_000,), kwargs={"stays": n % 2})
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for number in range(1, 6):
        configured.reload(replace_certificate(number))
    is_over.set()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert program.metric("penstock_tls_failures_total") == 0
    assert sorted(numbers_in(database)) == sorted(sent)


class TlsSender(Sender):
    """A sender that speaks TLS and has the key."""

    def __init__(self, port: int, trusted: Path) -> None:
        super().__init__(port)
        context = ssl.create_default_context(cafile=str(trusted))
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self._log_in()

    def _log_in(self) -> None:
        _, options = msgpack.unpackb(self.socket.recv(512), raw=False)
        digest = key_digest(b"salt", b"me", options["nonce"], b"secret")
        ping = ["PING", "me", "salt", digest.decode(), "", ""]
        self.socket.sendall(msgpack.packb(ping))
        answer = msgpack.unpackb(self.socket.recv(512), raw=False)
        assert answer[:3] == ["PONG", True, ""], answer


def test_what_is_doubtful_is_one_line_at_the_start_and_at_each_reload(
    configured: Configured, tmp_path: Path
) -> None:
    certificate, key = Authority().issue("x", days=(-30, -1)).write(tmp_path, "own")
    text = (
        f"[listen]\nhost = '0.0.0.0'\ntls = 'on'\n"
        f"[tls]\ntls_certificate_file = '{certificate}'\ntls_key_file = '{key}'\n"
    )
    program = configured.start(text)

    def lines(words: str) -> int:
        return sum(words in each for each in program.stderr.splitlines())

    expired = f"clients will not take {certificate}: certificate has expired"
    is_open = "anybody who can reach a listener can write logs"
    # The last is logged when stdout has told that it is ready.
    wait_until(lambda: lines("") == 3, "these two, and that it is ready")
    assert (lines(expired), lines(is_open)) == (1, 1)
    configured.reload(text)
    assert (lines(expired), lines(is_open)) == (2, 2)


def test_what_is_no_file_is_refused_and_does_not_keep_the_server(
    configured: Configured,
) -> None:
    program = configured.start("[process]\nlog_level = 'info'\n")
    configured.file.unlink()
    os.mkfifo(configured.file)
    before = configured.reloads()
    program.send_signal(signal.SIGHUP)
    wait_until(lambda: configured.reloads() > before, "it is refused")
    assert "a pipe with nothing in it" in program.stderr
    configured.file.unlink()
    configured.reload("[process]\nlog_level = 'debug'\n")
    assert READ_AGAIN in program.stderr
