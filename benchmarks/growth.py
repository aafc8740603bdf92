"""Does ingest slow down as the table grows, for its index, or while a day is sealed?

    make bench ARGS="growth"
    make bench ARGS="growth --millions 100 --events 1000000 --timeout 7200"

Owns the order. First pairs in turn with the BRIN index (A) and without (B), from empty
tables. Then steps of the same records, one on the other, to so many millions of rows in
one day. Then pairs beside all that is stored: a step alone (A), and steps as long as
`penstock db maintain` seals another, closed day with both indexes (B). All of it goes
through Penstock, and at the end every row is counted.

Exit codes: 0 measured, 1 something failed, 2 usage, 130 interrupted.
"""

import argparse
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Final

# Run as a file, Python looks for modules beside it, not in the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import limit, plot, records, report, sending, stage
from benchmarks.question import Place, Question, Result, answer, positive
from benchmarks.records import Chunk, Mix
from benchmarks.report import Sheet
from benchmarks.sending import Amount
from benchmarks.stage import StageError
from benchmarks.trial import Figures, Trial, Way

# Of a row of the usual records with its part of the WAL that is kept; a full disk would
# be found out in the middle.
BYTES_A_ROW: Final = 700
WAL_BYTES: Final = 6 * 2**30

DAY_NS: Final = 86_400 * 10**9
SEAL_OPTIONS: Final = ("--seal-message-trgm=on", "--seal-attributes-gin=on")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be asked for."""
    sending.add_amount(parser, Amount(events=500_000, pairs=2))
    add = parser.add_argument
    add("--millions", type=float, default=3.0, help="rows to store, in millions")
    add("--sealed-events", type=positive, default=100_000, help="rows of a sealed day")


def measure(options: argparse.Namespace, place: Place) -> Result:
    """Index, growth, seal."""
    plain = sending.plain_way(options)
    # Who maintains is this benchmark, when it wants to.
    way = Way(
        connections=plain.connections,
        window=plain.window,
        server_options=(*plain.server_options, "--maintenance-interval-seconds=0"),
    )
    rows = int(options.millions * 1e6)
    _check_disk(place.directory, rows)
    around = Trial(place, sending.mix(options))
    around.run(way, around.distinct())
    with_index = _index_pairs(around, way, options.pairs)
    stage.reset(around.url)
    steps = _grow(around, way, max(1, rows // options.events))
    sealed = _seal_pairs(around, way, place, options)
    stage.fingerprint(
        around.url, sealed.pop("sent_events") + len(steps) * around.events
    )
    return {
        "postgresql": around.postgresql,
        "mean_entry_bytes": around.mean_entry_bytes,
        "index": with_index,
        "steps": steps,
        "last_to_first": _last_to_first(steps),
        "seal": sealed,
    }


def _check_disk(directory: Path, rows: int) -> None:
    need_bytes = rows * BYTES_A_ROW + WAL_BYTES
    free_bytes = shutil.disk_usage(directory).free
    if free_bytes < need_bytes:
        raise StageError(
            f"{need_bytes / 2**30:.0f} GiB of disk are needed and"
            f" {free_bytes / 2**30:.0f} free; --work-dir names another disk"
        )


def _index_pairs(around: Trial, way: Way, pairs: int) -> dict[str, Any]:
    runs = []
    for number in range(1, pairs + 1):
        indexed = around.run(way)
        stage.query(around.url, "DROP INDEX logs_ts_brin;")
        bare = around.run(way)
        # As the migration makes it, on the parent and all its partitions.
        stage.reset(around.url)
        sql = "CREATE INDEX logs_ts_brin ON logs USING brin (ts);"
        stage.query(around.url, sql)
        runs.append((indexed.figures, bare.figures))
        stage.say(
            f"index, pair {number} of {pairs}:"
            f" with {indexed.figures.events_per_second:,.0f} rows/s,"
            f" without {bare.figures.events_per_second:,.0f}"
        )
    return _ratios(runs, ("with", "without"))


def _grow(around: Trial, way: Way, count: int) -> list[dict[str, Any]]:
    steps = []
    for number in range(1, count + 1):
        _, figures = around.send(way)
        millions = number * around.events / 1e6
        steps.append({"millions": millions} | asdict(figures))
        stage.say(f"{millions:,.10g} million: {figures.events_per_second:,.0f} rows/s")
    return steps


def _last_to_first(steps: list[dict[str, Any]]) -> float:
    """The rate of the last quarter of the steps, beside the first quarter's."""
    rates: list[float] = [step["events_per_second"] for step in steps]
    quarter = max(1, len(rates) // 4)
    return median(rates[-quarter:]) / median(rates[:quarter])


def _seal_pairs(
    around: Trial, way: Way, place: Place, options: argparse.Namespace
) -> dict[str, Any]:
    runs = []
    seconds = []
    sent_events = 0
    for number in range(1, options.pairs + 1):
        # A day of its own each time, closed for long; never one of the last hour's.
        past = _past_chunks(around, options, days=number + 2)
        sent_events += sum(chunk.events for chunk in past)
        around.send(way, past)
        _, alone = around.send(way)
        beside, rounds, sealing_seconds = _send_while_sealing(around, way, place)
        sent_events += (1 + rounds) * around.events
        runs.append((alone, beside))
        seconds.append(sealing_seconds)
        stage.say(
            f"seal, pair {number} of {options.pairs}:"
            f" alone {alone.events_per_second:,.0f} rows/s,"
            f" while sealing {beside.events_per_second:,.0f}"
        )
    sealed = int(stage.query(around.url, "SELECT count(*) FROM penstock_day;"))
    if sealed != options.pairs:
        raise StageError(f"{sealed} days were sealed, not {options.pairs}")
    return _ratios(runs, ("alone", "sealing")) | {
        "seal_seconds": median(seconds),
        "sent_events": sent_events,
    }


def _past_chunks(around: Trial, options: argparse.Namespace, days: int) -> list[Chunk]:
    # In the middle of a day, so that the hour before is of the same.
    noon_ns = around.now_ns - around.now_ns % DAY_NS + DAY_NS // 2
    mix = Mix(
        options.sealed_events,
        options.chunk_events,
        options.seed + days,
        noon_ns - days * DAY_NS,
        kinds=options.records,
    )
    limit.ensure_partitions(around.url, mix.now_ns)
    return records.workload(mix)


def _send_while_sealing(
    around: Trial, way: Way, place: Place
) -> tuple[Figures, int, float]:
    """Send the records again and again until the seal has ended."""
    command = [sys.executable, "-m", "penstock", "db", "maintain", *SEAL_OPTIONS]
    started = time.monotonic()
    log = place.directory / "maintain.log"
    with log.open("wb") as output:
        maintain = subprocess.Popen(
            [*command, "--database-url", around.url],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=place.directory,
            env=stage.penstock_environment(place.directory),
        )
    place.stack.callback(maintain.kill)  # harmless once it has ended
    sent: list[Figures] = []
    while not sent or maintain.poll() is None:
        sent.append(around.send(way)[1])
    if maintain.returncode:
        raise StageError(f"penstock db maintain failed: {log.read_text().strip()}")
    # The last round may have been alone for a part, as the seal may have been.
    typical = sorted(sent, key=lambda one: one.events_per_second)[(len(sent) - 1) // 2]
    return typical, len(sent), time.monotonic() - started


def _ratios(runs: list[tuple[Figures, Figures]], names: tuple[str, str]) -> Result:
    """Of both sides the medians, and of their ratios within a pair, second to first."""
    ratios = [b.events_per_second / a.events_per_second for a, b in runs]
    return {
        names[0]: median(a.events_per_second for a, _ in runs),
        names[1]: median(b.events_per_second for _, b in runs),
        "ratio": median(ratios),
        "ratios": ratios,
    }


def sheets(result: Result) -> list[Sheet]:
    """The steps, some of them where there are many; then the pairs."""
    steps = result["steps"]
    every = max(1, -(-len(steps) // 20))
    shown = steps[::every] + ([] if (len(steps) - 1) % every == 0 else steps[-1:])
    first = steps[0]["events_per_second"]
    rows = [
        (
            f"{step['millions']:,.10g}",
            f"{step['events_per_second']:,.0f}",
            f"{step['events_per_second'] / first:.3f}",
            f"{step['cpu_seconds_per_million']:.2f}",
            f"{step['postgres_cpu_seconds_per_million']:.2f}",
            f"{step['ack_p99_ms']:.0f}",
        )
        for step in shown
    ]
    headings = (
        "",
        "rows/s",
        "to the first",
        "CPU-s a million",
        "PostgreSQL's",
        "ack p99, ms",
    )
    title = (
        f"millions of rows stored, a row for {result['events'] * every:,} of them;"
        f" last quarter to first: {result['last_to_first']:.3f}"
    )
    return [Sheet(title, headings, rows), _pairs_sheet(result)]


def _pairs_sheet(result: Result) -> Sheet:
    index, seal = result["index"], result["seal"]
    rows = [
        (
            "without the BRIN index, beside with it",
            f"{index['with']:,.0f}",
            f"{index['without']:,.0f}",
            f"{index['ratio']:.3f}",
            report.spread(index["ratios"], 3),
        ),
        (
            f"while a day is sealed ({seal['seal_seconds']:.0f} s), beside alone",
            f"{seal['alone']:,.0f}",
            f"{seal['sealing']:,.0f}",
            f"{seal['ratio']:.3f}",
            report.spread(seal["ratios"], 3),
        ),
    ]
    title = f"pairs in turn, {len(index['ratios'])} of each; rows/s"
    return Sheet(title, ("", "A", "B", "B to A", "range of pairs"), rows)


def draw(result: Result) -> str:
    """The rate over the rows stored."""
    head = plot.Head(
        f"Rows a second, step by step to {result['millions']:,.10g} million rows",
        report.machine_line(result),
        ("end to end, acked after COMMIT",),
    )
    points = [(one["millions"], one["events_per_second"]) for one in result["steps"]]
    return plot.lines(head, plot.Axes("million rows stored", "rows/s"), [points])


QUESTION: Final = Question(
    name="growth",
    asks="Whether ingest slows down as rows pile up, for BRIN, or beside the seal.",
    add_options=add_options,
    measure=measure,
    sheets=sheets,
    draw=draw,
)

if __name__ == "__main__":
    sys.exit(answer(QUESTION))
