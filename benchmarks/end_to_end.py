"""End to end: forward protocol in, rows committed, acks out, beside raw COPY.

    make bench ARGS="end_to_end"
    benchmarks/end_to_end.py --json -                 one line of JSON on stdout
    benchmarks/end_to_end.py --mode forward --records wide --workers 2

Owns the order of a measurement: pairs in turn, the whole path (A), the limit (B), A, B,
... from empty tables and after a checkpoint each time. After every run the rows are
counted and compared with the other side's; a run that lost or changed one is an error,
not a figure. `variants.py` compares ways to send with each other.

Exit codes: 0 measured, 1 something failed, 2 usage, 130 interrupted.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Final

# Run as a file, Python looks for modules beside it, not in the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import plot, report, sending, stage, trial
from benchmarks.load import percentile
from benchmarks.question import Place, Question, Result, answer
from benchmarks.report import Sheet, Target
from benchmarks.sending import Amount
from benchmarks.trial import LimitRun, Run, Trial, Way

# Of the table: key of the result, name, digits, unit and meaning.
ROWS: Final = (
    ("events_per_second", "end to end", 0, "rows/s, sent to acked after COMMIT"),
    ("limit_rows_per_second", "limit", 0, "rows/s, the same as tuples, by psql"),
    ("ratio_to_limit", "ratio to limit", 3, "within each pair"),
    ("cpu_seconds_per_million", "CPU", 2, "CPU-s a million, penstock serve"),
    ("postgres_cpu_seconds_per_million", "PostgreSQL's CPU", 2, "CPU-s a million"),
    ("limit_cpu_seconds_per_million", "the same, limit", 2, "CPU-s a million"),
    ("sender_cpu_seconds_per_million", "sender's CPU", 2, "CPU-s a million"),
    ("peak_rss_mib", "peak memory", 0, "MiB, penstock serve"),
    ("ack_p50_ms", "ack p50", 1, "ms, chunk's last byte out to ack in"),
    ("ack_p99_ms", "ack p99", 1, "ms, the same, over all chunks"),
)

# The issue's: a share of the limit, CPU seconds a million rows, and memory above the
# ring, whose default is 64 MiB.
RATIO_TARGET: Final = 0.85
CPU_TARGET: Final = 0.8
RSS_TARGET_MIB: Final = 64 + 60


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be asked for."""
    # Five pairs of this take some fifty seconds at 300,000 rows/s.
    sending.add_amount(parser, Amount(events=1_000_000, pairs=5))
    sending.add_form(parser)


def measure(options: argparse.Namespace, place: Place) -> Result:
    """Run the pairs, after a run of each side that is not counted."""
    way = sending.way(options)
    around = Trial(place, sending.mix(options))
    warm_up(around, way)
    pairs, ack_seconds = run_pairs(around, way, options.pairs)
    return summary(pairs, ack_seconds) | {
        "postgresql": around.postgresql,
        "peak_rss_mib": around.peak_rss_mib(),
        "mean_entry_bytes": around.mean_entry_bytes,
    }


def warm_up(around: Trial, way: Way) -> None:
    """Run both sides once, uncounted.

    The first rows after initdb pay for what later runs find made: WAL files above all
    (the first run of the limit has been seen 30% slower), connections, caches.
    """
    around.run(way, around.distinct())
    around.run_limit()


def run_pairs(
    around: Trial, way: Way, count: int
) -> tuple[list[dict[str, Any]], list[float]]:
    """Run A and B in turn; return each pair's figures, and the waits for all acks."""
    pairs = []
    ack_seconds: list[float] = []
    for number in range(1, count + 1):
        run, limit = around.run(way), around.run_limit()
        trial.check_same(run.stored, limit.stored, "end to end and by psql")
        pair = _pair(run, limit)
        stage.say(
            f"pair {number} of {count}: end to end {pair['events_per_second']:,.0f} "
            f"rows/s, limit {limit.rows_per_second:,.0f}, "
            f"ratio {pair['ratio_to_limit']:.3f}"
        )
        pairs.append(pair)
        ack_seconds += run.ack_seconds
    return pairs, ack_seconds


