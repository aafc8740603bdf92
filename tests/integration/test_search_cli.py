"""`penstock search` as people use it: options, forms, terminals, errors."""

import asyncio
import csv
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from penstock.embedded import EmbeddedPostgres
from tests.integration.conftest import (
    Database,
    Here,
    clean_environment,
    create_database,
    drop_database,
    penstock,
    run_async,
    the_line,
)

NOON = datetime(2026, 11, 5, 12, tzinfo=UTC)
IN_WINDOW = ("--utc", "--since", "2026-11-05T11:00..2026-11-05T13:00")
ROWS = [
    ("ERROR", "checkout", 'said "no" to 100% of it 😀', {"status": 500, "q": "a b"}),
    ("WARN", "web", "연결이 거부되었습니다", {"status": "503", "http": {"path": "/a"}}),
    ("INFO", "web", "\x1b[31mred\x1b[0m \x07 and " + "long " * 40, {"status": 200}),
    ("INFO", "web", "x" * 5_000, {"big": 10**40}),
    (None, None, None, {"only": ["attributes", None]}),
]


@pytest.fixture(scope="module")
def stored(postgres: EmbeddedPostgres, template: str) -> Iterator[Database]:
    """A database with a few rows around noon of a day."""
    database = create_database(postgres, template)
    run_async(_store(database.url))
    yield database
    drop_database(database)


async def _store(url: str) -> None:
    connection = await asyncpg.connect(url)
    for number, (level, service, message, attributes) in enumerate(ROWS, start=1):
        await connection.execute(
            "INSERT INTO logs (id, ts, tag, level, service, message, attributes)"
            " VALUES ($1, $2, 'app', $3::text::log_level, $4, $5, $6)",
            number,
            NOON + timedelta(minutes=number),
            level,
            service,
            message,
            json.dumps(attributes),
        )
    await connection.close()


Search = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def search(here: Here, stored: Database) -> Search:
    """Run `penstock search` on the rows, with a window that holds them."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        database = ("--database-url", stored.url)
        return here("search", *database, *IN_WINDOW, *arguments, **environment)

    return run


def on_terminal(
    stored: Database, width: int, *arguments: str, height: int = 50, **environment: str
) -> tuple[str, str]:
    """Run it on a terminal of that width; return what it wrote there, and on stderr."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    inherited = clean_environment(TERM="xterm", LINES="", PAGER="cat") | environment
    del inherited["COLUMNS"], inherited["LINES"]
    command = penstock("search", "--database-url", stored.url, *IN_WINDOW, *arguments)
    process = subprocess.Popen(
        command, stdin=its, stdout=its, stderr=subprocess.PIPE, env=inherited
    )
    os.close(its)
    written = b""
    try:
        while data := os.read(ours, 65_536):
            written += data
    except OSError:  # EIO: nobody has the terminal's other end any more
        pass
    os.close(ours)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr.decode()
    return written.decode().replace("\r\n", "\n"), stderr.decode()


def test_rows_are_json_lines_with_utc_and_attributes_as_stored(search: Search) -> None:
    ended = search("-o", "json", "level:>=warn")

    assert [json.loads(line) for line in ended.stdout.splitlines()] == [
        {
            "id": "2",
            "ts": "2026-11-05T12:02:00+00:00",
            "level": "WARN",
            "service": "web",
            "host": None,
            "tag": "app",
            "message": "연결이 거부되었습니다",
            "attributes": {"status": "503", "http": {"path": "/a"}},
        },
        {
            "id": "1",
            "ts": "2026-11-05T12:01:00+00:00",
            "level": "ERROR",
            "service": "checkout",
            "host": None,
            "tag": "app",
            "message": 'said "no" to 100% of it 😀',
            "attributes": {"status": 500, "q": "a b"},
        },
    ]
    assert ended.stderr == ("window: 2026-11-05 11:00:00 to 13:00:00 UTC\n(2 rows)\n")


