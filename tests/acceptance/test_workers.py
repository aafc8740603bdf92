"""Several workers are one Penstock: the same promises, one port, one /metrics.

All on one PostgreSQL; the Penstock is started again only where a test has ended it.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psutil
import pytest

from tests.acceptance.forward_sender import ForwardSender, packed_forward
from tests.acceptance.penstock_process import clean_environment, wait_until
from tests.acceptance.resender import (
    Believer,
    Resender,
    assert_books_balance,
    assert_stored_once,
    numbered_frame,
    numbers_of,
    wait_until_all_is_stored,
)
from tests.acceptance.served_penstock import ServedPenstock
from tests.ports import free_port

WORKERS = 2
# Enough for both workers to have some of them: two to the power of this is the chance
# that one has none.
CONNECTIONS = 24
T = 1_700_000_000
ENDS_BY_SIGNAL = 'penstock_worker_ends_total{how="signal"}'
ENDS_BY_ITSELF = 'penstock_worker_ends_total{how="stopped"}'
COUNTERS = re.compile(
    r"^(penstock_\w+(?:_total|_count|_bucket)\S*(?: \d)?\S*) (\S+)$", re.M
)
BOOKS = re.compile(
    r"^penstock_(received_events_total\{\S+\}|recovered_events|copy_rows_total"
    r"|copy_rejected_events_total|duplicate_events_total|ring_events|spooled_events"
    r"|worker_left_events_total) (\S+)$",
    re.M,
)


class ServedWorkers(ServedPenstock):
    """A `penstock serve` of several workers, on a PostgreSQL of its own."""

    def start(self, *flags: str) -> None:
        super().start("--workers", str(WORKERS), *flags)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def workers(self) -> list[psutil.Process]:
        """Return the workers' processes, those that are gone left out."""
        children = psutil.Process(self.pid).children()
        return [each for each in children if not has_ended(each)]

    def wait_until_all_run(self) -> None:
        wait_until(lambda: self.http("/ready")[0] == 200, "all workers run")

    def worker_of(self, sender: ForwardSender) -> int:
        """Return the pid of the worker that takes a sender's connection."""
        own_port = sender._socket.getsockname()[1]
        return wait_until(lambda: self._worker_at(own_port), "it is taken")

    def _worker_at(self, own_port: int) -> int:
        for worker in self.workers():
            if own_port in ports_of_senders(worker):
                return worker.pid
        return 0

    def kill_worker(self, pid: int) -> None:
        """SIGKILL; return when its end is known."""
        ends = self.metric(ENDS_BY_SIGNAL)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.metric(ENDS_BY_SIGNAL) == ends + 1, "its end is known")


@pytest.fixture(scope="module")
def one_served() -> Iterator[ServedWorkers]:
    served = ServedWorkers()
    try:
        served.start_postgres()
        yield served
    finally:
        served.remove()


@pytest.fixture
def served(one_served: ServedWorkers) -> ServedWorkers:
    """All run, nobody is connected, nothing is on its way."""
    if not one_served.is_running():
        one_served.start()
    one_served.wait_until_all_run()
    busy = ("penstock_connections", "penstock_ring_events", "penstock_spooled_events")
    wait_until(lambda: one_served.metrics(*busy) == [0, 0, 0], "it is at rest")
    return one_served


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


Connect = Callable[[], dict[int, ForwardSender]]


@pytest.fixture
def connect_to_each(served: ServedWorkers, stack: ExitStack) -> Connect:
    """Connect until there is a sender with each worker; return them by its pid."""

    def connect() -> dict[int, ForwardSender]:
        found: dict[int, ForwardSender] = {}
        while len(found) < WORKERS:
            sender = stack.enter_context(ForwardSender(served.port))
            found[served.worker_of(sender)] = sender
        return found

    return connect


def ports_of_senders(worker: psutil.Process) -> list[int]:
    """Return the ports of those whose connections it has; none if it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        links = worker.net_connections("tcp")
        made = [each for each in links if each.status == psutil.CONN_ESTABLISHED]
        return [each.raddr.port for each in made]
    return []


def has_ended(process: psutil.Process) -> bool:
    """Tell whether it has, though init may not have taken note of it yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def counters(served: ServedWorkers) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in COUNTERS.findall(served.http("/metrics")[1])
    }


