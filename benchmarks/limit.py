"""The limit: the same rows as ready-made binary COPY tuples, loaded by psql.

Nothing that receives, decodes and writes logs can be faster than PostgreSQL is when it
is handed finished tuples, so this is what Penstock is measured against. The tuples are
Penstock's own, in files made before the clock starts; each file is one COPY and one
transaction of the size that the server's batches have; one psql for each connection,
connected before the clock starts.
"""

import argparse
import functools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import records, stage
from benchmarks.records import Chunk
from penstock.rows import RowEncoder
from penstock.settings import ColumnSettings

# The bounds of a batch in the server: whichever comes first ends it.
BATCH_ROWS: Final = 20_000
BATCH_BYTES: Final = 8 * 2**20

CONNECTIONS: Final = 2

COLUMNS: Final = "id, ts, tag, level, service, host, message, attributes"

# PostgreSQL documentation, COPY, "Binary Format": signature, flags, header extension
# length; and the trailer, a field count of -1.
COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER: Final = b"\xff\xff"


def encode(entries: bytes, tag: str) -> bytes:
    """Turn packed entries into tuples with Penstock's own encoder, as the server does.

    Raises:
        stage.StageError: the encoder rejected an entry.
    """
    stream = _encoder().start(entries, tag=tag)
    parts = []
    while not stream.exhausted:
        part = stream.next_part(time.time_ns() // 1_000)
        if part.rejected:
            raise stage.StageError(f"rejected: {part.rejected[0].reason}")
        parts.append(part.data)
    return b"".join(parts)


@functools.cache
def _encoder() -> RowEncoder:
    # Any receiver will do: the server's rows are gone when these are loaded.
    return RowEncoder(ColumnSettings(), receiver=1)


def binary_tuples(entries_blob: bytes, tag: str) -> bytes:
    """The binary COPY tuples of a chunk: the bytes the server would send for it.

    Raises:
        stage.StageError: the encoder made something else than rows of `logs`.
    """
    tuples = encode(entries_blob, tag)
    if int.from_bytes(tuples[:2], "big") != COLUMNS.count(",") + 1:
        raise stage.StageError(f"a tuple has not the columns {COLUMNS}")
    return tuples


def prepare(chunks: list[Chunk], directory: Path) -> list[Path]:
    """Write the COPY files of a run, in order; equal batches share a file."""
    identities: dict[int, int] = {}
    encoded: list[bytes] = []
    sequence = []
    for chunk in chunks:
        if id(chunk) not in identities:
            identities[id(chunk)] = len(encoded)
            encoded.append(binary_tuples(chunk.entries, chunk.tag))
        sequence.append(identities[id(chunk)])
    size = _chunks_per_batch(chunks, encoded)
    files: dict[tuple[int, ...], Path] = {}
    order = []
    for start in range(0, len(sequence), size):
        batch = tuple(sequence[start : start + size])
        if batch not in files:
            files[batch] = directory / f"batch-{len(files):05d}.copy"
            body = b"".join(encoded[index] for index in batch)
            files[batch].write_bytes(COPY_HEADER + body + COPY_TRAILER)
        order.append(files[batch])
    return order


def _chunks_per_batch(chunks: list[Chunk], encoded: list[bytes]) -> int:
    by_rows = BATCH_ROWS // chunks[0].events
    by_bytes = BATCH_BYTES // max(map(len, encoded))
    # A short run still has work for each connection.
    by_share = -(-len(chunks) // CONNECTIONS)
    return max(1, min(by_rows, by_bytes, by_share))


def load(url: str, files: list[Path]) -> float:
    """Load the files over two connections; return the seconds it took.

    Raises:
        stage.StageError: psql or PostgreSQL failed.
    """
    scripts = [_script(files, first) for first in range(CONNECTIONS)]
    with ExitStack() as stack:
        clients = [_connected(stack, url) for _ in scripts]
        started = time.perf_counter()
        for client, script in zip(clients, scripts, strict=True):
            assert client.stdin is not None
            client.stdin.write(rf"\i '{script}'")
            client.stdin.close()
        for client in clients:
            if client.wait():
                assert client.stderr is not None
                raise stage.StageError(f"psql failed: {client.stderr.read().strip()}")
        return time.perf_counter() - started


def _script(files: list[Path], first: int) -> Path:
    # A file and not the pipe: one that fills the pipe would hold the others back.
    script = files[0].with_name(f"connection-{first}.sql")
    copies = (
        rf"\copy logs ({COLUMNS}) from '{file}' with (format binary)" + "\n"
        for file in files[first::CONNECTIONS]
    )
    script.write_text("".join(copies))
    return script


def _connected(stack: ExitStack, url: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = stage.psql_command(url)
    client = stack.enter_context(
        subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            env=stage.clean_environment(),
        )
    )
    # Left before the `with` above waits for its end; killing the dead is harmless.
    stack.callback(client.kill)
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write("SELECT 'connected';\n")
    client.stdin.flush()
    if client.stdout.readline() != "connected\n":
        raise stage.StageError(f"psql cannot connect to {url}")
    return client


@contextmanager
def files_dir(directory: Path, chunks: list[Chunk]) -> Iterator[Path]:
    """A directory for the files: in memory where there is room, so reading is free."""
    memory = Path("/dev/shm")
    distinct = {id(chunk): len(chunk.entries) for chunk in chunks}
    # Four times the entries: tuples are somewhat longer, batches need not line up
    # with repetition, others use this memory too, and containers often have no more
    # than 64 MiB of it.
    need_bytes = 4 * sum(distinct.values())
    if memory.is_dir() and shutil.disk_usage(memory).free > need_bytes:
        directory = memory
    prefix = "penstock-bench-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=directory) as name:
        yield Path(name)


def ensure_partitions(url: str, now_ns: int) -> None:
    """Make the daily partitions that the workload's last hour falls into."""
    for seconds in {(now_ns - records.HOUR_NS) // 10**9, now_ns // 10**9}:
        midnight = seconds - seconds % 86_400
        name = time.strftime("logs_%Y%m%d", time.gmtime(midnight))
        bounds = f"to_timestamp({midnight})) TO (to_timestamp({midnight + 86_400})"
        stage.query(
            url,
            f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF logs "
            f"FOR VALUES FROM ({bounds});",
        )


def main() -> None:
    """Measure the limit alone, against an embedded PostgreSQL of its own."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--chunk-events", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    stage.heed_stop_signals(600)
    with ExitStack() as stack:
        try:
            rates = _measure(options, stack)
        finally:
            stage.ignore_stop_signals()
    sys.stdout.write(f"limit, median: {median(rates):,.0f} rows/s\n")


def _measure(options: argparse.Namespace, stack: ExitStack) -> list[float]:
    now_ns = time.time_ns()
    mix = records.Mix(options.events, options.chunk_events, options.seed, now_ns)
    chunks = records.workload(mix)
    directory = stack.enter_context(stage.work_dir(None))
    url = stack.enter_context(stage.postgres(directory))
    ensure_partitions(url, now_ns)
    order = prepare(chunks, stack.enter_context(files_dir(directory, chunks)))
    rates = []
    # The first pays for the WAL files that the others find made.
    for number in range(options.runs + 1):
        stage.reset(url)
        rate = options.events / load(url, order)
        stage.fingerprint(url, options.events)
        stage.say(f"{rate:,.0f} rows/s" + ("" if number else ", to warm up"))
        rates.append(rate)
    return rates[1:]


if __name__ == "__main__":
    main()
