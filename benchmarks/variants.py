"""What each way of sending costs beside the plain one: the same rows, in turn.

    make bench ARGS="variants"
    benchmarks/variants.py --only gzip --only tls     these alone

Owns the list of ways and the order of the runs: for each variant plain (A), variant
(B), A, B, ... Plain is PackedForward with acks in clear to one process. Ratios are
taken within a pair, and after each run the rows are compared with the other's. The
sender compresses before the clock starts, but encrypts while it runs, on the same
machine: its CPU is told apart from the server's.

Exit codes: 0 measured, 1 something failed, 2 usage, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

# Run as a file, Python looks for modules beside it, not in the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import plot, report, sending, stage, trial
from benchmarks.frames import Form
from benchmarks.question import Place, Question, Result, answer
from benchmarks.report import Sheet, Target
from benchmarks.sending import Amount
from benchmarks.server import has_setting
from benchmarks.trial import Figures, Trial, Way

# Docker has a connection for each container.
MESSAGE_CONNECTIONS: Final = 100

# Name, meaning, and the way that it makes of the plain one.
VARIANTS: Final[dict[str, tuple[str, Callable[[Way], Way]]]] = {
    "forward": ("Forward mode", lambda way: replace(way, form=Form("forward"))),
    "gzip": ("gzip", lambda way: replace(way, form=Form(compression="gzip"))),
    "zstd": ("zstd", lambda way: replace(way, form=Form(compression="zstd"))),
    "tls": ("TLS 1.3", lambda way: replace(way, tls="1.3")),
    "tls-1.2": ("TLS 1.2", lambda way: replace(way, tls="1.2")),
    "no-acks": ("no acks", lambda way: replace(way, form=Form(acks=False))),
    "message": (
        f"Message mode, no acks, {MESSAGE_CONNECTIONS} connections",
        lambda way: replace(
            way,
            form=Form("message", acks=False),
            connections=MESSAGE_CONNECTIONS,
        ),
    ),
    "workers": ("2 workers", lambda way: replace(way, workers=2)),
}
# TLS 1.2 costs what 1.3 costs, and a message's way has a benchmark of its own.
USUAL: Final = ("forward", "gzip", "zstd", "tls", "no-acks", "workers")

# The issue's: within 25% of the plain rate.
RATIO_TARGET: Final = 0.75
JUDGED: Final = ("gzip", "zstd", "tls")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be asked for."""
    sending.add_amount(parser, Amount(events=400_000, pairs=3))
    parser.add_argument(
        "--only", action="append", choices=VARIANTS, help="this variant; repeatable"
    )


def measure(options: argparse.Namespace, place: Place) -> Result:
    """Run the pairs of each variant."""
    plain = sending.plain_way(options)
    around = Trial(place, sending.mix(options))
    has_workers = has_setting("workers")
    if has_workers:
        plain = replace(plain, workers=1)
    results = {}
    left_out = []
    for name in options.only or USUAL:
        if name == "workers" and not has_workers:
            stage.say("this Penstock has no setting `workers`: left out")
            left_out.append(name)
            continue
        results[name] = _variant(around, plain, name, options.pairs)
    return {
        "postgresql": around.postgresql,
        "mean_entry_bytes": around.mean_entry_bytes,
        "variants": results,
        "left_out": left_out,
    }


