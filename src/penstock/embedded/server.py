"""The life of the embedded server: start, adopt, stop, restart, and lending it.

Owns the server's process while it holds the data directory's lock. Must not know what
the database is used for. Signals only a process that it started itself, or has checked
to be the server of this very data directory.
"""

import contextlib
import logging
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from penstock.embedded.account import choose_account
from penstock.embedded.cluster import (
    clear_stale_locks,
    configure,
    ensure_cluster,
    has_cluster,
)
from penstock.embedded.directory import DataDirectory, complaints
from penstock.embedded.lock import (
    LOCK_PATIENCE_SECONDS,
    LOCK_POLL_SECONDS,
    LONG_HOLDER,
    WAIT_TOLD_SECONDS,
    DirectoryLock,
)
from penstock.embedded.postmaster import (
    Postmaster,
    find_living,
    is_postmaster,
    read_pid_file,
)
from penstock.embedded.programs import Programs
from penstock.errors import EmbeddedPostgresError

if TYPE_CHECKING:
    import subprocess

logger = logging.getLogger(__name__)

_DATABASE: Final = "penstock"

# A start takes 0.1 s; polling every 20 ms adds 10 on average.
_POLL_SECONDS: Final = 0.02

# Recovery after a crash replays up to max_wal_size (4 GB), which a slow disk does in a
# few minutes. Past this it is stuck.
_START_LIMIT_SECONDS: Final = 600.0
# From here on somebody who waits for it is told what it is about.
_START_SLOW_SECONDS: Final = 5.0

# When the server is killed its backends notice as soon as they wait for anything; until
# they are gone PostgreSQL does not start again.
_LEFTOVERS_LIMIT_SECONDS: Final = 60.0
_LEFTOVERS: Final = re.compile(r"pre-existing shared memory block")

# How to end it. SIGINT, "fast": backends end, a checkpoint writes up to 1 GB of
# buffers, in the time that the caller has. SIGQUIT, "immediate": the next start
# recovers, nothing committed is lost; after 5 s the server kills its backends. SIGKILL:
# it is stuck. The last two together take less than 10 s, as docs/production.md says.
_FAST_SECONDS: Final = 30.0
_IMMEDIATE_SECONDS: Final = 6.0
_KILL_SECONDS: Final = 3.0

_NOTHING: Final[Mapping[str, str]] = {}

# CREATE DATABASE has no IF NOT EXISTS; \gexec runs what the query returns.
_CREATE_DATABASE: Final = rf"""SELECT 'CREATE DATABASE {_DATABASE}'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{_DATABASE}') \gexec
"""


