"""The encoder alone, on one core: entries to binary COPY tuples, of several shapes.

    make bench ARGS="encoder"
    benchmarks/encoder.py --only usual --only deep

Owns the order: of each shape of records the encoder in force (A) and the plain one (B)
in turn, by CPU time, so that neither pays for what else the machine does. Where there
is no compiled one, both are the plain one, and only one is measured. Both must make
rows of the same number and length; that the bytes are the same is the tests' business.

Exit codes: 0 measured, 1 something failed, 2 usage, 130 interrupted.
"""

import argparse
import gc
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

# Run as a file, Python looks for modules beside it, not in the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import plot, records, report, stage
from benchmarks.question import Place, Question, Result, answer, positive
from benchmarks.records import Chunk, Mix
from benchmarks.report import Sheet, Target
from benchmarks.stage import StageError
from penstock import rows
from penstock.settings import ColumnSettings

MEANINGS: Final = {
    "usual": "the usual mix",
    "long": "long messages",
    "wide": "30 keys",
    "deep": "20 levels deep",
    "unlike": "keys all unlike",
    "syslog": "system logs",
}

# The issue's: rows a second on one core, and beside the plain encoder.
ROWS_TARGET: Final = 2_500_000
TIMES_TARGET: Final = 8.0

# Arrival, in microseconds; any will do.
_NOW_US: Final = 1_800_000_000_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be asked for."""
    add = parser.add_argument
    add("--events", type=positive, default=60_000, help="entries of each run")
    add("--chunk-events", type=positive, default=2_000, help="events of a chunk")
    add("--pairs", type=positive, default=5, help="runs of each encoder, in turn")
    add("--seed", type=int, default=1, help="of the records")
    add("--only", action="append", choices=records.NAMES, help="this; repeatable")


def measure(options: argparse.Namespace, place: Place) -> Result:
    """Run the pairs of each shape."""
    results = {}
    for name in options.only or records.NAMES:
        now_ns = time.time_ns()
        mix = Mix(
            options.events, options.chunk_events, options.seed, now_ns, kinds=name
        )
        chunks = records.workload(mix)
        results[name] = _shape(chunks, options.pairs)
        figures = results[name]["in_force"]
        stage.say(f"{name}: {figures['rows_per_second']:,.0f} rows/s")
    return {"shapes": results}


def _shape(chunks: list[Chunk], pairs: int) -> dict[str, Any]:
    encoders = {"in_force": rows.IS_BUILT}
    if rows.IS_BUILT:
        encoders["plain"] = False
    runs: list[dict[str, float]] = []
    for number in range(pairs + 1):
        run, made = {}, {}
        for name, is_native in encoders.items():
            run[name], made[name] = _encode(is_native, chunks)
        if len(set(made.values())) > 1:
            raise StageError(f"rows and bytes differ: {made}")
        if number:  # the first is to warm up
            runs.append(run)
    return _summary(runs, chunks)


def _encode(is_native: bool, chunks: list[Chunk]) -> tuple[float, tuple[int, int]]:
    """Encode all; return the CPU seconds, and how many rows of how many bytes."""
    encoder = rows.RowEncoder(ColumnSettings(), receiver=1, is_native=is_native)
    made_rows = made_bytes = 0
    gc.collect()
    started = time.process_time()
    for chunk in chunks:
        stream = encoder.start(chunk.entries, tag=chunk.tag)
        while not stream.exhausted:
            part = stream.next_part(_NOW_US)
            made_rows += part.rows
            made_bytes += len(part.data)
    seconds = time.process_time() - started
    if made_rows != sum(chunk.events for chunk in chunks):
        raise StageError(f"{made_rows:,} rows made")
    return seconds, (made_rows, made_bytes)


def _summary(runs: list[dict[str, float]], chunks: list[Chunk]) -> dict[str, Any]:
    events = sum(chunk.events for chunk in chunks)
    mean = records.mean_entry_bytes(chunks)

    def figures(name: str) -> dict[str, float]:
        rate = events / median(run[name] for run in runs)
        return {"rows_per_second": rate, "mib_per_second": rate * mean / 2**20}

    found: dict[str, Any] = {"mean_entry_bytes": mean, "in_force": figures("in_force")}
    if "plain" in runs[0]:
        ratios = [run["plain"] / run["in_force"] for run in runs]
        found |= {"plain": figures("plain"), "times_plain": median(ratios)}
        found["times_plain_range"] = [min(ratios), max(ratios)]
    return found | {"cpu_seconds": runs}


def sheets(result: Result) -> list[Sheet]:
    """A row for each shape."""
    table = []
    for name, found in result["shapes"].items():
        row = [MEANINGS[name], f"{found['mean_entry_bytes']:.0f}"]
        row.append(f"{found['in_force']['rows_per_second']:,.0f}")
        row.append(f"{found['in_force']['mib_per_second']:,.0f}")
        if "plain" in found:
            low, high = found["times_plain_range"]
            row.append(f"{found['plain']['rows_per_second']:,.0f}")
            row.append(f"{found['times_plain']:.1f}")
            row.append(f"{low:.1f} to {high:.1f}")
        table.append(row)
    headings = ["", "bytes", f"{result['encoder']}, rows/s", "MiB/s"]
    if result["encoder"] != "plain":
        headings += ["plain, rows/s", "times the plain", "range of pairs"]
    title = (
        f"one core, by CPU time; {result['events']:,} entries a run,"
        f" medians of {result['pairs']} pairs"
    )
    return [Sheet(title, headings, table)]


def targets(result: Result) -> list[Target]:
    """What this was to reach, with the usual records."""
    found = result["shapes"].get("usual")
    if found is None:
        return []
    rate, times = found["in_force"]["rows_per_second"], found.get("times_plain", 1.0)
    return [
        Target(
            "encoder alone, one core",
            f"{ROWS_TARGET:,} rows/s",
            f"{rate:,.0f} rows/s",
            rate >= ROWS_TARGET,
        ),
        Target(
            "the same, beside the plain one",
            f"{TIMES_TARGET:.0f} times",
            f"{times:.1f} times",
            times >= TIMES_TARGET,
        ),
    ]


def draw(result: Result) -> str:
    """A bar, or two, for each shape."""
    groups = []
    for name, found in result["shapes"].items():
        sides = [found[side] for side in ("in_force", "plain") if side in found]
        rates = [side["rows_per_second"] for side in sides]
        bars = [(rate, f"{rate:,.0f}") for rate in rates]
        groups.append(plot.Group(MEANINGS[name], bars))
    names = (f"the {result['encoder']} encoder", "the plain one")
    head = plot.Head(
        "Rows a second of the encoder alone, on one core",
        report.machine_line(result),
        names[: max(len(group.bars) for group in groups)],
    )
    return plot.bars(head, groups, left=140)


QUESTION: Final = Question(
    name="encoder",
    asks="Rows a second of the encoder alone, of several shapes of records.",
    add_options=add_options,
    measure=measure,
    sheets=sheets,
    targets=targets,
    draw=draw,
)

if __name__ == "__main__":
    sys.exit(answer(QUESTION))