def test_a_number_of_any_size_comes_out_as_it_is_stored(search: Search) -> None:
    assert f'"big":{10**40}' in search("-o", "json", "big:*").stdout


def test_csv_has_a_header_and_what_csv_quotes(search: Search) -> None:
    ended = search("-o", "csv", "--fields", "ts,service,status,message", "said")

    assert list(csv.reader(io.StringIO(ended.stdout))) == [
        ["ts", "service", "status", "message"],
        ["2026-11-05 12:01:00+00:00", "checkout", "500", 'said "no" to 100% of it 😀'],
    ]


def test_raw_is_the_messages_as_they_are_stored(search: Search) -> None:
    ended = search("-o", "raw", "--order", "oldest")

    message = "\x1b[31mred\x1b[0m \x07 and " + "long " * 40
    assert ended.stdout.split("\n")[2] == message
    assert ended.stdout.split("\n")[4] == '{"only":["attributes",null]}'


def test_raw_fields_have_tabs_between(search: Search) -> None:
    ended = search("-o", "raw", "--fields", "level,http.path,status", "-said", "red")

    assert ended.stdout == "INFO\t\t200\n"


def test_in_a_pipe_a_row_is_a_line_without_escape_sequences(search: Search) -> None:
    ended = search("red OR said")

    assert ended.stdout.splitlines() == [
        "time                          level service  tag message",
        "2026-11-05 12:03:00.000+00:00 INFO  web      app red \\x07 and "
        + "long " * 40
        + " status=200",
        (
            "2026-11-05 12:01:00.000+00:00 ERROR checkout app"
            ' said "no" to 100% of it 😀 q="a b" status=500'
        ),
    ]


def test_a_terminal_of_forty_cells_gets_what_fits(stored: Database) -> None:
    text, stderr = on_terminal(stored, 40, "level:*", NO_COLOR="1")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = [line.rstrip() for line in plain.splitlines()]

    assert lines[0] == "time     level message"
    assert "12:02:00 WARN  연결이 거부되었습니다" in lines
    assert '12:01:00 ERROR said "no" to 100% of it' in lines
    assert "(4 rows)" in stderr
    assert "\x1b[3" not in text


def test_a_terminal_gets_colours_by_level(stored: Database) -> None:
    text, _ = on_terminal(stored, 120, "level:error")

    assert "\x1b[31mERROR\x1b[0m" in text


def test_a_long_table_on_a_terminal_goes_through_the_pager(stored: Database) -> None:
    text, _ = on_terminal(stored, 80, height=5, PAGER="wc -l")

    assert int(text) > 5
    unpaged, _ = on_terminal(stored, 80, "--no-pager", height=5, PAGER="wc -l")
    assert "연결이" in unpaged


def test_a_time_zone_that_there_is_not_is_said_and_utc_taken(
    here: Here, stored: Database
) -> None:
    arguments = ("search", "--database-url", stored.url, "--count")
    ended = here(*arguments, TZ="Nowhere/X")
    warning, window = ended.stderr.splitlines()
    assert warning.startswith("penstock: TZ is Nowhere/X, and there is no such")
    assert ended.returncode == 0 and window.startswith("window: ")
    assert "TZ is" not in here(*arguments, "--utc", TZ="Nowhere/X").stderr


@pytest.mark.parametrize(
    ("field", "hint"),
    [
        ("nope", "no row here has the field nope"),
        ("stauts", "no row here has the field stauts; is status meant?"),
        ("Status", "no row here has the field Status; is status meant?"),
        ("path", "no row here has the field path; is http.path meant?"),
        ("mesage", "no row here has the field mesage; is message meant?"),
    ],
)
def test_a_field_that_no_row_has_is_said_with_what_may_be_meant(
    search: Search, field: str, hint: str
) -> None:
    ended = search("--fields", f"ts,{field},status", "-o", "json")
    assert ended.returncode == 0
    assert ended.stderr.splitlines()[1:] == ["(5 rows)", hint]
    assert len(ended.stdout.splitlines()) == 5


