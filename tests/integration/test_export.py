"""`penstock export`: all rows of a window and a filter, also when it is interrupted."""

import csv
import gzip
import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as pq
import pytest
from orjson import Fragment

from penstock.embedded import EmbeddedPostgres
from penstock.export.parquet import Parquet
from penstock.export.progress import Progress
from penstock.export.target import Names, ParquetFile
from penstock.search.statements import Key
from penstock.search.times import Window
from tests.integration.conftest import (
    Database,
    Here,
    clean_environment,
    create_database,
    drop_database,
    peak_bytes,
    penstock,
    the_line,
    wait_until,
)

ROWS = 30_000
# More than a page of them, which is enough where nothing is interrupted.
SOME = 12_000
# Half of them in one second, of which many have one time; the others over five hours.
FILL = """
INSERT INTO logs
SELECT n,
       CASE WHEN n % 2 = 0
            THEN '2026-03-01T12:00Z'::timestamptz + (n / 1000) * interval '30 ms'
            ELSE '2026-03-01T10:00Z'::timestamptz + n * interval '300 ms' END,
       'app.web', (ARRAY['INFO', 'WARN', 'ERROR'])[1 + n % 3]::log_level,
       nullif('svc' || n % 7, 'svc0'), NULL, E'number "' || n || E'",\\n 한 🎉',
       jsonb_build_object('n', n, 'big', 12345678901234567890123::numeric)
FROM generate_series(1, $1::bigint) AS n
"""
WINDOW = ("--utc", "--since", "2026-03-01T09:00", "--until", "2026-03-02T00:00")
COLUMNS = ["id", "ts", "level", "service", "host", "tag", "message", "attributes"]
BY_SQL = f"SELECT {', '.join(COLUMNS)} FROM logs WHERE {{}} ORDER BY ts, id"
ALL = "true"


@pytest.fixture(scope="module")
def filled(postgres: EmbeddedPostgres, template: str) -> Iterator[Database]:
    made = create_database(postgres, template)
    made.fetch(FILL, ROWS)
    yield made
    drop_database(made)


def expected(database: Database, where: str = ALL) -> list[tuple[Any, ...]]:
    """Return the rows by SQL, attributes as values."""
    rows = database.fetch(BY_SQL.format(where))
    return [(*row[:-1], json.loads(row[-1])) for row in rows]


def read_csv(text: str) -> list[tuple[Any, ...]]:
    head, *rows = csv.reader(io.StringIO(text))
    assert head == COLUMNS
    return [
        (
            int(row[0]),
            when(row[1]),
            *(each or None for each in row[2:7]),
            json.loads(row[7]),
        )
        for row in rows
    ]


def read_lines(text: str) -> list[tuple[Any, ...]]:
    rows = [json.loads(line) for line in text.splitlines()]
    assert all(list(row) == COLUMNS for row in rows)
    return [(row["id"], when(row["ts"]), *list(row.values())[2:]) for row in rows]


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)


def read(path: Path) -> list[tuple[Any, ...]]:
    """Return the rows of a file, by its name."""
    name = path.name
    if name.endswith(".parquet"):
        table = pq.read_table(path)
        assert str(table.schema.field("ts").type) == "timestamp[us, tz=UTC]"
        rows = zip(*(table[each].to_pylist() for each in COLUMNS), strict=True)
        return [(*row[:-1], json.loads(row[-1])) for row in rows]
    text = (
        gzip.decompress(path.read_bytes())
        if name.endswith(".gz")
        else path.read_bytes()
    ).decode()
    return read_csv(text) if ".csv" in name else read_lines(text)


def export(here: Here, database: Database, *arguments: str) -> Any:
    return here("export", *WINDOW, "--database-url", database.url, *arguments)


NAMES = ["x.csv", "x.csv.gz", "x.jsonl", "x.jsonl.gz", "x.parquet"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_what_sql_says(
    here: Here, filled: Database, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    ended = export(here, filled, "-o", str(path), f"id:<={SOME}")
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert f"({SOME:,} rows)" in ended.stderr
    assert read(path) == expected(filled, f"id <= {SOME}")
    assert list(tmp_path.iterdir()) == [path], "nothing is left beside it"


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (
            ["level:error", "-service:svc1"],
            "level = 'ERROR' AND service IS DISTINCT FROM 'svc1'",
        ),
        (["n:777"], "attributes @> '{\"n\": 777}'"),
        (["nobody says this"], "false"),
    ],
)
def test_a_filter_is_that_of_search(
    here: Here, filled: Database, tmp_path: Path, words: list[str], where: str
) -> None:
    path = tmp_path / "x.jsonl"
    ended = export(here, filled, "-o", str(path), *words)
    assert ended.returncode == 0, ended.stderr
    assert read(path) == expected(filled, where)


