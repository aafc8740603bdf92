"""End to end: forward protocol in, rows committed, acks out, beside raw COPY.

    make bench                          or: .venv/bin/python benchmarks/end_to_end.py
    benchmarks/end_to_end.py --json -   one line of JSON on stdout

Owns the order of a measurement. It starts a PostgreSQL and a Penstock of its own, then
runs pairs in turn: the whole path (A), the limit (B), A, B, ... from empty tables and
after a checkpoint each time. After every run the rows are counted and compared with
the other side's; a run that lost or changed one is an error, not a figure.

Exit codes: 0 measured, 1 something failed, 2 usage, 130 interrupted.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from penstock.errors import PenstockError

# Run as a file, Python looks for modules beside it, not in the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import limit, load, records, report, stage
from benchmarks.load import LoadError, LoadResult
from benchmarks.records import Chunk
from benchmarks.report import Pair
from benchmarks.stage import PenstockServer, StageError


@dataclass(frozen=True, slots=True)
class Setup:
    """All that a run needs, started and made before the first clock starts."""

    url: str
    server: PenstockServer
    target: load.Target
    chunks: list[Chunk]
    files: list[Path]
    events: int
    run_prefix: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, then report as the options ask for."""
    options = _parse(arguments)
    stage.heed_stop_signals(options.timeout)
    try:
        result = _measure(options)
    except (StageError, LoadError, PenstockError, SubprocessError) as error:
        stage.say(f"end_to_end: {error}")
        return 1
    except KeyboardInterrupt:
        stage.say("end_to_end: interrupted; all that was started is stopped")
        return 130
    report.write_json(result, report.RESULTS_DIR / "end_to_end.json")
    if options.json == "-":
        sys.stdout.write(json.dumps(report.rounded(result)) + "\n")
        return 0
    if options.json:
        report.write_json(result, Path(options.json))
    report.print_table(result)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Rows a second through Penstock, beside raw COPY of the same rows."
    )
    add = parser.add_argument
    # Three pairs of this take about a minute and a quarter at 150,000 rows/s.
    add("--events", type=_positive, default=2_000_000, help="events of each run")
    add("--pairs", type=_positive, default=3, help="runs of each side, in turn")
    add("--connections", type=_positive, default=4, help="connections of the sender")
    add("--window", type=_positive, default=2, help="unacked chunks on each")
    add("--chunk-events", type=_positive, default=2_000, help="events of a chunk")
    add("--seed", type=int, default=1, help="of the records")
    add("--writers", type=_positive, help="of the server; its own default if left out")
    add("--server-option", action="append", default=[], metavar="--NAME=VALUE",
        help="passed to `penstock serve` as it is; repeatable")  # fmt: skip
    add("--json", metavar="FILE|-", help="also write the result; - prints one line")
    add("--work-dir", type=Path, help="where the temporary directory is made")
    add("--timeout", type=_positive, default=900, help="seconds for all of it")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    with ExitStack() as stack:
        try:
            setup = _set_up(options, stack)
            postgresql = stage.query(setup.url, "SHOW server_version;").split()[0]
            _warm_up(setup)
            pairs, ack_seconds = _run_pairs(setup, options.pairs)
            peak_rss_mib = setup.server.peak_rss_mib()
        finally:
            stage.ignore_stop_signals()
    settings = {
        name: getattr(options, name)
        for name in ("events", "pairs", "connections", "window", "chunk_events", "seed")
    }
    settings["writers"] = options.writers
    settings["server_options"] = options.server_option
    settings["mean_entry_bytes"] = records.mean_entry_bytes(setup.chunks)
    summary = report.summarise(pairs, ack_seconds) | {"peak_rss_mib": peak_rss_mib}
    return summary | settings | report.surroundings(postgresql)


def _set_up(options: argparse.Namespace, stack: ExitStack) -> Setup:
    now_ns = time.time_ns()
    mix = records.Mix(options.events, options.chunk_events, options.seed, now_ns)
    directory = stack.enter_context(stage.work_dir(options.work_dir))
    chunks = records.workload(mix)
    mean = records.mean_entry_bytes(chunks)
    stage.say(
        f"{options.events:,} events in {len(chunks):,} chunks, {mean:.0f} bytes each"
    )
    url = stack.enter_context(stage.postgres(directory))
    limit.ensure_partitions(url, now_ns)
    files_dir = stack.enter_context(limit.files_dir(directory, chunks))
    files = limit.prepare(chunks, files_dir)
    arguments = [f"--writers={options.writers}"] if options.writers else []
    server = PenstockServer(url, directory, arguments + options.server_option)
    stack.enter_context(server)
    target = load.Target("127.0.0.1", server.port, options.connections, options.window)
    return Setup(url, server, target, chunks, files, options.events, f"{now_ns}")


def _warm_up(setup: Setup) -> None:
    # The first rows after initdb pay for what later runs find made: WAL files above
    # all (the first run of the limit has been seen 30% slower), connections, caches.
    distinct = list({id(chunk): chunk for chunk in setup.chunks}.values())
    _send(setup, distinct, "warm-up")
    stage.fingerprint(setup.url, sum(chunk.events for chunk in distinct))
    stage.reset(setup.url)
    limit.load(setup.url, setup.files)


def _run_pairs(setup: Setup, count: int) -> tuple[list[Pair], list[float]]:
    pairs = []
    ack_seconds = []
    for number in range(1, count + 1):
        pair, waits = _run_pair(setup, number)
        stage.say(
            f"pair {number} of {count}: end to end {pair.events_per_second:,.0f} "
            f"rows/s, limit {pair.limit_rows_per_second:,.0f}, "
            f"ratio {pair.ratio_to_limit:.3f}"
        )
        pairs.append(pair)
        ack_seconds += waits
    return pairs, ack_seconds


def _run_pair(setup: Setup, number: int) -> tuple[Pair, list[float]]:
    stage.reset(setup.url)
    cpu_started = setup.server.cpu_seconds()
    sent = _send(setup, setup.chunks, str(number))
    cpu_seconds = setup.server.cpu_seconds() - cpu_started
    stored = stage.fingerprint(setup.url, setup.events)
    stage.reset(setup.url)
    limit_seconds = limit.load(setup.url, setup.files)
    loaded = stage.fingerprint(setup.url, setup.events)
    if stored != loaded:
        raise StageError(f"not the same rows: {stored} end to end, {loaded} by psql")
    millions = setup.events / 1e6
    pair = Pair(
        events_per_second=sent.events / sent.seconds,
        limit_rows_per_second=setup.events / limit_seconds,
        ratio_to_limit=limit_seconds / sent.seconds,
        cpu_seconds_per_million=cpu_seconds / millions,
        sender_cpu_seconds_per_million=sent.cpu_seconds / millions,
        ack_p50_ms=load.percentile(sent.ack_seconds, 0.5) * 1e3,
        ack_p99_ms=load.percentile(sent.ack_seconds, 0.99) * 1e3,
    )
    return pair, sent.ack_seconds


def _send(setup: Setup, chunks: list[Chunk], run: str) -> LoadResult:
    frames = load.frames(chunks, f"{setup.run_prefix}/{run}")
    try:
        return load.send(setup.target, frames)
    except LoadError as error:
        raise LoadError(f"{error}\n{setup.server.log_tail()}") from error


if __name__ == "__main__":
    sys.exit(main())
