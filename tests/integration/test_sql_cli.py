"""`penstock sql`: one statement, guarded, in three forms, wherever the data is."""

import csv
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.embedded import EmbeddedPostgres, open_database, running_url
from penstock.sink.migrations import migrate
from tests import msgpack_bytes as m
from tests.integration.conftest import (
    Database,
    Here,
    as_another_user,
    batch_of,
    clean_environment,
    create_database,
    new_home,
    penstock,
    run_async,
    run_penstock,
    store_in,
    the_line,
    wait_until,
)

SECRET = "hunter2"
# Minutes of work for PostgreSQL, and none before it begins.
SLOW = (
    "SELECT count(*) FROM generate_series(1, 100000) AS a,"
    " generate_series(1, 100000) AS b"
)


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
    assert re.fullmatch(r"\(2 rows, \d+ ms\)\n", ended.stderr), "no row, not on stdout"


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


def cells_of(table: str) -> list[str]:
    """Return the texts of a table's one row, put together from its folded lines."""
    lines = [
        line.strip().strip("│").split("│") for line in table.split("┡")[1].splitlines()
    ]
    return ["".join(parts).replace(" ", "") for parts in zip(*lines[1:-1], strict=True)]


def on_terminal(*arguments: str) -> str:
    """Run a command on a terminal of 80 columns; return what it shows there."""
    mine, its = pty.openpty()
    with open(mine, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            penstock(*arguments),
            stdin=its,
            stdout=its,
            stderr=subprocess.DEVNULL,
            env=clean_environment(TERM="dumb"),
        )
        os.close(its)
        shown = b""
        try:
            while block := screen.read(65536):
                shown += block
        except OSError:  # the terminal's other end is closed
            pass
        assert process.wait() == 0
    return shown.decode()


@pytest.mark.parametrize("columns", [3, 8, 30])
def test_a_table_on_a_narrow_terminal_shows_every_character(
    sql: Sql, columns: int
) -> None:
    values = [f"{number:02}" + "0123456789" * 5 for number in range(columns)]
    listed = ", ".join(f"'{value}' AS c{n}" for n, value in enumerate(values))
    shown = on_terminal("sql", "--database-url", sql.database.url, f"SELECT {listed}")
    assert cells_of(shown) == values


def test_a_log_line_does_not_command_the_terminal(sql: Sql) -> None:
    statement = "SELECT E'\\x1b]0;owned\\x07 \\r\\u009b31m' AS message"
    text = sql.output(statement, "table")
    assert "\\x1b]0;owned\\x07 \\x0d\\x9b31m" in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


def test_types_are_json_types_where_json_has_them(sql: Sql) -> None:
    statement = (
        "SELECT 1 AS i, 9223372036854775808 AS n, 0.5::float8 AS f, true AS b,"
        " NULL AS z, ARRAY[1, 2] AS a,"
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
            "j": {"a": [1, {"b": None}]},
            "k": {"a": 1},
            "t": "2026-07-31T03:00:00.500000+00:00",
            "y": "\\xff00",
        }
    ]


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_json_values_are_compact_and_lose_nothing(sql: Sql, form: str) -> None:
    text = r"""{ "a" : [ 1 ,TAB{ } ] , "b  c":" \" : , \\" ,LINE"a":1.50e400 }"""
    text = text.replace("TAB", "\t").replace("LINE", "\n")
    compact = r"""{"a":[1,{}],"b  c":" \" : , \\","a":1.50e400}"""
    found = sql.output(f"SELECT $${text}$$::json AS j", form)
    assert compact in found.replace('""', '"')
    # Its keys come in PostgreSQL's own order.
    found = sql.output('SELECT \'{"ms": 2140, "n": [1, 2]}\'::jsonb AS j', form)
    assert '{"n":[1,2],"ms":2140}' in found.replace('""', '"')


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
        "WITH gone AS (DELETE FROM logs RETURNING *) SELECT * FROM gone",
        "EXPLAIN ANALYZE DELETE FROM logs",
        "DROP TABLE logs",
        "SELECT * INTO t FROM logs",
        "COPY (SELECT 1) TO PROGRAM 'cat >&2'",
        "SELECT nextval('penstock_receiver')",
        "SELECT lo_create(1)",
        "DO $$ BEGIN COMMIT; DELETE FROM logs; END $$",
        "SET ROLE postgres",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "SELECT pg_sleep(1)",
        "SELECT * FROM pg_stat_activity",
        "SELECT * FROM public.logs",
        "SELECT raw FROM rejected_event",
        "SELECT 1; DELETE FROM logs",
    ],
)
def test_a_statement_that_does_more_is_refused_before_anything_is_asked(
    here: Here, home: Path, statement: str
) -> None:
    """No database is needed to say so."""
    the_line(here("sql", statement, "--data-dir", str(home / "none")), 1)
    assert not (home / "none").exists()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELEC 1", 'at 1: syntax error at or near "SELEC"'),
        ("SELECT * FROM nothing", "nothing may not be read"),
        ("SELECT 1/0", "the statement failed: division by zero"),
        ("SELECT 1 + 'a'", "the statement failed: invalid input syntax"),
    ],
)
def test_a_statement_that_is_wrong_is_told_in_one_line(
    sql: Sql, statement: str, words: str
) -> None:
    assert words in the_line(sql.run(statement), 1)


