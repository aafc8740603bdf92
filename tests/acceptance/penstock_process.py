"""A Penstock as a user has it: `python -m penstock up`, looked at from outside.

It owns the process and its data directory, and the ways to look at them: the text it
prints when it is ready, HTTP, SQL, the processes of its PostgreSQL. It imports nothing
of penstock: what a test compares must not come from the code under test.
"""

import asyncio
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import asyncpg
import psutil

from tests.ports import free_ports
from tests.workers import AS_SETTING

# Generous: two busy cores start PostgreSQL in some seconds. Nothing waits this long
# unless something is wrong.
START_SECONDS = 55.0
STOP_SECONDS = 55.0
STORE_SECONDS = 30.0
ANSWER_SECONDS = 30.0
POLL_SECONDS = 0.01

READY = re.compile(
    r"^Penstock \S+ is ready\.$"
    r".*^  forward protocol +\S+:(?P<port>\d+)\b"
    r".*^  database +(?P<url>\S+)$"
    r".*^  metrics +http://\S+:(?P<http_port>\d+)/metrics$"
    r".*^Ctrl-C stops both\.$",
    re.DOTALL | re.MULTILINE,
)

T = TypeVar("T")


class Row(NamedTuple):
    """A row of `logs` without its id; `ts` in microseconds since 1970."""

    ts: int
    tag: str
    level: str | None
    service: str | None
    host: str | None
    message: str | None
    attributes: dict[str, Any]


ROWS = """
SELECT (extract(epoch FROM ts) * 1000000)::bigint, tag, level::text, service, host,
       message, attributes::text
FROM logs WHERE {condition} ORDER BY id
"""


def wait_until(
    condition: Callable[[], T], what: str, seconds: float = STORE_SECONDS
) -> T:
    """Ask until the answer is true and return it; fail with `what` after so long."""
    give_up = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < give_up, f"not within {seconds:g} s: {what}"
        time.sleep(POLL_SECONDS)
    return answer


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, and leave pytest-asyncio's loop alone."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(coroutine)


