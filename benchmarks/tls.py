"""What TLS costs: the same load to a plain listener and to one with TLS, in turn.

    .venv/bin/python benchmarks/tls.py
    benchmarks/tls.py --json -          one line of JSON on stdout

Owns the order of a measurement. It starts a PostgreSQL and a Penstock of its own, with
two listeners, then runs pairs: plain (A), TLS (B), A, B, ... from empty tables and
after a checkpoint each time. Ratios are taken within a pair. After each run the rows
are counted and compared with the other's. The sender encrypts in the time that is
measured, on the same machine: its CPU is told apart from the server's.

Exit codes: 0 measured, 1 something failed, 2 usage, 130 interrupted.
"""

import argparse
import json
import ssl
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from subprocess import SubprocessError
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

# Run as a file, Python looks for modules beside it, not in the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import load, records, report, stage
from benchmarks.load import LoadError, Target
from benchmarks.records import Chunk
from benchmarks.stage import PenstockServer, StageError
from penstock.errors import PenstockError
from tests.authority import Authority

VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Run(NamedTuple):
    """One side of a pair."""

    events_per_second: float
    mib_per_second: float
    cpu_seconds_per_million: float
    sender_cpu_seconds_per_million: float
    ack_p50_ms: float
    ack_p99_ms: float


# Of a run: name, digits, unit and meaning.
ROWS: Final = (
    ("events_per_second", 0, "rows/s, sent to acked after COMMIT"),
    ("mib_per_second", 1, "MiB/s of messages"),
    ("cpu_seconds_per_million", 2, "CPU-s a million, penstock serve"),
    ("sender_cpu_seconds_per_million", 2, "CPU-s a million, the sender"),
    ("ack_p50_ms", 1, "ms, chunk's last byte out to ack in"),
    ("ack_p99_ms", 1, "ms, the same"),
)


