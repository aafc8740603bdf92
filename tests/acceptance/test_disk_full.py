"""A disk is full, PostgreSQL's or the spool's: senders wait, nothing is lost."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.acceptance.penstock_process import Penstock, wait_until
from tests.acceptance.resender import (
    Believer,
    Resender,
    assert_books_balance,
    assert_stored_once,
    numbers_of,
    wait_until_all_is_stored,
)
from tests.acceptance.served_penstock import ServedPenstock
from tests.small_disks import Mount, fill, mounting
from tests.workers import WORKERS, one_worker

MIB = 1024 * 1024
DATABASE_DISK_BYTES = 400 * MIB
# Enough for PostgreSQL to go on for a moment, too little for the load.
LEFT_BYTES = 3 * MIB
SPOOL_DISK_BYTES = MIB // 4
RING_BYTES = 8 * MIB * WORKERS
CHUNKS = 100
CHUNK_EVENTS = 400
# Of each of four senders: more than the ring takes, and the spool, which compresses.
MESSAGES = 150


@pytest.fixture
def mount() -> Iterator[Mount]:
    with mounting() as made:
        yield made


@pytest.mark.timeout(300)
def test_a_full_disk_of_postgresql_makes_senders_wait_and_room_lets_them_go_on(
    mount: Mount, tag: str
) -> None:
    disk = mount(DATABASE_DISK_BYTES)
    penstock = Penstock()
    penstock.data_dir = disk / "data"
    sender: Resender | None = None
    try:
        penstock.start("--ring-bytes", str(RING_BYTES))
        penstock.fetch("CHECKPOINT")
        ballast = fill(disk, LEFT_BYTES)
        sender = Resender(
            penstock.port, tag, chunks=CHUNKS, chunk_events=CHUNK_EVENTS, ahead=20
        )
        sender.start()
        wait_until(lambda: full_disk_is_said(penstock), "the disk is full")
        assert sender.acked < CHUNKS
        assert penstock.http("/health")[0] == 200
        assert_books_balance(penstock)

        ballast.unlink()
        sender.finish()
        assert_books_balance(penstock)
        assert_stored_once(penstock, tag, sender.events)
        rejected = penstock.fetch("SELECT count(*) FROM rejected_event")
        assert rejected[0][0] == 0, "no record is to blame"
        assert penstock.stop() == 0, penstock.stderr()
    finally:
        if sender is not None:
            sender.end()
        penstock.remove()


def full_disk_is_said(penstock: Penstock) -> bool:
    """By a refused COPY, or by PostgreSQL, which ends where it has no room for WAL."""
    failures = penstock.metric('penstock_copy_failures_total{kind="transient"}')
    log = (penstock.data_dir / "postgres.log").read_text(errors="replace")
    return failures > 0 and "No space left on device" in log


@pytest.mark.timeout(300)
@one_worker
def test_a_full_disk_of_the_spool_makes_senders_wait_and_loses_nothing(
    mount: Mount, tag: str
) -> None:
    served = ServedPenstock()
    senders: list[Believer] = []
    try:
        served.spool_dir = mount(SPOOL_DISK_BYTES) / "spool"
        served.start_postgres()
        served.start("--ring-bytes", str(RING_BYTES))
        served.stop_postgres()
        senders = [
            Believer(served.port, f"{tag}.{number}", messages=MESSAGES)
            for number in range(4)
        ]
        for sender in senders:
            sender.start()
        wait_until(
            lambda: "No space left on device" in served.stderr(), "the disk is full"
        )
        # Not all of them: one that began before the others may be through.
        assert any(sender.is_alive() for sender in senders), "they wait"
        spooled = served.metric("penstock_spooled_events")
        assert spooled > 0
        assert_books_balance(served)

        subprocess.run(
            ["mount", "-o", "remount,size=64m", served.spool_dir.parent], check=True
        )
        wait_until(
            lambda: served.metric("penstock_spooled_events") > spooled,
            "it spools on when there is room",
        )
        served.start_postgres()
        for sender in senders:
            sender.finish()
        wait_until_all_is_stored(served)
        for sender in senders:
            assert numbers_of(served, sender.tag) == list(range(sender.events))
    finally:
        for sender in senders:
            sender.end()
        served.remove()
