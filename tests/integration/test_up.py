"""`penstock up`: from an empty directory to a stored event, and no trace left."""

import asyncio
import contextlib
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from penstock import app, config
from penstock.cli.first_steps import print_ready
from penstock.cli.signals import stop_signals_interrupting
from penstock.embedded import running_url
from tests.integration.conftest import (
    Here,
    Program,
    Sender,
    Start,
    as_another_user,
    clean_environment,
    run_async,
    run_penstock,
    the_line,
    wait_until,
)

# What PostgreSQL and a process take to end, on a busy machine. What hangs does so for
# ever: a stop that waits for it, too.
END_SECONDS = 100.0


@pytest.fixture(scope="module")
def lent() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="penstock-test-")).resolve()
    yield home / "data of mine"
    shutil.rmtree(home)


@pytest.fixture
def data_dir(lent: Path) -> Iterator[Path]:
    """A data directory to be left in working order; the first test makes it.

    Its name has spaces, so that all that is printed and done must mind them.
    """
    yield lent
    assert running_url(lent) is None, "PostgreSQL outlives the test"


def up(data_dir: Path, *more: str) -> tuple[str, ...]:
    return ("up", "--data-dir", str(data_dir), *more)


def shell(line: str) -> str:
    """Run a line as a person would who copies it; return what it prints."""
    ended = subprocess.run(
        ["sh", "-c", line],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(),
        check=True,
    )
    return ended.stdout


def indented(text: str, beginning: str) -> str:
    """Return the one line that is printed for the reader to copy."""
    (found,) = re.findall(rf"^  (.*{beginning}.*)$", text, re.MULTILINE)
    assert isinstance(found, str)
    return found


