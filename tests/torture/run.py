"""One run of torture: everything started, faults, everything drained, the verdict.

It owns the order. All listens on loopback or a Unix socket and lives in one temporary
directory; all has ended when `torture` returns.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from tests.torture.database import OwnDatabase, Processes
from tests.torture.director import BY_CHANCE, Director, Plan, Stage
from tests.torture.event import NO_POISON
from tests.torture.judge import Found, Verdict, judge
from tests.torture.ledger import Ledger
from tests.torture.link import Links
from tests.torture.sender import AckedSender, Pace, Sender, UnackedSender
from tests.torture.server import Server

# For what waits at the end to be acked, stored and replayed.
DRAIN_SECONDS = 120.0

ACKED = [
    Pace("packed", 60, 0.05, ahead=3),
    Pace("gzip", 60, 0.05),
    Pace("forward", 20, 0.03),
    Pace("message", 1, 0.01),
]
UNACKED = [
    Pace("packed", 60, 0.06),
    Pace("packed", 60, 0.06),
    Pace("message", 1, 0.005),
]


@dataclass
class Report:
    """What is told of a run."""

    seed: int
    mode: str
    seconds: float
    verdict: Verdict
    faults: dict[str, int]
    lives: int
    failed_starts: int
    most_spooled: int
    schedule: list[tuple[float, str]] = field(default_factory=list)
    workers: int = 1


def torture(
    seed: int,
    mode: str,
    seconds: float,
    plan: Plan = BY_CHANCE,
    workers: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """Torture Penstock, as `up` or `serve`, for so long."""
    with ExitStack() as stack:
        home = stack.enter_context(_home())
        stage = _set_up(stack, home, mode, workers)
        senders = _senders(stage, seed)
        director = Director(stage, f"faults-{seed}", plan)
        for sender in senders:
            sender.start()
        say(f"torture: {mode}, seed {seed}, {seconds:g} s of faults")
        try:
            director.run(seconds)
        finally:
            director.undo_all()
            for sender in senders:
                sender.finish()
        say("torture: draining")
        problems = _drain(stage, senders)
        ledgers = [sender.ledger for sender in senders]
        found = Found(ledgers)
        asyncio.run(found.read(_database_url(stage)))
        stage.server.end()
        server = stage.server
        verdict = judge(ledgers, found, server.lives, server.scrapes)
        verdict.problems += problems + server.problems
        spooled = [int(scrape.spooled_events) for scrape in server.scrapes]
        return Report(
            seed,
            mode,
            seconds,
            verdict,
            dict(director.counts),
            len(server.lives),
            server.failed_starts,
            max(spooled, default=0),
            director.schedule,
            workers,
        )


@contextmanager
def _home() -> Iterator[Path]:
    """A directory that PostgreSQL's own user may pass through, where we are root."""
    home = Path(tempfile.mkdtemp(prefix="penstock-torture-")).resolve()
    home.chmod(0o755)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _set_up(stack: ExitStack, home: Path, mode: str, workers: int) -> Stage:
    problems: list[str] = []
    data_dir = home / "data"
    processes = Processes(data_dir)
    links = Links()
    own: OwnDatabase | None = None
    if mode == "serve":
        own = OwnDatabase(data_dir, problems)
        stack.callback(own.end)
        own.begin()
        arguments = ["serve", "--database-url", links.open_database(own.url)]
        arguments += ["--spool-dir", str(home / "spool")]
        server = Server(home, arguments, workers)
    else:
        stack.callback(processes.end)
        server = Server(home, ["up", "--data-dir", str(data_dir)], workers)
    server.problems = problems
    stack.callback(links.close)
    stack.callback(server.end)
    stack.callback(processes.resume)  # undone first: no end waits for a paused one
    server.begin()
    stage = Stage(server, processes, links, own, links.open_senders(server.port))
    asyncio.run(_execute(_database_url(stage), NO_POISON))
    return stage


async def _execute(database_url: str, statement: str) -> None:
    connection = await asyncpg.connect(database_url, timeout=30)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _database_url(stage: Stage) -> str:
    own = stage.own_database
    return stage.server.database_url if own is None else own.url


def _senders(stage: Stage, seed: int) -> list[Sender]:
    """Make the senders; every other one by way of the link that is cut."""
    kinds: list[tuple[type[Sender], Pace]] = [
        *((AckedSender, pace) for pace in ACKED),
        *((UnackedSender, pace) for pace in UNACKED),
    ]
    senders = []
    for number, (kind, pace) in enumerate(kinds, start=1):
        port = stage.linked_port if number % 2 else stage.server.port
        ledger = Ledger(number, kind is AckedSender)
        senders.append(kind(ledger, port, pace, f"sender-{seed}-{number}"))
    return senders


def _drain(stage: Stage, senders: list[Sender]) -> list[str]:
    """Wait until all is acked and stored; return what is wrong with that."""
    give_up = time.monotonic() + DRAIN_SECONDS
    for sender in senders:
        sender.join(max(0.0, give_up - time.monotonic()))
        if sender.is_alive():
            return [f"{sender.name} is not done after {DRAIN_SECONDS:g} s"]
    last: dict[str, float] = {}
    while time.monotonic() < give_up:
        try:
            last = stage.server.fetch_metrics()
        except OSError:
            last = {}
        left = (last.get("penstock_ring_events"), last.get("penstock_spooled_events"))
        if left == (0, 0):
            return []
        time.sleep(0.1)
    return [f"not drained after {DRAIN_SECONDS:g} s: {last}"]
