"""Which days get a partition, what it is called, and what a failure leaves behind."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import cast

import asyncpg
import pytest

from penstock.settings import PartitionSettings
from penstock.sink.partitions import POSTPONE_SECONDS, Partitions, day_name

# 2026-07-31T12:00:00Z
NOON = datetime(2026, 7, 31, 12, tzinfo=UTC).timestamp()
TODAY = int(NOON // 86_400)


def partitions(past_days: int = 30, ahead_days: int = 1) -> Partitions:
    return Partitions(
        PartitionSettings(
            partition_past_days=past_days, partition_ahead_days=ahead_days
        )
    )


class Database:
    """As much of a connection as partitions use; notes which days were made."""

    def __init__(self, *existing: str) -> None:
        self.days = list(existing)
        self.new_days: list[str] = []
        self.locked = False  # somebody reads logs_default and does not stop
        self.refusal: asyncpg.PostgresError | None = None
        self.refused_day = ""
        self.attempts = 0
        self.transactions = 0

    @contextlib.asynccontextmanager
    async def transaction(self, *, isolation: str) -> AsyncIterator[None]:
        assert isolation == "read_committed"
        self.transactions += 1
        yield

    async def execute(self, statement: str, day: date) -> None:
        assert "penstock_make_day" in statement
        name = f"{day:%Y%m%d}"
        if name in self.days:
            return
        self.attempts += 1
        if self.refusal and self.refused_day in f"logs_{name}":
            raise self.refusal
        if self.locked:
            raise asyncpg.LockNotAvailableError("canceling statement")
        self.days.append(name)
        self.new_days.append(name)

    def is_closed(self) -> bool:
        return False

    def made(self) -> list[str]:
        """Return the tables that were made, and forget them."""
        made, self.new_days = self.new_days, []
        return [f"logs_{name}" for name in made]

    async def ensure(
        self, of: Partitions, *days: int, now_seconds: float = NOON
    ) -> None:
        await of.ensure(cast("asyncpg.Connection", self), days, now_seconds)


# --- names


@pytest.mark.parametrize(
    ("day", "name"),
    [
        (date(1970, 1, 1), "19700101"),
        (date(1969, 12, 31), "19691231"),
        (date(2024, 2, 29), "20240229"),
        (date(2026, 7, 31), "20260731"),
        (date(2106, 2, 7), "21060207"),
    ],
)
def test_a_partition_is_named_by_its_day_in_utc(day: date, name: str) -> None:
    assert day_name((day - date(1970, 1, 1)).days) == name


def test_the_day_of_a_time_is_that_of_utc() -> None:
    midnight = datetime(2026, 8, 1, tzinfo=UTC).timestamp()
    just_before = int((midnight - 0.001) // 86_400)
    assert partitions(ahead_days=0).wanted({just_before}, midnight - 0.001) == [
        "20260731"
    ]
    assert partitions(ahead_days=0).wanted({just_before + 1}, midnight) == ["20260801"]


# --- which days


@pytest.mark.parametrize(
    ("past_days", "ahead_days", "first", "last"),
    [(30, 1, -30, 1), (0, 0, 0, 0), (3, 2, -3, 2), (36_500, 366, -36_500, 366)],
)
def test_days_too_old_or_too_far_ahead_have_none(
    past_days: int, ahead_days: int, first: int, last: int
) -> None:
    wanted = partitions(past_days, ahead_days).wanted
    assert wanted({TODAY + first - 1, TODAY + last + 1}, NOON) == []
    assert day_name(TODAY + first) in wanted({TODAY + first}, NOON)
    assert day_name(TODAY + last) in wanted({TODAY + last}, NOON)


def test_what_retention_would_drop_gets_no_partition() -> None:
    for past_days, max_age_days, first in ((30, 7, 7), (5, 7, 5), (30, 0, 30)):
        of = Partitions(
            PartitionSettings(
                partition_past_days=past_days, retention_max_age_days=max_age_days
            )
        )
        wanted = of.wanted({TODAY - first - 1, TODAY - first}, NOON)
        assert wanted == [day_name(TODAY - first)]


def test_days_that_no_calendar_has_do_no_harm() -> None:
    # As far as timestamptz goes, both ways; a sender may send such a time.
    assert partitions().wanted({-2_440_588, 106_751_991}, NOON) == []


def test_no_days_want_nothing() -> None:
    assert partitions().wanted(set(), NOON) == []


def test_each_day_is_wanted_once_oldest_first() -> None:
    days = [TODAY - 2, TODAY - 9, TODAY - 2]
    assert partitions().wanted(days, NOON) == ["20260722", "20260729"]


def test_tomorrow_is_made_with_today_so_that_midnight_finds_it_there() -> None:
    assert partitions().wanted({TODAY}, NOON) == ["20260731", "20260801"]
    assert partitions().wanted({TODAY - 1}, NOON) == ["20260730"]


def test_tomorrow_is_not_made_where_it_would_not_be_used() -> None:
    assert partitions(ahead_days=0).wanted({TODAY}, NOON) == ["20260731"]


def test_as_time_goes_on_other_days_are_wanted() -> None:
    later = NOON + timedelta(days=31).total_seconds()
    of = partitions()
    assert of.wanted({TODAY}, later) == []
    assert of.wanted({TODAY + 31}, later) == ["20260831", "20260901"]


# --- making them


async def test_a_day_is_made_once() -> None:
    database, of = Database(), partitions()
    await database.ensure(of, TODAY - 1)
    assert database.made() == ["logs_20260730"]
    transactions = database.transactions
    await database.ensure(of, TODAY - 1)
    assert database.made() == []
    assert database.transactions == transactions, "the usual batch costs no statement"


async def test_a_day_that_another_receiver_has_made_is_not_made_again() -> None:
    database, of = Database("20260730"), partitions()
    await database.ensure(of, TODAY - 1, TODAY - 2)
    assert database.made() == ["logs_20260729"]
    assert of.wanted({TODAY - 1, TODAY - 2}, NOON) == []


async def test_after_an_error_the_database_is_looked_at_again() -> None:
    database, of = Database(), partitions()
    await database.ensure(of, TODAY - 1)
    database.days.clear()  # a DBA has dropped it
    of.forget()
    assert of.wanted({TODAY - 1}, NOON) == ["20260730"]
    database.made()
    await database.ensure(of, TODAY - 1)
    assert database.made() == ["logs_20260730"]


async def test_another_writers_error_meanwhile_does_no_harm() -> None:
    """Writers share what is known; one forgets it while the other makes a day."""
    of = partitions()

    class Interrupted(Database):
        async def execute(self, statement: str, day: date) -> None:
            of.forget()
            await super().execute(statement, day)
            of.forget()

    database = Interrupted()
    await database.ensure(of, TODAY - 1, TODAY - 2)
    assert database.made() == ["logs_20260729", "logs_20260730"]


# --- a lock that cannot be had


async def test_a_lock_that_is_not_to_be_had_is_no_error() -> None:
    database, of = Database(), partitions()
    database.locked = True
    await database.ensure(of, TODAY - 1, TODAY - 2)
    assert of.wanted({TODAY - 1}, NOON) == ["20260730"], "it is not taken for made"


async def test_batches_do_not_wait_for_the_same_lock_again_and_again() -> None:
    database, of = Database(), partitions()
    database.locked = True
    await database.ensure(of, TODAY - 1)
    database.made()
    await database.ensure(of, TODAY - 1, now_seconds=NOON + POSTPONE_SECONDS - 1)
    assert database.made() == []
    await database.ensure(of, TODAY - 2, now_seconds=NOON + 1)
    assert database.made() == [], "another day would wait for the same lock"


async def test_a_day_is_made_when_the_lock_is_free_at_last() -> None:
    database, of = Database(), partitions()
    database.locked = True
    await database.ensure(of, TODAY - 1)
    database.made()
    database.locked = False
    await database.ensure(of, TODAY - 1, now_seconds=NOON + POSTPONE_SECONDS)
    assert database.made() == ["logs_20260730"]
    await database.ensure(of, TODAY - 1, now_seconds=NOON + 2 * POSTPONE_SECONDS)
    assert database.made() == []


async def test_of_many_days_one_waits_for_the_lock_and_the_others_do_not() -> None:
    database, of = Database(), partitions()
    database.locked = True
    days = [TODAY - n for n in range(1, 20)]
    await database.ensure(of, *days)
    await database.ensure(of, *days, now_seconds=NOON + POSTPONE_SECONDS - 1)
    assert database.attempts == 1
    database.locked = False
    await database.ensure(of, *days, now_seconds=NOON + POSTPONE_SECONDS)
    assert len(database.days) == len(days)


@pytest.mark.parametrize(
    "refusal",
    [
        asyncpg.DuplicateTableError("a detached one of that name"),
        asyncpg.InvalidObjectDefinitionError("overlaps a DBA's own"),
        asyncpg.InsufficientPrivilegeError("permission denied for schema public"),
    ],
)
async def test_a_day_that_cannot_be_made_keeps_no_row_waiting_nor_another_day(
    refusal: asyncpg.PostgresError,
) -> None:
    database, of = Database(), partitions()
    database.refusal, database.refused_day = refusal, "logs_20260722"
    await database.ensure(of, TODAY - 9, TODAY - 2)
    assert database.days == ["20260729"]
    await database.ensure(of, TODAY - 9, now_seconds=NOON + POSTPONE_SECONDS - 1)
    assert database.attempts == 2
    database.refusal = None
    await database.ensure(of, TODAY - 9, now_seconds=NOON + POSTPONE_SECONDS)
    assert database.days == ["20260729", "20260722"]


@pytest.mark.parametrize(
    "error",
    [asyncpg.AdminShutdownError, asyncpg.DiskFullError, asyncpg.DeadlockDetectedError],
)
async def test_what_is_not_about_the_partition_is_for_the_writer(
    error: type[asyncpg.PostgresError],
) -> None:
    database = Database()
    database.refusal = error("x")
    with pytest.raises(error):
        await database.ensure(partitions(), TODAY - 1)