def test_a_statement_is_read_from_stdin(sql: Sql) -> None:
    for text, code in (("SELECT 7 AS n;\n", 0), ("SELEC", 1)):
        ended = run_penstock(
            "sql", "-o", "csv", "-", "--database-url", sql.database.url, stdin=text
        )
        assert ended.returncode == code
    ended = run_penstock("sql", "--database-url", sql.database.url)
    assert ended.returncode == 2
    assert "give a statement, or - to read it from stdin" in ended.stderr


@pytest.mark.parametrize("limit", ["max_rows", "max_bytes"])
def test_a_result_that_is_cut_says_by_what(sql: Sql, limit: str) -> None:
    statement = "SELECT repeat('x', 1000) AS x FROM generate_series(1, 200)"
    given = {"max_rows": "--max-rows=50", "max_bytes": "--max-bytes=64KiB"}[limit]
    ended = sql.run(statement, "-o", "csv", given)
    assert ended.returncode == 0
    assert 40 <= len(ended.stdout.splitlines()) <= 100
    assert f"there are more rows: {limit} (" in ended.stderr
    assert "penstock export" in ended.stderr


def test_a_statement_has_so_much_time(here: Here, looked_at: Database) -> None:
    ended = here(
        "sql", SLOW, "--statement-timeout-seconds=0.2", "--database-url", looked_at.url
    )
    assert "statement_timeout_seconds (0.2 s)" in the_line(ended, 1)


def test_columns_of_one_name_are_refused_where_one_would_be_lost(sql: Sql) -> None:
    line = the_line(sql.run("SELECT 1 AS a, 2 AS b, 3 AS a", "-o", "json"), 1)
    assert "several columns are named a," in line
    assert "AS" in line
    assert sql.output("SELECT 1 AS a, 2 AS a", "csv") == "a,a\n1,2\n"


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
    run_async(migrate(postgres.url))
    question = ("sql", "-o", "csv", "SELECT count(*) AS n FROM logs")
    ended = here(*question, "--data-dir", str(data_dir_of))
    assert (ended.returncode, ended.stdout) == (0, "n\n0\n")
    assert here(*question, PENSTOCK_DATA_DIR=str(data_dir_of)).returncode == 0
    assert postgres.is_running()


@pytest.fixture(scope="module")
def made_dir() -> Iterator[Path]:
    """A data directory with a database in it, where nothing runs."""
    home = new_home()
    with open_database(home / "data", create=True) as url:
        run_async(migrate(url))
    yield home / "data"
    shutil.rmtree(home)


def test_it_works_where_nothing_runs_and_leaves_nothing_running(
    here: Here, made_dir: Path
) -> None:
    data_dir = made_dir
    for _ in range(2):
        ended = here("sql", "--data-dir", str(data_dir), "-o", "csv", "SELECT 7 AS n")
        assert (ended.returncode, ended.stdout) == (0, "n\n7\n")
        assert running_url(data_dir) is None


