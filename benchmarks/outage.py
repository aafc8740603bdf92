"""PostgreSQL is away for a while: does memory stay where it was, is anything lost?

    make bench ARGS="outage"
    make bench ARGS="outage --seconds 300"         five minutes of it

Owns the order: full load, PostgreSQL ended as by a crash, load as before against a
server that cannot store, PostgreSQL started again, load, the end. Senders with acks
connect and send again as agents do; one without acks sends at a pace, for the spool.
The server's RSS is read twice a second throughout. At the end what was acked, or sent
by the one without acks, is counted in the tables: no event less, none twice.

Exit codes: 0 measured, 1 something failed, 2 usage, 130 interrupted.
"""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

# Run as a file, Python looks for modules beside it, not in the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import plot, report, sending, stage
from benchmarks.persistent import Sender
from benchmarks.question import Place, Question, Result, answer, positive
from benchmarks.report import Sheet, Target
from benchmarks.sending import Amount
from benchmarks.server import PenstockServer
from benchmarks.stage import StageError
from benchmarks.trial import Trial, Way

SAMPLE_SECONDS: Final = 0.5
# PostgreSQL's own, to recover what it had not written.
RECOVERY_SECONDS: Final = 60.0
# After its return: the backoff's longest pause, the ring, the spool.
DRAIN_SECONDS: Final = 180.0

# The issue's: MiB above the ring, whatever the length.
RSS_TARGET_MIB: Final = 60.0


