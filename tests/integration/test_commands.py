"""The commands as a person meets them: what they print, and how they fail."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.embedded import EmbeddedPostgres
from tests.integration.conftest import Database, Here, quick_disk

PATIENCE_SECONDS = 40


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that PostgreSQL's own user can reach, also when we are root."""
    with tempfile.TemporaryDirectory(dir=quick_disk()) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "penstock", *arguments]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=os.environ | environment,
    )


class Server:
    """`penstock up` or `penstock serve`, ready."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            command(*arguments, "--port", "0", "--http-port", "0"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if "Ctrl-C stops both" in line or "Penstock is ready: " in line:
                break

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode


def address_after(text: str, words: str) -> str:
    return text.split(words)[1].split()[0].rstrip(",")


def one_line(result: subprocess.CompletedProcess[str], exit_code: int) -> str:
    """Assert that the command said one line on stderr; return it."""
    assert result.returncode == exit_code, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("penstock: "), result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def test_up_says_where_it_listens_and_what_to_try(directory: Path) -> None:
    server = Server("up", "--data-dir", str(directory / "data"))
    try:
        forward = address_after(server.said, "forward protocol")
        metrics = address_after(server.said, "metrics  ")
        assert forward.startswith("127.0.0.1:")
        assert "postgresql://" in server.said
        assert "penstock send" in server.said
        assert "fluent-bit " in server.said
        with urllib.request.urlopen(metrics) as answer:
            assert b"penstock_build_info" in answer.read()
        port = forward.rpartition(":")[2]
        sent = subprocess.run(
            command("send", "--port", port),
            input='{"level":"info","message":"hello","n":1}\n',
            text=True,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
        )
        assert sent.returncode == 0, sent.stderr
        found = run(
            "sql",
            *("--data-dir", str(directory / "data"), "-o", "json"),
            "select level, message, attributes from logs",
        )
        assert json.loads(found.stdout) == {
            "level": "INFO",
            "message": "hello",
            "attributes": {"n": 1},
        }
    finally:
        assert server.end() == 0


def test_what_is_stored_is_there_when_up_is_not(directory: Path) -> None:
    data = str(directory / "data")
    server = Server("up", "--data-dir", data)
    port = address_after(server.said, "forward protocol").rpartition(":")[2]
    subprocess.run(command("send", "--port", port), input="x\n", text=True, check=True)
    assert server.end(signal.SIGINT) == 0
    found = run("sql", "--data-dir", data, "-o", "csv", "select message from logs")
    assert found.stdout == "message\nx\n"


def test_a_wrong_setting_is_refused_with_its_name_and_range(directory: Path) -> None:
    line = one_line(
        run("up", "--data-dir", str(directory / "d"), PENSTOCK_RING_BYTES="12"), 2
    )
    assert "PENSTOCK_RING_BYTES" in line
    assert "8,388,608" in line
    assert not (directory / "d").exists()


def test_serve_runs_on_a_postgresql_of_the_users_and_outlives_its_restart(
    directory: Path,
) -> None:
    postgres = EmbeddedPostgres(directory / "data")
    postgres.start()
    try:
        server = Server("serve", "--database-url", postgres.url)
        http = address_after(server.said, "metrics on ").removesuffix("/metrics")
        port = address_after(server.said, "forward protocol on ").rpartition(":")[2]
        os.kill(postgres.server_pid, signal.SIGKILL)
        postgres.restart()
        sent = subprocess.run(
            command("send", "--port", port),
            input="after\n",
            text=True,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
        )
        assert sent.returncode == 0, sent.stderr
        with urllib.request.urlopen(f"{http}/ready") as answer:
            assert json.load(answer) == {"status": "ready"}
        with urllib.request.urlopen(f"{http}/health") as answer:
            assert answer.status == 200
        assert server.end() == 0
    finally:
        postgres.stop()


@pytest.fixture(scope="module")
def data_dir() -> Iterator[str]:
    """A migrated data directory where nothing runs."""
    with tempfile.TemporaryDirectory(dir=quick_disk()) as name:
        Path(name).chmod(0o755)
        data = str(Path(name) / "data")
        assert "applied 0001" in run("db", "migrate", "--data-dir", data).stdout
        yield data


def test_db_says_what_is_applied(data_dir: str) -> None:
    assert run("db", "migrate", "--data-dir", data_dir).stdout == "up to date\n"
    status = run("db", "status", "--data-dir", data_dir).stdout
    assert status.startswith("0001 logs")
    assert "pending" not in status


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("delete from logs", "DELETE is refused"),
        ("create table t ()", "CREATE is refused"),
        ("selec 1", "syntax error"),
        ("select 1; select 2", "there are 2 statements"),
    ],
)
def test_sql_refuses_to_write_and_names_what_is_wrong(
    data_dir: str, statement: str, complaint: str
) -> None:
    assert complaint in one_line(run("sql", "--data-dir", data_dir, statement), 1)


def test_sql_prints_whole_values_where_there_is_no_terminal(data_dir: str) -> None:
    long = "x" * 500
    found = run("sql", "--data-dir", data_dir, f"select '{long}' as value, null as n")
    assert long in found.stdout
    assert found.stderr.startswith("(1 row, ")


def test_doctor_finds_a_database_and_says_so(data_dir: str) -> None:
    found = run("doctor", "--data-dir", data_dir)
    assert found.returncode == 0, found.stdout
    assert "embedded PostgreSQL 18" in found.stdout


def test_doctor_fails_where_the_database_is_out_of_reach() -> None:
    found = run("doctor", "--database-url", "postgresql://me@127.0.0.1:1/logs")
    assert found.returncode == 1
    assert "fail" in found.stdout
    assert "-> " in found.stdout


def test_send_promises_no_more_than_at_least_once() -> None:
    assert "at least once" in " ".join(run("send", "--help").stdout.split())


def test_the_help_page_lists_the_exit_code_of_ctrl_c() -> None:
    assert "\n    130  " in run("--help").stdout


def test_a_full_disk_where_stdout_goes_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            command("--help"), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "No space left on device" in line


def test_the_help_page_names_every_command() -> None:
    page = run("--help").stdout
    for name in ("up", "serve", "send", "search", "tail", "sql", "export", "ask", "db"):
        assert f"\n  {name} " in page


@pytest.mark.parametrize(
    "asked",
    [
        ("sql", "select 1"),
        ("rejected", "list"),
        ("rejected", "replay", "--all"),
        ("db", "migrate"),
        ("db", "status"),
    ],
    ids=" ".join,
)
def test_each_command_takes_the_file_that_names_the_database(
    here: Here, home: Path, database: Database, asked: tuple[str, ...]
) -> None:
    file = home / "penstock.toml"
    file.write_text(f"database_url = '{database.url}'\n")
    ended = here(*asked, "--config", str(file))
    assert ended.returncode == 0, ended.stderr
