"""Fluent Bit's own way into PostgreSQL beside Penstock: the same records, in turn.

    make bench ARGS="fluent_bit"            with a `fluent-bit` on PATH

Owns the order, and Fluent Bit's process: in_forward to out_pgsql with its defaults but
for a shorter flush. Both listen on loopback, both reach the same PostgreSQL over TCP
there, and the same sender loads them: pairs of Penstock (A) and Fluent Bit (B). Fluent
Bit acks before anything is stored, so its clock stops at the commit of its last row, by
PostgreSQL's own time of that commit; Penstock's at its last ack. All rows are counted.

Exit codes: 0 measured, 1 something failed, 2 usage, 130 interrupted.
"""

import argparse
import secrets
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

# Run as a file, Python looks for modules beside it, not in the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import load, plot, process, report, sending, stage
from benchmarks.frames import Form, frames
from benchmarks.question import Place, Question, Result, answer
from benchmarks.report import Sheet, Target
from benchmarks.sending import Amount
from benchmarks.server import free_port
from benchmarks.stage import StageError
from benchmarks.trial import Trial, Way

# The issue's.
TIMES_TARGET: Final = 5.0

MESSAGE_CONNECTIONS: Final = 100

# Its default of one second would be counted against it at the end of each run.
FLUSH_SECONDS: Final = 0.1
STOP_SECONDS: Final = 15.0
STORE_SECONDS: Final = 300.0

# `rows` wait no longer once they come no more.
_POLL_SECONDS: Final = 0.5

_CONFIGURATION: Final = """\
[SERVICE]
    flush     {flush}
    log_level warn
[INPUT]
    name   forward
    listen 127.0.0.1
    port   {port}
[OUTPUT]
    name     pgsql
    match    *
    host     127.0.0.1
    port     {postgresql_port}
    database fluentbit
    table    fluentbit
    user     fluentbit
    password {password}
"""

_END_SQL: Final = """
    SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin))) FROM fluentbit;
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be asked for."""
    sending.add_amount(parser, Amount(events=200_000, pairs=3))


@dataclass(slots=True)
class FluentBit:
    """The process, the port it listens on, and its database."""

    process: "subprocess.Popen[bytes]"
    port: int
    url: str
    log: Path

    def cpu_seconds(self) -> float:
        """User and system time so far.

        Raises:
            StageError: it has ended.
        """
        self.check()
        return process.cpu_seconds(self.process.pid)

    def check(self) -> None:
        """See that it runs.

        Raises:
            StageError: it has ended.
        """
        if self.process.poll() is not None:
            raise StageError(f"fluent-bit ended: {self.said()}")

    def said(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])


def measure(options: argparse.Namespace, place: Place) -> Result:
    """Run the pairs of both modes."""
    program = _program()
    plain = sending.plain_way(options)
    around = Trial(place, sending.mix(options))
    agent = _start(program, around, place)
    ways = {
        "packed_forward": plain,
        "message": Way(
            form=Form("message", acks=False),
            connections=MESSAGE_CONNECTIONS,
            server_options=plain.server_options,
        ),
    }
    modes = {
        mode: _pairs(around, way, agent, mode, options.pairs)
        for mode, way in ways.items()
    }
    version = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True
    )
    return {
        "postgresql": around.postgresql,
        "mean_entry_bytes": around.mean_entry_bytes,
        "fluent_bit": version.stdout.split("\n")[0].removeprefix("Fluent Bit v"),
        "modes": modes,
    }


def _program() -> str:
    found = shutil.which("fluent-bit")
    if found is None:
        raise StageError("no fluent-bit on PATH")
    asked = subprocess.run([found, "--help"], capture_output=True, text=True)
    if "pgsql" not in asked.stdout + asked.stderr:
        raise StageError(
            "the fluent-bit on PATH has no output `pgsql`: it is built with"
            " -DFLB_OUT_PGSQL=On where libpq is installed"
        )
    return found


