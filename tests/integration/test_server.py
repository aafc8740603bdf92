"""`penstock serve` as a process: how it starts, what it survives, how it stops."""

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.integration.conftest import (
    PATIENCE_SECONDS,
    Database,
    Here,
    Program,
    Sender,
    Start,
    numbers_in,
    run_async,
    run_penstock,
    the_line,
    wait_until,
)
from tests.workers import one_worker

MIB = 1024 * 1024
SECRET = "hunter2"
# A stop takes a tenth of a second, or all of its timeout, which is 30 s by default.
QUICK_SECONDS = 20.0


def serve(*more: str, url: str) -> tuple[str, ...]:
    return ("serve", "--database-url", url, *more)


@pytest.fixture
def server(database: Database, start: Start) -> Program:
    return start(*serve(url=database.url)).wait_ready()


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@contextlib.contextmanager
def locked(database: Database, *statements: str) -> Iterator[None]:
    """Hold a transaction with these statements open during the block."""

    async def hold() -> None:
        connection = await asyncpg.connect(database.url)
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement)
            holding.set()
            while not done.is_set():
                await connection.execute("SELECT pg_sleep(0.02)")
        await connection.close()

    holding, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: run_async(hold()), daemon=True)
    thread.start()
    try:
        assert holding.wait(PATIENCE_SECONDS)
        yield
    finally:
        done.set()
        thread.join(PATIENCE_SECONDS)


LOGS_LOCKED = "LOCK TABLE logs IN EXCLUSIVE MODE"
MIGRATION_LOCKED = "SELECT pg_advisory_xact_lock(hashtext('penstock.migrations'))"


def our_connections(database: Database) -> int:
    ((count,),) = database.administer(
        f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database.name}'"
        " AND backend_type = 'client backend'"
    )
    assert isinstance(count, int)
    return count


def log_lines(program: Program) -> list[dict[str, Any]]:
    return [json.loads(line) for line in program.stderr.splitlines()]


# --- it starts, or says in one line why not


def test_it_says_where_it_listens_on_stdout_and_logs_json_on_stderr(
    server: Program, database: Database
) -> None:
    assert server.stdout == (
        f"Penstock is ready: forward protocol on 127.0.0.1:{server.port},"
        f" metrics on http://127.0.0.1:{server.http_port}/metrics,"
        f" database {database.url}\n"
    )
    # It is logged when stdout has told it.
    wait_until(lambda: server.stderr.endswith("\n"), "it is logged")
    (line,) = log_lines(server)
    assert (line["level"], line["message"]) == ("INFO", "ready")


def test_its_spool_is_in_the_data_directory_by_its_port(
    database: Database, start: Start, home: Path
) -> None:
    """The systemd unit's user has no home, and two servers may share a directory."""
    where = {"PENSTOCK_DATA_DIR": str(home), "PENSTOCK_SPOOL_DIR": ""}
    start(*serve(url=database.url), **where).wait_ready()
    assert [path.name for path in home.iterdir()] == ["spool-0"]


def test_a_password_is_in_nothing_that_it_prints(
    database: Database, start: Start
) -> None:
    url = database.url.replace("//postgres@", f"//postgres:{SECRET}@")
    program = start("serve", PENSTOCK_DATABASE_URL=url).wait_ready()
    assert program.stop() == 0
    assert SECRET not in program.stdout + program.stderr


def test_the_schema_is_brought_up_to_date_first(
    empty_database: Database, start: Start
) -> None:
    program = start(*serve(url=empty_database.url)).wait_ready()
    with Sender(program.port) as sender:
        sender.send(range(3), "c")
        assert sender.acks(1) == ["c"]
    assert numbers_in(empty_database) == [0, 1, 2]