def test_a_window_without_rows_is_a_whole_file(
    here: Here, filled: Database, tmp_path: Path
) -> None:
    for name in NAMES:
        path = tmp_path / name
        ended = here(
            *("export", "--database-url", filled.url, "-o", str(path)),
            *("--since", "2020-01-01", "--until", "2021-01-01"),
        )
        assert ended.returncode == 0, ended.stderr
        assert read(path) == []


def test_it_goes_to_stdout_unless_told(filled: Database) -> None:
    ended = subprocess.run(
        penstock("export", *WINDOW, "--database-url", filled.url, "id:<100"),
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=True,
    )
    assert read_csv(ended.stdout) == expected(filled, "id < 100")
    assert "window: " in ended.stderr


# --- interrupted


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl.gz", "x.parquet"])
def test_what_was_killed_goes_on_where_it_was(
    here: Here, filled: Database, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    state = tmp_path / f"{name}.partial.state"
    arguments = (*WINDOW, "--database-url", filled.url, "-o", str(path))
    process = subprocess.Popen(
        penstock("export", *arguments),
        stderr=subprocess.DEVNULL,
        env=clean_environment(),
    )
    wait_until(lambda: state.exists() and rows_in(state) > 0, "some rows are written")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not path.exists(), "what is not whole has not the name"
    before = rows_in(state)
    assert 0 < before < ROWS
    partial = tmp_path / f"{name}.partial"
    if partial.is_file():  # what a write that was cut off leaves
        with partial.open("ab") as file:
            file.write(b'{"half a ro')
    assert "--resume" in the_line(export(here, filled, "-o", str(path)), 1)
    ended = export(here, filled, "-o", str(path), "level:error", "--resume")
    assert "is of another export (filter differ)" in ended.stderr
    ended = export(here, filled, "-o", str(path), "--resume")
    assert ended.returncode == 0, ended.stderr
    assert f"goes on after {before:,} rows" in ended.stderr
    assert read(path) == expected(filled)
    assert list(tmp_path.iterdir()) == [path]


def rows_in(state: Path) -> int:
    rows: int = json.loads(state.read_bytes())["rows"]
    return rows


def test_ctrl_c_says_what_is_there(filled: Database, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    state = tmp_path / "x.csv.partial.state"
    process = subprocess.Popen(
        penstock("export", *WINDOW, "--database-url", filled.url, "-o", str(path)),
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    wait_until(lambda: state.exists() and rows_in(state) > 0, "some rows are written")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "--resume goes on" in err


# --- what is in the way


def test_nothing_is_overwritten_unless_told(
    here: Here, filled: Database, tmp_path: Path
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("mine")
    for flags in ([], ["--resume"]):
        line = the_line(export(here, filled, "-o", str(path), *flags), 1)
        assert "--force replaces it" in line
    assert path.read_text() == "mine"
    assert export(here, filled, "-o", str(path), "--force", "id:1").returncode == 0
    assert len(read(path)) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-o", "x.txt"], 2, ".csv, .jsonl or .parquet"),
        (["-o", "x.parquet.gz"], 2, "leave .gz out"),
        (["--format", "parquet"], 2, "give -o FILE"),
        (["--resume"], 2, "give -o FILE"),
        (["-o", "/nowhere/x.csv"], 3, "No such file or directory"),
        (["-o", "x.csv", "level:>"], 2, "in the filter"),
        (["--since", "soon"], 2, "soon"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    here: Here,
    filled: Database,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = here("export", "--database-url", filled.url, *arguments)
    assert ended.returncode == code, ended.stderr
    assert words in ended.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_parquet_without_pyarrow_says_what_to_install(
    here: Here, filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    line = the_line(export(here, filled, "-o", str(tmp_path / "x.parquet")), 1)
    assert line.endswith("pip install penstock[export]")


# --- memory


def test_memory_does_not_grow_with_the_rows(filled: Database, tmp_path: Path) -> None:
    to = ("-o", str(tmp_path / "x.csv"), "--force")
    peaks = [
        peak_bytes(
            *("export", *WINDOW, "--database-url", filled.url, f"id:<={most}", *to)
        )
        for most in (10_000, ROWS)
    ]
    assert peaks[1] - peaks[0] < 12 * 1024 * 1024


def test_arrow_holds_a_group_of_rows_and_not_the_file(tmp_path: Path) -> None:
    """Of 160 MB of rows."""
    pages = 16
    now = datetime.now(UTC)
    nothing = Fragment("{}")
    window = Window(now, now + timedelta(days=1))
    target = ParquetFile(Names(tmp_path / "x.parquet"), Parquet(), Progress({}, window))
    pool = pyarrow.default_memory_pool()
    for number in range(pages):
        rows = [
            (n, now, None, None, None, "t", f"{number} {n} {'x' * 1000}", nothing)
            for n in range(10_000)
        ]
        target.write(rows, Key(now, number))
    target.finish()
    assert pool.max_memory() < 120 * 1024 * 1024
    assert pq.read_metadata(tmp_path / "x.parquet").num_rows == pages * 10_000
