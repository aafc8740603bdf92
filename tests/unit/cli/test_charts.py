"""A series is drawn, within the width there is; anything else is not."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from penstock.cli.charts import HEIGHT_LINES, series_chart

START = datetime(2026, 11, 29, tzinfo=UTC)
TYPES = ("timestamptz", "int8")


def series(*numbers: Any) -> list[tuple[Any, ...]]:
    return [(START + timedelta(hours=at), number) for at, number in enumerate(numbers)]


@pytest.mark.parametrize("width", [24, 40, 80, 200])
@pytest.mark.parametrize("count", [2, 5, 24, 1000])
def test_it_is_as_wide_as_it_may_be_and_no_wider(width: int, count: int) -> None:
    numbers = [n % 7 for n in range(count)]
    lines = series_chart(("hour", "n"), TYPES, series(*numbers), width)
    assert len(lines) == HEIGHT_LINES + 2
    assert max(map(len, lines)) <= max(width, len("6  11-29 00:00"))


def test_the_largest_is_full_and_the_smallest_that_is_something_is_seen() -> None:
    lines = series_chart(("hour", "n"), TYPES, series(0, 1, 1000), 40)
    assert lines[0].startswith("1,000 ┤")
    assert lines[0].endswith("█")
    assert "▁" in lines[HEIGHT_LINES - 1]
    assert lines[-1].strip() == "n by hour"


def test_what_is_no_number_is_a_gap() -> None:
    rows = series(1, None, float("nan"), -5, Decimal("2.5"))
    assert series_chart(("hour", "n"), ("timestamptz", "numeric"), rows, 40)


@pytest.mark.parametrize(
    ("types", "rows"),
    [
        (("text", "int8"), series(1, 2)),
        (("timestamptz", "text"), series(1, 2)),
        (("timestamptz",), [(START,)]),
        (TYPES, []),
        (TYPES, series(1)),
        (TYPES, series(1, 2)[::-1]),
        (TYPES, [*series(1), *series(2)]),
        (TYPES, series(0, 0)),
        (TYPES, [(None, 1), (START, 2)]),
        (TYPES, [("infinity", 1), (START, 2)]),
    ],
)
def test_what_is_no_series_is_not_drawn(types: Any, rows: Any) -> None:
    assert series_chart(("a", "b")[: len(types)], types, rows, 80) == []


def test_it_is_not_drawn_where_there_is_no_room() -> None:
    assert series_chart(("a", "b"), TYPES, series(1, 2), 20) == []