@dataclass(slots=True)
class Memory:
    """The server's RSS over time, and which phase it was."""

    server: PenstockServer
    phase: str = "before"
    samples: list[tuple[float, float, str]] = field(default_factory=list)
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read it."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def most_mib(self, phase: str) -> float:
        """The most of a phase."""
        return max((mib for _, mib, at in self.samples if at == phase), default=0.0)

    def _run(self) -> None:
        started = time.monotonic()
        while not self._done.wait(SAMPLE_SECONDS):
            try:
                mib = self.server.rss_bytes() / 2**20
            except StageError:
                return  # it ended: the main thread finds out and says so
            self.samples.append((time.monotonic() - started, mib, self.phase))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be asked for."""
    # More unacked than the ring holds, so that it is full.
    sending.add_amount(parser, Amount(events=240_000, pairs=1, window=40))
    add = parser.add_argument
    add("--seconds", type=positive, default=15, help="that PostgreSQL is away")
    add("--around-seconds", type=positive, default=5, help="of load before and after")
    add("--unacked-chunks-per-second", type=float, default=2.0,
        help="of the sender without acks; 0 for none")  # fmt: skip


def measure(options: argparse.Namespace, place: Place) -> Result:
    """Go through the outage once."""
    plain = sending.plain_way(options)
    # One server that owns the database: nobody else would make its partitions.
    around = Trial(place, sending.mix(options))
    server = around.server(plain)
    around.run(plain, around.distinct())
    stage.reset(around.url)
    senders = _senders(around, plain, options)
    memory = Memory(server)
    place.stack.callback(memory.stop)
    for sender in senders:
        place.stack.callback(sender.abandon)
        sender.start()
    memory.start()
    time.sleep(options.around_seconds)
    found = _outage(around, server, memory, options.seconds)
    memory.phase = "after"
    time.sleep(options.around_seconds)
    for sender in senders:
        sender.stop()
    for sender in senders:
        sender.join()
    _wait_until_stored(server)
    memory.stop()
    return (
        found
        | _counts(around, senders)
        | _memory(memory, server)
        | {"postgresql": around.postgresql}
    )


def _senders(around: Trial, way: Way, options: argparse.Namespace) -> list[Sender]:
    port = around.server(way).port
    chunks = around.distinct()
    senders = [
        Sender(port, chunks, f"{around.now_ns}/acked-{n}", window=way.window)
        for n in range(way.connections)
    ]
    pace = options.unacked_chunks_per_second
    if pace > 0:
        name = f"{around.now_ns}/unacked"
        senders.append(Sender(port, chunks, name, window=0, chunks_per_second=pace))
    return senders


def _outage(
    around: Trial, server: PenstockServer, memory: Memory, seconds: int
) -> Result:
    memory.phase = "outage"
    stage.say(f"PostgreSQL ends, for {seconds} s")
    began = time.monotonic()
    # "Immediate": without a checkpoint, as by a crash, so that its return is one too.
    os.kill(around.cluster.server_pid, signal.SIGQUIT)
    while around.cluster.is_running():
        if time.monotonic() > began + RECOVERY_SECONDS:
            raise StageError("PostgreSQL does not end")
        time.sleep(0.05)
    time.sleep(max(0.0, seconds - (time.monotonic() - began)))
    held = server.metrics()
    restarted = time.monotonic()
    around.cluster.restart()
    stage.say(f"PostgreSQL is back after {time.monotonic() - began:.1f} s")
    rows = "penstock_copy_rows_total"
    while server.metrics()[rows] <= held[rows]:
        if time.monotonic() > restarted + DRAIN_SECONDS:
            raise StageError("nothing is stored after PostgreSQL's return")
        time.sleep(0.05)
    return {
        "away_seconds": time.monotonic() - began,
        "back_to_first_commit_seconds": time.monotonic() - restarted,
        "ring_events_held": held["penstock_ring_events"],
        "spooled_events_held": held["penstock_spooled_events"],
    }


def _wait_until_stored(server: PenstockServer) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        found = server.metrics()
        if not found["penstock_ring_events"] + found["penstock_spooled_events"]:
            return
        time.sleep(0.2)
    raise StageError(f"not all stored after {DRAIN_SECONDS:.0f} s")


def _counts(around: Trial, senders: Sequence[Sender]) -> Result:
    acked = sum(sender.tally.acked_events for sender in senders)
    unacked = sum(sender.tally.sent_events for sender in senders)
    stage.fingerprint(around.url, acked + unacked)
    return {
        "acked_events": acked,
        "unacked_events": unacked,
        "stored_events": acked + unacked,
        "reconnects": sum(sender.tally.reconnects for sender in senders),
    }


def _memory(memory: Memory, server: PenstockServer) -> dict[str, Any]:
    metrics = server.metrics()
    ring_mib = metrics["penstock_ring_capacity_bytes"] / 2**20
    most = {phase: memory.most_mib(phase) for phase in ("before", "outage", "after")}
    return {
        "rss_mib": most,
        "ring_mib": ring_mib,
        "above_ring_mib": max(most.values()) - ring_mib,
        "unaccounted_events": metrics["penstock_unaccounted_events"],
        "samples": [[at, mib] for at, mib, _ in memory.samples],
    }


def sheets(result: Result) -> list[Sheet]:
    """What was held, what was stored, what it took."""
    rss = result["rss_mib"]
    rows = [
        ("PostgreSQL away", f"{result['away_seconds']:.1f}", "s, to the first COMMIT"),
        ("most memory before", f"{rss['before']:.1f}", "MiB, penstock serve"),
        ("most memory meanwhile", f"{rss['outage']:.1f}", "MiB"),
        ("most memory after", f"{rss['after']:.1f}", "MiB"),
        ("above the ring", f"{result['above_ring_mib']:.1f}", "MiB, the most of all"),
        ("waited in the ring", f"{result['ring_events_held']:,.0f}", "events"),
        ("waited in the spool", f"{result['spooled_events_held']:,.0f}", "events"),
        (
            "from restart to COMMIT",
            f"{result['back_to_first_commit_seconds']:.1f}",
            "s, PostgreSQL's recovery in it",
        ),
        ("acked and stored", f"{result['acked_events']:,}", "events"),
        ("sent without acks, stored", f"{result['unacked_events']:,}", "events"),
        ("lost or stored twice", "0", "events, counted in the tables"),
        ("senders connected again", f"{result['reconnects']:,}", "times"),
    ]
    title = f"PostgreSQL away for {result['seconds']} s under full load"
    return [Sheet(title, ("", "measured", "unit"), rows)]


def targets(result: Result) -> list[Target]:
    """What this was to reach."""
    above = result["above_ring_mib"]
    return [
        Target(
            f"memory, full rate and {result['seconds']} s without PostgreSQL",
            f"ring + {RSS_TARGET_MIB:.0f} MiB",
            f"ring + {above:.0f} MiB",
            above <= RSS_TARGET_MIB,
        )
    ]


def draw(result: Result) -> str:
    """Memory over time."""
    head = plot.Head(
        f"The server's memory over {result['seconds']} s without PostgreSQL",
        report.machine_line(result),
        ("RSS, MiB", "the ring's size, all of it"),
    )
    samples = [(at, mib) for at, mib in result["samples"]]
    ring = [(at, result["ring_mib"]) for at, _ in samples]
    return plot.lines(head, plot.Axes("seconds", "MiB"), [samples, ring])


QUESTION: Final = Question(
    name="outage",
    asks="Memory and counts while PostgreSQL is away, and after.",
    add_options=add_options,
    measure=measure,
    sheets=sheets,
    targets=targets,
    draw=draw,
)

if __name__ == "__main__":
    sys.exit(answer(QUESTION))
