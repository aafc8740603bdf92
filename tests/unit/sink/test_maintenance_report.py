"""What maintenance says it has done, would do, or could not do."""

from typing import cast

import asyncpg
import pytest

from penstock.sink.maintenance_report import (
    Deed,
    Entry,
    MaintenanceReport,
    size_in_words,
)


class Connection:
    """As much of a connection as a report asks."""

    def __init__(self, is_lost: bool = False) -> None:
        self._is_lost = is_lost

    def is_closed(self) -> bool:
        return self._is_lost


def connection(is_lost: bool = False) -> asyncpg.Connection:
    return cast("asyncpg.Connection", Connection(is_lost))


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (8192, "8.0 KiB"),
        (1_288_490_189, "1.2 GiB"),
        (5 * 1024**4, "5.0 TiB"),
        (5_000 * 1024**4, "5,000.0 TiB"),
    ],
)
def test_a_size_is_said_as_a_person_would(size_bytes: int, words: str) -> None:
    assert size_in_words(size_bytes) == words


def test_each_thing_is_a_line() -> None:
    entries = [
        Entry(Deed.MADE, "logs_20261124"),
        Entry(Deed.DROPPED, "logs_20261023", 1_288_490_189),
    ]
    report = MaintenanceReport(entries=entries)
    assert report.lines() == ["made logs_20261124", "dropped logs_20261023, 1.2 GiB"]
    report.is_dry_run = True
    assert report.lines() == [
        "would make logs_20261124",
        "would drop logs_20261023, 1.2 GiB",
    ]


def test_nothing_to_do_is_said_only_where_nothing_failed() -> None:
    assert MaintenanceReport().lines() == ["nothing to do"]
    assert MaintenanceReport(failures=["could not"]).lines() == []
    assert MaintenanceReport(was_skipped=True).lines() == [
        "another process maintains this database now"
    ]


async def test_what_is_done_is_noted_when_it_is_done() -> None:
    report, done = MaintenanceReport(), []

    async def work(_: asyncpg.Connection, name: str) -> None:
        assert report.entries == []
        done.append(name)

    assert await report.attempt(connection(), Entry(Deed.MADE, "a"), work, "a")
    assert done == ["a"]
    assert report.lines() == ["made a"]


async def test_a_dry_run_notes_and_does_nothing() -> None:
    report = MaintenanceReport(is_dry_run=True)

    async def work(_: asyncpg.Connection) -> None:
        raise AssertionError

    assert await report.attempt(connection(), Entry(Deed.MADE, "a"), work)
    assert report.lines() == ["would make a"]


async def test_what_cannot_be_done_is_told_and_the_round_goes_on() -> None:
    report = MaintenanceReport()

    async def locked(_: asyncpg.Connection) -> None:
        raise asyncpg.LockNotAvailableError("canceling statement")

    async def refused(_: asyncpg.Connection) -> None:
        raise asyncpg.InsufficientPrivilegeError("must be owner of table a")

    for work in (locked, refused):
        assert not await report.attempt(connection(), Entry(Deed.MADE, "a"), work)
    assert report.entries == []
    assert report.failures == [
        "could not make a: somebody holds a lock on it; the next round tries again",
        "could not make a: must be owner of table a",
    ]


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (asyncpg.AdminShutdownError("going"), False),
        (asyncpg.ConnectionDoesNotExistError("gone"), False),
        (asyncpg.InternalServerError("as it went"), True),
    ],
)
async def test_a_lost_connection_ends_the_round(
    error: asyncpg.PostgresError, is_lost: bool
) -> None:
    report = MaintenanceReport()

    async def work(_: asyncpg.Connection) -> None:
        raise error

    with pytest.raises(type(error)):
        await report.attempt(connection(is_lost), Entry(Deed.MADE, "a"), work)
    assert report.failures == []