@pytest.mark.parametrize("flag", ["--port", "--http-port"])
def test_a_port_that_is_taken_is_named_and_nothing_is_left_running(
    database: Database, taken_port: int, flag: str
) -> None:
    free = "--http-port" if flag == "--port" else "--port"
    line = the_line(
        run_penstock(*serve(flag, str(taken_port), free, "0", url=database.url)), 3
    )
    assert f"127.0.0.1:{taken_port}" in line
    assert "in use" in line
    assert flag in line
    wait_until(lambda: our_connections(database) == 0, "no connection is left")


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--host", "203.0.113.9 is no address of this machine"),
        ("--http-host", "203.0.113.9"),
    ],
)
def test_an_address_of_another_machine_is_named(
    database: Database, flag: str, words: str
) -> None:
    ports = ("--port", "0", "--http-port", "0")
    command = serve(flag, "203.0.113.9", *ports, url=database.url)
    ended = run_penstock(*command, PENSTOCK_HTTP_TOKEN="t" * 16)
    assert ended.returncode == 3
    # Before it stands a warning: others could reach it, and no key is asked for.
    line = ended.stderr.splitlines()[-1]
    assert line.startswith("penstock: ")
    assert words in line
    assert flag in line


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@127.0.0.1:1/logs",
        f"mysql://me:{SECRET}@127.0.0.1/logs",
    ],
)
def test_a_database_out_of_reach_is_named_without_its_password(url: str) -> None:
    line = the_line(run_penstock(*serve(url=url)), 3)
    assert "cannot use the database" in line
    assert SECRET not in line


def test_a_database_that_is_not_there_is_named(database: Database) -> None:
    url = database.url.replace(database.name, "no_such_database")
    line = the_line(run_penstock(*serve(url=url)), 3)
    assert 'database "no_such_database" does not exist' in line


def test_a_schema_that_is_newer_and_would_break_it_is_refused(
    database: Database,
) -> None:
    database.fetch(
        "INSERT INTO penstock_schema (version, name, breaks_older)"
        " VALUES (9999, 'x', true)"
    )
    assert "9999" in the_line(run_penstock(*serve(url=database.url)), 3)


