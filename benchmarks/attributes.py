"""`attributes` as jsonb or as json: what each costs on the way in, on disk, and asked.

    .venv/bin/python benchmarks/attributes.py

The same rows go by COPY into a table of each kind, in turn, and then the questions that
people ask of attributes are asked of both. What is in the tables is one day. A third
table, of jsonb, gets its keys sorted by name, not in the order that jsonb keeps them
in, so that PostgreSQL has to sort them. The answers that came of it are in
docs/decisions: attributes-json-or-jsonb.md, order-of-keys.md.
"""

import argparse
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import orjson

# Run as a file, Python looks for modules beside it, not in the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import limit, records, stage
from benchmarks.sink import PostgresCpu
from penstock.rows.copy_format import row_bounds

_TEXT_COLUMNS: Final = 7  # those before attributes

# What people ask: of all rows of a day, of the few that have a value, what there is.
_QUESTIONS: Final = {
    "rows where a key has a value": (
        "SELECT count(*) FROM {table} WHERE attributes->>'method' = 'DELETE'"
    ),
    "rows where a nested key has a value": (
        "SELECT count(*) FROM {table} WHERE attributes->'http'->>'status' = '500'"
    ),
    "rows by the values of a key": (
        "SELECT count(*) FROM (SELECT attributes->>'code' FROM {table} GROUP BY 1) AS t"
    ),
    "all attributes of 10,000 rows": (
        "SELECT sum(length(attributes::text))"
        " FROM (SELECT attributes FROM {table} LIMIT 10000) AS several"
    ),
}
_ONE_USER: Final = "one user's rows, by the index where there is one"
# What a sealed day answers by its index, and json cannot have one for.
_BY_INDEX: Final = (
    "SELECT count(*) FROM {table} WHERE attributes @> '{{\"user_id\": {user}}}'"
)


@dataclass(slots=True)
class Kind:
    """A way to keep attributes, and what was measured of it."""

    name: str
    table: str
    column_type: str
    files: list[Path] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)  # of a million rows
    bytes_a_row: float = 0.0
    answers_ms: dict[str, float] = field(default_factory=dict)


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--events", type=int, default=480_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=int, default=600)
    options = parser.parse_args()
    stage.heed_stop_signals(options.timeout)
    with ExitStack() as stack:
        try:
            kinds = _measure(options, stack)
        finally:
            stage.ignore_stop_signals()
    sys.stdout.write(_table(kinds))


def _measure(options: argparse.Namespace, stack: ExitStack) -> list[Kind]:
    now_ns = time.time_ns()
    chunks = records.workload(records.Mix(options.events, 2_000, options.seed, now_ns))
    directory = stack.enter_context(stage.work_dir(None))
    url = stack.enter_context(stage.postgres(directory))
    files_dir = stack.enter_context(limit.files_dir(directory, chunks))
    files = limit.prepare(chunks, files_dir)
    kinds = [
        Kind("jsonb", "as_jsonb", "jsonb", files),
        Kind("jsonb, keys by name", "by_name", "jsonb"),
        Kind("json", "as_json", "json"),
    ]
    kinds[1].files = _rewritten(files, "by-name", _by_name)
    kinds[2].files = _rewritten(files, "json", lambda body: body[1:])
    for kind in kinds:
        stage.query(
            url,
            f"CREATE TABLE {kind.table} (LIKE logs);"
            f"ALTER TABLE {kind.table} ALTER attributes TYPE {kind.column_type}"
            " USING NULL;"
            f"CREATE INDEX ON {kind.table} USING brin (ts);",
        )
    cpu = PostgresCpu(url)
    for run in range(options.runs + 1):
        for kind in kinds:
            seconds = _load(url, kind, cpu) / options.events * 1e6
            if run:  # the first makes the WAL files that the others find
                kind.cpu_seconds.append(seconds)
    for kind in kinds:
        _settle(url, kind, options.events)
    _ask(url, kinds)
    return kinds