@dataclass(frozen=True, slots=True)
class Setup:
    """All that a run needs, started and made before the first clock starts."""

    url: str
    server: PenstockServer
    plain: Target
    tls: Target
    chunks: list[Chunk]
    events: int
    run_prefix: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, then report as the options ask for."""
    options = _parse(arguments)
    stage.heed_stop_signals(options.timeout)
    try:
        result = _measure(options)
    except (StageError, LoadError, PenstockError, SubprocessError) as error:
        stage.say(f"tls: {error}")
        return 1
    except KeyboardInterrupt:
        stage.say("tls: interrupted; all that was started is stopped")
        return 130
    _write(result, report.RESULTS_DIR / "tls.json")
    if options.json == "-":
        sys.stdout.write(json.dumps(report.rounded(result)) + "\n")
        return 0
    if options.json:
        _write(result, Path(options.json))
    _print_table(result)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What TLS costs, beside plain TCP.")
    add = parser.add_argument
    # Five pairs of this take about two minutes at 100,000 rows/s.
    add("--events", type=_positive, default=800_000, help="events of each run")
    add("--pairs", type=_positive, default=5, help="runs of each side, in turn")
    add("--connections", type=_positive, default=4, help="connections of the sender")
    add("--window", type=_positive, default=2, help="unacked chunks on each")
    add("--chunk-events", type=_positive, default=2_000, help="events of a chunk")
    add("--seed", type=int, default=1, help="of the records")
    add("--tls-version", choices=VERSIONS, default="1.3", help="that is spoken")
    add("--json", metavar="FILE|-", help="also write the result; - prints one line")
    add("--work-dir", type=Path, help="where the temporary directory is made")
    add("--timeout", type=_positive, default=240, help="seconds for all of it")
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
            for target in (setup.plain, setup.tls):  # neither pays for being first
                _run(setup, target, "warm-up", setup.chunks[: len(setup.chunks) // 4])
            pairs = [_pair(setup, n, options.pairs) for n in range(options.pairs)]
        finally:
            stage.ignore_stop_signals()
    names = ("events", "connections", "window", "chunk_events", "seed", "tls_version")
    settings = {name: getattr(options, name) for name in names}
    settings["mean_entry_bytes"] = records.mean_entry_bytes(setup.chunks)
    return _summary(pairs) | settings | report.surroundings(postgresql)


def _set_up(options: argparse.Namespace, stack: ExitStack) -> Setup:
    now_ns = time.time_ns()
    mix = records.Mix(options.events, options.chunk_events, options.seed, now_ns)
    directory = stack.enter_context(stage.work_dir(options.work_dir))
    chunks = records.workload(mix)
    url = stack.enter_context(stage.postgres(directory))
    authority = Authority()
    certificate, key = authority.issue("server", dns=["localhost"]).write(
        directory, "server"
    )
    port = stage.free_port()
    listener = f'[{{host = "127.0.0.1", port = {port}, tls = "on"}}]'
    arguments = [f"--listeners={listener}"]
    arguments += [f"--tls-certificate-file={certificate}", f"--tls-key-file={key}"]
    server = stack.enter_context(PenstockServer(url, directory, arguments))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.certificate.decode())
    version = VERSIONS[options.tls_version]
    context.minimum_version = context.maximum_version = version
    among = options.connections, options.window
    return Setup(
        url,
        server,
        Target("localhost", server.port, *among),
        Target("localhost", port, *among, context),
        chunks,
        options.events,
        f"{now_ns}",
    )


def _pair(setup: Setup, number: int, pairs: int) -> tuple[Run, Run]:
    plain, stored = _run(setup, setup.plain, f"{number} plain", setup.chunks)
    within, stored_within = _run(setup, setup.tls, f"{number} tls", setup.chunks)
    if stored != stored_within:
        raise StageError(f"not the same rows: {stored} plain, {stored_within} by TLS")
    stage.say(
        f"pair {number + 1} of {pairs}: plain {plain.events_per_second:,.0f} rows/s,"
        f" TLS {within.events_per_second:,.0f} rows/s,"
        f" ratio {within.events_per_second / plain.events_per_second:.3f}"
    )
    return plain, within


def _run(
    setup: Setup, target: Target, name: str, chunks: list[Chunk]
) -> tuple[Run, str]:
    """Send to one listener; return the figures, and what was stored, to compare."""
    stage.reset(setup.url)
    frames = load.frames(chunks, f"{setup.run_prefix}/{name}/{target.port}")
    cpu_started = setup.server.cpu_seconds()
    try:
        sent = load.send(target, frames)
    except LoadError as error:
        raise LoadError(f"{error}\n{setup.server.log_tail()}") from error
    cpu_seconds = setup.server.cpu_seconds() - cpu_started
    stored = stage.fingerprint(setup.url, sent.events)
    millions = sent.events / 1e6
    run = Run(
        sent.events / sent.seconds,
        sent.bytes / sent.seconds / 2**20,
        cpu_seconds / millions,
        sent.cpu_seconds / millions,
        load.percentile(sent.ack_seconds, 0.5) * 1e3,
        load.percentile(sent.ack_seconds, 0.99) * 1e3,
    )
    return run, stored


def _summary(pairs: list[tuple[Run, Run]]) -> dict[str, Any]:
    def medians(runs: list[Run]) -> dict[str, float]:
        return {name: median(each) for name, each in _by_name(runs).items()}

    plain, within = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    ratios = [
        {name: _ratio(getattr(b, name), getattr(a, name)) for name in Run._fields}
        for a, b in pairs
    ]
    return {
        "plain": medians(plain),
        "tls": medians(within),
        "ratio": {name: median(each[name] for each in ratios) for name in Run._fields},
        "pair_results": [
            {"plain": a._asdict(), "tls": b._asdict(), "ratio": ratio}
            for (a, b), ratio in zip(pairs, ratios, strict=True)
        ],
    }


def _by_name(runs: list[Run]) -> dict[str, list[float]]:
    return {name: [getattr(run, name) for run in runs] for name in Run._fields}


def _ratio(value: float, beside: float) -> float:
    return value / beside if beside else 0.0


def _write(result: dict[str, Any], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report.rounded(result), indent=2) + "\n")


def _print_table(result: dict[str, Any]) -> None:
    pairs = result["pair_results"]
    title = (
        f"{result['events']:,} events a run, {len(pairs)} pairs, TLS"
        f" {result['tls_version']}, {result['cpu_count']} CPUs; medians"
    )
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("plain", "TLS", "TLS to plain", "range of pairs"):
        table.add_column(heading, justify="right")
    table.add_column()
    for name, digits, meaning in ROWS:
        ratios = [pair["ratio"][name] for pair in pairs]
        table.add_row(
            f"{result['plain'][name]:,.{digits}f}",
            f"{result['tls'][name]:,.{digits}f}",
            f"{result['ratio'][name]:.3f}",
            f"{min(ratios):.3f} to {max(ratios):.3f}",
            meaning,
        )
    console = Console()
    if not console.is_terminal:
        # Where there is no terminal a table is as wide as its values.
        console.width = report.WIDE
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
