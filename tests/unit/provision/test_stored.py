"""What lies on the disk and in the bucket, against counting it night by night."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.backup.retention import Rules, decide
from penstock.provision.load import GIB, Indexes, load_of
from penstock.provision.stored import (
    Keeping,
    bucket_of,
    days_dumped,
    disk_of,
    most_days,
)
from tests.backup_history import manifest

LOAD = load_of(gb_per_day=20, records_per_day=None, record_bytes=None)
LAST = datetime(2026, 12, 31, 2, 15, tzinfo=UTC)
# Six years of nights, the newest first.
NIGHTS = [manifest(LAST - timedelta(n), []) for n in range(6 * 366)]


def counted(days: int, rules: Rules) -> set[date]:
    """The days that some backup refers to, after years of nights and `prune`."""
    found = set()
    for each in decide(NIGHTS, rules):
        if each.reasons:
            night = each.manifest.created_at.date()
            found |= {night - timedelta(n) for n in range(days)}
    return found


@pytest.mark.parametrize("days", [1, 7, 14, 30, 90, 400])
@pytest.mark.parametrize("rules", [Rules(7, 5, 12), Rules(1, 0, 0), Rules(0, 9, 30)])
def test_days_in_the_bucket_are_those_that_prune_leaves(
    days: int, rules: Rules
) -> None:
    dumped = days_dumped(days, Keeping(*rules))
    days_there = counted(days, rules)
    assert dumped.days == len(days_there)
    ages = [(LAST.date() - day).days for day in days_there]
    assert dumped.standard == sum(age < max(60, days) for age in ages)
    assert dumped.archive == sum(age >= max(120, days) for age in ages)


@given(st.integers(1, 3_000), st.booleans())
def test_a_disk_is_no_more_than_three_quarters_full(days: int, message: bool) -> None:
    disk = disk_of(LOAD, days, Indexes(of_message=message), with_penstock=True)
    assert disk.used_bytes <= disk.gib * GIB * 0.75
    assert disk.gib % 10 == 0
    assert disk.days_bytes >= (days + 1) * LOAD.table_bytes_per_day()


@given(st.integers(20, 16_384))
def test_the_days_that_fit_are_the_most_that_fit(gib: int) -> None:
    days = most_days(LOAD, Indexes(), gib, with_penstock=True)
    room = gib * GIB * 0.75

    def used(n: int) -> float:
        return disk_of(LOAD, n, Indexes(), with_penstock=True).used_bytes

    assert used(days + 1) > room
    assert days == 0 or used(days) <= room


def test_an_index_takes_more_disk_and_no_more_dumps() -> None:
    both = Indexes(of_message=True, of_attributes=True)
    plain = disk_of(LOAD, 14, Indexes(), with_penstock=True)
    assert disk_of(LOAD, 14, both, with_penstock=True).gib > plain.gib * 1.5
    bare = bucket_of(LOAD, 14, Indexes(), Keeping())
    indexed = bucket_of(LOAD, 14, both, Keeping())
    assert indexed.dump_bytes == bare.dump_bytes
    assert indexed.base_bytes > bare.base_bytes


def test_without_wal_only_dumps_are_in_the_bucket() -> None:
    bucket = bucket_of(LOAD, 14, Indexes(), Keeping(has_wal=False))
    assert bucket.base_bytes == bucket.wal_bytes == 0
    assert bucket.total_bytes > 0


def test_a_file_of_wal_a_minute_is_counted_when_nothing_comes() -> None:
    nothing = load_of(gb_per_day=None, records_per_day=1, record_bytes=None)
    puts = bucket_of(nothing, 14, Indexes(), Keeping()).puts_a_month
    assert puts >= 1_440 * 30