def test_a_database_with_too_few_connections_is_out_of_reach(
    database: Database,
) -> None:
    """The second writer is refused, when all else has gone well."""
    role = f"owner_of_{database.name}"
    database.fetch(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
    for statement in (
        f"GRANT ALL ON SCHEMA public TO {role}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}",
    ):
        database.fetch(statement)
    url = database.url.replace("//postgres@", f"//{role}@")
    ports = ("--port", "0", "--http-port", "0")
    assert "too many connections" in the_line(run_penstock(*serve(*ports, url=url)), 3)


@pytest.mark.parametrize(
    ("flags", "environment", "words"),
    [
        (("--ring-bytes", "1KiB"), {}, "--ring-bytes is 1024; accepted: 8,388,608"),
        ((), {"PENSTOCK_WRITERS": "0"}, "PENSTOCK_WRITERS is 0; accepted: 1 to 32"),
        (("--port", "x"), {}, "--port is 'x', not a whole number"),
        (("--log-level", "loud"), {}, "--log-level is loud; accepted: debug, info"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_touched(
    here: Here, flags: tuple[str, ...], environment: dict[str, str], words: str
) -> None:
    nobody_there = "postgresql://me@127.0.0.1:1/logs"
    line = the_line(here(*serve(*flags, url=nobody_there), **environment), 2)
    assert words in line


def test_without_a_database_it_says_what_to_give(here: Here) -> None:
    ended = here("serve")
    assert ended.returncode == 2
    assert "--database-url" in ended.stderr
    assert "penstock up" in ended.stderr


# --- senders, over real sockets in uvloop


def test_an_ack_comes_after_the_commit_and_not_before(
    server: Program, database: Database
) -> None:
    with Sender(server.port) as sender:
        with locked(database, LOGS_LOCKED):
            sender.send(range(5), "held")
            wait_until(lambda: server.metric("penstock_ring_events") == 5, "received")
            assert sender.is_silent_for(0.3)
        assert sender.acks(1) == ["held"]
        assert numbers_in(database) == list(range(5))


def test_a_half_closed_sender_gets_its_acks_and_then_the_end(
    server: Program, database: Database
) -> None:
    with Sender(server.port) as sender:
        sender.send(range(5), "a")
        sender.send(range(5, 9), "b")
        sender.socket.shutdown(socket.SHUT_WR)
        assert sender.acks(2) == ["a", "b"]
        assert sender.socket.recv(1) == b""
    assert numbers_in(database) == list(range(9))


def test_a_sender_that_is_gone_at_once_loses_nothing_that_came_whole(
    server: Program, database: Database
) -> None:
    with Sender(server.port) as sender:
        sender.send(range(2000), fill=100)
        sender.send(range(2000, 3000), "nobody reads this ack", fill=100)
    wait_until(lambda: len(numbers_in(database)) == 3000, "all is stored")
    wait_until(lambda: server.metric("penstock_connections") == 0, "it is forgotten")


def test_who_speaks_another_protocol_is_closed_and_named(server: Program) -> None:
    for said in (f"GET /{SECRET} HTTP/1.1\r\n\r\n", f'{{"log": "{SECRET}"}}\n'):
        with Sender(server.port) as sender:
            sender.socket.sendall(said.encode())
            with contextlib.suppress(ConnectionResetError):
                assert sender.socket.recv(1) == b""
    assert server.get("/health")[0] == 200
    told = log_lines(server)[1:]
    assert [line["reason"] for line in told] == ["not_forward"] * 2
    assert "an HTTP request" in told[0]["error"]
    assert told[0]["peer"] == "127.0.0.1"
    assert SECRET not in server.stderr


# --- a database that goes away


class Load:
    """Senders that pipeline chunks until told to stop, each in a thread."""

    def __init__(self, program: Program, senders: int) -> None:
        self._stop = threading.Event()
        self._port = program.port
        self.sent = [0] * senders
        self.acked: list[list[str]] = [[] for _ in range(senders)]
        self.errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(senders)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        try:
            with Sender(self._port) as sender:
                while not self._stop.is_set() or not self.sent[number]:
                    for _ in range(5):
                        first = (number * 1000 + self.sent[number]) * 100
                        sender.send(
                            range(first, first + 100), str(self.sent[number]), fill=200
                        )
                        self.sent[number] += 1
                    self.acked[number] += sender.acks(5)
        except BaseException as error:
            self.errors.append(error)

    def wait_for_acks(self, more: int) -> None:
        """Wait until each sender has so many acks more than it has now."""
        wanted = [len(acked) + more for acked in self.acked]

        def is_there() -> bool:
            assert not self.errors, self.errors
            return all(
                len(acked) >= count
                for acked, count in zip(self.acked, wanted, strict=True)
            )

        wait_until(is_there, "acks come")

    def finish(self) -> set[int]:
        """Stop, wait for the last acks, and return all numbers that were sent."""
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
        assert not self.errors, self.errors
        for sent, acked in zip(self.sent, self.acked, strict=True):
            assert acked == [str(chunk) for chunk in range(sent)], "in order, each once"
        return {
            (number * 1000 + chunk) * 100 + event
            for number, sent in enumerate(self.sent)
            for chunk in range(sent)
            for event in range(100)
        }


def kill_connections(database: Database) -> None:
    assert database.kill_connections() > 0


def take_away_for_a_moment(database: Database) -> None:
    with database.out_of_reach():
        time.sleep(0.4)


@pytest.mark.parametrize("harm", [kill_connections, take_away_for_a_moment])
def test_under_load_nothing_acked_is_lost_and_all_is_acked(
    server: Program, database: Database, harm: Callable[[Database], None]
) -> None:
    load = Load(server, senders=3)
    for _ in range(2):
        load.wait_for_acks(5)
        harm(database)
        load.wait_for_acks(5)
    sent = load.finish()
    stored = numbers_in(database)
    assert set(stored) == sent
    assert server.metric("penstock_copy_failures_total") > 0
    assert server.metric("penstock_database_reconnects_total") > 0
    assert server.metric("penstock_ring_events") == 0
    assert server.stop() == 0


def test_the_count_of_events_always_comes_out(
    server: Program, database: Database
) -> None:
    """received = stored + rejected + buffered, also while the database is away."""
    with database.out_of_reach(), Sender(server.port) as sender:
        sender.send(range(700), fill=10)
        sender.socket.sendall(b"\x92\xa1t\x92\x92\x01\xa4text\x92\x02\x80")
        wait_until(lambda: server.metric("penstock_ring_events") == 702, "buffered")
        assert server.metric("penstock_received_events_total") == 702
        assert server.metric("penstock_rejected_events_total") == 1
    wait_until(lambda: server.metric("penstock_ring_events") == 0, "stored")
    assert server.metric("penstock_copy_rows_total") == 701
    assert server.metric("penstock_copy_rejected_events_total") == 1
    assert database.value("SELECT count(*) FROM logs") == 701
    assert database.value("SELECT count(*) FROM rejected_event") == 1


# --- it stops


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_all_committed_and_exit_code_0(
    server: Program, database: Database, number: signal.Signals
) -> None:
    with Sender(server.port) as silent, Sender(server.port) as asking:
        for chunk in range(20):
            silent.send(range(chunk * 500, chunk * 500 + 500), fill=200)
        asking.send(range(100_000, 100_010), "c")
        assert server.stop(number) == 0
        assert asking.acks(1) == ["c"]
    assert sorted(numbers_in(database)) == [*range(10_000), *range(100_000, 100_010)]
    assert [line["message"] for line in log_lines(server)][-1].startswith("stopped")
    wait_until(lambda: our_connections(database) == 0, "no connection is left")


def test_an_idle_server_stops_at_once(server: Program) -> None:
    with Sender(server.port):
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < QUICK_SECONDS


@one_worker
def test_it_waits_for_the_commit_and_a_second_signal_hurries_it(
    server: Program, database: Database
) -> None:
    with Sender(server.port) as sender, locked(database, LOGS_LOCKED):
        sender.send(range(5), "never")
        wait_until(lambda: server.metric("penstock_ring_events") == 5, "received")
        server.send_signal()
        with pytest.raises(socket.error):
            wait_until(lambda: Sender(server.port).socket.close(), "refused")
        time.sleep(0.5)
        assert server.process.poll() is None, "it waits for the database"
        began = time.monotonic()
        assert server.stop() == 0, "its sender sends it again"
        assert time.monotonic() - began < QUICK_SECONDS
        with contextlib.suppress(ConnectionResetError):
            assert sender.socket.recv(1) == b"", "no ack for what is not committed"
    assert numbers_in(database) == []
    last = log_lines(server)[-1]
    assert last["level"] == "WARNING"
    assert last["events_not_committed"] == 5
    assert "Traceback" not in server.stderr


def test_it_waits_no_longer_than_the_shutdown_timeout(
    database: Database, start: Start
) -> None:
    flags = ("--shutdown-timeout-seconds", "0.5")
    program = start(*serve(*flags, url=database.url)).wait_ready()
    with Sender(program.port) as sender, locked(database, LOGS_LOCKED):
        sender.send(range(5), "never")
        wait_until(lambda: program.metric("penstock_ring_events") == 5, "received")
        began = time.monotonic()
        assert program.stop() == 0, "its sender sends it again"
        assert time.monotonic() - began < QUICK_SECONDS
    assert "Traceback" not in program.stderr


def test_it_can_be_stopped_while_it_waits_to_migrate(
    database: Database, start: Start
) -> None:
    with locked(database, MIGRATION_LOCKED):
        program = start(*serve(url=database.url))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            f" AND datname = '{database.name}'"
        )
        wait_until(lambda: database.administer(waiting) == [(1,)], "it waits")
        assert program.stop() == 0
    assert program.stdout == ""
    assert "Traceback" not in program.stderr
