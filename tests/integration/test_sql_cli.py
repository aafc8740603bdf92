"""`penstock sql`: one statement, read-only, in three forms, wherever the data is."""

import csv
import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.embedded import EmbeddedPostgres, running_url
from tests import msgpack_bytes as m
from tests.integration.conftest import (
    Database,
    Here,
    batch_of,
    create_database,
    run_async,
    store_in,
    the_line,
)

SECRET = "hunter2"


class Sql:
    """`penstock sql` on one database."""

    def __init__(self, here: Here, database: Database) -> None:
        self._here = here
        self.database = database

    def run(self, statement: str, *flags: str) -> subprocess.CompletedProcess[str]:
        return self._here("sql", "--database-url", self.database.url, *flags, statement)

    def output(self, statement: str, form: str) -> str:
        ended = self.run(statement, "-o", form)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def json(self, statement: str) -> list[object]:
        return [
            json.loads(line) for line in self.output(statement, "json").splitlines()
        ]

    def csv(self, statement: str) -> list[list[str]]:
        return list(csv.reader(io.StringIO(self.output(statement, "csv"))))


@pytest.fixture(scope="module")
def looked_at(postgres: EmbeddedPostgres, template: str) -> Database:
    """One database for all: nothing that is done here changes it."""
    made = create_database(postgres, template)
    run_async(store_in(made, batch_of(m.entry({"n": 1}))))
    return made


@pytest.fixture
def sql(here: Here, looked_at: Database) -> Sql:
    return Sql(here, looked_at)


# --- the forms

TWO_ROWS = "SELECT * FROM (VALUES (1, 'a'), (2, NULL)) AS v (n, t) ORDER BY n"


def test_a_table_is_the_form_for_a_person(sql: Sql) -> None:
    ended = sql.run(TWO_ROWS)
    assert ended.returncode == 0
    lines = [re.sub(r"[^\w ]", "", line).split() for line in ended.stdout.splitlines()]
    assert [words for words in lines if words] == [["n", "t"], ["1", "a"], ["2"]]
    assert ended.stderr == "(2 rows)\n", "what is no row is not on stdout"


def test_json_is_one_object_a_line(sql: Sql) -> None:
    text = sql.output(TWO_ROWS, "json")
    assert text == '{"n":1,"t":"a"}\n{"n":2,"t":null}\n'


def test_csv_has_a_header_and_the_values(sql: Sql) -> None:
    assert sql.output(TWO_ROWS, "csv") == "n,t\n1,a\n2,\n"


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_no_rows_are_no_error(sql: Sql, form: str) -> None:
    assert sql.run("SELECT 1 AS n WHERE false", "-o", form).returncode == 0


def test_a_value_is_whole_however_long_and_strange_it_is(sql: Sql) -> None:
    strange = "[red]x[/red] :smile: " + "y" * 500 + ' "q", \\ é 한 🎉'
    statement = f"SELECT '{strange}' AS v, E'a\\n\\tb' AS lines"
    assert strange in sql.output(statement, "table")
    assert sql.csv(statement) == [["v", "lines"], [strange, "a\n\tb"]]
    assert sql.json(statement) == [{"v": strange, "lines": "a\n\tb"}]


def test_a_log_line_does_not_command_the_terminal(sql: Sql) -> None:
    statement = "SELECT E'\\x1b]0;owned\\x07 \\r\\u009b31m' AS message"
    text = sql.output(statement, "table")
    assert "\\x1b]0;owned\\x07 \\x0d\\x9b31m" in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


def test_types_are_json_types_where_json_has_them(sql: Sql) -> None:
    statement = (
        "SELECT 1 AS i, 9223372036854775808 AS n, 0.5::float8 AS f, true AS b,"
        " NULL AS z, ARRAY[1, 2] AS a, 'WARN'::log_level AS l,"
        ' \'{"a": [1, {"b": null}]}\'::jsonb AS j, E\'{"a":\\n1}\'::json AS k,'
        " '2026-07-31 12:00:00.5+09'::timestamptz AS t, '\\xff00'::bytea AS y"
    )
    assert sql.json(statement) == [
        {
            "i": 1,
            "n": "9223372036854775808",
            "f": 0.5,
            "b": True,
            "z": None,
            "a": [1, 2],
            "l": "WARN",
            "j": {"a": [1, {"b": None}]},
            "k": {"a": 1},
            "t": "2026-07-31T03:00:00.500000+00:00",
            "y": "\\xff00",
        }
    ]


def test_numbers_within_json_are_not_rounded(sql: Sql) -> None:
    statement = "SELECT '[12345678901234567890123, 1e400]'::jsonb AS j"
    for form in ("json", "csv", "table"):
        assert "12345678901234567890123" in sql.output(statement, form)