def test_a_field_that_other_rows_have_is_no_hint(search: Search) -> None:
    ended = search("--fields", "id,http.path", "--limit", "1", "-o", "json")
    assert ended.stdout == '{"id":"5","http.path":null}\n'
    assert "no row" not in ended.stderr
    assert "no row" not in search("--fields", "nope", "service:nobody").stderr


@pytest.mark.parametrize("form", ["json", "csv"])
def test_what_is_for_programs_goes_through_no_pager(
    stored: Database, form: str
) -> None:
    text, _ = on_terminal(stored, 80, "-o", form, height=2, PAGER="wc -l")

    assert "연결이" in text


def test_a_cut_result_says_how_to_go_on_and_that_works(search: Search) -> None:
    first = search("--limit", "2", "-o", "raw", "--fields", "id")
    key = re.search(r"--after (\S+) goes on", first.stderr)

    assert first.stdout == "5\n4\n"
    assert key, first.stderr
    assert key[1] == "2026-11-05T12:04:00Z/4"
    ended = search("--limit", "9", "-o", "raw", "--fields", "id", "--after", key[1])
    assert ended.stdout == "3\n2\n1\n"
    assert "more" not in ended.stderr


def test_count_is_a_number(search: Search) -> None:
    assert search("--count", "service:web").stdout == "3\n"
    assert search("--count", "-o", "json").stdout == '{"count":5}\n'


def test_a_histogram_has_a_bar_a_bin(search: Search) -> None:
    ended = search("--histogram", "--step", "30m")

    lines = ended.stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:5]] == [
        ["11:00", "0"],
        ["11:30", "0"],
        ["12:00", "5"],
        ["12:30", "0"],
    ]
    assert "(5 rows)" in ended.stderr


def test_a_histogram_gives_programs_the_numbers(search: Search) -> None:
    ended = search("--histogram", "--step", "1h", "-o", "csv")

    assert ended.stdout.splitlines() == [
        "start,level,count",
        "2026-11-05 11:00:00+00:00,,0",
        "2026-11-05 12:00:00+00:00,INFO,2",
        "2026-11-05 12:00:00+00:00,WARN,1",
        "2026-11-05 12:00:00+00:00,ERROR,1",
        "2026-11-05 12:00:00+00:00,,1",
    ]


def test_top_has_values_counts_and_shares(search: Search) -> None:
    ended = search("--top", "service", "-o", "json")

    assert [json.loads(line) for line in ended.stdout.splitlines()] == [
        {"value": "web", "count": 3, "share": 0.6},
        {"value": "checkout", "count": 1, "share": 0.2},
        {"value": None, "count": 1, "share": 0.2},
    ]
    assert "1 of 3 values" in search("--top", "service", "--limit", "1").stderr
    assert "web" in search("--top", "service").stdout


def test_context_marks_the_hit_among_its_neighbours(search: Search) -> None:
    ended = search("--context", "1", "-o", "csv", "red")

    rows = list(csv.DictReader(io.StringIO(ended.stdout)))
    assert [(row["id"], row["is_hit"]) for row in rows] == [
        ("2", "False"),
        ("3", "True"),
        ("4", "False"),
    ]
    marked = [line[0] for line in search("--context", "1", "red").stdout.splitlines()]
    assert marked == [" ", " ", ">", " "]


def test_the_sql_that_is_shown_finds_the_same(search: Search, stored: Database) -> None:
    words = ("level:>=info", "-said", "(status:503 OR status:<300)", "any:a")
    shown = search("--show-sql", *words).stdout

    ids = search("-o", "raw", "--fields", "id", *words).stdout.split()
    assert ids == ["3", "2"]
    assert [str(row[0]) for row in stored.fetch(shown)] == ids


def test_a_word_with_a_minus_is_no_option(search: Search) -> None:
    ended = search("-said", "-o", "raw", "-service:web", "--fields", "id", "-other")

    assert ended.stdout == "5\n"