def test_the_embedded_database_is_not_asked_as_its_superuser(
    postgres: EmbeddedPostgres, data_dir_of: Path
) -> None:
    """It logs in as one who reads; what it asks runs as one who reads less."""
    admin = Database(postgres.url, "penstock", postgres.url)
    run_async(migrate(postgres.url))
    process = subprocess.Popen(
        penstock("sql", "--data-dir", str(data_dir_of), SLOW),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=clean_environment(),
    )
    who = "SELECT usename FROM pg_stat_activity WHERE query = $1 AND state = 'active'"
    assert wait_until(lambda: admin.fetch(who, SLOW), "it runs") == [
        ("penstock_reader",)
    ]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    wait_until(lambda: not admin.fetch(who, SLOW), "it is ended on the server")


def test_a_data_directory_that_cannot_be_used_is_exit_code_3(
    here: Here, home: Path
) -> None:
    (home / "file").write_text("")
    line = the_line(here("sql", "--data-dir", str(home / "file"), "SELECT 1"), 3)
    assert str(home / "file") in line


def test_where_no_database_was_made_it_makes_none(here: Here, home: Path) -> None:
    typo = home / "typo"
    for command in (("sql", "SELECT 1"), ("db", "status")):
        line = the_line(here(*command, "--data-dir", str(typo)), 3)
        assert str(typo) in line
        assert "penstock up" in line
        assert "--data-dir" in line
    assert not typo.exists()


def test_an_empty_data_directory_is_refused_by_its_name(here: Here) -> None:
    assert "--data-dir is empty" in the_line(
        here("sql", "--data-dir", "", "SELECT 1"), 2
    )


def test_a_data_directory_of_another_user_is_exit_code_3(
    here: Here, home: Path
) -> None:
    data_dir = home / "data"
    data_dir.mkdir()
    home.chmod(0o755)
    question = ("sql", "--data-dir", str(data_dir), "SELECT 1")
    here(*question)  # what it imports may be closed to the other user
    with as_another_user(data_dir):
        line = the_line(here(*question), 3)
    assert str(data_dir) in line
    assert "Permission denied" in line


# --- how it is stopped


ASLEEP = "SELECT count(*) FROM pg_stat_activity WHERE query = $1 AND state = 'active'"


@pytest.mark.parametrize(
    "signals",
    [
        pytest.param([signal.SIGINT], id="Ctrl-C"),
        pytest.param([signal.SIGTERM], id="timeout"),
        # A closed terminal: from the shell, and from the system after it.
        pytest.param([signal.SIGHUP, signal.SIGHUP], id="terminal"),
    ],
)
def test_a_signal_stops_the_postgresql_that_it_has_started(
    made_dir: Path, signals: list[int]
) -> None:
    process = subprocess.Popen(
        penstock("sql", "--data-dir", str(made_dir), SLOW),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    url = wait_until(lambda: running_url(made_dir), "PostgreSQL runs") or ""
    asleep = Database(url, "penstock", url)
    wait_until(lambda: asleep_in(asleep), "the statement runs")
    for number in signals:
        process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")
    assert running_url(made_dir) is None


def asleep_in(database: Database) -> bool:
    try:
        return bool(database.value(ASLEEP, SLOW))
    except OSError:  # the database is only just made
        return False


def test_ctrl_c_is_exit_code_130_with_a_postgresql_of_ones_own(sql: Sql) -> None:
    process = subprocess.Popen(
        penstock("sql", "--database-url", sql.database.url, SLOW),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    wait_until(lambda: asleep_in(sql.database), "the statement runs")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")
    wait_until(lambda: not asleep_in(sql.database), "it is ended on the server")


ESCAPES = "E'\\x1b]0;owned\\x07' || chr(155) || '31m' || chr(8238)"


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_no_form_lets_a_log_line_command_a_terminal(sql: Sql, form: str) -> None:
    url = sql.database.url
    shown = on_terminal(
        "sql", "--database-url", url, "-o", form, f"SELECT {ESCAPES} AS message"
    )
    assert not re.search("\x1b]|\x07|[\x80-\x9f\u202e]", shown)


def test_an_error_that_quotes_a_log_line_does_not_command_the_terminal(
    sql: Sql,
) -> None:
    line = the_line(sql.run(f"SELECT ({ESCAPES} || tag)::int FROM logs"), 1)
    assert "\\x1b]0;owned\\x07\\x9b31m" in line
    assert line.isprintable()
