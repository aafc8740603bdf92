"""What thousands of idle connections cost: memory each, and others' waits meanwhile.

    make bench ARGS="connections"

Owns the order: the waits of a few busy connections alone; then with the idle ones open
that have sent nothing; then with each of those having sent one message, as a container
that is quiet now. The memory is the server's RSS at each step, after the same traffic.

Exit codes: 0 measured, 1 something failed, 2 usage, 130 interrupted.
"""

import argparse
import itertools
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

# Run as a file, Python looks for modules beside it, not in the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import load, records, sending, stage
from benchmarks.frames import Form, frames
from benchmarks.load import percentile
from benchmarks.question import Place, Question, Result, answer, positive
from benchmarks.records import Mix
from benchmarks.report import Sheet, Target
from benchmarks.sending import Amount
from benchmarks.server import PenstockServer
from benchmarks.stage import StageError
from benchmarks.trial import Trial, Way

# The issue's, for each idle connection.
RSS_TARGET_KIB: Final = 20.0

# Files that we and the server have open besides the connections.
_OTHER_FILES: Final = 200
_UNBOUNDED: Final = 1_000_000
_SETTLE_SECONDS: Final = 30.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be asked for."""
    amount = Amount(events=200_000, pairs=1, chunk_events=100)
    sending.add_amount(parser, amount)
    add = parser.add_argument
    add("--idle", type=positive, default=5_000, help="connections that send nothing")
    add("--chunks-per-second", type=positive, default=200, help="of the busy ones")
    add("--seconds", type=positive, default=5, help="of busy traffic at each step")


def measure(options: argparse.Namespace, place: Place) -> Result:
    """Take the three steps, and a fourth: the idle ones gone again."""
    _allow_files(options.idle + _OTHER_FILES)
    plain = sending.plain_way(options)
    room = options.idle + options.connections + 10
    way = Way(
        connections=plain.connections,
        window=plain.window,
        server_options=(
            *plain.server_options,
            f"--max-connections={room}",
            f"--max-connections-per-address={room}",
        ),
    )
    around = Trial(place, sending.mix(options))
    server = around.server(way)
    around.run(way, around.distinct())  # memory that any traffic takes
    steps: list[dict[str, Any]] = [_step("none", around, way, options)]
    with _idle(server, options.idle) as idle:
        steps.append(_step("idle, silent so far", around, way, options))
        _say_something(idle)
        _wait_for(server, "penstock_received_events_total", options.idle)
        steps.append(_step("idle, one message sent", around, way, options))
    _wait_gone(server)
    steps.append(_step("gone again", around, way, options))
    before = steps[0]["rss_bytes"]
    for step in steps:
        step["kib_each"] = (step["rss_bytes"] - before) / 1024 / options.idle
    return {
        "postgresql": around.postgresql,
        "steps": steps,
        "kib_each": steps[1]["kib_each"],
        "kib_each_once_used": steps[2]["kib_each"],
    }


def _allow_files(count: int) -> None:
    """Raise the limit of open files, which the server inherits.

    Raises:
        StageError: the hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise StageError(
            f"{count:,} open files are needed and {hard:,} allowed (ulimit -Hn);"
            " --idle asks for fewer"
        )
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


@contextmanager
def _idle(server: PenstockServer, count: int) -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    try:
        address = ("127.0.0.1", server.port)
        opened.extend(socket.create_connection(address, 30) for _ in range(count))
        _wait_for(server, "penstock_connections", count)
        yield opened
    finally:
        for one in opened:
            one.close()


def _say_something(connections: list[socket.socket]) -> None:
    mix = Mix(len(connections), 1_000, 1, time.time_ns())
    form = Form("message", acks=True)  # one event each
    made = frames(records.workload(mix), f"{mix.now_ns}/idle", form)
    for one, frame in zip(connections, made, strict=True):
        one.sendall(b"".join(frame.parts))
    for one, frame in zip(connections, made, strict=True):
        if one.recv(len(frame.ack), socket.MSG_WAITALL) != frame.ack:
            raise StageError("an idle connection got another answer than its ack")


def _wait_for(server: PenstockServer, metric: str, least: float) -> None:
    _wait_until(lambda: server.metrics().get(metric, 0.0) >= least, metric)


def _wait_gone(server: PenstockServer) -> None:
    name = "penstock_connections"
    _wait_until(lambda: server.metrics().get(name, 0.0) < 1, name)


def _wait_until(is_so: Any, metric: str) -> None:
    deadline = time.monotonic() + _SETTLE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise StageError(f"{metric} does not come to what it should")
        time.sleep(0.1)


def _step(
    name: str, around: Trial, way: Way, options: argparse.Namespace
) -> dict[str, Any]:
    stage.reset(around.url)
    count = options.chunks_per_second * options.seconds
    chunks = list(itertools.islice(itertools.cycle(around.distinct()), count))
    made = frames(chunks, f"{around.now_ns}/{name}", connections=way.connections)
    server = around.server(way)
    target = load.Target("127.0.0.1", server.port, way.connections, _UNBOUNDED)
    sent = load.send_paced(target, made, options.chunks_per_second)
    stage.fingerprint(around.url, sent.events)
    rss_bytes = server.rss_bytes()
    step = {
        "name": name,
        "rss_bytes": rss_bytes,
        "ack_p50_ms": percentile(sent.ack_seconds, 0.5) * 1e3,
        "ack_p99_ms": percentile(sent.ack_seconds, 0.99) * 1e3,
        "sender_cpu_share": sent.cpu_seconds / sent.seconds,
    }
    stage.say(f"{name}: {rss_bytes / 2**20:.1f} MiB")
    return step


def sheets(result: Result) -> list[Sheet]:
    """A row for each step."""
    rows = [
        (
            one["name"],
            f"{one['rss_bytes'] / 2**20:.1f}",
            f"{one['kib_each']:.1f}",
            f"{one['ack_p50_ms']:.1f}",
            f"{one['ack_p99_ms']:.1f}",
            f"{one['sender_cpu_share']:.0%}",
        )
        for one in result["steps"]
    ]
    title = (
        f"{result['idle']:,} idle connections beside {result['connections']} that send"
        f" {result['chunks_per_second']} chunks/s of {result['chunk_events']} events"
    )
    headings = ("", "RSS, MiB", "KiB each", "ack p50, ms", "p99, ms", "sender's CPU")
    return [Sheet(title, headings, rows)]


def targets(result: Result) -> list[Target]:
    """What this was to reach."""
    kib = max(result["kib_each"], result["kib_each_once_used"])
    return [
        Target(
            f"{result['idle']:,} idle connections",
            f"{RSS_TARGET_KIB:.0f} KiB each or less",
            f"{kib:.1f} KiB",
            kib <= RSS_TARGET_KIB,
        )
    ]


QUESTION: Final = Question(
    name="connections",
    asks="The server's memory for each idle connection, and others' waits meanwhile.",
    add_options=add_options,
    measure=measure,
    sheets=sheets,
    targets=targets,
)

if __name__ == "__main__":
    sys.exit(answer(QUESTION))
