"""A real PostgreSQL for the tests, a database for each, and Penstock as a process.

One embedded server for all of them. A test's database is a copy of one that has been
migrated, so it costs some milliseconds and nothing of it is another test's.
"""

import asyncio
import contextlib
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar, cast

import asyncpg
import msgpack
import psutil
import pytest

from penstock.cli.main import main
from penstock.embedded import EmbeddedPostgres, url_as
from penstock.model import Batch, Delivery, Segment, SourceId
from penstock.rows import RowEncoder
from penstock.settings import ColumnSettings, PartitionSettings
from penstock.sink.claim_periods import ClaimPeriods
from penstock.sink.claims import Claims
from penstock.sink.migrations import migrate
from penstock.sink.partitions import Partitions
from penstock.sink.postgres import PostgresWriter
from penstock.sink.roles import make_roles
from tests.s3_server import module_s3, s3, s3_server
from tests.workers import AS_SETTING

# Fixtures that are made elsewhere.
__all__ = ["module_s3", "s3", "s3_server"]

# Two busy cores start PostgreSQL in some seconds; nothing takes this long unless
# something is wrong.
PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.01
# For a command that starts a PostgreSQL of its own, restores, and stops it.
COMMAND_SECONDS = 60.0
TEMPLATE = "penstock_template"
NOBODY = 65534
# Both commands print where they listen when they are ready, each in its own words.
READY = re.compile(
    r"forward protocol +(?:on )?(?P<host>\S+):(?P<port>\d+),?\s"
    r".*http://(?P<http_host>\S+):(?P<http_port>\d+)/metrics"
    r".*(?:Ctrl-C stops both\.|database \S+)\n",
    re.DOTALL,
)

T = TypeVar("T")


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, in a thread: the caller may have a loop itself."""

    def run() -> T:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(coroutine)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


def wait_until(
    condition: Callable[[], T], what: str, seconds: float = PATIENCE_SECONDS
) -> T:
    """Ask until the answer is true and return it; fail with `what` after so long."""
    give_up = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < give_up, f"not within {seconds:g} s: {what}"
        time.sleep(POLL_SECONDS)
    return answer


async def until(condition: Callable[[], object], what: str) -> None:
    """Do the same where a loop runs, which goes on meanwhile."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up, f"not within {PATIENCE_SECONDS:g} s: {what}"
        await asyncio.sleep(POLL_SECONDS)


# --- databases