class Penstock:
    """`penstock up` in a directory of its own; started again it keeps its ports."""

    def __init__(self) -> None:
        # Not pytest's tmp_path: each pytest that root starts closes its parent again,
        # under a PostgreSQL that runs as another user.
        self.home = Path(tempfile.mkdtemp(prefix="penstock-test-")).resolve()
        self.data_dir = self.home / "data"
        self.port, self.http_port = free_ports(2)
        self.database_url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._logged_before_bytes = 0

    # Its life.

    @property
    def pid(self) -> int:
        """The server's process; it leads a process group, as it does at a terminal."""
        assert self._process is not None
        return self._process.pid

    def start(self, *flags: str) -> None:
        """Start it, with these flags besides, and wait until it says it is ready."""
        command = (
            *(sys.executable, "-m", "penstock", "up"),
            *("--data-dir", str(self.data_dir)),
            *("--port", str(self.port), "--http-port", str(self.http_port)),
            *flags,
        )
        ready = self._launch(command, READY)
        # It is printed for a shell, in quotes.
        (self.database_url,) = shlex.split(ready["url"])

    def _launch(
        self, command: tuple[str, ...], ready: re.Pattern[str]
    ) -> re.Match[str]:
        """Start a server; return where it says that it is ready, with its ports."""
        stdout = self.home / "stdout"
        with (
            stdout.open("wb") as to_stdout,
            (self.home / "stderr").open("ab") as to_stderr,
        ):
            self._logged_before_bytes = to_stderr.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=to_stdout,
                stderr=to_stderr,
                env=clean_environment() | AS_SETTING,
                start_new_session=True,
            )
        found = wait_until(
            lambda: ready.search(stdout.read_text()) or self._has_ended(),
            "Penstock is ready",
            START_SECONDS,
        )
        assert isinstance(found, re.Match), f"it ended at once:\n{self.stderr()}"
        self.port, self.http_port = int(found["port"]), int(found["http_port"])
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, wait for the end, return the exit code."""
        os.kill(self.pid, number)
        return self.wait_for_end()

    def terminate(self) -> None:
        """Send SIGTERM, and wait for nothing."""
        os.kill(self.pid, signal.SIGTERM)

    def press_ctrl_c(self) -> None:
        """Do as a terminal does: SIGINT to all processes of the group."""
        os.killpg(self.pid, signal.SIGINT)

    def wait_for_end(self, seconds: float = STOP_SECONDS) -> int:
        """Wait until the process has ended and return its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def end(self) -> None:
        """End all processes that are left, in whatever state a test left them."""
        self.resume_postgres()
        if self._process is not None and not self._has_ended():
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if (postmaster := self.postmaster_pid()) is not None:
            os.kill(postmaster, signal.SIGQUIT)  # "immediate"
            wait_until(lambda: not self.postgres_processes(), "PostgreSQL has ended")

    def remove(self) -> None:
        """End all that is left and remove the directory."""
        self.end()
        shutil.rmtree(self.home)

    def stderr(self) -> str:
        """Return the last of what it has logged."""
        return self.logged()[-5000:]

    def logged(self) -> str:
        """Return what it has logged since it was started."""
        logged = (self.home / "stderr").read_bytes()[self._logged_before_bytes :]
        return logged.decode(errors="replace")

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    # Its PostgreSQL's processes.

    def postmaster_pid(self) -> int | None:
        """Return the pid of the embedded PostgreSQL, None if it does not run."""
        with contextlib.suppress(OSError, IndexError, ValueError, psutil.NoSuchProcess):
            pid_file = self.data_dir / "postgres" / "postmaster.pid"
            pid = int(pid_file.read_text().splitlines()[0])
            # The file outlives its process, and the pid may be somebody else's by now.
            if str(self.data_dir) in " ".join(psutil.Process(pid).cmdline()):
                return pid
        return None

    def postgres_processes(self) -> list[psutil.Process]:
        """Return the postmaster, first, and its children; none if it has ended."""
        pid = self.postmaster_pid()
        if pid is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            postmaster = psutil.Process(pid)
            return [postmaster, *postmaster.children(recursive=True)]
        return []

    @contextlib.contextmanager
    def postgres_paused(self) -> Iterator[None]:
        """Stop all of PostgreSQL's processes in their tracks during the block."""
        try:
            # The postmaster first: then it starts no further ones.
            for _ in range(2):
                for process in self.postgres_processes():
                    # Some end by themselves, as a worker of autovacuum.
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.suspend()
            yield
        finally:
            self.resume_postgres()

    def resume_postgres(self) -> None:
        """Let PostgreSQL's processes run on."""
        for process in reversed(self.postgres_processes()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    # What it says of itself.

    def rss_bytes(self) -> int:
        """Return the memory that the server's process occupies."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def http(self, path: str) -> tuple[int, str]:
        """Return status and body of a path on the HTTP port."""
        url = f"http://127.0.0.1:{self.http_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """Return a metric, named with its labels as /metrics writes them; 0 if new."""
        return self.metrics(name)[0]

    def metrics(self, *names: str) -> list[float]:
        """Return several, all of one moment."""
        _, body = self.http("/metrics")
        found = dict(line.rsplit(" ", 1) for line in body.splitlines() if " " in line)
        return [float(found.get(name, 0)) for name in names]

    # What is in its database.

    def fetch(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        """Run one statement and return its rows."""

        async def fetch() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(
                self.database_url, timeout=ANSWER_SECONDS
            )
            try:
                return await connection.fetch(sql, *values, timeout=ANSWER_SECONDS)
            finally:
                await connection.close()

        return run_async(fetch())

    def last_id(self) -> int:
        """Return the id of the row that came last; ids are in the order of arrival."""
        return int(self.fetch("SELECT coalesce(max(id), 0) FROM logs")[0][0])

    def count(self, tag: str) -> int:
        """Count the rows of a tag."""
        found = self.fetch("SELECT count(*) FROM logs WHERE tag = $1", tag)
        return int(found[0][0])

    def rows(self, tag: str) -> list[Row]:
        """Return the rows of a tag in the order in which they came."""
        return self._rows("tag = $1", tag)

    def rows_after(self, row_id: int) -> list[Row]:
        """Return the rows that came after the one with this id, in that order."""
        return self._rows("id > $1", row_id)

    def _rows(self, condition: str, value: Any) -> list[Row]:
        found = self.fetch(ROWS.format(condition=condition), value)
        return [
            Row(ts, tag, level, service, host, message, json.loads(attributes))
            for ts, tag, level, service, host, message, attributes in found
        ]

    def wait_for_rows(self, tag: str, expected: int) -> list[Row]:
        """Wait for so many rows of a tag, and until nothing is on its way; read them.

        Fails if there are more, for then something was stored twice.
        """
        self.wait_for_count(tag, expected)
        return self.rows(tag)

    def wait_for_count(self, tag: str, expected: int) -> None:
        """Wait for so many rows of a tag, and until nothing is on its way."""
        count = 0

        def is_there() -> bool:
            nonlocal count
            count = self.count(tag)
            return count >= expected

        try:
            wait_until(is_there, f"{expected} rows of {tag}")
        except AssertionError as error:
            raise AssertionError(f"{error}; there are {count}") from None
        wait_until(
            lambda: self.metric("penstock_ring_events") == 0, "nothing on its way"
        )
        assert self.count(tag) == expected


def clean_environment() -> dict[str, str]:
    """What a user's shell has: nothing of ours is set, nor pytest's."""
    ours = ("PENSTOCK_", "PYTEST_", "PYTHONASYNCIODEBUG")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)}
