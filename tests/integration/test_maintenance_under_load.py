"""Maintenance beside senders: nothing they see but acks, and those not late."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import msgpack
import pytest

from penstock.sink.partitions import DAY_SECONDS
from tests.integration.conftest import (
    Database,
    Program,
    Sender,
    Start,
    run_async,
    wait_until,
)
from tests.integration.upkeep_parts import make_day, named

ENTRIES = 200
LEAST_MESSAGES = 10  # of each sender, or there was no load
# Of each message: most are of today, some late ones of days that are sealed meanwhile.
DAYS_AGO = (0, 0, 0, 0, 0, 1, 2, 5, 0, -1)
# Longer than a lock is waited for, by maintenance and by a writer that makes a day; and
# some times as long again for a machine that is busy.
MOST_SECONDS = 20.0
SETTINGS = {
    "PENSTOCK_MAINTENANCE_INTERVAL_SECONDS": "1",
    "PENSTOCK_PARTITION_AHEAD_DAYS": "4",
    "PENSTOCK_RETENTION_MAX_AGE_DAYS": "10",
    "PENSTOCK_SEAL_MESSAGE_TRGM": "on",
    "PENSTOCK_SEAL_ATTRIBUTES_GIN": "on",
}
OLD_DAYS, SEALED_DAYS = range(12, 16), range(2, 6)
DROPPED, SEALED = "penstock_partitions_dropped_total", "penstock_days_sealed_total"
PARTITIONS = (
    "SELECT inhrelid::regclass::text FROM pg_inherits"
    " WHERE inhparent IN ('logs'::regclass, 'ingest_chunk'::regclass)"
)


class Load(threading.Thread):
    """A sender that asks for acks and sends the next message when it has one."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(name=f"load-{number}")
        self._port = port
        self._number = number
        self._enough = threading.Event()
        self.messages = 0
        self.longest_seconds = 0.0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with Sender(self._port) as sender:
                while not self._enough.is_set():
                    self._send_one(sender)
        except BaseException as error:
            self.error = error

    def _send_one(self, sender: Sender) -> None:
        now, chunk = int(time.time()), f"{self._number}-{self.messages}"
        entries = b"".join(
            msgpack.packb(
                [
                    now - DAYS_AGO[n % len(DAYS_AGO)] * DAY_SECONDS,
                    {"message": f"under load {n}", "load": self._number},
                ]
            )
            for n in range(ENTRIES)
        )
        began = time.monotonic()
        sender.socket.sendall(msgpack.packb(["test", entries, {"chunk": chunk}]))
        assert sender.acks(1) == [chunk]
        self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
        self.messages += 1

    def stop(self) -> None:
        self._enough.set()
        self.join(60)


@contextmanager
def load(port: int) -> Iterator[list[Load]]:
    """Send on three connections during the block."""
    senders = [Load(port, number) for number in range(3)]
    for each in senders:
        each.start()
    try:
        yield senders
    finally:
        for each in senders:
            each.stop()


def fill(database: Database, *more_days_ago: int) -> None:
    """Make days to be dropped and days to be sealed."""

    async def make_days() -> None:
        person = await asyncpg.connect(database.url)
        for days_ago in (*OLD_DAYS, *SEALED_DAYS, *more_days_ago):
            await make_day(person, days_ago, rows=8_000, fill=100)
        await person.close()

    run_async(make_days())


def is_all_done(database: Database) -> bool:
    """Tell whether the server has maintained all there is to."""
    partitions = {name for (name,) in database.fetch(PARTITIONS)}
    valid = database.value(
        "SELECT count(*) FROM pg_index WHERE indisvalid AND"
        " indexrelid::regclass::text ~ '_(message_trgm|attributes_gin)$'"
    )
    return (
        not partitions & {named(days_ago) for days_ago in OLD_DAYS}
        and {named(0), named(-1), named(-4)} <= partitions
        and database.value("SELECT count(*) FROM penstock_day") >= len(SEALED_DAYS)
        and valid >= 2 * len(SEALED_DAYS)
    )


def assert_no_sender_saw_it(
    program: Program, database: Database, senders: list[Load]
) -> None:
    for each in senders:
        assert each.error is None
        assert each.longest_seconds < MOST_SECONDS, f"{each.longest_seconds:.1f} s"
        assert each.messages > LEAST_MESSAGES
    sent = sum(each.messages for each in senders) * ENTRIES
    stored = database.value("SELECT count(*) FROM logs WHERE attributes ? 'load'")
    assert stored == sent
    assert database.value("SELECT count(*) FROM rejected_event") == 0
    assert program.metric("penstock_copy_failures_total") == 0
    assert program.metric("penstock_database_reconnects_total") == 0
    assert program.metric("penstock_protocol_errors_total") == 0


@pytest.mark.timeout(300)
def test_days_are_made_dropped_and_sealed_and_no_sender_sees_it(
    start: Start, database: Database
) -> None:
    fill(database)
    program = start("serve", "--database-url", database.url, **SETTINGS).wait_ready()
    with load(program.port) as senders:
        wait_until(lambda: is_all_done(database), "all is maintained", 90)
        # It tells of a round when that has ended.
        wait_until(
            lambda: (
                program.metric(DROPPED) >= len(OLD_DAYS)
                and program.metric(SEALED) >= len(SEALED_DAYS)
            ),
            "it is told",
        )
    assert program.metric(DROPPED) == len(OLD_DAYS)
    assert_no_sender_saw_it(program, database, senders)
    assert program.stop() == 0


def until_a_drop_is_given_up(database: Database) -> None:
    """Wait until the longest try to drop a day, of two seconds, has ended."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        f" AND datname = '{database.name}' AND query LIKE '%DROP TABLE%logs_%'"
        " AND clock_timestamp() - query_start > interval '1 second'"
    )
    wait_until(lambda: database.administer(waiting) == [(1,)], "a drop waits")
    wait_until(lambda: database.administer(waiting) == [(0,)], "it gives up")


@pytest.mark.timeout(300)
def test_somebodys_long_query_holds_up_maintenance_and_no_sender_for_long(
    start: Start, database: Database
) -> None:
    fill(database, 0, -1)
    program = start("serve", "--database-url", database.url, **SETTINGS).wait_ready()

    async def read_for_long() -> None:
        person = await asyncpg.connect(database.url)
        await person.execute("BEGIN")
        await person.fetch("SELECT count(*) FROM logs")  # keeps its locks to the end
        await asyncio.to_thread(until_a_drop_is_given_up, database)
        partitions = {name for (name,) in await person.fetch(PARTITIONS)}
        assert {named(days_ago) for days_ago in OLD_DAYS} <= partitions
        await person.execute("ROLLBACK")
        await person.close()

    with load(program.port) as senders:
        run_async(read_for_long())
        wait_until(lambda: is_all_done(database), "all is maintained", 90)
    wait_until(
        lambda: program.metric("penstock_maintenance_failures_total") > 0, "it is told"
    )
    assert_no_sender_saw_it(program, database, senders)
    assert program.stop() == 0