@pytest.mark.parametrize(
    "value",
    [
        "'294000-01-01 00:00:00+00'::timestamptz",
        "'4000-01-01 00:00:00+00 BC'::timestamptz",
        "'infinity'::timestamptz",
        "'-infinity'::timestamp",
        "'294000-01-01'::date",
        "'1 mon'::interval",
    ],
)
@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_times_that_python_does_not_have_are_shown_as_postgresql_does(
    sql: Sql, value: str, form: str
) -> None:
    assert value.split("'")[1] in sql.output(f"SELECT {value} AS t", form)


def test_any_time_that_can_be_stored_can_be_looked_at(
    here: Here, database: Database
) -> None:
    entries = m.entry({"n": 1}, m.float64(9_000_000_000_000.0 / 1000))
    entries += m.entry({"n": 2}, m.int64(-70_000_000_000))
    run_async(store_in(database, batch_of(entries)))
    assert Sql(here, database).json("SELECT ts FROM logs ORDER BY id") == [
        {"ts": "2255-03-14T16:00:00+00:00"},
        {"ts": "0250-10-15 19:33:20+00 BC"},
    ]


# --- it reads, and only reads


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO logs (id, ts, tag, attributes) VALUES (1, now(), 't', '{}')",
        "UPDATE logs SET tag = 'x'",
        "DELETE FROM logs",
        "WITH gone AS (DELETE FROM logs RETURNING *) SELECT * FROM gone",
        "EXPLAIN ANALYZE DELETE FROM logs",
        "TRUNCATE logs",
        "DROP TABLE logs",
        "CREATE TABLE t ()",
        "SELECT * INTO t FROM logs",
        "COPY logs FROM '/dev/null'",
        "SELECT nextval('penstock_receiver')",
        "SELECT lo_create(1)",
        "ALTER TABLE logs ADD c int",
        "GRANT ALL ON logs TO public",
        "DO $$ BEGIN DELETE FROM logs; END $$",
        "DO $$ BEGIN COMMIT; DELETE FROM logs; END $$",
        "SELECT set_config('transaction_read_only', 'off', true)",
    ],
)
def test_a_statement_that_writes_is_refused_and_changes_nothing(
    sql: Sql, statement: str
) -> None:
    assert "the statement failed: " in the_line(sql.run(statement), 1)
    assert sql.database.value("SELECT count(*) FROM logs") == 1
    assert sql.database.value("SELECT max(tag) FROM logs") == "test"
    assert sql.database.value("SELECT to_regclass('t')") is None


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT 1; DELETE FROM logs", "cannot insert multiple commands"),
        ("SELECT * FROM nothing", 'relation "nothing" does not exist'),
        ("SELECT 1/0", "division by zero"),
        ("SELECT $1::int", "expects 1 argument"),
        ("VACUUM", "VACUUM cannot run inside a transaction block"),
    ],
)
def test_a_statement_that_is_wrong_is_told_in_one_line(
    sql: Sql, statement: str, words: str
) -> None:
    assert words in the_line(sql.run(statement), 1)


def test_an_unknown_form_is_a_mistake_in_the_usage(sql: Sql) -> None:
    ended = sql.run("SELECT 1", "-o", "xml")
    assert ended.returncode == 2
    assert "'table', 'json', 'csv'" in ended.stderr


# --- where the database is


@pytest.mark.parametrize("given", ["flag", "environment"])
def test_a_database_out_of_reach_is_exit_code_3(here: Here, given: str) -> None:
    url = f"postgresql://me:{SECRET}@127.0.0.1:1/logs"
    if given == "flag":
        ended = here("sql", "--database-url", url, "SELECT 1")
    else:
        ended = here("sql", "SELECT 1", PENSTOCK_DATABASE_URL=url)
    assert SECRET not in the_line(ended, 3)


@pytest.fixture
def data_dir_of(postgres: EmbeddedPostgres) -> Iterator[Path]:
    """The data directory of the server that runs for all tests."""
    yield Path(re.sub(r".*host=(.*)/run&.*", r"\1", postgres.url))


def test_it_works_where_up_runs_and_leaves_it_running(
    here: Here, postgres: EmbeddedPostgres, data_dir_of: Path
) -> None:
    question = ("sql", "-o", "csv", "SELECT current_database() AS d")
    ended = here(*question, "--data-dir", str(data_dir_of))
    assert (ended.returncode, ended.stdout) == (0, "d\npenstock\n")
    assert here(*question, PENSTOCK_DATA_DIR=str(data_dir_of)).returncode == 0
    assert postgres.is_running()


def test_it_works_where_nothing_runs_and_leaves_nothing_running(
    here: Here, home: Path
) -> None:
    data_dir = home / "data"
    for _ in range(2):
        ended = here("sql", "--data-dir", str(data_dir), "-o", "csv", "SELECT 7 AS n")
        assert (ended.returncode, ended.stdout) == (0, "n\n7\n")
        assert running_url(data_dir) is None


def test_a_data_directory_that_cannot_be_used_is_exit_code_3(
    here: Here, home: Path
) -> None:
    (home / "file").write_text("")
    line = the_line(here("sql", "--data-dir", str(home / "file"), "SELECT 1"), 3)
    assert str(home / "file") in line