async def value_in(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def listening_addresses(program: Program) -> set[tuple[str, int]]:
    """Return where it, and all that it started, listens by TCP."""
    found = set()
    for process in (psutil.Process(program.pid), *program.family()):
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker of PostgreSQL's
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add((connection.laddr.ip, connection.laddr.port))
    return found


# --- from nothing


def test_from_an_empty_directory_to_a_stored_event_with_the_lines_it_prints(
    data_dir: Path, start: Start
) -> None:
    assert not data_dir.exists()
    program = start(*up(data_dir)).wait_ready()
    said = program.stdout

    assert f"127.0.0.1:{program.port}" in indented(said, "forward protocol")
    assert str(data_dir) in indented(said, "data directory")
    assert "Ctrl-C stops both." in said

    shell(indented(said, "penstock send"))
    question = indented(said, "penstock sql")
    assert "where ts > " in question, "the one index there is"
    assert "order by ts desc" in question
    assert "hello" in shell(question)

    url = indented(said, "database ").split(None, 1)[1]
    assert shell(indented(said, "psql ").replace("psql", "printf %s")) == url
    assert run_async(value_in(url, "SELECT message FROM logs")) == "hello"

    metrics = indented(said, "metrics ").split()[1]
    assert metrics == f"http://127.0.0.1:{program.http_port}/metrics"
    assert program.metric("penstock_copy_rows_total") == 1

    assert indented(said, "fluent-bit ").endswith(
        f"-o forward -p host=127.0.0.1 -p port={program.port}"
    )
    assert program.stop() == 0
    assert program.family() == [], "nothing is left running"


def test_what_is_stored_is_there_the_next_time(data_dir: Path, start: Start) -> None:
    program = start(*up(data_dir)).wait_ready()
    found = shell(indented(program.stdout, "penstock sql"))
    assert "hello" in found
    assert program.stop(signal.SIGINT) == 0
    assert program.family() == []


def test_nothing_listens_on_tcp_but_our_two_ports_on_loopback(
    data_dir: Path, start: Start
) -> None:
    program = start(*up(data_dir)).wait_ready()
    assert listening_addresses(program) == {
        ("127.0.0.1", program.port),
        ("127.0.0.1", program.http_port),
    }
    assert len(program.family()) > 3, "PostgreSQL's processes were looked at too"
    (url,) = re.findall(r"database +(\S+)", program.stdout)
    assert run_async(value_in(url, "SHOW listen_addresses")) == ""
    assert run_async(value_in(url, "SELECT inet_server_addr()")) is None
    assert program.stop() == 0


def test_it_stores_as_one_who_can_neither_read_nor_change_what_is_stored(
    data_dir: Path, start: Start
) -> None:
    program = start(*up(data_dir)).wait_ready()
    (url,) = re.findall(r"database +(\S+)", program.stdout)
    logins = (
        "SELECT array_agg(DISTINCT usename::text) FROM pg_stat_activity"
        " WHERE application_name = 'penstock'"
    )
    assert run_async(value_in(url, logins)) == ["penstock_writer"]
    may = "SELECT has_table_privilege('penstock_writer', 'logs', '{}')"
    assert run_async(value_in(url, may.format("INSERT")))
    for right in ("SELECT", "UPDATE", "DELETE", "TRUNCATE"):
        assert not run_async(value_in(url, may.format(right)))
    # A reload does not find the settings changed that `up` makes itself.
    program.send_signal(signal.SIGHUP)
    wait_until(lambda: "is read again" in program.stderr, "it has reloaded")
    assert "database_url" not in program.stderr
    assert program.stop() == 0


def test_it_says_on_stdout_where_it_listens_and_logs_on_stderr(
    data_dir: Path, start: Start
) -> None:
    program = start(*up(data_dir), "--log-level", "error").wait_ready()
    assert program.stop() == 0
    assert program.stderr == ""
    assert program.stdout.startswith("Penstock ")


@pytest.mark.parametrize(
    ("host", "forward", "send", "fluent_bit"),
    [
        ("127.0.0.1", "127.0.0.1:1", "penstock send --port 1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0:1", "penstock send --port 1", "127.0.0.1"),
        ("::", "[::]:1", "penstock send --host ::1 --port 1", "::1"),
        ("192.0.2.7", "192.0.2.7:1", "send --host 192.0.2.7 --port 1", "192.0.2.7"),
        ("logs.lan", "logs.lan:1", "send --host logs.lan --port 1", "logs.lan"),
    ],
)
def test_the_lines_to_try_lead_to_where_it_listens(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    forward: str,
    send: str,
    fluent_bit: str,
) -> None:
    monkeypatch.setattr("sys.argv", ["/opt/my programs/penstock"])
    monkeypatch.chdir("/tmp")
    print_ready(
        app.Listening(host, 1, "::1", 2), config.load({}), "postgresql://x", Path("a b")
    )
    said = capsys.readouterr().out
    assert indented(said, "forward protocol").split()[-1] == forward
    assert indented(said, "metrics ").split()[-1] == "http://[::1]:2/metrics"
    assert "'/opt/my programs/penstock'" in indented(said, "echo")
    assert indented(said, "echo").replace("'", "").endswith(send)
    assert f"--data-dir '{Path('/tmp/a b').resolve()}' " in indented(said, " sql ")
    assert f"host={fluent_bit} " in indented(said, "fluent-bit")


def test_the_usual_port_is_not_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    listening = app.Listening("127.0.0.1", 24224, "127.0.0.1", 8000)
    print_ready(listening, config.load({}), "postgresql://x", Path("/tmp/x"))
    assert indented(capsys.readouterr().out, "echo").endswith(" send")


# --- what it refuses


def test_a_second_one_on_the_same_directory_is_refused_and_names_the_first(
    data_dir: Path, start: Start
) -> None:
    first = start(*up(data_dir)).wait_ready()
    ports = ("--port", "0", "--http-port", "0")
    line = the_line(run_penstock(*up(data_dir, *ports)), 3)
    assert f"pid {first.pid}" in line
    assert str(data_dir) in line
    with Sender(first.port) as sender:
        sender.send(range(3), "still")
        assert sender.acks(1) == ["still"]
    assert first.stop() == 0


@pytest.mark.parametrize("place", ["/proc/penstock", "/dev/null", "/dev/null/data"])
def test_a_directory_that_cannot_be_written_is_refused(place: str) -> None:
    line = the_line(run_penstock(*up(Path(place))), 3)
    assert place in line
    assert "--data-dir" in line


@pytest.mark.parametrize("major", ["15", "19"])
def test_a_directory_of_another_postgresql_is_refused_and_left_alone(
    home: Path, major: str
) -> None:
    home.chmod(0o755)  # or root is told that it was opened for PostgreSQL's user
    pgdata = home / "data" / "postgres"
    pgdata.mkdir(parents=True)
    (pgdata / "PG_VERSION").write_text(f"{major}\n")
    line = the_line(run_penstock(*up(home / "data")), 3)
    assert f"PostgreSQL {major}" in line
    assert "18" in line
    assert [path.name for path in pgdata.iterdir()] == ["PG_VERSION"]


@pytest.mark.parametrize("flag", ["--port", "--http-port"])
def test_a_port_that_is_taken_is_named_and_postgresql_is_stopped_again(
    data_dir: Path, flag: str
) -> None:
    free = "--http-port" if flag == "--port" else "--port"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = the_line(run_penstock(*up(data_dir, flag, str(port), free, "0")), 3)
    assert f"127.0.0.1:{port}" in line
    assert flag in line
    assert running_url(data_dir) is None


@pytest.mark.parametrize("flag", ["--host", "--http-host"])
def test_a_host_that_is_none_is_named_before_anything_is_made(
    here: Here, home: Path, flag: str
) -> None:
    token = "x" * 32  # what others may reach by HTTP has one
    ended = here(*up(home / "data", flag, "bogus.invalid"), PENSTOCK_HTTP_TOKEN=token)
    line = the_line(ended, 3)
    assert "cannot listen on bogus.invalid: " in line
    assert line.endswith(flag)
    assert "-2" not in line
    assert not (home / "data").exists()


def test_a_directory_of_another_user_is_refused_in_one_line(
    here: Here, home: Path
) -> None:
    home.chmod(0o755)
    (home / "data").mkdir()
    here("up", "--ring-bytes", "1")  # what it imports may be closed to the other user
    with as_another_user(home / "data"), stop_signals_interrupting():
        line = the_line(here(*up(home / "data")), 3)
    assert str(home / "data") in line
    assert "--data-dir" in line


def test_a_wrong_setting_is_refused_before_anything_is_made(
    here: Here, home: Path
) -> None:
    for flag, value in (("--ring-bytes", "1"), ("--log-format", "xml")):
        line = the_line(here(*up(home / "data", flag, value)), 2)
        assert f"{flag} is {value}; accepted: " in line
    assert not (home / "data").exists()


# --- what it survives


def test_postgresql_that_is_killed_is_started_again_and_sends_go_through(
    data_dir: Path, start: Start
) -> None:
    program = start(*up(data_dir)).wait_ready()
    (url,) = re.findall(r"database +(\S+)", program.stdout)
    pid_file = data_dir / "postgres" / "postmaster.pid"
    with Sender(program.port) as sender:
        sender.send(range(100), "before")
        assert sender.acks(1) == ["before"]
        for harm in range(2):
            pid = int(pid_file.read_text().splitlines()[0])
            os.kill(pid, signal.SIGKILL)
            sender.send(range(100), f"after {harm}")
            # A backend may outlive the server for a moment, and commit meanwhile.
            assert sender.acks(1) == [f"after {harm}"]
            wait_until(lambda: running_url(data_dir), "it runs again")
            assert int(pid_file.read_text().splitlines()[0]) != pid
    count = "SELECT count(*) FROM logs WHERE tag = 'test' AND attributes ? 'fill'"
    stored = run_async(value_in(url, count))
    assert isinstance(stored, int) and stored >= 300
    assert "the embedded PostgreSQL has died; starting it again" in program.stderr
    wait_until(lambda: program.get("/ready")[0] == 200, "it is ready again")
    assert program.stop() == 0
    assert program.family() == []


def test_stopped_while_its_postgresql_starts_again_it_waits_for_neither(
    data_dir: Path, start: Start
) -> None:
    flags = ("--shutdown-timeout-seconds", "600")
    program = start(*up(data_dir, *flags)).wait_ready()
    pid_file = data_dir / "postgres" / "postmaster.pid"
    before = int(pid_file.read_text().splitlines()[0])
    os.kill(before, signal.SIGKILL)

    def another() -> int:
        with contextlib.suppress(OSError, IndexError, ValueError):
            pid = int(pid_file.read_text().splitlines()[0])
            return 0 if pid == before else pid
        return 0

    server = wait_until(another, "it is being started")
    os.kill(server, signal.SIGSTOP)  # as one that has long to recover
    time.sleep(1)  # for the server to be asked for, and not to answer
    program.send_signal(signal.SIGTERM)
    assert program.wait_ended(END_SECONDS) == 0
    wait_until(lambda: program.family() == [], "nothing is left running")


def test_stopped_while_it_starts_it_leaves_nothing_running(
    home: Path, start: Start
) -> None:
    program = start(*up(home / "data"))
    wait_until(lambda: (home / "data" / "penstock.lock").exists(), "it has begun")
    assert program.stop() in (0, 130)
    wait_until(lambda: program.family() == [], "nothing is left running")
    assert program.stdout == ""
    assert "Traceback" not in program.stderr


def test_signals_that_come_while_it_stops_leave_nothing_running(
    data_dir: Path, start: Start
) -> None:
    program = start(*up(data_dir)).wait_ready()
    program.send_signal()
    wait_until(lambda: "stopped; all" in program.stderr, "the server has stopped")
    while program.process.poll() is None:
        program.process.send_signal(signal.SIGTERM)
        program.process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    assert program.wait_ended() == 0
    assert program.family() == []
    assert "Traceback" not in program.stderr


# --- how it is stopped

KEEP_WAITING = "BEGIN; LOCK TABLE logs IN EXCLUSIVE MODE"


async def hold_back(url: str, release: threading.Event, held: threading.Event) -> None:
    """Let nothing be stored until told so."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(KEEP_WAITING)
        held.set()
        await asyncio.to_thread(release.wait)
    finally:
        await connection.close()


def test_a_terminal_that_is_closed_stops_it_cleanly(
    data_dir: Path, start: Start
) -> None:
    ours, terminal = pty.openpty()
    program = start(*up(data_dir), terminal=terminal).wait_ready()
    os.close(terminal)
    url = running_url(data_dir)
    assert url is not None
    release, held = threading.Event(), threading.Event()
    holder = threading.Thread(target=asyncio.run, args=(hold_back(url, release, held),))
    holder.start()
    try:
        assert held.wait(30)
        with Sender(program.port) as sender:
            sender.send(range(5), "last")
            wait_until(lambda: program.metric("penstock_ring_events") == 5, "received")
            # The system sends one, and the shell one to its jobs.
            os.close(ours)
            program.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            release.set()
            assert sender.acks(1) == ["last"]
        assert program.wait_ended() == 0
    finally:
        release.set()
        holder.join()
    assert program.family() == [], "PostgreSQL is stopped too"
    assert "stopped; all that was received is committed" in program.stderr


def test_under_nohup_the_end_of_the_terminal_is_nothing_to_it(
    data_dir: Path, start: Start
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what is started inherits it
    try:
        program = start(*up(data_dir)).wait_ready()
    finally:
        signal.signal(signal.SIGHUP, before)
    program.send_signal(signal.SIGHUP)
    with Sender(program.port) as sender:
        sender.send(range(1), "after")
        assert sender.acks(1) == ["after"]
    assert program.stop() == 0


@contextlib.contextmanager
def hanging(program: Program) -> Iterator[None]:
    """Stop all of its PostgreSQL's processes in their tracks during the block."""
    family = program.family()
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended by itself
            process.suspend()
    try:
        yield
    finally:
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def test_a_stop_does_not_wait_for_a_postgresql_that_hangs(
    data_dir: Path, start: Start
) -> None:
    flags = ("--shutdown-timeout-seconds", "1")
    program = start(*up(data_dir, *flags)).wait_ready()
    with hanging(program):
        with Sender(program.port) as sender:
            sender.send(range(1))
            wait_until(lambda: program.metric("penstock_ring_events"), "received")
        program.send_signal(signal.SIGINT)
        # Ten seconds, and Python's own; with the timeout that is usual it is forty.
        assert program.wait_ended() == 0
    wait_until(lambda: program.family() == [], "nothing is left running")
    again = start(*up(data_dir)).wait_ready()
    wait_until(
        lambda: again.metric("penstock_copy_rows_total") == 1,
        "what was on its way was in the spool",
    )
    again.stop()


def test_a_second_ctrl_c_does_not_wait_for_a_postgresql_that_hangs(
    data_dir: Path, start: Start
) -> None:
    program = start(*up(data_dir, "--shutdown-timeout-seconds", "3600")).wait_ready()
    with hanging(program):
        program.send_signal(signal.SIGINT)
        wait_until(lambda: "stopped; all" in program.stderr, "PostgreSQL is left")
        program.send_signal(signal.SIGINT)
        wait_until(lambda: "sending SIGQUIT" in program.stderr, "it waits no longer")
    # What comes after six seconds more is the same as in the test before.
    assert program.wait_ended(END_SECONDS) == 0
    wait_until(lambda: program.family() == [], "nothing is left running")
    start(*up(data_dir)).wait_ready().stop()