class Database(NamedTuple):
    """A database of the test's own, and its name in the server that all share."""

    url: str
    name: str
    admin_url: str

    def fetch(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement in this database; return its rows."""
        return run_async(_fetch(self.url, statement, values))

    def value(self, statement: str, *values: object) -> Any:
        """Run a statement that returns one value."""
        ((value,),) = self.fetch(statement, *values)
        return value

    def administer(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in another database of the same server."""
        return run_async(_fetch(self.admin_url, statement, ()))

    def kill_connections(self) -> int:
        """End every connection to this database; return how many there were.

        Autovacuum is none of them.
        """
        return len(
            self.administer(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE datname = '{self.name}' AND backend_type = 'client backend'"
            )
        )

    @contextlib.contextmanager
    def out_of_reach(self) -> Iterator[None]:
        """Let nobody connect during the block, and end the connections there are."""
        self.administer(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false")
        try:
            self.kill_connections()
            yield
        finally:
            self.administer(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true")


async def _fetch(
    url: str, statement: str, values: tuple[object, ...]
) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement, *values)]
    finally:
        await connection.close()


# Files in memory: where each database is some hundred of them this is quicker. What
# tests kill are processes, never the machine, and those see no difference.
MEMORY_DISK = Path("/dev/shm")
MEMORY_DISK_BYTES = 4 * 1024**3  # much more than the tests take at a time
# No machine is going to fail meanwhile, copies of databases are files, and each copy is
# in the log of changes as well.
OF_THE_TESTS_SERVER = {
    "fsync": "off",
    "max_wal_size": "'256MB'",
    "min_wal_size": "'80MB'",
}


def quick_disk() -> Path | None:
    """Return the place of a file system in memory; None where is none, or little."""
    if not MEMORY_DISK.is_dir() or not os.access(MEMORY_DISK, os.W_OK):
        return None
    has_room = shutil.disk_usage(MEMORY_DISK).free >= MEMORY_DISK_BYTES
    return MEMORY_DISK if has_room else None


def new_home() -> Path:
    """Make a directory that is closed to other users, for data directories."""
    return Path(tempfile.mkdtemp(prefix="penstock-test-", dir=quick_disk())).resolve()


# The URL of a database `penstock` in a PostgreSQL of another version, over its socket
# and without a password: what is about the database is tried there (.ci/with-postgres).
OTHER_POSTGRES = "PENSTOCK_TEST_DATABASE_URL"


class OtherPostgres(NamedTuple):
    """A server that somebody else has started, and that tests leave running."""

    url: str


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The server that all databases are in.

    Not below tmp_path: each pytest that root starts closes that directory again, under
    a server that runs as another user.
    """
    given = os.environ.get(OTHER_POSTGRES)
    if given:
        yield cast("EmbeddedPostgres", OtherPostgres(given))
        return
    home = new_home()
    server = EmbeddedPostgres(home / "data")
    try:
        server.start()
        for name, value in OF_THE_TESTS_SERVER.items():
            run_async(_fetch(server.url, f"ALTER SYSTEM SET {name} = {value}", ()))
        run_async(_fetch(server.url, "SELECT pg_reload_conf()", ()))
        yield server
    finally:
        server.stop(patience_seconds=0)  # nobody needs what it holds
        shutil.rmtree(home)


_numbers = itertools.count(1)


def create_database(
    postgres: EmbeddedPostgres, template: str, name: str = ""
) -> Database:
    """Copy a database; the copy goes with the server, unless it is dropped before."""
    name = name or f"test_{next(_numbers)}"
    admin_url = postgres.url
    run_async(_fetch(admin_url, f"CREATE DATABASE {name} TEMPLATE {template}", ()))
    return Database(admin_url.replace("/penstock?", f"/{name}?"), name, admin_url)


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres) -> str:
    """The database that others are copies of: migrated, with its roles, and empty."""
    made = create_database(postgres, "template0", TEMPLATE)
    run_async(migrate(made.url))
    run_async(make_roles(made.url))
    return TEMPLATE


def drop_database(database: Database) -> None:
    """End whoever uses a database, and give its room back."""
    database.administer(f"DROP DATABASE {database.name} WITH (FORCE)")


@pytest.fixture
def database(postgres: EmbeddedPostgres, template: str) -> Iterator[Database]:
    """A migrated database for one test."""
    made = create_database(postgres, template)
    yield made
    drop_database(made)


@pytest.fixture
def login(database: Database) -> Iterator[Database]:
    """The database as a server's own login sees it, which can do what ingest does."""
    name = f"server_{database.name}"
    database.administer(f"CREATE ROLE {name} LOGIN")
    run_async(make_roles(database.url, writers=[name]))
    yield database._replace(url=url_as(database.url, name))
    database.administer(f"DROP ROLE {name}")


@pytest.fixture
def empty_database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A database without our schema."""
    made = create_database(postgres, "template0")
    yield made
    drop_database(made)


# --- batches


def batch_of(
    *messages: bytes,
    tag: str = "test",
    chunk: bytes | None = None,
    sender: str = "192.0.2.7",
    receiver: int = 7,
    now_seconds: float = 0.0,
) -> Batch:
    """Encode messages' entries as sessions do, all of them into one batch."""
    encoder = RowEncoder(ColumnSettings(), receiver=receiver)
    now_microseconds = int((now_seconds or time.time()) * 1_000_000)
    segments = []
    for entries in messages:
        delivery = Delivery(
            SourceId(1), sender, tag, chunk, chunk, 0.0, lambda done: None
        )
        stream = encoder.start(entries, tag=tag)
        rejected = 0
        while not stream.exhausted:
            part = stream.next_part(now_microseconds)
            segments.append(Segment(part, delivery, rejected_before=rejected))
            rejected += len(part.rejected)
    return Batch(
        tuple(segments),
        sum(each.size_bytes for each in segments),
        sum(each.encoded.rows for each in segments),
        os.urandom(16),
    )


_writers = itertools.count()


def new_writer(
    database_url: str, partitions: Partitions | None = None
) -> PostgresWriter:
    """Make a writer as the server does, of a receiver of its own."""
    return PostgresWriter(
        database_url,
        partitions or Partitions(PartitionSettings()),
        ClaimPeriods(),
        Claims(receiver=4095, writer=next(_writers)),
    )


async def store_in(database: Database, batch: Batch, now_seconds: float = 0) -> None:
    """Store a batch with a writer of its own."""
    writer = new_writer(database.url)
    await writer.connect()
    try:
        await writer.store(batch, now_seconds=now_seconds or time.time())
    finally:
        await writer.close()


# --- Penstock as a process


def penstock(*arguments: str) -> list[str]:
    """Return the command line of a Penstock command."""
    return [sys.executable, "-m", "penstock", *arguments]


def clean_environment(**more: str) -> dict[str, str]:
    """Return the environment without the settings of whoever runs the tests."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("PENSTOCK_", "ANTHROPIC_"))
    }
    return kept | {"COLUMNS": "80"} | more


def run_penstock(
    *arguments: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    return subprocess.run(
        penstock(*arguments),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        env=clean_environment(**environment),
    )


Here = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    """Run a command that ends by itself in this process, which is quicker."""
    foreign = ("PENSTOCK_", "ANTHROPIC_")
    for name in [name for name in os.environ if name.startswith(foreign)]:
        monkeypatch.delenv(name)

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as for_this_run, pytest.raises(SystemExit) as ended:
            for name, value in environment.items():
                for_this_run.setenv(name, value)
            main(arguments)
        code = ended.value.code
        captured = capsys.readouterr()
        assert isinstance(code, int)
        return subprocess.CompletedProcess(arguments, code, captured.out, captured.err)

    return run


def the_line(ended: subprocess.CompletedProcess[str], exit_code: int) -> str:
    """Return the one line a command has failed with; nothing else was printed."""
    assert ended.returncode == exit_code, ended.stderr
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("penstock: ")
    return line


# Makes its stdin the terminal that it is started from, whose end it hears also where
# the tests are started by nohup(1), and goes on as what follows.
AT_TERMINAL = (
    "import fcntl, os, signal, sys, termios;"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL);"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class Program:
    """`penstock up` or `penstock serve`, looked at from outside.

    `terminal` is that which it is started from, if there is one.
    """

    def __init__(
        self,
        arguments: tuple[str, ...],
        environment: dict[str, str],
        terminal: int | None = None,
    ) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="penstock-test-"))
        self._stdout, self._stderr = self._home / "stdout", self._home / "stderr"
        if arguments[0] == "serve":  # whose spool is at home by default
            spool = str(self._home / "spool")
            environment = {"PENSTOCK_SPOOL_DIR": spool} | environment
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            command = penstock(*arguments)
            if terminal is not None:
                command = [sys.executable, "-c", AT_TERMINAL, *command]
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if terminal is None else terminal,
                stdout=stdout,
                stderr=stderr,
                env=clean_environment(**AS_SETTING | environment),
                start_new_session=True,
            )
        self._ready: re.Match[str] | None = None
        self._family: dict[int, psutil.Process] = {}

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdout(self) -> str:
        return self._stdout.read_text()

    @property
    def stderr(self) -> str:
        return self._stderr.read_text()

    @property
    def port(self) -> int:
        return int(self._match()["port"])

    @property
    def http_port(self) -> int:
        return int(self._match()["http_port"])

    def _match(self) -> re.Match[str]:
        assert self._ready is not None
        return self._ready

    def wait_ready(self) -> "Program":
        """Wait until it prints where it listens."""
        wait_until(
            lambda: READY.search(self.stdout) or self.process.poll() is not None,
            f"ready: {self.stdout}{self.stderr}",
        )
        self._ready = READY.search(self.stdout)
        assert self._ready, f"it ended at once:\n{self.stdout}\n{self.stderr}"
        return self

    def family(self) -> list[psutil.Process]:
        """Return the living processes that it has started, also in the past."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children(recursive=True):
                self._family.setdefault(child.pid, child)
        return [each for each in self._family.values() if lives(each)]

    def send_signal(self, number: int = signal.SIGTERM) -> None:
        self.family()
        self.process.send_signal(number)

    def wait_ended(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for its end; return the exit code."""
        return self.process.wait(seconds)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal, wait for the end, return the exit code."""
        self.send_signal(number)
        return self.wait_ended()

    def end(self) -> None:
        """End all of it, in whatever state a test left it."""
        family = self.family()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        # PostgreSQL ends its own children; SIGKILL would leave its shared memory.
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(signal.SIGCONT)
                each.send_signal(signal.SIGQUIT)
        wait_until(lambda: not self.family(), "all that it started has ended")
        shutil.rmtree(self._home)

    def get(self, path: str) -> tuple[int, str]:
        """Ask by HTTP; return status and body."""
        url = f"http://127.0.0.1:{self.http_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """Return a metric's value, summed over its labels."""
        samples = re.findall(
            rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", self.get("/metrics")[1], re.MULTILINE
        )
        return sum(map(float, samples))


def lives(process: psutil.Process) -> bool:
    """Not a zombie either, which an orphan is until init looks after it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


Start = Callable[..., Program]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Penstock command that runs until it is stopped; it ends with the test."""
    started: list[Program] = []

    def start_one(
        *arguments: str,
        free_ports: bool = True,
        terminal: int | None = None,
        **environment: str,
    ) -> Program:
        ports = ("--port", "0", "--http-port", "0") if free_ports else ()
        started.append(Program((*arguments, *ports), environment, terminal))
        return started[-1]

    yield start_one
    for program in started:
        program.end()


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that is closed to other users; no server outlives it.

    Not below tmp_path, for the reason that `postgres` has.
    """
    path = new_home()
    yield path
    shutil.rmtree(path)


@contextlib.contextmanager
def as_another_user(closed: Path) -> Iterator[None]:
    """Be one whom the directory is closed to; what is needed has to be loaded."""
    mode, is_root, groups = closed.stat().st_mode, os.geteuid() == 0, os.getgroups()
    closed.chmod(0o710 if is_root else 0o000)  # the former is what `up` makes as root
    if is_root:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, 0)
        os.setresuid(NOBODY, NOBODY, 0)  # also the real one, which access(2) asks about
    try:
        yield
    finally:
        if is_root:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)
            os.setgroups(groups)
        closed.chmod(mode)


# --- a sender


class Sender:
    """A sender that writes what it is told and reads acks; it knows nothing of ours."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        self._acks = msgpack.Unpacker()

    def __enter__(self) -> "Sender":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, numbers: range, chunk: str | None = None, fill: int = 0) -> None:
        """Send a PackedForward message of events with these numbers."""
        now = int(time.time())
        entries = b"".join(
            msgpack.packb([now, {"n": number, "fill": "x" * fill}])
            for number in numbers
        )
        option = {"size": len(numbers)} | ({} if chunk is None else {"chunk": chunk})
        self.socket.sendall(msgpack.packb(["test", entries, option]))

    def acks(self, count: int, seconds: float = PATIENCE_SECONDS) -> list[str]:
        """Read so many acks; return their chunks."""
        chunks: list[str] = []
        give_up = time.monotonic() + seconds
        while len(chunks) < count:
            chunks += [answer["ack"] for answer in self._acks]
            if len(chunks) >= count:
                break
            left = give_up - time.monotonic()
            assert left > 0, f"{len(chunks)} of {count} acks within {seconds:g} s"
            self.socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                data = self.socket.recv(65536)
                assert data, f"closed after {len(chunks)} of {count} acks"
                self._acks.feed(data)
        return chunks

    def is_silent_for(self, seconds: float) -> bool:
        """Tell whether nothing is written to us for so long."""
        self.socket.settimeout(seconds)
        try:
            self._acks.feed(self.socket.recv(65536))
        except TimeoutError:
            return True
        return False


NUMBERS = "SELECT (attributes->>'n')::int FROM logs ORDER BY id"


def numbers_in(database: Database) -> list[int]:
    """Return the numbers of the events that are stored, in the order of their ids."""
    return [number for (number,) in database.fetch(NUMBERS)]
