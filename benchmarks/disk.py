"""How many bytes a record takes on disk: rows, TOAST, indexes, WAL; sealed and not.

    make bench ARGS="disk"
    benchmarks/disk.py --records long

Owns the order: rows of a day that has long ended, through Penstock; their sizes; then
the day sealed without and with each of the indexes that a seal can give it. Claims
are of chunks, not of records, and told apart. Rates are other benchmarks' business.

Exit codes: 0 measured, 1 something failed, 2 usage, 130 interrupted.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any, Final

# Run as a file, Python looks for modules beside it, not in the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import plot, report, sending, stage
from benchmarks.question import Place, Question, Result, answer
from benchmarks.report import Sheet
from benchmarks.sending import Amount
from benchmarks.stage import StageError
from benchmarks.trial import Trial, Way

DAY_NS: Final = 86_400 * 10**9
SEAL_SECONDS: Final = 600.0

# What a seal is asked for, one more each time; the name is the row's in the table.
SEALS: Final = (
    ("sealed", ()),
    ("sealed, words of `message`", ("--seal-message-trgm=on",)),
    (
        "sealed, words and `attributes`",
        ("--seal-message-trgm=on", "--seal-attributes-gin=on"),
    ),
)

_SIZES_SQL: Final = """
    SELECT sum(pg_relation_size(leaf.oid)),
           sum(coalesce(pg_total_relation_size(nullif(leaf.reltoastrelid, 0)), 0)),
           sum(pg_indexes_size(leaf.oid)),
           sum(pg_relation_size(leaf.oid, 'fsm') + pg_relation_size(leaf.oid, 'vm'))
      FROM pg_partition_tree('logs') AS tree JOIN pg_class AS leaf ON leaf.oid = relid
     WHERE tree.isleaf;
"""
_CLAIMS_SQL: Final = """
    SELECT sum(pg_total_relation_size(relid))
      FROM pg_partition_tree('ingest_chunk') WHERE isleaf;
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be asked for."""
    sending.add_amount(parser, Amount(events=200_000, pairs=1))


def measure(options: argparse.Namespace, place: Place) -> Result:
    """Store once, then seal in three steps."""
    plain = sending.plain_way(options)
    way = Way(
        connections=plain.connections,
        window=plain.window,
        server_options=(*plain.server_options, "--maintenance-interval-seconds=0"),
    )
    # Noon of three days ago: one day, and closed.
    now_ns = time.time_ns()
    noon_ns = now_ns - now_ns % DAY_NS - 3 * DAY_NS + DAY_NS // 2
    around = Trial(place, sending.mix(options, noon_ns))
    around.run(way, around.distinct())
    wal_start = _wal(around.url)
    around.run(way)
    wal_bytes = int(
        stage.query(
            around.url, f"SELECT pg_wal_lsn_diff('{_wal(around.url)}', '{wal_start}');"
        )
    )
    claims_bytes = int(stage.query(around.url, _CLAIMS_SQL))
    states = [_state("as received", around)]
    for name, arguments in SEALS:
        # Sealed once is sealed: forgotten, so that it is sealed again.
        stage.query(around.url, "DELETE FROM penstock_day;")
        command = ["db", "maintain", "--database-url", around.url, *arguments]
        stage.run_penstock(command, place.directory, SEAL_SECONDS)
        if stage.query(around.url, "SELECT count(*) FROM penstock_day;") != "1":
            raise StageError("the day was not sealed")
        states.append(_state(name, around))
    stage.fingerprint(around.url, around.events)
    return {
        "postgresql": around.postgresql,
        "mean_entry_bytes": around.mean_entry_bytes,
        "wal_bytes_per_record": wal_bytes / around.events,
        "claim_bytes_per_chunk": claims_bytes / len(around.chunks),
        "states": states,
    }


def _wal(url: str) -> str:
    return stage.query(url, "SELECT pg_current_wal_insert_lsn();")


def _state(name: str, around: Trial) -> dict[str, Any]:
    sizes = [int(size) for size in stage.query(around.url, _SIZES_SQL).split("|")]
    heap, toast, index, maps = (size / around.events for size in sizes)
    state = {"name": name, "heap": heap, "toast": toast, "index": index, "maps": maps}
    stage.say(f"{name}: {heap + toast + index + maps:.0f} bytes a record")
    return state | {"total": heap + toast + index + maps}


def sheets(result: Result) -> list[Sheet]:
    """A row for each state."""
    rows = [
        (
            one["name"],
            f"{one['heap']:.0f}",
            f"{one['toast']:.0f}",
            f"{one['index']:.1f}",
            f"{one['total']:.0f}",
        )
        for one in result["states"]
    ]
    title = (
        f"bytes a record, {result['events']:,} {result['records']} records of"
        f" {result['mean_entry_bytes']:.0f} bytes on the wire;"
        f" {result['wal_bytes_per_record']:.0f} bytes of WAL each while received,"
        f" {result['claim_bytes_per_chunk']:.0f} for the claim of a chunk"
    )
    return [Sheet(title, ("", "rows", "TOAST", "indexes", "all"), rows)]


def draw(result: Result) -> str:
    """All of it, and the indexes' part."""
    head = plot.Head(
        f"Bytes on disk of a record of {result['mean_entry_bytes']:.0f} bytes",
        report.machine_line(result),
        ("all", "of it indexes"),
    )
    groups = [
        plot.Group(
            one["name"],
            (
                (one["total"], f"{one['total']:.0f}"),
                (one["index"], f"{one['index']:.1f}"),
            ),
        )
        for one in result["states"]
    ]
    return plot.bars(head, groups, left=220)


QUESTION: Final = Question(
    name="disk",
    asks="Bytes on disk of each record, as received and sealed.",
    add_options=add_options,
    measure=measure,
    sheets=sheets,
    draw=draw,
)

if __name__ == "__main__":
    sys.exit(answer(QUESTION))