def _start(program: str, around: Trial, place: Place) -> FluentBit:
    password = secrets.token_hex(16)
    # PostgreSQL keeps the time of each commit: the same small cost for both.
    postgresql_port = around.listen_on_loopback(password, track_commit_timestamp="on")
    stage.query(around.url, f"CREATE ROLE fluentbit LOGIN PASSWORD '{password}';")
    stage.query(around.url, "CREATE DATABASE fluentbit OWNER fluentbit;")
    port = free_port()
    configuration = place.directory / "fluent-bit.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(
        _CONFIGURATION.format(
            flush=FLUSH_SECONDS,
            port=port,
            postgresql_port=postgresql_port,
            password=password,
        )
    )
    log = place.directory / "fluent-bit.log"
    with log.open("wb") as output:
        started = subprocess.Popen(
            [program, "-c", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=place.directory,
            start_new_session=True,
        )
    place.stack.callback(_stop, started)
    url = around.url.replace("/penstock", "/fluentbit", 1)
    agent = FluentBit(started, port, url, log)
    _wait_until_ready(agent)
    return agent


def _stop(started: "subprocess.Popen[bytes]") -> None:
    started.terminate()
    try:
        started.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        started.kill()
        started.wait()


def _wait_until_ready(agent: FluentBit) -> None:
    deadline = time.monotonic() + stage.READY_SECONDS
    while time.monotonic() < deadline:
        agent.check()
        try:
            with socket.create_connection(("127.0.0.1", agent.port), 5):
                return
        except OSError:
            time.sleep(0.05)
    raise StageError(f"fluent-bit takes no connections: {agent.said()}")


def _pairs(
    around: Trial, way: Way, agent: FluentBit, mode: str, count: int
) -> dict[str, Any]:
    around.run(way, around.distinct())
    _run_agent(around, way, agent, "warm-up")
    pairs = []
    for number in range(1, count + 1):
        ours = around.run(way).figures
        theirs = _run_agent(around, way, agent, f"{mode}/{number}")
        pair = {
            "penstock_events_per_second": ours.events_per_second,
            "fluent_bit_events_per_second": theirs["events_per_second"],
            "times": ours.events_per_second / theirs["events_per_second"],
            "penstock_cpu_seconds_per_million": ours.cpu_seconds_per_million,
            "fluent_bit_cpu_seconds_per_million": theirs["cpu_seconds_per_million"],
            "penstock_postgres_cpu_seconds_per_million": (
                ours.postgres_cpu_seconds_per_million
            ),
            "fluent_bit_postgres_cpu_seconds_per_million": (
                theirs["postgres_cpu_seconds_per_million"]
            ),
        }
        stage.say(
            f"{mode}, pair {number} of {count}: Penstock"
            f" {ours.events_per_second:,.0f} rows/s, Fluent Bit"
            f" {theirs['events_per_second']:,.0f}: {pair['times']:.2f} times"
        )
        pairs.append(pair)
    summary = {name: median(pair[name] for pair in pairs) for name in pairs[0]}
    return summary | {"pair_results": pairs}


def _run_agent(around: Trial, way: Way, agent: FluentBit, run: str) -> dict[str, float]:
    stage.reset(around.url)  # the checkpoint, and the room the other's rows took
    stage.query(agent.url, "TRUNCATE fluentbit;")
    made = frames(
        around.chunks, f"{around.now_ns}/agent/{run}", way.form, way.connections
    )
    target = load.Target("127.0.0.1", agent.port, way.connections, way.window)
    cpu, postgres_cpu = agent.cpu_seconds(), around.postgres_cpu_seconds()
    started = time.time()
    load.send(target, made)
    _wait_until_stored(agent, around.events)
    cpu = agent.cpu_seconds() - cpu
    postgres_cpu = around.postgres_cpu_seconds() - postgres_cpu
    ended = float(stage.query(agent.url, _END_SQL))
    return {
        "events_per_second": around.events / (ended - started),
        "cpu_seconds_per_million": cpu / around.events * 1e6,
        "postgres_cpu_seconds_per_million": postgres_cpu / around.events * 1e6,
    }


def _wait_until_stored(agent: FluentBit, events: int) -> None:
    deadline = time.monotonic() + STORE_SECONDS
    seen_bytes = -1
    while time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        agent.check()
        found = int(stage.query(agent.url, "SELECT pg_relation_size('fluentbit');"))
        # Counted only when no more come, for counting is work as well.
        if found == seen_bytes:
            rows = int(stage.query(agent.url, "SELECT count(*) FROM fluentbit;"))
            if rows == events:
                return
            if rows > events:
                raise StageError(f"fluent-bit stored {rows:,} rows of {events:,}")
        seen_bytes = found
    raise StageError(
        f"fluent-bit has not stored all {events:,} rows in {STORE_SECONDS:.0f} s:"
        f" {agent.said()}"
    )


def sheets(result: Result) -> list[Sheet]:
    """A row for each mode."""
    rows = []
    for mode, found in result["modes"].items():
        times = [pair["times"] for pair in found["pair_results"]]
        rows.append(
            (
                mode,
                f"{found['penstock_events_per_second']:,.0f}",
                f"{found['fluent_bit_events_per_second']:,.0f}",
                f"{found['times']:.2f}",
                report.spread(times, 2),
                f"{found['penstock_cpu_seconds_per_million']:.2f}",
                f"{found['fluent_bit_cpu_seconds_per_million']:.2f}",
                f"{found['penstock_postgres_cpu_seconds_per_million']:.2f}",
                f"{found['fluent_bit_postgres_cpu_seconds_per_million']:.2f}",
            )
        )
    headings = (
        "",
        "Penstock, rows/s",
        "Fluent Bit, rows/s",
        "times",
        "range of pairs",
        "CPU, Penstock",
        "Fluent Bit",
        "PostgreSQL's CPU, Penstock",
        "Fluent Bit",
    )
    title = (
        f"{result['events']:,} events a run, {result['pairs']} pairs, Fluent Bit"
        f" {result['fluent_bit']} in_forward to out_pgsql; CPU is CPU-s a million rows"
    )
    return [Sheet(title, headings, rows)]


def targets(result: Result) -> list[Target]:
    """What this was to reach."""
    times = result["modes"]["packed_forward"]["times"]
    return [
        Target(
            f"against Fluent Bit {result['fluent_bit']} to PostgreSQL",
            f"{TIMES_TARGET:.0f} times and more",
            f"{times:.2f} times",
            times >= TIMES_TARGET,
        )
    ]


def draw(result: Result) -> str:
    """For each mode both rates."""
    head = plot.Head(
        f"Rows a second stored, {result['events']:,} events a run",
        report.machine_line(result),
        ("Penstock", f"Fluent Bit {result['fluent_bit']}, out_pgsql"),
    )
    groups = []
    for mode, found in result["modes"].items():
        ours = found["penstock_events_per_second"]
        theirs = found["fluent_bit_events_per_second"]
        text = f"{ours:,.0f} ({found['times']:.2f} times)"
        bars = ((ours, text), (theirs, f"{theirs:,.0f}"))
        groups.append(plot.Group(mode, bars))
    return plot.bars(head, groups, left=130)


QUESTION: Final = Question(
    name="fluent_bit",
    asks="Rows a second stored by Penstock, and by Fluent Bit's out_pgsql.",
    add_options=add_options,
    measure=measure,
    sheets=sheets,
    targets=targets,
    draw=draw,
)

if __name__ == "__main__":
    sys.exit(answer(QUESTION))
