"""How what a search finds looks: on a narrow terminal, on a wide one and in a pipe."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from penstock.cli.counts_view import histogram_table, legend, top_table
from penstock.cli.rows_view import Look, fields_table, rows_table, shown
from penstock.search.statements import Bin

NOON = datetime(2026, 11, 5, 12, tzinfo=UTC)
SEOUL = ZoneInfo("Asia/Seoul")


def row(number: int, **values: Any) -> tuple[Any, ...]:
    given = {"level": None, "service": None, "host": None, "tag": "app"} | values
    return (
        number,
        NOON + timedelta(seconds=number, milliseconds=250),
        given["level"],
        given["service"],
        given["host"],
        given["tag"],
        given.get("message"),
        orjson.Fragment(orjson.dumps(given.get("attributes", {})).decode()),
    )


ROWS = [
    row(
        1,
        level="ERROR",
        service="checkout",
        host="web-1",
        message='said "no" to 100% of it 😀',
        attributes={"status": 500, "who": "a b"},
    ),
    row(
        2, level="WARN", service="web", message="연결이 거부되었습니다: 다시 시도합니다"
    ),
    row(3, level="INFO", message="\x1b[31mred\x1b[0m \x07bell \x1b]0;title\x07end"),
    row(4, attributes={"only": ["attributes"]}),
    row(5, message="w" * 45),
]


def drawn(what: RenderableType, width: int | None, *, is_coloured: bool = False) -> str:
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=width or 1_000,
        force_terminal=is_coloured,
        color_system="standard" if is_coloured else None,
        markup=False,
        highlight=False,
        emoji=False,
    )
    console.print(what)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def looked_at(rows: Sequence[Sequence[Any]], width: int | None) -> str:
    return drawn(rows_table(rows, Look(width, SEOUL, is_one_day=True)), width)


def test_on_forty_cells_there_are_time_level_and_message() -> None:
    assert looked_at(ROWS, 40) == (
        "time     level message\n"
        '21:00:01 ERROR said "no" to 100% of it\n'
        "               😀\n"
        "21:00:02 WARN  연결이 거부되었습니다:\n"
        "               다시 시도합니다\n"
        "21:00:03 INFO  red \\x07bell end\n"
        '21:00:04       only=["attributes"]\n'
        "21:00:05       wwwwwwwwwwwwwwwwwwwwwwwww\n"
        "               wwwwwwwwwwwwwwwwwwww"
    )


def test_on_a_wide_terminal_there_are_all_columns_and_attributes() -> None:
    assert looked_at(ROWS, 120) == (
        "time         level service  host  tag message\n"
        '21:00:01.250 ERROR checkout web-1 app said "no" to 100% of it 😀'
        ' status=500 who="a b"\n'
        "21:00:02.250 WARN  web            app 연결이 거부되었습니다: 다시 시도합니다\n"
        "21:00:03.250 INFO                 app red \\x07bell end\n"
        '21:00:04.250                      app only=["attributes"]\n'
        f"21:00:05.250                      app {'w' * 45}"
    )


def test_in_a_pipe_there_is_all_of_it_with_date_and_offset() -> None:
    lines = looked_at(ROWS, None).splitlines()

    assert lines[1].startswith(
        "2026-11-05 21:00:01.250+09:00 ERROR checkout web-1 app "
    )
    assert len(lines) == 1 + len(ROWS)


@pytest.mark.parametrize("width", [40, 41, 60, 79, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = [
        *ROWS,
        row(6, message="한" * 99),
        row(7, message="😀" * 99, service="s" * 99),
    ]

    assert max(map(cell_len, looked_at(long, width).splitlines())) <= width


def test_a_very_long_message_is_cut_on_a_terminal_and_says_so() -> None:
    long = [row(1, message="x" * 20_000)]

    assert "18,000 characters more (-o raw)" in looked_at(long, 400)
    assert "x" * 20_000 in looked_at(long, None).replace("\n", "").replace(" ", "")


def test_levels_are_coloured_where_there_are_colours() -> None:
    table = rows_table(ROWS, Look(80, UTC, is_one_day=True))

    assert "\x1b[31mERROR" in drawn(table, 80, is_coloured=True)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x07", "link"),
        ("a\rb", "a\\x0db"),
        ("\x9b31m", "\\x9b31m"),
        ("\x1b", "\\x1b"),
        ("a\tb\nc", "a\tb\nc"),
        ("\u202eabc", "\\u202eabc"),
    ],
)
def test_a_message_commands_no_terminal(text: str, seen: str) -> None:
    assert shown(text) == seen


def test_fields_are_shown_as_their_values() -> None:
    rows = [
        (NOON, "ERROR", orjson.Fragment("500"), orjson.Fragment('"a\\"b"')),
        (NOON, None, orjson.Fragment("null"), None),
    ]
    names = ["ts", "level", "status", "q"]

    assert drawn(fields_table(names, rows, Look(60, UTC, is_one_day=True)), 60) == (
        'ts           level status q\n12:00:00.000 ERROR 500    a"b\n12:00:00.000'
    )


BINS = [
    Bin(NOON, {"INFO": 80, "ERROR": 15, "": 5}),
    Bin(NOON + timedelta(minutes=1), {}),
    Bin(NOON + timedelta(minutes=2), {"INFO": 49, "WARN": 1}),
]


def histogram(width: int | None) -> str:
    table = histogram_table(
        BINS, timedelta(minutes=1), UTC, width=width, is_coloured=False
    )
    return drawn(table, width)


def test_a_narrow_histogram_has_bars_in_shades() -> None:
    assert histogram(40) == (
        "time  rows\n"
        "12:00  100 ████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒░\n"
        "12:01    0\n"
        "12:02   50 ▓▒▒▒▒▒▒▒▒▒▒▒▒▒"
    )


def test_a_wide_histogram_has_numbers_too() -> None:
    lines = histogram(100).splitlines()

    assert lines[0].split() == ["time", "rows", "ERROR", "WARN", "INFO", "none"]
    assert lines[1].split()[-4:] == ["15", "0", "80", "5"]
    assert max(map(len, lines)) == 100


def test_in_a_pipe_a_histogram_has_bars_and_numbers() -> None:
    assert histogram(None).splitlines()[3].split()[-4:] == ["0", "1", "49", "0"]


def test_a_legend_says_what_the_shades_are() -> None:
    text = drawn(legend(BINS, is_coloured=False), 80).replace("\xa0", " ")

    assert text == "█ ERROR 15  ▓ WARN 1  ▒ INFO 129  ░ none 5"


def test_top_values_have_counts_shares_and_bars() -> None:
    rows = [("web", 60, 100), (None, 30, 100), ("\x1b[31mx", 1, 100)]

    assert drawn(top_table("service", rows, 60), 60) == (
        "service rows share\n"
        "web       60 60.0% ████████████████████\n"
        "(none)    30 30.0% ██████████\n"
        "x          1  1.0% ▍"
    )
    assert "█" not in drawn(top_table("service", rows, 40), 40)