def assert_books_add_up(served: ServedWorkers) -> None:
    """Judge the sum that docs/metrics.md has, over the ends of workers too."""
    assert_books_balance(served)
    found: dict[str, float] = {}
    for name, value in BOOKS.findall(served.http("/metrics")[1]):
        name = name.partition("{")[0]
        found[name] = found.get(name, 0) + float(value)
    came = found.pop("received_events_total") + found.pop("recovered_events")
    assert came == sum(found.values()), found


def test_all_workers_store_and_ack_and_there_is_one_metrics(
    served: ServedWorkers, stack: ExitStack, tag: str
) -> None:
    before = counters(served)
    senders = [
        stack.enter_context(ForwardSender(served.port)) for _ in range(CONNECTIONS)
    ]
    for number, sender in enumerate(senders):
        sender.send(numbered_frame(tag, number * 10, 10, f"c{number}"))
    for number, sender in enumerate(senders):
        assert sender.read_ack() == f"c{number}"
        # An ack means committed, whichever worker has written it.
    assert_stored_once(served, tag, CONNECTIONS * 10)
    added = {
        "penstock_acks_total": CONNECTIONS,
        "penstock_connections_accepted_total": CONNECTIONS,
        "penstock_copy_rows_total": CONNECTIONS * 10,
    }
    # A worker that has no time to answer is in /metrics with what it has said before.
    wait_until(
        lambda: served.metrics(*added) == [before[n] + added[n] for n in added],
        "all is counted",
    )
    assert served.metrics(*added) == [before[n] + added[n] for n in added]
    assert served.metric("penstock_connections") == CONNECTIONS
    by_worker = [
        served.metric(f'penstock_worker_connections{{worker="{number}"}}')
        for number in range(WORKERS)
    ]
    assert sum(by_worker) == CONNECTIONS
    assert min(by_worker) > 0
    assert_books_add_up(served)


def test_a_chunk_sent_again_to_another_worker_is_stored_once(
    served: ServedWorkers, connect_to_each: Connect, tag: str
) -> None:
    duplicates = served.metric("penstock_duplicate_chunks_total")
    first, second = connect_to_each().values()
    frame = numbered_frame(tag, 0, 50, "the chunk")
    for sender in (first, second, first):
        sender.send(frame)
        assert sender.read_ack() == "the chunk"
    assert_stored_once(served, tag, 50)
    wait_until(
        lambda: served.metric("penstock_duplicate_chunks_total") == duplicates + 2,
        "both are counted",
    )


@pytest.fixture
def counters_watched(served: ServedWorkers) -> Iterator[None]:
    """No counter goes down during the test."""
    went_down: list[str] = []
    is_over = threading.Event()

    def watch() -> None:
        before: dict[str, float] = {}
        while not is_over.is_set():
            after = counters(served)
            went_down.extend(
                f"{name} from {value} to {after.get(name)}"
                for name, value in before.items()
                if after.get(name, -1.0) < value
            )
            before = after

    watching = threading.Thread(target=watch)
    watching.start()
    yield
    is_over.set()
    watching.join()
    assert not went_down


@pytest.mark.usefixtures("counters_watched")
def test_a_worker_that_is_killed_costs_nothing_acked_and_comes_back(
    served: ServedWorkers, connect_to_each: Connect, stack: ExitStack, tag: str
) -> None:
    by_worker = connect_to_each()
    senders = [
        Resender(served.port, f"{tag}.{number}", chunk_events=100)
        for number in range(6)
    ]
    for sender in senders:
        stack.callback(sender.end)
        sender.start()
    wait_until(lambda: min(each.acked for each in senders) >= 15, "acks")
    # The one with more of them; the other may have none.
    workers = sorted(served.workers(), key=lambda each: len(ports_of_senders(each)))
    survivor = by_worker[workers[0].pid]
    served.kill_worker(workers[-1].pid)
    survivor.send(numbered_frame(f"{tag}.s", 0, 10, "goes on"))
    assert survivor.read_ack() == "goes on"
    served.wait_until_all_run()
    wait_until(lambda: min(each.acked for each in senders) >= 30, "acks")
    # Not so soon after the first time: it is not started again at once.
    served.kill_worker(served.workers()[-1].pid)
    served.wait_until_all_run()
    for sender in senders:
        sender.enough()
    for sender in senders:
        sender.finish()
        assert_stored_once(served, sender.tag, sender.events)
    assert any(sender.connects > 1 for sender in senders), "none was hit"
    assert len(served.workers()) == WORKERS
    assert_books_add_up(served)
    assert '"ended": "SIGKILL"' in served.stderr()