@pytest.mark.parametrize("option", ["--", "-ojson", "--output=json"])
def test_options_are_options_all_the_same(search: Search, option: str) -> None:
    ended = search(option, "said")

    assert ended.returncode == 0
    assert "said" in ended.stdout


def test_nothing_found_is_said_and_why_it_may_be(search: Search) -> None:
    ended = search("localhost:5432")

    assert ended.returncode == 0
    assert ended.stdout == ""
    assert ended.stderr.splitlines()[1:] == [
        "(0 rows)",
        (
            "localhost:5432 is the field localhost of attributes; in quotes it is text"
            " of the message"
        ),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", '"b'], "in the filter at 3: a quote that is not closed"),
        (
            ["level:loud"],
            "in the filter at 1: no level is named 'loud'; there are TRACE",
        ),
        (["--fields", "a b"], "in --fields at 3: a comma has to stand between fields"),
        (["--top", ""], "in --top at 1: a field is a column, or keys with dots"),
        (["--last", "1h"], "--since and --last both say where the window begins"),
        (["--histogram", "--step", "1ms"], "--step 1ms makes more than 1,000 bars"),
        (["--histogram", "--step", "x"], "'x' is no duration, as 15m, 1h30m or 2d is"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    search: Search, arguments: list[str], said: str
) -> None:
    assert said in the_line(search(*arguments), 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--count", "--histogram"], "--count and --histogram do not go together"),
        (["--step", "1m"], "--step is of --histogram"),
        (["--after", "5"], "--after '5' is no key"),
        (["--top", "a,b"], "--top takes one field"),
        (["--limit", "0"], "0 is not in the range"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(
    search: Search, arguments: list[str], said: str
) -> None:
    ended = search(*arguments)

    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stdout == ""


def test_a_filter_is_read_before_a_database_is_looked_for(here: Here) -> None:
    nowhere = "postgresql://penstock@127.0.0.1:1/logs"

    assert "at 2" in the_line(here("search", "--database-url", nowhere, "a)"), 2)
    ended = here("search", "--database-url", nowhere, "a")
    assert ended.returncode == 3
    assert ended.stderr.splitlines()[-1].startswith("penstock: cannot use the database")


def test_times_are_those_of_the_clock_on_the_wall(
    stored: Database,
) -> None:
    command = penstock("search", "--database-url", stored.url, "said")
    window = ("--since", "2026-11-05 20:59:30", "--until", "2026-11-05 21:01:30")
    environment = clean_environment(TZ="Asia/Seoul")

    ended = subprocess.run(
        [*command, *window], capture_output=True, text=True, env=environment
    )

    assert "21:01:00.000+09:00" in ended.stdout
    assert ended.stderr.splitlines()[0] == (
        "window: 2026-11-05 20:59:30 to 21:01:30 KST"
        " (2026-11-05 11:59:30 to 12:01:30 UTC)"
    )


def test_the_embedded_database_is_searched_where_it_is(
    here: Here, tmp_path: Path
) -> None:
    ended = here("search", "--data-dir", str(tmp_path / "none"), "a")

    assert ended.returncode == 3
    assert "penstock up" in ended.stderr


def test_a_search_that_takes_too_long_is_ended_and_says_so(
    search: Search, stored: Database
) -> None:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        other = runner.run(asyncpg.connect(stored.url))
        runner.run(other.execute("BEGIN; LOCK logs"))
        ended = search("--statement-timeout-seconds", "0.1", "a")
        runner.run(other.close())

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "penstock: " in ended.stderr.splitlines()[-1]
    assert "0.1 s" in ended.stderr


def test_a_limit_that_is_none_is_said_in_a_line(search: Search) -> None:
    line = the_line(search("--statement-timeout-seconds", "x", "a"), 2)

    assert "--statement-timeout-seconds is 'x', not a number" in line
