"""Which days retention drops: decided from names, bounds and sizes alone."""

from datetime import UTC, datetime

import pytest

from penstock.settings import MaintenanceSettings, PartitionSettings
from penstock.sink.partitions import DAY_SECONDS, day_name
from penstock.sink.retention import DayPartition, days_to_drop, expiry_seconds
from penstock.sink.seal import is_closed, missing_indexes

# 2026-07-31T12:00:00Z
NOON = datetime(2026, 7, 31, 12, tzinfo=UTC).timestamp()
TODAY = int(NOON // DAY_SECONDS)
GIB = 1024**3


def day(days_ago: int, size_bytes: int = GIB, *indexes: str) -> DayPartition:
    number = TODAY - days_ago
    return DayPartition(
        f"logs_{day_name(number)}",
        10_000 + days_ago,
        float(number * DAY_SECONDS),
        float((number + 1) * DAY_SECONDS),
        size_bytes,
        False,
        list(indexes),
    )


def dropped(
    days_ago: list[int],
    *,
    max_age_days: int = 0,
    max_bytes: int = 0,
    now_seconds: float = NOON,
) -> list[int]:
    """Return how many days ago those were that are dropped."""
    settings = PartitionSettings(
        retention_max_age_days=max_age_days, retention_max_bytes=max_bytes
    )
    days = [day(each) for each in sorted(days_ago, reverse=True)]
    drops = days_to_drop(days, settings, now_seconds)
    return [each.oid - 10_000 for each in drops]


def test_the_default_keeps_everything_for_ever() -> None:
    assert dropped([20_000, 400, 1, 0]) == []
    assert expiry_seconds(PartitionSettings(), NOON) is None


@pytest.mark.parametrize("max_age_days", [1, 7, 365])
def test_a_day_goes_when_its_last_event_is_too_old_and_not_before(
    max_age_days: int,
) -> None:
    days_ago = [max_age_days + n for n in (-1, 0, 1, 2)]
    expected = [max_age_days + 2, max_age_days + 1]
    assert dropped(days_ago, max_age_days=max_age_days) == expected
    midnight = float(TODAY * DAY_SECONDS)
    for now_seconds in (midnight, midnight + DAY_SECONDS - 0.001):
        got = dropped(days_ago, max_age_days=max_age_days, now_seconds=now_seconds)
        assert got == expected


def test_what_is_deleted_from_the_default_partition_is_what_days_are_dropped_for() -> (
    None
):
    settings = PartitionSettings(retention_max_age_days=7)
    before_seconds = expiry_seconds(settings, NOON)
    assert before_seconds == day(8).end_seconds == day(7).start_seconds


def test_days_go_oldest_first_until_the_rest_fits() -> None:
    days_ago = [4, 3, 2, 1, 0, -1]
    assert dropped(days_ago, max_bytes=6 * GIB) == []
    assert dropped(days_ago, max_bytes=6 * GIB - 1) == [4]
    assert dropped(days_ago, max_bytes=4 * GIB) == [4, 3]


def test_neither_today_nor_tomorrow_is_ever_dropped() -> None:
    assert dropped([3, 1, 0, -1], max_bytes=1) == [3, 1]
    assert dropped([0, -1], max_bytes=1, max_age_days=1) == []


def test_both_limits_hold_at_once() -> None:
    days_ago = [9, 8, 2, 1, 0]
    assert dropped(days_ago, max_age_days=7, max_bytes=4 * GIB) == [9, 8]
    assert dropped(days_ago, max_age_days=7, max_bytes=2 * GIB) == [9, 8, 2]


def test_a_clock_that_has_gone_back_drops_nothing() -> None:
    assert dropped([9, 8, 1], max_age_days=7, max_bytes=1, now_seconds=0.0) == []


def test_a_day_is_closed_so_many_hours_after_its_end() -> None:
    settings = MaintenanceSettings(seal_after_hours=6)
    end_seconds = day(1).end_seconds
    assert not is_closed(day(1), settings, end_seconds + 6 * 3_600 - 1)
    assert is_closed(day(1), settings, end_seconds + 6 * 3_600)


def test_only_indexes_that_are_wanted_and_not_there_are_missing() -> None:
    both = MaintenanceSettings(seal_message_trgm="on", seal_attributes_gin="on")
    assert missing_indexes(day(2), MaintenanceSettings()) == []
    name = day(2).partition
    names = [each.name for each in missing_indexes(day(2), both)]
    assert names == [f"{name}_message_trgm", f"{name}_attributes_gin"]
    with_one = day(2, GIB, f"{name}_message_trgm")
    (left,) = missing_indexes(with_one, both)
    assert (left.name, left.partition) == (f"{name}_attributes_gin", name)
