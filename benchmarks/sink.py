"""The way from the ring into PostgreSQL alone, beside raw COPY of the same rows.

    .venv/bin/python benchmarks/sink.py
    .venv/bin/python benchmarks/sink.py --writers 3 --batch-bytes 8388608

Rows are encoded before the clock starts and go through Ring, Flusher and PostgresWriter
in this process: no socket, no msgpack. As many messages wait as of a sender that asks
for acks. So what is left is what the sink costs: our CPU here, and PostgreSQL's with
all of its processes, each in seconds for a million rows. Pairs are run in turn, from
empty tables and after a checkpoint.

CPU is the figure to go by; rows/s depend on what else the machine does.
"""

import argparse
import asyncio
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

# Run as a file, Python looks for modules beside it, not in the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import limit, process, records, stage
from penstock.buffer.books import Books
from penstock.buffer.identity import chunk_identity, part_claim
from penstock.buffer.ring import Ring
from penstock.model import Delivery, EncodedRows, Segment, SourceId
from penstock.rows import RowEncoder
from penstock.settings import (
    ColumnSettings,
    CopySettings,
    PartitionSettings,
    RingSettings,
)
from penstock.sink.claim_periods import ClaimPeriods
from penstock.sink.claims import Claims
from penstock.sink.flusher import Flusher
from penstock.sink.partitions import Partitions
from penstock.sink.postgres import PostgresWriter, next_receiver
from penstock.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Message:
    """A message whose rows are made already."""

    tag: str
    parts: tuple[EncodedRows, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """What one run cost: seconds, and seconds of CPU of the two sides."""

    seconds: float
    our_cpu_seconds: float
    postgres_cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Shape:
    """How the sink is set up, and how much is sent to it at a time."""

    writers: int
    batch_bytes: int
    connections: int
    window: int


def prepare(chunks: Sequence[records.Chunk]) -> list[Message]:
    """Encode the chunks as the server does; equal ones share their rows."""
    encoder = RowEncoder(ColumnSettings(), receiver=1)
    made: dict[int, Message] = {}
    for chunk in chunks:
        if id(chunk) in made:
            continue
        stream = encoder.start(chunk.entries, tag=chunk.tag)
        parts = []
        while not stream.exhausted:
            parts.append(stream.next_part(time.time_ns() // 1_000))
        made[id(chunk)] = Message(chunk.tag, tuple(parts))
    return [made[id(chunk)] for chunk in chunks]


class PostgresCpu:
    """The CPU that a PostgreSQL has used, all its processes together."""

    def __init__(self, url: str) -> None:
        answer = stage.query(url, "SELECT pg_read_file('postmaster.pid');")
        self._postmaster = int(answer.split()[0])

    def seconds(self) -> float:
        """Return user and system time so far, of those that have ended too."""
        return process.cpu_seconds(self._postmaster)


class Feeder:
    """Hands messages to the ring as senders do that wait for their acks."""

    def __init__(self, ring: Ring, messages: Sequence[Message], shape: Shape) -> None:
        self._ring = ring
        self._left = iter(messages)
        self._books = Books()
        self._waiting = 0
        self._number = 0
        self.is_done = asyncio.Event()
        self._first = [
            SourceId(source)
            for _ in range(shape.window)
            for source in range(shape.connections)
        ]

    def start(self) -> None:
        """Hand over what may wait at first."""
        for source in self._first:
            self._hand_over(source)

    def _hand_over(self, source: SourceId) -> None:
        message = next(self._left, None)
        if message is None:
            if self._waiting == 0:
                self.is_done.set()
            return
        self._number += 1
        self._waiting += 1
        chunk = self._number.to_bytes(16)
        # Of the name alone: what the digest of the entries costs is not the sink's.
        identity = chunk_identity(
            sender="bench", tag=message.tag, chunk=chunk, metadata=None, entries=b""
        )
        delivery = Delivery(
            source, "bench", message.tag, chunk, chunk, 0.0, self._settled, identity
        )
        delivery.pending_segments = len(message.parts)
        delivery.sealed = True
        for part in message.parts:
            self._ring.append(Segment(part, delivery, part_claim(identity, part)))

    def _settled(self, delivery: Delivery) -> None:
        self._waiting -= 1
        self._hand_over(delivery.source)


async def through_sink(
    url: str, messages: Sequence[Message], shape: Shape, cpu: PostgresCpu
) -> Run:
    """Store the messages by the sink; return what it cost."""
    receiver = await next_receiver(url)
    partitions, periods = Partitions(PartitionSettings()), ClaimPeriods()
    flusher: Flusher
    ring = Ring(
        max_bytes=RingSettings().ring_bytes,
        max_rows=RingSettings().ring_rows,
        on_waiting=lambda: flusher.rows_wait(),
        on_drained=lambda: flusher.ring_drained(),
    )
    flusher = Flusher(
        ring,
        [
            PostgresWriter(url, partitions, periods, Claims(receiver, number))
            for number in range(shape.writers)
        ],
        batch_bytes=shape.batch_bytes,
        books=Books(),
        metrics=Metrics().sink,
    )
    await flusher.connect()
    writing = [asyncio.create_task(flusher.run(n)) for n in range(shape.writers)]
    feeder = Feeder(ring, messages, shape)
    theirs, ours, started = cpu.seconds(), time.process_time(), time.perf_counter()
    feeder.start()
    await feeder.is_done.wait()
    run = Run(
        time.perf_counter() - started,
        time.process_time() - ours,
        cpu.seconds() - theirs,
    )
    flusher.ending()
    for task in writing:
        task.cancel()
    await asyncio.gather(*writing, return_exceptions=True)
    return run


def by_psql(url: str, files: list[Path], cpu: PostgresCpu) -> Run:
    """Load the files as the limit does; return what it cost, psql as ours."""
    theirs, ours = cpu.seconds(), _children_seconds()
    seconds = limit.load(url, files)
    return Run(seconds, _children_seconds() - ours, cpu.seconds() - theirs)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure pairs, the sink and the limit in turn, and print both."""
    options = _parse()
    stage.heed_stop_signals(options.timeout)
    with ExitStack() as stack:
        try:
            pairs = _measure(options, stack)
        finally:
            stage.ignore_stop_signals()
    sys.stdout.write(_table(pairs, options.events))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="What the way from the ring into PostgreSQL costs."
    )
    copy = CopySettings()
    add = parser.add_argument
    add("--events", type=int, default=1_000_000, help="of each run")
    add("--pairs", type=int, default=3)
    add("--chunk-events", type=int, default=2_000)
    add("--seed", type=int, default=1)
    add("--writers", type=int, default=copy.writers)
    add("--batch-bytes", type=int, default=copy.batch_bytes)
    add("--connections", type=int, default=4)
    add("--window", type=int, default=2, help="messages that wait, of each connection")
    add("--sql", default="", help="run in the database before, e.g. ALTER SYSTEM")
    add("--timeout", type=int, default=600)
    return parser.parse_args()


def _measure(options: argparse.Namespace, stack: ExitStack) -> list[tuple[Run, Run]]:
    now_ns = time.time_ns()
    mix = records.Mix(options.events, options.chunk_events, options.seed, now_ns)
    chunks = records.workload(mix)
    directory = stack.enter_context(stage.work_dir(None))
    url = stack.enter_context(stage.postgres(directory))
    limit.ensure_partitions(url, now_ns)
    if options.sql:
        stage.query(url, options.sql + "; SELECT pg_reload_conf();")
    files_dir = stack.enter_context(limit.files_dir(directory, chunks))
    files = limit.prepare(chunks, files_dir)
    messages = prepare(chunks)
    shape = Shape(
        options.writers, options.batch_bytes, options.connections, options.window
    )
    cpu = PostgresCpu(url)

    def pair() -> tuple[Run, Run]:
        stage.reset(url)
        ours = uvloop.run(through_sink(url, messages, shape, cpu))
        stage.fingerprint(url, options.events)
        stage.reset(url)
        theirs = by_psql(url, files, cpu)
        stage.fingerprint(url, options.events)
        return ours, theirs

    pair()  # pays for the WAL files that the others find made
    pairs = []
    for _ in range(options.pairs):
        pairs.append(pair())
        stage.say(_table(pairs[-1:], options.events).rstrip())
    return pairs


def _table(pairs: Sequence[tuple[Run, Run]], events: int) -> str:
    lines = ["            rows/s   our CPU   PostgreSQL's   both, CPU-s a million rows"]
    for name, side in (("sink", 0), ("limit", 1)):
        runs = [pair[side] for pair in pairs]
        ours = median(run.our_cpu_seconds for run in runs) / events * 1e6
        theirs = median(run.postgres_cpu_seconds for run in runs) / events * 1e6
        rate = events / median(run.seconds for run in runs)
        lines.append(
            f"{name:6}{rate:12,.0f}{ours:10.2f}{theirs:15.2f}{ours + theirs:7.2f}"
        )
    ratio = median(theirs.seconds / ours.seconds for ours, theirs in pairs)
    return "\n".join(lines) + f"\nsink/limit, median of ratios: {ratio:.2f}\n"


if __name__ == "__main__":
    main()