def _variant(around: Trial, plain: Way, name: str, pairs: int) -> dict[str, Any]:
    changed = VARIANTS[name][1](plain)
    few = around.chunks[: max(1, len(around.chunks) // 4)]
    for way in (plain, changed):  # neither pays for being first
        around.run(way, few)
    runs = []
    for number in range(1, pairs + 1):
        one, other = around.run(plain), around.run(changed)
        trial.check_same(one.stored, other.stored, f"plain and {name}")
        runs.append((one.figures, other.figures))
        stage.say(
            f"{name}, pair {number} of {pairs}:"
            f" plain {one.figures.events_per_second:,.0f} rows/s,"
            f" this {other.figures.events_per_second:,.0f}"
        )
    return _summary(runs)


def _summary(runs: list[tuple[Figures, Figures]]) -> dict[str, Any]:
    pairs = [
        {"plain": asdict(a), "variant": asdict(b), "ratio": _ratios(a, b)}
        for a, b in runs
    ]
    names = ("events_per_second", "cpu_seconds_per_million")
    return {
        "plain": trial.medians([a for a, _ in runs]),
        "variant": trial.medians([b for _, b in runs]),
        "ratio": {
            name: median(pair["ratio"][name] for pair in pairs) for name in names
        },
        "pair_results": pairs,
    }


def _ratios(one: Figures, other: Figures) -> dict[str, float]:
    return {
        "events_per_second": other.events_per_second / one.events_per_second,
        # Of very small runs the clock tick is larger than the CPU time.
        "cpu_seconds_per_million": other.cpu_seconds_per_million
        / max(one.cpu_seconds_per_million, 1e-9),
    }


def sheets(result: Result) -> list[Sheet]:
    """A row for each variant."""
    rows = []
    for name, found in result["variants"].items():
        ratios = [one["ratio"]["events_per_second"] for one in found["pair_results"]]
        plain, this = found["plain"], found["variant"]
        ack_ms = this["ack_p50_ms"]
        rows.append(
            (
                VARIANTS[name][0],
                f"{plain['events_per_second']:,.0f}",
                f"{this['events_per_second']:,.0f}",
                f"{found['ratio']['events_per_second']:.3f}",
                report.spread(ratios, 3),
                f"{found['ratio']['cpu_seconds_per_million']:.2f}",
                f"{this['cpu_seconds_per_million']:.2f}",
                f"{this['sender_cpu_seconds_per_million']:.2f}",
                "" if ack_ms is None else f"{ack_ms:.1f}",
            )
        )
    pairs = next(iter(result["variants"].values()), {"pair_results": ()})
    title = (
        f"{result['events']:,} events a run, {len(pairs['pair_results'])} pairs for"
        " each; medians; CPU is CPU-s a million rows"
    )
    headings = (
        "",
        "plain, rows/s",
        "this, rows/s",
        "ratio",
        "range of pairs",
        "ratio of CPU",
        "CPU",
        "sender's CPU",
        "ack p50, ms",
    )
    return [Sheet(title, headings, rows)]


def targets(result: Result) -> list[Target]:
    """What this was to reach."""
    found = []
    for name in JUDGED:
        if name in result["variants"]:
            ratio = result["variants"][name]["ratio"]["events_per_second"]
            found.append(
                Target(
                    f"{VARIANTS[name][0]}, rate beside the plain one",
                    f"{RATIO_TARGET} or more",
                    f"{ratio:.3f}",
                    ratio >= RATIO_TARGET,
                )
            )
    return found


def draw(result: Result) -> str:
    """For each variant its rate and the plain one's."""
    head = plot.Head(
        f"Rows a second, {result['events']:,} events a run; in brackets the ratio",
        report.machine_line(result),
        ("this way", "plain: PackedForward, acks, in clear"),
    )
    groups = []
    for name, found in result["variants"].items():
        this = found["variant"]["events_per_second"]
        plain = found["plain"]["events_per_second"]
        ratio = found["ratio"]["events_per_second"]
        bars = ((this, f"{this:,.0f} ({ratio:.3f})"), (plain, f"{plain:,.0f}"))
        groups.append(plot.Group(name, bars))
    return plot.bars(head, groups)


QUESTION: Final = Question(
    name="variants",
    asks="What compression, TLS, other modes, no acks and more processes cost.",
    add_options=add_options,
    measure=measure,
    sheets=sheets,
    targets=targets,
    draw=draw,
)

if __name__ == "__main__":
    sys.exit(answer(QUESTION))
