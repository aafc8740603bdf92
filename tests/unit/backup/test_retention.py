"""Which backups stay, by day, week and month, and which parts nobody refers to."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from penstock.backup.catalogue import verified_key
from penstock.backup.manifest import Manifest, manifest_key, part_key
from penstock.backup.retention import (
    NEWEST,
    Rules,
    decide,
    leftovers,
    parts_to_remove,
)
from tests.backup_history import manifest, nights, part

NONE = Rules(0, 0, 0)
SEOUL = timezone(timedelta(hours=9))


def staying(manifests: list[Manifest], rules: Rules) -> list[str]:
    """Return when those that stay were made, the newest first."""
    return [
        f"{each.manifest.created_at:%m-%d}"
        for each in decide(manifests, rules)
        if each.reasons
    ]


def test_the_newest_stays_whatever_the_rules() -> None:
    (first, *others) = decide(nights(9), NONE)
    assert first.reasons == (NEWEST,)
    assert first.manifest.id.startswith("20251208")
    assert all(each.reasons == () for each in others)
    assert decide([], NONE) == []


def test_the_last_of_each_day_week_and_month_stays() -> None:
    year = nights(365)  # 2025-11-30, a Sunday, to 2026-11-29, a Sunday
    assert staying(year, Rules(3, 0, 0)) == ["11-29", "11-28", "11-27"]
    assert staying(year, Rules(0, 3, 0)) == ["11-29", "11-22", "11-15"]
    assert staying(year, Rules(0, 0, 3)) == ["11-29", "10-31", "09-30"]
    assert len(staying(year, Rules(7, 5, 12))) == 7 + 5 + 12 - 1 - 1 - 0  # shared ones
    assert len(staying(year, Rules(1000, 0, 0))) == 365


def test_several_in_a_day_count_once_and_the_last_stays() -> None:
    day = [manifest(datetime(2026, 3, 1, hour, tzinfo=UTC), []) for hour in (1, 23, 12)]
    (last, *others) = decide(day, Rules(7, 0, 0))
    assert last.manifest.created_at.hour == 23
    assert last.reasons == (NEWEST, "last of 2026-03-01")
    assert not any(each.reasons for each in others)


def test_the_day_is_utcs() -> None:
    """In Seoul these are two days."""
    two = [manifest(datetime(2026, 3, 2, hour, tzinfo=SEOUL), []) for hour in (8, 3)]
    assert [bool(each.reasons) for each in decide(two, Rules(7, 0, 0))] == [True, False]


def test_a_week_that_crosses_a_year_is_one() -> None:
    ends = [manifest(datetime(2026, 12, 31, tzinfo=UTC), [])]
    begins = [manifest(datetime(2027, 1, 3, tzinfo=UTC), [])]
    last, first = decide(ends + begins, Rules(0, 9, 0))
    assert last.reasons == (NEWEST, "last of 2026-W53")
    assert first.reasons == ()


def test_days_without_a_backup_do_not_count() -> None:
    """Who comes back after a month of none finds the dailies still there."""
    month_ago = nights(7)
    late = manifest(month_ago[-1].created_at + timedelta(days=30), [])
    assert len(staying([*month_ago, late], Rules(7, 0, 0))) == 7
    assert staying([*month_ago, late], Rules(2, 0, 0)) == ["01-05", "12-06"]


def test_two_databases_in_a_store_do_not_take_each_others_days() -> None:
    ours = nights(10)
    theirs = [
        manifest(each.created_at + timedelta(hours=1), [], system_identifier="other")
        for each in ours
    ]
    both = decide(ours + theirs, Rules(3, 0, 0))
    stay = [each.manifest.system_identifier for each in both if each.reasons]
    assert len(stay) == 6
    assert stay.count("other") == 3


def test_a_part_that_a_staying_backup_refers_to_is_not_removed() -> None:
    first, second = nights(2)
    sealed = second.parts[0]
    assert sealed.dumped_in == first.id
    going = parts_to_remove([first], [second])
    assert sealed.key not in going
    assert going == {
        part_key("database", first.id),
        part_key("logs_20251130", first.id),
    }


@pytest.fixture
def last() -> Manifest:
    return nights(1)[0]


def test_what_no_manifest_refers_to_is_left_over(last: Manifest) -> None:
    other = "20260101T000000Z-beef"
    gone = [part_key("logs_20260101", other), verified_key(other)]
    ours = [*(each.key for each in last.parts), verified_key(last.id)]
    keys = [*gone, *ours, manifest_key(last.id)]
    assert leftovers(keys, [last]) == set(gone)


@pytest.mark.parametrize(
    "key",
    [
        "parts/notes.txt",
        "parts/mine.dump",
        "parts/logs_20260101-2026.dump",
        "parts/sub/logs_20260101-20260101T000000Z-beef.dump",
        "backups/20260101T000000Z-beef/manifest.json",
        "backups/20260101T000000Z-beef/notes.txt",
        "backups/mine/verified.json",
    ],
)
def test_what_is_not_named_as_ours_stays(key: str, last: Manifest) -> None:
    assert leftovers([key], [last]) == set()


def test_a_part_is_told_by_its_key_not_by_its_table(last: Manifest) -> None:
    same_table = part("database", "20260101T000000Z-beef")
    assert leftovers([same_table.key], [last]) == {same_table.key}


@pytest.mark.parametrize("table", ['archive."old logs"', "archive.x", "ä" * 60])
def test_a_part_of_a_table_with_an_odd_name_is_ours_too(
    table: str, last: Manifest
) -> None:
    left = part(table, "20260101T000000Z-beef")
    assert leftovers([left.key], [last]) == {left.key}
