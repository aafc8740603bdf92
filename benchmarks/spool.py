"""The spool's segment files beside SQLite: how fast, and what damage costs.

Both keep the same records, of realistic rows, on the same disk, and both return from an
append when it is safe there. They take turns, and ratios are taken within a pair.
Then both are filled, left as a crash leaves them, damaged in the same way at a random
place, and read to the end: how much of what was acknowledged comes back, and was
anybody told of the rest? Runs in some seconds; needs nothing but a directory.
"""

import argparse
import functools
import json
import logging
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from rich.console import Console
from rich.table import Table

# Run as a file, as `make` does it, Python finds only this directory.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import records, report
from penstock.errors import SpoolError, UnavailableError
from penstock.rows import RowEncoder
from penstock.settings import ColumnSettings
from penstock.sink.spool import Spool
from penstock.sink.spool_format import (
    CLAIM_BYTES,
    MARK_BYTES,
    Record,
    SpooledPart,
    decode_body,
    encode_record,
    scan,
)

MAX_BYTES: Final = 1 << 40
MARK: Final = bytes(range(MARK_BYTES))  # of the records in SQLite
# What a replay takes at once: a batch of the flusher.
READ_BYTES: Final = 8 * 2**20


class Workload(NamedTuple):
    """Appends of one kind: how many, of how many parts, of how many events."""

    name: str
    appends: int
    parts: int
    events: int


WORKLOADS: Final = (
    Workload("1 event an append", 400, 1, 1),
    Workload("1 part of 128 KiB an append", 150, 1, 400),
    Workload("64 such parts, 8 MiB, an append", 8, 64, 400),
)


class Store(Protocol):
    """What is compared."""

    def append(self, parts: list[SpooledPart]) -> None: ...

    def replay(self) -> int:
        """Read all, note it as done piece by piece; return the parts."""

    def close(self) -> None: ...


class Files:
    """Penstock's spool."""

    def __init__(self, directory: Path) -> None:
        self._spool = Spool(directory, max_bytes=MAX_BYTES)
        self._spool.open()
        self.append = self._spool.append
        self.close = self._spool.close

    def replay(self) -> int:
        count = 0
        while found := self._spool.read(None, READ_BYTES):
            self._spool.done([position for position, _ in found])
            count += len(found)
        return count


