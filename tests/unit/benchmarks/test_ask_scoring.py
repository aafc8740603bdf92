"""Two results are the same whatever their columns are called, and not otherwise."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from benchmarks.ask import data
from benchmarks.ask.running import at_now
from benchmarks.ask.scoring import same_rows

NOON = datetime(2026, 3, 11, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([("a", 1), ("b", 2)], [("b", 2), ("a", 1)]),
        ([(1, "a")], [("a", Decimal("1.00"))]),
        ([(33.333,)], [(Decimal("33.33"),)]),
        ([(NOON,)], [(NOON.astimezone(timezone(timedelta(hours=9))),)]),
        ([("200", 4)], [(200, 4)]),
        ([(None, 3)], [(3, None)]),
        ([(date(2026, 3, 11),)], [("2026-03-11",)]),
        ([], []),
    ],
)
def test_the_same(given: Any, wanted: Any) -> None:
    assert same_rows(given, wanted, is_ordered=False)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([("a", 1)], [("a", 1), ("a", 1)]),
        ([("a", 1)], [("a", 2)]),
        ([("a", 1, 5)], [("a", 1)]),
        ([(None,)], [(0,)]),
        ([("",)], [(None,)]),
        ([(NOON,)], [(NOON + timedelta(hours=9),)]),
        ([(1, 2), (3, 4)], [(1, 4), (3, 2)]),
        ([(True,)], [("x",)]),
    ],
)
def test_not_the_same(given: Any, wanted: Any) -> None:
    assert not same_rows(given, wanted, is_ordered=False)


def test_the_order_counts_where_it_is_asked_for() -> None:
    assert not same_rows([(1,), (2,)], [(2,), (1,)], is_ordered=True)
    assert same_rows([(2,), (1,)], [(2,), (1,)], is_ordered=True)


def test_the_logs_are_the_same_each_time_and_end_now() -> None:
    first, again = list(data.logs()), list(data.logs())
    assert first == again
    assert len(first) > 10_000
    assert max(row[1] for row in first) < data.NOW


def test_the_clock_of_a_statement_stands_at_the_end_of_the_logs() -> None:
    moment = f"timestamptz '{data.NOW.isoformat()}'"
    assert at_now("SELECT now(), CURRENT_TIMESTAMP") == f"SELECT {moment}, {moment}"
    assert "date '2026-03-12'" in at_now("SELECT current_date")
