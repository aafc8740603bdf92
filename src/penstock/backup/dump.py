"""pg_dump as something to read, whose end is an end only if pg_dump says so.

Owns what pg_dump is told and what becomes of its exit code and its words. Must not know
where the bytes go.
"""

import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence

from penstock.backup.programs import PG_DUMP, Programs
from penstock.errors import BackupError

# As long as the sessions of our own wait (backup.sql, limit_waiting).
LOCK_WAIT_MILLISECONDS = 60_000
# It tells the server to stop what it does, and ends.
STOP_SECONDS = 5.0
# What it says of an error fits a line.
MOST_WORDS = 600
# From here on --compress names a method, and partitions can be left out by their table.
NAMED_METHODS_MAJOR = 16
# As it was before; zstd and lz4 it did not know.
LEVELS_BEFORE = {"auto": "1", "none": "0", "gzip:1": "1", "gzip:6": "6"}

_TAIL_BYTES = 16 * 1024


class PgDumpError(BackupError):
    """pg_dump ended without having dumped all."""


class PgDump:
    """A pg_dump that runs. One thread reads it; any may stop it."""

    def __init__(
        self,
        programs: Programs,
        arguments: Sequence[str],
        database_url: str,
        *,
        what: str,
    ) -> None:
        self._what = what
        # A file: nobody would read a pipe while the dump is read.
        self._words = tempfile.TemporaryFile()
        self._lock = threading.Lock()
        self._is_stopped = False
        self._has_ended = False
        self._process = programs.popen(
            PG_DUMP, arguments, database_url, stderr=self._words
        )

    def read(self, size: int = -1, /) -> bytes:
        """Return so many bytes, fewer at the end, b"" after it.

        Raises:
            PgDumpError: it has not dumped all: no end, whatever its bytes look like.
        """
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if len(data) < size or size < 0:
            self._end()
        return data

    def stop(self) -> None:
        """End it; who reads gets an error. Any thread may call this, at any time."""
        with self._lock:
            self._is_stopped = True
            if not self._has_ended:
                self._signal(signal.SIGTERM)

    def close(self) -> None:
        """End it, if it has not, and let go of what it needed."""
        self.stop()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        with self._lock:
            self._has_ended = True
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._words.close()

    def notes(self) -> list[str]:
        """Return what it has said although nothing failed: warnings, a line each."""
        return self._said().splitlines()

    def _end(self) -> None:
        code = self._process.wait()
        with self._lock:
            self._has_ended = True
            if self._is_stopped:
                raise PgDumpError(f"{PG_DUMP} of {self._what} was stopped")
        if code:
            raise PgDumpError(
                f"{PG_DUMP} of {self._what} failed: {_how(code, self._said())}"
            )

    def _signal(self, number: signal.Signals) -> None:
        # With its children, if somebody has put a script in its place: it has a session
        # of its own.
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _said(self) -> str:
        size_bytes = self._words.seek(0, 2)
        self._words.seek(max(size_bytes - _TAIL_BYTES, 0))
        return self._words.read().decode(errors="replace")


def day_arguments(snapshot: str, table: str, compress: str) -> list[str]:
    """Return what pg_dump is told to dump the rows of one table, named as SQL does."""
    return [
        *_arguments(snapshot, compress),
        "--data-only",
        f"--table={table}",
    ]


def database_arguments(
    snapshot: str, logs: str, days: Sequence[str], compress: str, major: int
) -> list[str]:
    """Return what pg_dump is told to dump all but the rows of logs.

    Args:
        logs: the table, named as SQL does.
        days: its partitions, likewise.
    """
    if major >= NAMED_METHODS_MAJOR:
        left_out = [f"--exclude-table-data-and-children={logs}"]
    else:
        left_out = [f"--exclude-table-data={day}" for day in days]
    return [*_arguments(snapshot, compress), *left_out]


def compression(programs: Programs, choice: str) -> str:
    """Return what --compress is to be told, for a setting.

    Raises:
        BackupError: this pg_dump cannot compress so.
    """
    if programs.major < NAMED_METHODS_MAJOR:
        level = LEVELS_BEFORE.get(choice)
        if level is None:
            raise _cannot(programs, choice)
        return level
    if choice == "auto":
        return "gzip:1"  # what any pg_restore can read, such as the embedded one's
    if not _can(programs, choice):
        raise _cannot(programs, choice)
    return choice


def _can(programs: Programs, choice: str) -> bool:
    """Ask pg_dump itself: it judges its options before it looks for a server."""
    method = choice.partition(":")[0]
    if method in ("none", "gzip"):
        return True
    answer = programs.run(
        PG_DUMP, ["--format=custom", f"--compress={choice}"], "postgresql:///?host=/dev"
    )
    return method.encode() not in answer.stderr.lower()


def _cannot(programs: Programs, choice: str) -> BackupError:
    return BackupError(
        f"{programs.bin_dir / PG_DUMP} (PostgreSQL {programs.version}) cannot compress"
        f" by {choice}: give --backup-compress auto"
    )


def _arguments(snapshot: str, compress: str) -> list[str]:
    return [
        "--format=custom",
        f"--compress={compress}",
        f"--snapshot={snapshot}",
        f"--lock-wait-timeout={LOCK_WAIT_MILLISECONDS}",
        "--no-password",
        "--encoding=UTF8",
    ]


def _how(code: int, said: str) -> str:
    """Return why it ended: by its last words, or the signal that ended it."""
    if code < 0:
        number = -code
        name = next((s.name for s in signal.Signals if s == number), str(number))
        cause = f"ended by {name}"
        if number == signal.SIGKILL:
            cause += ", as the kernel does where memory is short"
    else:
        cause = f"exit code {code}"
    words = last_words(said)
    return f"{words} ({cause})" if words else cause


def last_words(said: str) -> str:
    """Return of all that pg_dump has said what tells why it ended, on one line."""
    lines = [line for line in said.splitlines() if line.strip()]
    errors = [
        number for number, line in enumerate(lines) if re.search(r"\berror: ", line)
    ]
    told = []
    for line in lines[errors[-1] :] if errors else lines[-1:]:
        if re.search(r": detail: (Query|Command) was: |^STATEMENT: ", line):
            break
        told.append(re.sub(r"^pg_dump: (error: )?", "", line.strip()))
    return " ".join(" ".join(told).split())[:MOST_WORDS]