class Sqlite:
    """The same records in a table, with the settings its own manual gives for this."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._database = sqlite3.connect(directory / "spool.db", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",  # fsync at each commit
            "CREATE TABLE IF NOT EXISTS part (id INTEGER PRIMARY KEY, record BLOB)",
        ):
            self._database.execute(statement)
        self.close = self._database.close

    def append(self, parts: list[SpooledPart]) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany(
            "INSERT INTO part (record) VALUES (?)",
            ((encode_record(part, MARK),) for part in parts),
        )
        self._database.execute("COMMIT")

    def replay(self) -> int:
        count = 0
        while last := self._read_piece():
            self._database.execute("DELETE FROM part WHERE id <= ?", (last[-1],))
            count += len(last)
        return count

    def _read_piece(self) -> list[int]:
        query = "SELECT id, record FROM part ORDER BY id"
        found: list[int] = []
        taken_bytes = 0
        for number, data in self._database.execute(query):
            record = whole_record(data)
            assert record is not None
            taken_bytes += record.inflated_bytes
            if found and taken_bytes > READ_BYTES:
                break
            decode_body(record)
            found.append(number)
        return found


STORES: Final[dict[str, Callable[[Path], Store]]] = {"files": Files, "sqlite": Sqlite}


def whole_record(data: bytes) -> Record | None:
    """Return the record that `data` is, if its checksum is right."""

    def read_at(size_bytes: int, offset: int) -> bytes:
        return data[offset : offset + size_bytes]

    found = next(scan(read_at, MARK, offset=0, end=len(data)), None)
    return found if isinstance(found, Record) else None


@functools.cache
def rows_of(events: int) -> list[SpooledPart]:
    """Parts of realistic rows, made by the server's encoder."""
    mix = records.Mix(16 * events, events, 1, time.time_ns())
    parts = []
    encoder = RowEncoder(ColumnSettings(), receiver=1)
    for number, chunk in enumerate(records.workload(mix)):
        stream = encoder.start(chunk.entries, tag=chunk.tag)
        encoded = stream.next_part(time.time_ns() // 1_000)
        claim = number.to_bytes(CLAIM_BYTES)
        parts.append(SpooledPart(claim, "10.0.0.7", chunk.tag, encoded))
    return parts


def speed(store: Store, work: Workload) -> dict[str, float]:
    """Append and replay a workload; return seconds and rates."""
    pool = rows_of(work.events)
    batch = [pool[n % len(pool)] for n in range(work.parts)]
    events = work.appends * sum(part.events for part in batch)
    seconds = []
    for _ in range(work.appends):
        started = time.perf_counter()
        store.append(batch)
        seconds.append(time.perf_counter() - started)
    started = time.perf_counter()
    assert store.replay() == work.appends * work.parts
    replay_seconds = time.perf_counter() - started
    return {
        "append_ms": statistics.median(seconds) * 1e3,
        "append_p99_ms": statistics.quantiles(seconds, n=100)[-1] * 1e3,
        "append_events_per_second": events / sum(seconds),
        "replay_events_per_second": events / replay_seconds,
    }


def compare_speed(directory: Path, pairs: int) -> list[dict[str, Any]]:
    """Each workload on both, in turn; the ratio is files to SQLite, in a pair."""
    results = []
    for work in WORKLOADS:
        runs: list[dict[str, dict[str, float]]] = []
        for number in range(pairs):
            run = {}
            # Who comes second finds a warm disk: they take that in turn too.
            for name in sorted(STORES, reverse=number % 2 == 1):
                place = directory / f"{name}-{number}"
                store = STORES[name](place)
                run[name] = speed(store, work)
                store.close()
                shutil.rmtree(place)
            runs.append(run)
        results.append({"workload": work.name, **summary(runs)})
    return results


def summary(runs: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Medians of each store, and of the ratios within the pairs."""
    keys = list(runs[0]["files"])
    medians = {
        name: {key: statistics.median(run[name][key] for run in runs) for key in keys}
        for name in STORES
    }
    ratio = {
        key: statistics.median(run["files"][key] / run["sqlite"][key] for run in runs)
        for key in keys
        if key.endswith("per_second")
    }
    return {**medians, "ratio": ratio}


# Damage.

# So many that SQLite has copied some of them from its log into the database, and not
# others yet.
FILLED_PARTS: Final = 400


def flip(content: bytearray, rng: random.Random) -> None:
    """One bit is another."""
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def zero_page(content: bytearray, rng: random.Random) -> None:
    """A page of 4 KiB that the disk lost."""
    start = rng.randrange(len(content)) & ~4095
    content[start : start + 4096] = bytes(len(content[start : start + 4096]))


def cut(content: bytearray, rng: random.Random) -> None:
    """The end is missing: what a crash leaves of a write, or worse."""
    del content[rng.randrange(len(content)) :]


class Found(NamedTuple):
    """What reading a damaged store came to."""

    claims: set[bytes]
    was_told: bool


def read_files(directory: Path) -> Found:
    """Read what the spool has left; is there a count of what is lost?"""
    spool = Spool(directory, max_bytes=MAX_BYTES)
    try:
        spool.open()
        claims = {part.claim for _, part in spool.read(None, MAX_BYTES)}
    except (SpoolError, UnavailableError):
        return Found(set(), True)
    spool.close()
    return Found(claims, spool.cut_bytes + spool.damaged_bytes > 0)


def read_sqlite(directory: Path) -> Found:
    """Read what SQLite has left, from both ends; records keep our checksum there."""
    claims: set[bytes] = set()
    was_told = False
    for order in ("ASC", "DESC"):
        database = sqlite3.connect(directory / "spool.db")
        try:
            for (data,) in database.execute(
                f"SELECT record FROM part ORDER BY id {order}"
            ):
                record = whole_record(data) if isinstance(data, bytes) else None
                if record is None:
                    was_told = True  # by our record, not by SQLite
                else:
                    claims.add(decode_body(record).claim)
        except sqlite3.Error:
            was_told = True
        finally:
            database.close()
    return Found(claims, was_told)


def filled(directory: Path, name: str) -> Path:
    """A store with acknowledged parts, its files as a SIGKILL leaves them."""
    store = STORES[name](directory / f"{name}-live")
    pool = rows_of(20)
    for number in range(FILLED_PARTS):
        part = pool[number % len(pool)]
        store.append([part._replace(claim=number.to_bytes(CLAIM_BYTES))])
    shutil.copytree(directory / f"{name}-live", directory / f"{name}-crashed")
    store.close()
    return directory / f"{name}-crashed"


def damage_a_file(
    directory: Path,
    harm: Callable[[bytearray, random.Random], None],
    rng: random.Random,
) -> None:
    """Do harm to one of the files; a large one is as much likelier to be hit."""
    files = sorted(directory.iterdir())
    (victim,) = rng.choices(files, [file.stat().st_size for file in files])
    content = bytearray(victim.read_bytes())
    harm(content, rng)
    victim.write_bytes(content)


def compare_damage(directory: Path, trials: int) -> list[dict[str, Any]]:
    """Damage both in each way, at random places; the same seeds for both."""
    read = {"files": read_files, "sqlite": read_sqlite}
    crashed = {name: filled(directory, name) for name in STORES}
    results = []
    for harm in (flip, zero_page, cut):
        result: dict[str, Any] = {"damage": harm.__name__}
        for name in STORES:
            found = []
            for seed in range(trials):
                place = directory / "trial"
                shutil.copytree(crashed[name], place)
                damage_a_file(place, harm, random.Random(seed))
                found.append(read[name](place))
                shutil.rmtree(place)
            result[name] = outcome(found)
        results.append(result)
    return results


def outcome(found: list[Found]) -> dict[str, float]:
    """How much came back, and how often a loss went untold."""
    back = [len(each.claims) / FILLED_PARTS for each in found]
    return {
        "back_mean": statistics.mean(back),
        "back_least": min(back),
        "untold": sum(
            len(each.claims) < FILLED_PARTS and not each.was_told for each in found
        )
        / len(found),
    }


# Report.


def print_tables(result: dict[str, Any]) -> None:
    """Show both comparisons on stderr."""
    console = Console(stderr=True, width=110)
    table = Table("", "files", "sqlite", "ratio", title="speed", box=None)
    for each in result["speed"]:
        table.add_row(each["workload"])
        for key in each["files"]:
            ours, theirs = each["files"][key], each["sqlite"][key]
            digits = 0 if key.endswith("second") else 2
            ratio = each["ratio"].get(key)
            table.add_row(
                f"  {key}",
                f"{ours:,.{digits}f}",
                f"{theirs:,.{digits}f}",
                f"{ratio:.2f}" if ratio else "",
            )
    console.print(table)
    table = Table("acknowledged", "files", "sqlite", title="damage", box=None)
    for each in result["damage"]:
        table.add_row(each["damage"])
        for key in each["files"]:
            table.add_row(
                f"  {key}", f"{each['files'][key]:.1%}", f"{each['sqlite'][key]:.1%}"
            )
    console.print(table)


def main() -> None:
    """Measure, print the tables, keep the figures."""
    parser = argparse.ArgumentParser(description="The spool's files beside SQLite.")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--work-dir", type=Path, help="where; a disk, not a tmpfs")
    options = parser.parse_args()
    # The spool's lines about damage, some hundred of them here.
    logging.getLogger("penstock").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(
        prefix="penstock-bench-", dir=options.work_dir
    ) as name:
        speeds = compare_speed(Path(name), options.pairs)
        damages = compare_damage(Path(name), options.trials)
    result = {
        "speed": speeds,
        "damage": damages,
        **report.surroundings("not used"),
        "sqlite": sqlite3.sqlite_version,
    }
    report.RESULTS_DIR.mkdir(exist_ok=True)
    file = report.RESULTS_DIR / "spool.json"
    file.write_text(json.dumps(report.rounded(result), indent=2) + "\n")
    print_tables(result)


if __name__ == "__main__":
    main()
