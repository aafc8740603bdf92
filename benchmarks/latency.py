"""How long an ack takes, against how much of the full rate comes in.

    make bench ARGS="latency"

Owns the order: the full rate first, then shares of it, each at a steady pace that does
not wait for acks, so that a slow moment delays what comes after it and is seen. The
time is from a chunk begun to be written to its ack read, PostgreSQL's COMMIT within.
How much later than its pace the sender was itself is told beside it.

Exit codes: 0 measured, 1 something failed, 2 usage, 130 interrupted.
"""

import argparse
import itertools
import sys
from pathlib import Path
from statistics import median
from typing import Any, Final

# Run as a file, Python looks for modules beside it, not in the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import load, plot, report, sending, stage
from benchmarks.frames import frames
from benchmarks.load import percentile
from benchmarks.question import Place, Question, Result, answer, positive
from benchmarks.report import Sheet, Target
from benchmarks.sending import Amount
from benchmarks.trial import Trial, Way

SHARES: Final = (0.01, 0.1, 0.3, 0.6, 0.9)

# Chunks that may wait for an ack on a connection: in effect any number.
_UNBOUNDED: Final = 1_000_000

# The issue's, in milliseconds, at this share of the full rate.
JUDGED_SHARE: Final = 0.1
P50_TARGET_MS: Final = 5.0
P99_TARGET_MS: Final = 30.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be asked for."""
    amount = Amount(events=600_000, pairs=3, connections=8, chunk_events=100, window=20)
    sending.add_amount(parser, amount)
    add = parser.add_argument
    add("--seconds", type=positive, default=6, help="of each load")


def measure(options: argparse.Namespace, place: Place) -> Result:
    """Measure the full rate, then the waits at each share of it."""
    way = sending.plain_way(options)
    around = Trial(place, sending.mix(options))
    around.run(way, around.distinct())
    rates = [around.run(way).figures.events_per_second for _ in range(options.pairs)]
    full = median(rates)
    stage.say(f"full rate: {full:,.0f} events/s")
    loads = [_load(around, way, share, full, options) for share in SHARES]
    return {
        "postgresql": around.postgresql,
        "mean_entry_bytes": around.mean_entry_bytes,
        "full_events_per_second": full,
        "loads": loads,
    }


def _load(
    around: Trial, way: Way, share: float, full: float, options: argparse.Namespace
) -> dict[str, Any]:
    per_second = share * full / options.chunk_events
    count = max(way.connections, int(per_second * options.seconds))
    chunks = list(itertools.islice(itertools.cycle(around.distinct()), count))
    stage.reset(around.url)
    made = frames(chunks, f"{around.now_ns}/{share}", connections=way.connections)
    target = load.Target(
        "127.0.0.1", around.server(way).port, way.connections, _UNBOUNDED
    )
    sent = load.send_paced(target, made, per_second)
    stage.fingerprint(around.url, sent.events)
    found = {
        "share": share,
        "events_per_second": share * full,
        "chunks": count,
        "ack_p50_ms": percentile(sent.ack_seconds, 0.5) * 1e3,
        "ack_p90_ms": percentile(sent.ack_seconds, 0.9) * 1e3,
        "ack_p99_ms": percentile(sent.ack_seconds, 0.99) * 1e3,
        "ack_max_ms": max(sent.ack_seconds) * 1e3,
        "late_p99_ms": percentile(sent.late_seconds, 0.99) * 1e3,
        "sender_cpu_share": sent.cpu_seconds / sent.seconds,
    }
    stage.say(
        f"{share:.0%} of it: p50 {found['ack_p50_ms']:.1f} ms,"
        f" p99 {found['ack_p99_ms']:.1f} ms"
    )
    return found


def sheets(result: Result) -> list[Sheet]:
    """A row for each load."""
    rows = [
        (
            f"{one['share']:.0%}",
            f"{one['events_per_second']:,.0f}",
            f"{one['chunks']:,}",
            f"{one['ack_p50_ms']:.1f}",
            f"{one['ack_p90_ms']:.1f}",
            f"{one['ack_p99_ms']:.1f}",
            f"{one['ack_max_ms']:.1f}",
            f"{one['late_p99_ms']:.1f}",
            f"{one['sender_cpu_share']:.0%}",
        )
        for one in result["loads"]
    ]
    title = (
        f"chunks of {result['chunk_events']:,} events over {result['connections']}"
        f" connections, {result['seconds']} s each; ms to the ack; the full rate is"
        f" {result['full_events_per_second']:,.0f} events/s"
    )
    headings = (
        "",
        "events/s",
        "chunks",
        "p50",
        "p90",
        "p99",
        "most",
        "sender late, p99",
        "sender's CPU",
    )
    return [Sheet(title, headings, rows)]


def targets(result: Result) -> list[Target]:
    """What this was to reach."""
    found = next(one for one in result["loads"] if one["share"] == JUDGED_SHARE)
    wanted = (("p50", P50_TARGET_MS), ("p99", P99_TARGET_MS))
    return [
        Target(
            f"receive to ack at a tenth of the full rate, {name}",
            f"under {most_ms:.0f} ms",
            f"{found[f'ack_{name}_ms']:.1f} ms",
            found[f"ack_{name}_ms"] < most_ms,
        )
        for name, most_ms in wanted
    ]


def draw(result: Result) -> str:
    """Two lines: the median and the hundredth part that waits longest."""
    head = plot.Head(
        "Milliseconds to the ack, against the share of the full rate",
        report.machine_line(result),
        ("p50", "p99"),
    )
    axes = plot.Axes("% of the full rate", "ms", is_log=True)
    series = [
        [(100 * one["share"], one[key]) for one in result["loads"]]
        for key in ("ack_p50_ms", "ack_p99_ms")
    ]
    return plot.lines(head, axes, series)


QUESTION: Final = Question(
    name="latency",
    asks="Milliseconds from a chunk to its ack, at several shares of the full rate.",
    add_options=add_options,
    measure=measure,
    sheets=sheets,
    targets=targets,
    draw=draw,
)

if __name__ == "__main__":
    sys.exit(answer(QUESTION))