def test_a_worker_told_to_stop_loses_nothing_and_is_started_again(
    served: ServedWorkers, connect_to_each: Connect, tag: str
) -> None:
    stops = served.metric(ENDS_BY_ITSELF)
    by_worker = connect_to_each()
    for number, sender in enumerate(by_worker.values()):
        sender.send(numbered_frame(tag, number * 1_000, 1_000))
    os.kill(next(iter(by_worker)), signal.SIGTERM)
    wait_until(lambda: served.metric(ENDS_BY_ITSELF) == stops + 1, "it has stopped")
    served.wait_until_all_run()
    served.wait_for_count(tag, WORKERS * 1_000)
    wait_until_all_is_stored(served)
    assert_stored_once(served, tag, WORKERS * 1_000)
    assert_books_add_up(served)


def test_a_worker_that_stands_still_is_told_of(served: ServedWorkers) -> None:
    worker = served.workers()[0]
    worker.suspend()
    try:
        # It is not waited for longer than a moment, and /metrics has what it said last.
        wait_until(lambda: served.http("/ready")[0] == 503, "it is not ready")
        wait_until(lambda: "does not answer" in served.http("/ready")[1], "and why")
        assert served.metric("penstock_workers") == WORKERS
        assert served.http("/health")[0] == 200
    finally:
        worker.resume()
    served.wait_until_all_run()


def test_heartbeats_are_answered_once_whichever_worker_it_is(
    served: ServedWorkers,
) -> None:
    answered = served.metric("penstock_heartbeats_total")
    for _ in range(8):
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(30)
            client.sendto(b"\0", ("127.0.0.1", served.port))
            assert client.recv(10) == b"\0"
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(10)
    wait_until(
        lambda: served.metric("penstock_heartbeats_total") == answered + 8,
        "all are counted",
    )


def run_serve(
    served: ServedWorkers, *arguments: str, spool: str = "another"
) -> subprocess.CompletedProcess[str]:
    command = (
        *(sys.executable, "-m", "penstock", "serve"),
        *("--database-url", served.database_url, "--http-port", "0"),
        *("--spool-dir", str(served.home / spool), *arguments),
    )
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=clean_environment()
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_penstock_on_the_same_port_is_refused(
    served: ServedWorkers, workers: str
) -> None:
    port = str(served.port)
    ended = run_serve(served, "--port", port, "--workers", workers)
    assert ended.returncode == 3
    assert f"127.0.0.1:{port} is in use; stop what listens there" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_penstock_on_the_same_spool_is_refused(
    served: ServedWorkers, workers: str
) -> None:
    ended = run_serve(served, "--port", "0", "--workers", workers, spool="spool")
    assert_spool_refused(ended)


def assert_spool_refused(ended: subprocess.CompletedProcess[str]) -> None:
    """At once: it does not take the other one for workers that are about to end."""
    assert ended.returncode == 3
    assert ended.stderr.startswith("penstock: another Penstock uses the spool")


def test_limits_that_are_too_small_to_be_shared_out_are_refused(
    served: ServedWorkers,
) -> None:
    ended = run_serve(served, "--workers", "4", "--ring-bytes", "16MiB")
    assert ended.returncode == 2
    assert ended.stderr == (
        "penstock: --ring-bytes is 16777216, shared out among 4 workers; each needs"
        " 8,388,608 or more: raise it, or have fewer workers\n"
    )


# What follows ends the Penstock.


def test_a_stop_stores_what_all_workers_have(served: ServedWorkers, tag: str) -> None:
    believers = [
        Believer(served.port, f"{tag}.{number}", messages=40, message_events=200)
        for number in range(6)
    ]
    for each in believers:
        each.start()
    for each in believers:
        each.finish()
    workers = served.workers()
    assert served.stop() == 0, served.stderr()
    assert all(map(has_ended, workers))
    for each in believers:
        assert_stored_once(served, each.tag, each.events)