def _load(url: str, kind: Kind, cpu: PostgresCpu) -> float:
    stage.query(url, f"TRUNCATE {kind.table}; CHECKPOINT;")
    before = cpu.seconds()
    stage.query(
        url,
        "".join(
            rf"\copy {kind.table} ({limit.COLUMNS}) from '{file}'"
            " with (format binary)\n"
            for file in kind.files
        ),
    )
    return cpu.seconds() - before


def _settle(url: str, kind: Kind, events: int) -> None:
    stage.query(url, f"VACUUM (FREEZE, ANALYZE) {kind.table};")
    size = stage.query(url, f"SELECT pg_total_relation_size('{kind.table}');")
    kind.bytes_a_row = int(size) / events
    if kind.column_type == "jsonb":
        stage.query(
            url, f"CREATE INDEX ON {kind.table} USING gin (attributes jsonb_path_ops);"
        )


def _ask(url: str, kinds: Sequence[Kind]) -> None:
    user = stage.query(
        url,
        "SELECT attributes->>'user_id' FROM as_jsonb"
        " WHERE attributes ? 'user_id' LIMIT 1;",
    )
    by_value = "SELECT count(*) FROM {table} WHERE attributes->>'user_id' = '{user}'"
    for name in (*_QUESTIONS, _ONE_USER):
        for kind in (*kinds, *kinds):  # in turn: others use the machine too
            question = _QUESTIONS.get(name) or (
                _BY_INDEX if kind.column_type == "jsonb" else by_value
            )
            took_ms = _answer_ms(url, question.format(table=kind.table, user=user))
            kind.answers_ms[name] = min(took_ms, kind.answers_ms.get(name, took_ms))


def _answer_ms(url: str, question: str) -> float:
    explain = "EXPLAIN (ANALYZE, TIMING OFF, SUMMARY ON, FORMAT JSON) "
    sql = "SET max_parallel_workers_per_gather = 0;" + (explain + question + ";") * 2
    answers = stage.query(url, sql)
    plans: list[Any] = []
    for text in answers.split("\n]\n"):
        plans += orjson.loads(text.removesuffix("]") + "]")
    return min(float(plan["Execution Time"]) for plan in plans)


def _rewritten(files: Sequence[Path], name: str, change: Any) -> list[Path]:
    made: dict[Path, Path] = {}
    for file in dict.fromkeys(files):
        made[file] = file.with_name(f"{name}-{file.name}")
        made[file].write_bytes(b"".join(_with_attributes(file.read_bytes(), change)))
    return [made[file] for file in files]


def _with_attributes(copied: bytes, change: Any) -> Iterator[bytes]:
    head, tail = len(limit.COPY_HEADER), len(limit.COPY_TRAILER)
    data = copied[head:-tail]
    yield limit.COPY_HEADER
    for start, end in row_bounds(data):
        at = start + 2
        for _ in range(_TEXT_COLUMNS):
            (length,) = struct.unpack_from(">i", data, at)
            at += 4 + max(length, 0)  # -1 is NULL
        body = change(data[at + 4 : end])
        yield data[start:at] + struct.pack(">i", len(body)) + body
    yield limit.COPY_TRAILER


def _by_name(body: bytes) -> bytes:
    return body[:1] + orjson.dumps(orjson.loads(body[1:]), option=orjson.OPT_SORT_KEYS)


def _table(kinds: Sequence[Kind]) -> str:
    lines = [" " * 52 + "".join(f"{kind.name:>26}" for kind in kinds)]

    def line(name: str, figures: Sequence[float], form: str) -> None:
        lines.append(f"{name:52}" + "".join(f"{one:26{form}}" for one in figures))

    cpu = [median(kind.cpu_seconds) for kind in kinds]
    line("COPY, PostgreSQL's CPU-s a million", cpu, ".2f")
    line("disk, bytes a row", [kind.bytes_a_row for kind in kinds], ".0f")
    for name in kinds[0].answers_ms:
        line(f"{name}, ms", [kind.answers_ms[name] for kind in kinds], ".1f")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