class EmbeddedPostgres:
    """The PostgreSQL server of one data directory. Every method blocks.

    Args:
        holder: who wants it: "up" to keep it, else the name of a short command, for
            which others wait.
        environment: variables that the server has, for the programs by which it
            archives WAL and fetches it back; none of PostgreSQL's own.
        start_limit_seconds: past this, a start is stuck. A recovery from the archive
            takes as long as it takes.
        say: told once, in a line, what a long wait is for.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        holder: str = LONG_HOLDER,
        environment: Mapping[str, str] = _NOTHING,
        start_limit_seconds: float = _START_LIMIT_SECONDS,
        say: Callable[[str], None] = logger.info,
    ) -> None:
        self._say = say
        self._environment = environment
        self._start_limit_seconds = start_limit_seconds
        self._directory = DataDirectory.at(data_dir)
        self._lock = DirectoryLock(self._directory, holder)
        self._seen: Postmaster | None = None
        # One of the two while a server runs: our child, or the pid of an adopted one.
        self._child: subprocess.Popen[bytes] | None = None
        self._adopted: int | None = None
        self._socket_dir: Path | None = None
        self._in_a_hurry = False
        self._gives_up_start = False

    @property
    def url(self) -> str:
        """Where the database is, for asyncpg and for libpq's programs."""
        return self._postmaster().url(_DATABASE)

    @property
    def server_pid(self) -> int:
        """The server's main process."""
        return self._postmaster().pid

    def start(self) -> None:
        """Make the server run: take the lock, initdb, configure, start or adopt.

        Raises:
            EmbeddedPostgresError: it cannot; nothing of it is left running.
        """
        if self._lock.fd is not None:
            return
        self._directory.create()
        self._lock.take()
        self._bring_up_or_let_go()

    def stop(self, patience_seconds: float = _FAST_SECONDS) -> None:
        """Stop the server if it runs, and release the lock.

        Args:
            patience_seconds: how long it may take to write down what it has in memory.
                Past that it is ended anyhow, within 10 s, and recovers at its next
                start: nothing committed is lost.
        """
        try:
            self._end_server(patience_seconds)
            if self._socket_dir is not None:
                self._directory.remove_socket_dir(self._socket_dir)
        finally:
            self._lock.release()

    def hurry(self) -> None:
        """Lose patience in a `stop` that runs; a signal handler may call this."""
        self._in_a_hurry = True

    def give_up_start(self) -> None:
        """Wait no more for a server that starts; any thread may call this."""
        self._gives_up_start = True

    def is_running(self) -> bool:
        """The server's main process lives."""
        if self._child is not None:
            return self._child.poll() is None
        if self._adopted is not None:
            return is_postmaster(self._adopted, self._directory.pgdata)
        return False

    def restart(self) -> None:
        """Start the server again after it died under us, under the same lock.

        Raises:
            EmbeddedPostgresError: it does not start; the lock is kept.
        """
        if self._lock.fd is None:
            raise self._not_started()
        self._end_server()
        try:
            self._bring_up(self._lock.fd)
        except BaseException:
            self._end_server(0 if self._gives_up_start else _FAST_SECONDS)
            raise

    def trim_log(self) -> None:
        """Keep the server's log within bounds while it runs; cheap, call it often."""
        self._directory.trim_log()

    def join(self, *, create: bool) -> str:
        """Answer the URL of the server that runs here; start one only if there is none.

        `stop` then stops what this started, and leaves alone what it found.

        Args:
            create: make a database where there is none, rather than refuse.

        Raises:
            EmbeddedPostgresError: as `start`.
        """
        if create:
            self._directory.create()
        else:
            self._directory.require_used()
        began = time.monotonic()
        told = False
        while (other := self._lock.try_take()) is not None:
            # Not the server of a short command: that stops it when it is done.
            found = self._find_ready() if other.name == LONG_HOLDER else None
            if found is not None:
                return found.url(_DATABASE)
            waited = time.monotonic() - began
            if waited > LOCK_PATIENCE_SECONDS:
                raise self._lock.refusal(other)
            if waited > WAIT_TOLD_SECONDS and not told:
                self._say(self._lock.waits_for(other))
                told = True
            time.sleep(LOCK_POLL_SECONDS)
        found = self._find_ready()
        if found is not None:
            self._lock.release()
            return found.url(_DATABASE)
        if not create and not has_cluster(self._directory):
            self._lock.release()
            raise self._directory.nothing_there()
        self._bring_up_or_let_go()
        return self.url

    def _bring_up_or_let_go(self) -> None:
        try:
            if self._lock.fd is not None:
                self._bring_up(self._lock.fd)
        except BaseException:
            self.stop()
            raise

    def _bring_up(self, lock_fd: int) -> None:
        directory = self._directory
        try:
            account = choose_account(directory.pgdata)
            programs = Programs(account)
            directory.admit(account)
            ensure_cluster(directory, programs, account, lock_fd)
            self._socket_dir = directory.make_socket_dir(account)
            configure(directory, programs, account, self._socket_dir)
            if not self._adopt():
                clear_stale_locks(directory.pgdata, self._socket_dir)
                self._launch(programs)
        except OSError as exc:
            where = f"{exc.filename}: " if exc.filename else ""
            raise directory.unusable(f"{where}{exc.strerror}") from exc
        self._create_database(programs)

    def _adopt(self) -> bool:
        """Take over the server that a killed Penstock left behind, if there is one."""
        found = find_living(self._directory.pgdata)
        if found is None:
            return False
        logger.info("PostgreSQL (pid %d) still runs here: taking it over", found.pid)
        self._adopted = found.pid
        # It may have been left in the middle of its shutdown, and end while we wait.
        if not self._wait_until_ready():
            self._adopted = None
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGHUP)  # read the configuration we just wrote
        return True

    def _launch(self, programs: Programs) -> None:
        directory = self._directory
        give_up = time.monotonic() + _LEFTOVERS_LIMIT_SECONDS
        while True:
            log_fd = directory.open_log()
            log_begin = os.fstat(log_fd).st_size
            try:
                self._child = programs.spawn_server(
                    directory.pgdata, log_fd, self._environment
                )
            finally:
                os.close(log_fd)
            if self._wait_until_ready():
                return
            said = directory.log.read_bytes()[log_begin:].decode(errors="replace")
            # A backend of before that notices meanwhile has a word in the same log.
            reasons = complaints(said)
            reason = next(filter(_LEFTOVERS.search, reasons), reasons[-1])
            if not _LEFTOVERS.search(reason) or time.monotonic() > give_up:
                raise EmbeddedPostgresError(
                    f"PostgreSQL does not start in {directory.pgdata}: {reason}"
                    f" (more in {directory.log})"
                )
            time.sleep(_POLL_SECONDS)

    def _wait_until_ready(self) -> bool:
        """Wait for the server to take connections; False if it ends instead."""
        began = time.monotonic()
        told = False
        while self.is_running():
            seen = read_pid_file(self._directory.pgdata)
            if seen is not None and seen.pid == self._pid() and seen.is_ready():
                self._seen = seen
                return True
            waited = time.monotonic() - began
            if self._gives_up_start:
                raise EmbeddedPostgresError("told to stop while PostgreSQL starts")
            if waited > self._start_limit_seconds:
                raise EmbeddedPostgresError(
                    f"PostgreSQL (pid {self._pid()}) in {self._directory.pgdata} takes"
                    f" no connections after {waited:.0f} s: see {self._directory.log}"
                )
            if waited > _START_SLOW_SECONDS and not told:
                self._say(f"PostgreSQL is not ready yet: see {self._directory.log}")
                told = True
            time.sleep(_POLL_SECONDS)
        return False

    def _create_database(self, programs: Programs) -> None:
        result = programs.run(
            "psql",
            *("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"),
            f"--dbname={self._postmaster().url('postgres')}&connect_timeout=10",
            stdin=_CREATE_DATABASE,
        )
        if result.returncode != 0:
            raise EmbeddedPostgresError(
                f"cannot create the database {_DATABASE} in {self._directory.pgdata}:"
                f" {complaints(result.stderr)[-1]}"
            )

    def _end_server(self, patience_seconds: float = _FAST_SECONDS) -> None:
        if patience_seconds > 0:
            self._send(signal.SIGINT)
            self._wait_until_ended(patience_seconds, is_fast=True)
        for signum, limit_seconds in (
            (signal.SIGQUIT, _IMMEDIATE_SECONDS),
            (signal.SIGKILL, _KILL_SECONDS),
        ):
            if not self.is_running():
                break
            logger.warning("not waiting for PostgreSQL: sending %s", signum.name)
            self._send(signum)
            self._wait_until_ended(limit_seconds)
        self._child = self._adopted = self._seen = None

    def _send(self, signum: signal.Signals) -> None:
        if self.is_running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid(), signum)

    def _wait_until_ended(self, limit_seconds: float, *, is_fast: bool = False) -> None:
        give_up = time.monotonic() + limit_seconds
        while self.is_running() and time.monotonic() < give_up:
            if is_fast and self._in_a_hurry:
                return
            time.sleep(_POLL_SECONDS)

    def _pid(self) -> int:
        return self._child.pid if self._child is not None else self._adopted or 0

    def _find_ready(self) -> Postmaster | None:
        found = find_living(self._directory.pgdata)
        return found if found is not None and found.is_ready() else None

    def _postmaster(self) -> Postmaster:
        if self._seen is None:
            raise self._not_started()
        return self._seen

    def _not_started(self) -> EmbeddedPostgresError:
        return EmbeddedPostgresError(
            f"the PostgreSQL in {self._directory.root} was not started by this process"
        )


def running_url(data_dir: Path) -> str | None:
    """The URL of the server that runs there now, whoever started it; else None."""
    found = find_living(DataDirectory.at(data_dir).pgdata)
    return found.url(_DATABASE) if found is not None and found.is_ready() else None


@contextmanager
def open_database(
    data_dir: Path,
    *,
    create: bool = False,
    environment: Mapping[str, str] = _NOTHING,
    say: Callable[[str], None] = logger.info,
) -> Iterator[str]:
    """Lend the URL of the server that runs there, or of one started for the purpose.

    Args:
        create: make a database where there is none, rather than refuse.
        environment: as of EmbeddedPostgres, for a server that is started; and so `say`.

    Raises:
        EmbeddedPostgresError: there is none and it cannot be started.
    """
    server = EmbeddedPostgres(
        data_dir, holder="command", environment=environment, say=say
    )
    try:
        yield server.join(create=create)
    finally:
        server.stop()