def test_any_port_is_the_same_one_for_all_workers(
    served: ServedWorkers, connect_to_each: Connect, tag: str
) -> None:
    served.stop()
    kept, served.port = served.port, 0
    try:
        served.start()
        assert served.port
        for number, sender in enumerate(connect_to_each().values()):
            sender.send(packed_forward(tag, [(T, {"n": number})], f"c{number}"))
            assert sender.read_ack() == f"c{number}"
        assert served.stop() == 0, served.stderr()
    finally:
        served.port = kept


def test_a_unix_socket_and_a_reload_are_for_all_workers(
    served: ServedWorkers, tag: str
) -> None:
    served.stop()
    path, more = served.home / "forward.sock", free_port()
    file = served.home / "penstock.toml"
    listeners = f'[[listeners]]\npath = "{path}"\n'
    file.write_text(listeners)
    served.start("--config", str(file))
    for number in range(4):
        with ForwardSender.on_unix_socket(str(path)) as sender:
            sender.send(packed_forward(tag, [(T, {"n": number})], f"c{number}"))
            assert sender.read_ack() == f"c{number}"
    reloads = served.metric("penstock_config_reloads_total")
    another = f'[[listeners]]\nhost = "127.0.0.1"\nport = {more}\nhandshake = "off"\n'
    file.write_text(f'{listeners}{another}[security]\nshared_key = "secret"\n')
    os.kill(served.pid, signal.SIGHUP)
    wait_until(
        lambda: served.metric("penstock_config_reloads_total") > reloads, "a reload"
    )
    for number in range(4, 12):
        # Each of them asks for the key from now on, and is at the new port too.
        with ForwardSender(served.port) as sender:
            assert sender.log_in("secret") == ""
        with ForwardSender(more) as sender:
            sender.send(packed_forward(tag, [(T, {"n": number})], f"c{number}"))
            assert sender.read_ack() == f"c{number}"
    served.kill_worker(served.workers()[0].pid)
    served.wait_until_all_run()
    for _ in range(8):
        with ForwardSender(served.port) as sender:
            assert sender.log_in("secret") == "", "nor has its successor another key"
    assert numbers_of(served, tag) == list(range(12))
    assert served.stop() == 0, served.stderr()
    assert not path.exists()


@pytest.mark.parametrize("workers_after", ["1", "2"])
def test_workers_of_a_killed_parent_commit_what_they_have_and_end(
    served: ServedWorkers, connect_to_each: Connect, tag: str, workers_after: str
) -> None:
    by_worker = connect_to_each()
    for number, sender in enumerate(by_worker.values()):
        sender.send(numbered_frame(tag, number * 1_000, 1_000))
    workers = served.workers()
    assert served.stop(signal.SIGKILL) == -signal.SIGKILL
    # At once, as systemd would: it waits until they have let all go.
    ServedPenstock.start(served, "--workers", workers_after)
    wait_until(lambda: all(map(has_ended, workers)), "they have ended")
    served.wait_for_count(tag, WORKERS * 1_000)
    wait_until_all_is_stored(served)
    assert_stored_once(served, tag, WORKERS * 1_000)
    if workers_after != str(WORKERS):
        ended = run_serve(served, "--port", "0", "--workers", "2", spool="spool")
        assert_spool_refused(ended)
        served.stop()


def test_fewer_workers_store_what_more_have_spooled(
    served: ServedWorkers, connect_to_each: Connect, tag: str
) -> None:
    by_worker = connect_to_each()
    received = served.metric("penstock_received_bytes_total")
    served.stop_postgres()
    sent_bytes = 0
    for number, sender in enumerate(by_worker.values()):
        frame = numbered_frame(tag, number * 1_000, 1_000)
        sender.send(frame)
        sent_bytes += len(frame)
    wait_until(
        lambda: served.metric("penstock_received_bytes_total") >= received + sent_bytes,
        "all is received",
    )
    assert served.stop() == 0, served.stderr()
    left = served.spool_dir / "worker-1"
    assert list(left.glob("*.spool")), "the second worker has spooled"
    served.start_postgres()
    ServedPenstock.start(served, "--workers", "1")
    wait_until_all_is_stored(served)
    assert_stored_once(served, tag, WORKERS * 1_000)
    assert served.workers() == []
    assert served.stop() == 0, served.stderr()
    with contextlib.suppress(FileNotFoundError):
        assert list(left.iterdir()) == []
