"""`penstock serve` under a service manager: a real process, a real datagram socket."""

import contextlib
import itertools
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import (
    Database,
    Program,
    Sender,
    Start,
    numbers_in,
    wait_until,
)

# Signs of life come at half of it.
WATCHDOG_SECONDS = 0.8
SIGNS = 3
SIGN_OF_LIFE = "WATCHDOG=1"


class Manager:
    """What systemd hears of a service, and when."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)
        self.heard: list[str] = []
        self._signs_seconds: list[float] = []  # of the monotonic clock: when heard

    def listen(self) -> list[str]:
        """Return all lines so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                lines = self._socket.recv(4096).decode().splitlines()
                self._signs_seconds += [time.monotonic()] * lines.count(SIGN_OF_LIFE)
                self.heard += lines
        return self.heard

    def signs_of_life(self) -> int:
        """Return how many have come so far."""
        return self.listen().count(SIGN_OF_LIFE)

    def wait_for_signs_of_life(self) -> None:
        """Wait for some more of them; they are to come as often as systemd asks.

        On a busy machine some come late, or are heard late, so one gap is judged: the
        shortest.
        """
        before = self.signs_of_life()
        wait_until(
            lambda: self.signs_of_life() > before + SIGNS, f"{SIGNS} more signs of life"
        )
        heard = self._signs_seconds[before:]
        shortest = min(then - now for now, then in itertools.pairwise(heard))
        assert shortest < WATCHDOG_SECONDS, f"one each {shortest:.1f} s"

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager() -> Iterator[Manager]:
    with tempfile.TemporaryDirectory(prefix="penstock-") as directory:
        manager = Manager(Path(directory) / "notify")
        yield manager
        manager.close()


@pytest.fixture
def server(database: Database, start: Start, manager: Manager) -> Program:
    return start(
        "serve",
        "--database-url",
        database.url,
        NOTIFY_SOCKET=manager.address,
        WATCHDOG_USEC=str(round(WATCHDOG_SECONDS * 1_000_000)),
    )


def test_ready_means_that_senders_can_connect(
    server: Program, manager: Manager, database: Database
) -> None:
    wait_until(lambda: "READY=1" in manager.listen(), "ready")
    assert manager.heard[0] == "READY=1", "nothing before"
    server.wait_ready()
    with Sender(server.port) as sender:
        sender.send(range(3), "c")
        assert sender.acks(1) == ["c"]
    assert server.stop() == 0
    assert "STOPPING=1" in manager.listen()
    assert manager.heard.count("READY=1") == 1
    assert numbers_in(database) == [0, 1, 2]


def test_a_server_that_does_not_start_is_never_ready(
    start: Start, manager: Manager
) -> None:
    url = "postgresql://me@127.0.0.1:1/logs"
    program = start("serve", "--database-url", url, NOTIFY_SOCKET=manager.address)
    assert program.wait_ended() == 3
    assert manager.listen() == []


def test_the_watchdog_hears_of_a_process_that_lives_and_not_of_one_that_hangs(
    server: Program, manager: Manager
) -> None:
    server.wait_ready()
    manager.wait_for_signs_of_life()
    server.send_signal(signal.SIGSTOP)
    time.sleep(0.1)
    before = manager.signs_of_life()
    time.sleep(1.5 * WATCHDOG_SECONDS)
    assert manager.signs_of_life() == before
    server.send_signal(signal.SIGCONT)
    manager.wait_for_signs_of_life()


def test_where_it_hangs_is_in_its_log(server: Program) -> None:
    """systemd ends with SIGABRT what its watchdog does not hear of."""
    server.wait_ready()
    server.send_signal(signal.SIGABRT)
    assert server.wait_ended() == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in server.stderr


def test_a_postgresql_that_is_away_is_no_reason_for_a_restart(
    server: Program, manager: Manager, database: Database
) -> None:
    server.wait_ready()
    with database.out_of_reach(), Sender(server.port) as sender:
        sender.send(range(5), "c")
        wait_until(lambda: server.metric("penstock_ring_events") == 5, "received")
        manager.wait_for_signs_of_life()
        away = "STATUS=5 events in memory, 0 in the spool; PostgreSQL does not store"
        wait_until(lambda: away in manager.listen(), away)
    wait_until(lambda: len(numbers_in(database)) == 5, "stored")


def test_a_postgresql_that_hangs_is_no_reason_for_a_restart(
    server: Program, manager: Manager, database: Database
) -> None:
    server.wait_ready()
    sessions = database.administer(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'penstock'"
        f" AND datname = '{database.name}'"
    )
    assert sessions
    try:
        for (pid,) in sessions:
            os.kill(pid, signal.SIGSTOP)
        with Sender(server.port) as sender:
            sender.send(range(5), "c")
            wait_until(lambda: server.metric("penstock_ring_events") == 5, "received")
            manager.wait_for_signs_of_life()
    finally:
        for (pid,) in sessions:
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: len(numbers_in(database)) == 5, "stored")
