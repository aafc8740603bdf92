"""Windows of time: what is typed, in a zone with summer time and in one without."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from penstock.search.times import (
    TimeError,
    describe_window,
    parse_duration,
    parse_window,
)

SEOUL = ZoneInfo("Asia/Seoul")
BERLIN = ZoneInfo("Europe/Berlin")
# A Thursday; in Seoul 01:30 of the sixth.
NOW = datetime(2026, 11, 5, 16, 30, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("given", "start", "end"),
    [
        ({}, "2026-11-05T15:30Z", "2026-11-05T16:30Z"),
        ({"last": "15m"}, "2026-11-05T16:15Z", "2026-11-05T16:30Z"),
        ({"last": "1h30m"}, "2026-11-05T15:00Z", "2026-11-05T16:30Z"),
        ({"last": "2 days"}, "2026-11-03T16:30Z", "2026-11-05T16:30Z"),
        ({"last": "15m", "until": "1h"}, "2026-11-05T15:15Z", "2026-11-05T15:30Z"),
        ({"until": "1h"}, "2026-11-05T14:30Z", "2026-11-05T15:30Z"),
        ({"since": "15m"}, "2026-11-05T16:15Z", "2026-11-05T16:30Z"),
        ({"since": "15m ago"}, "2026-11-05T16:15Z", "2026-11-05T16:30Z"),
        ({"since": "2h..1h"}, "2026-11-05T14:30Z", "2026-11-05T15:30Z"),
        ({"last": "2h..1h"}, "2026-11-05T14:30Z", "2026-11-05T15:30Z"),
        ({"since": "2h.."}, "2026-11-05T14:30Z", "2026-11-05T16:30Z"),
        ({"since": "2h", "until": "now"}, "2026-11-05T14:30Z", "2026-11-05T16:30Z"),
        ({"since": "today"}, "2026-11-05T15:00Z", "2026-11-05T16:30Z"),
        ({"since": "yesterday 14:00"}, "2026-11-05T05:00Z", "2026-11-05T16:30Z"),
        ({"since": "yesterday..today"}, "2026-11-04T15:00Z", "2026-11-05T15:00Z"),
        ({"since": "Tuesday 9:00"}, "2026-11-03T00:00Z", "2026-11-05T16:30Z"),
        ({"since": "01:00"}, "2026-11-05T16:00Z", "2026-11-05T16:30Z"),
        ({"since": "23:00"}, "2026-11-05T14:00Z", "2026-11-05T16:30Z"),
        ({"since": "2026-11-05"}, "2026-11-04T15:00Z", "2026-11-05T16:30Z"),
        ({"since": "2026-11-05 10:00"}, "2026-11-05T01:00Z", "2026-11-05T16:30Z"),
        (
            {"since": "2026-11-05T10:00:00.5Z"},
            "2026-11-05T10:00:00.5Z",
            NOW.isoformat(),
        ),
        ({"since": "2026-11-05T10:00-03:00"}, "2026-11-05T13:00Z", NOW.isoformat()),
        ({"since": "1762300000"}, "2025-11-04T23:46:40Z", NOW.isoformat()),
        ({"since": "1762300000500"}, "2025-11-04T23:46:40.5Z", NOW.isoformat()),
    ],
)
def test_a_window_is_what_was_typed(
    given: dict[str, str], start: str, end: str
) -> None:
    asked = {"since": None, "until": None, "last": None} | given

    window = parse_window(**asked, now=NOW, zone=SEOUL)

    assert (window.start, window.end) == (at(start), at(end))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"since": "noon"}, "'noon' is no time; times are 15m, "),
        ({"since": ""}, "an empty time"),
        ({"since": "2026-13-01"}, "'2026-13-01' is no time"),
        ({"since": "25:00"}, "'25:00' is no time"),
        ({"last": "yesterday"}, "'yesterday' is no duration, as 15m, 1h30m or 2d is"),
        ({"last": "0m"}, "'0m' is no duration"),
        ({"last": "5 parsecs"}, "'5 parsecs' is no duration"),
        ({"last": "999999999w"}, "longer than all years there are"),
        ({"last": "999999w"}, "a time outside the years 1 to 9999"),
        ({"since": "999999w"}, "a time outside the years 1 to 9999"),
        ({"since": "1h", "until": "2h"}, "the window ends before it begins: from 2026"),
        ({"since": "1h", "last": "2h"}, "--since and --last both say where"),
        ({"since": "2h..1h", "until": "now"}, "'2h..1h' has its end already"),
        ({"since": "..1h"}, "'..1h' has no beginning"),
        ({"since": "0001-01-01"}, "a time outside the years 1 to 9999"),
    ],
)
def test_what_is_no_window_is_refused_in_a_line(
    given: dict[str, str], said: str
) -> None:
    asked = {"since": None, "until": None, "last": None} | given

    with pytest.raises(TimeError) as refused:
        parse_window(**asked, now=NOW, zone=SEOUL)

    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


def test_an_hour_of_the_clock_is_right_over_a_change_of_the_clock() -> None:
    # On the 25th of October clocks in Berlin go from 03:00 back to 02:00.
    now = datetime(2026, 10, 25, 11, tzinfo=UTC)

    window = parse_window("today", "12:00", None, now, BERLIN)

    assert window.start == at("2026-10-24T22:00Z")
    assert window.end == at("2026-10-25T11:00Z")


def test_of_an_hour_that_comes_twice_a_window_holds_both() -> None:
    now = datetime(2026, 10, 25, 11, tzinfo=UTC)

    window = parse_window("02:30", "2026-10-25 02:30", None, now, BERLIN)

    assert window.start == at("2026-10-25T00:30Z")
    assert window.end == at("2026-10-25T01:30Z")


def test_an_hour_that_a_clock_leaves_out_is_the_one_after() -> None:
    # On the 29th of March clocks in Berlin go from 02:00 to 03:00.
    now = datetime(2026, 3, 29, 11, tzinfo=UTC)

    window = parse_window("02:30", "04:30", None, now, BERLIN)

    assert window.start == at("2026-03-29T01:30Z")
    assert window.end == at("2026-03-29T02:30Z")


def test_a_window_is_shown_in_both_zones() -> None:
    window = parse_window(None, None, "1h", NOW, SEOUL)

    assert describe_window(window, SEOUL) == (
        "2026-11-06 00:30:00 to 01:30:00 KST (2026-11-05 15:30:00 to 16:30:00 UTC)"
    )
    assert describe_window(window, UTC) == "2026-11-05 15:30:00 to 16:30:00 UTC"


def test_a_window_over_days_and_zones_shows_both() -> None:
    now = datetime(2026, 10, 25, 11, tzinfo=UTC)
    window = parse_window("today", None, None, now, BERLIN)

    assert describe_window(window, BERLIN).startswith(
        "2026-10-25 00:00:00 CEST to 2026-10-25 12:00:00 CET ("
    )


@pytest.mark.parametrize("text", ["1h", "1.5h", "90 min", "1H", "3600s", "3600000ms"])
def test_durations_are_spelled_in_several_ways(text: str) -> None:
    assert parse_duration(text) in (timedelta(hours=1), timedelta(hours=1.5))