def summary(pairs: list[dict[str, Any]], ack_seconds: list[float]) -> Result:
    """Turn the pairs into one figure each; latencies are over all chunks of all."""
    figures = {
        name: median(pair[name] for pair in pairs)
        for name, value in pairs[0].items()
        if value is not None
    }
    if ack_seconds:
        figures["ack_p50_ms"] = percentile(ack_seconds, 0.5) * 1e3
        figures["ack_p99_ms"] = percentile(ack_seconds, 0.99) * 1e3
    return figures | {"pair_results": pairs}


def _pair(run: Run, limit: LimitRun) -> dict[str, Any]:
    return asdict(run.figures) | {
        "limit_rows_per_second": limit.rows_per_second,
        "limit_cpu_seconds_per_million": limit.postgres_cpu_seconds_per_million,
        "ratio_to_limit": run.figures.events_per_second / limit.rows_per_second,
    }


def sheets(result: Result) -> list[Sheet]:
    """The table: medians, and the range that the pairs had."""
    pairs = result["pair_results"]
    rows = []
    for key, name, digits, meaning in ROWS:
        if key in result:
            each = [pair[key] for pair in pairs if key in pair]
            spread = report.spread(each, digits) if each else ""
            rows.append((name, f"{result[key]:,.{digits}f}", spread, meaning))
    title = f"{result['events']:,} events a run, {len(pairs)} pairs, {_way(result)}"
    return [Sheet(title, ("", "median", "range of pairs", "unit"), rows)]


def _way(result: Result) -> str:
    parts = [result["mode"], f"{result['connections']} connections"]
    parts.append(f"{result['records']} records of {result['mean_entry_bytes']:.0f} B")
    if result["compression"] != "off":
        parts.append(result["compression"])
    if result["tls"] != "off":
        parts.append(f"TLS {result['tls']}")
    if result["acks"] == "off":
        parts.append("no acks")
    if result["workers"]:
        parts.append(f"{result['workers']} workers")
    return ", ".join(parts)


def targets(result: Result) -> list[Target]:
    """What this was to reach."""
    ratio, cpu = result["ratio_to_limit"], result["cpu_seconds_per_million"]
    rss = result["peak_rss_mib"]
    return [
        Target(
            "rows/s end to end, as a share of the limit",
            f"{RATIO_TARGET} or more",
            f"{ratio:.3f}",
            ratio >= RATIO_TARGET,
        ),
        Target(
            "our CPU seconds a million rows",
            f"{CPU_TARGET} or less",
            f"{cpu:.2f}",
            cpu <= CPU_TARGET,
        ),
        Target(
            "memory at full rate",
            f"ring + 60 MiB: {RSS_TARGET_MIB} MiB",
            f"{rss:.0f} MiB",
            rss <= RSS_TARGET_MIB,
        ),
    ]


def draw(result: Result) -> str:
    """For each pair, what it did and the limit."""
    title = (
        f"Rows a second, {result['events']:,} events a run; the median of the pairs'"
        f" ratios is {result['ratio_to_limit']:.3f}"
    )
    names = ("end to end, acked after COMMIT", "limit, the same rows by COPY")
    groups = []
    for number, pair in enumerate(result["pair_results"], 1):
        rate, limit = pair["events_per_second"], pair["limit_rows_per_second"]
        text = f"{rate:,.0f} ({pair['ratio_to_limit']:.3f})"
        bars = ((rate, text), (limit, f"{limit:,.0f}"))
        groups.append(plot.Group(f"pair {number}", bars))
    head = plot.Head(title, report.machine_line(result), names)
    return plot.bars(head, groups, left=70)


QUESTION: Final = Question(
    name="end_to_end",
    asks="Rows a second through Penstock, beside raw COPY of the same rows.",
    add_options=add_options,
    measure=measure,
    sheets=sheets,
    targets=targets,
    draw=draw,
)

if __name__ == "__main__":
    sys.exit(answer(QUESTION))
