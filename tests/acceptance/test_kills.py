"""Processes end by SIGKILL in the middle of their work: stored once, nothing lost."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg
import psutil
import pytest

from tests.acceptance.penstock_process import Penstock, wait_until
from tests.acceptance.resender import (
    Resender,
    assert_books_balance,
    assert_stored_once,
)

CONNECTIONS = 3
CHUNKS_BETWEEN_KILLS = 15
CHUNK_EVENTS = 100
KILLS = 3
SEED = 5
FAILURES = 'penstock_copy_failures_total{kind="transient"}'
COPYING = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE query LIKE 'COPY %' AND state = 'active' AND pid <> pg_backend_pid()"
)


@pytest.fixture
def load(tag: str) -> Iterator[Callable[[Penstock], list[Resender]]]:
    """Senders with acks, at work until they are judged; ended after the test."""
    senders: list[Resender] = []

    def start(penstock: Penstock) -> list[Resender]:
        for number in range(CONNECTIONS):
            sender = Resender(
                penstock.port, f"{tag}.{number}", chunk_events=CHUNK_EVENTS
            )
            sender.start()
            senders.append(sender)
        return senders

    yield start
    for sender in senders:
        sender.end()


def judge(penstock: Penstock, senders: list[Resender]) -> None:
    for sender in senders:
        sender.enough()
    for sender in senders:
        sender.finish()
        assert_stored_once(penstock, sender.tag, sender.events)
    assert_books_balance(penstock)


@pytest.mark.timeout(300)
def test_penstock_killed_under_acked_load_stores_once_what_is_sent_again(
    start_penstock: Callable[..., Penstock],
    load: Callable[[Penstock], list[Resender]],
) -> None:
    penstock = start_penstock()
    senders = load(penstock)
    rng = random.Random(SEED)
    for kill in range(1, KILLS + 1):
        # At work: some chunks acked since the last kill, some not.
        due = kill * CHUNKS_BETWEEN_KILLS
        wait_until(lambda due=due: senders[0].acked >= due, "acks")  # type: ignore[misc]
        # And each of them is there again.
        wait_until(
            lambda kill=kill: all(sender.connects >= kill for sender in senders),  # type: ignore[misc]
            "all have connected",
        )
        time.sleep(rng.uniform(0, 0.05))
        assert penstock.stop(signal.SIGKILL) == -signal.SIGKILL
        penstock.start()
    judge(penstock, senders)
    assert all(sender.connects > KILLS for sender in senders)


def copying_backends(penstock: Penstock) -> list[int]:
    return [row["pid"] for row in penstock.fetch(COPYING)]


def is_seen_dead(pid: int) -> bool:
    """Tell whether its parent knows that it is; so long it is a zombie."""
    return not psutil.pid_exists(pid)


@contextmanager
def slow_copies(penstock: Penstock) -> Iterator[Callable[[], None]]:
    """Make a COPY last, so that a kill is in the middle of it; call it to end that."""

    def set_nap(nap: str) -> None:
        # Of the function, not the trigger, which would lock the table.
        penstock.fetch(
            "CREATE OR REPLACE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN {nap} RETURN new; END $$"
        )

    set_nap("PERFORM pg_sleep(0.0002);")
    penstock.fetch(
        "CREATE OR REPLACE TRIGGER nap BEFORE INSERT ON logs"
        " FOR EACH ROW EXECUTE FUNCTION nap()"
    )
    yield lambda: set_nap("")
    penstock.fetch("DROP TRIGGER nap ON logs")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", ["postmaster", "backend"])
def test_postgresql_killed_in_the_middle_of_copies_costs_nothing(
    start_penstock: Callable[..., Penstock],
    load: Callable[[Penstock], list[Resender]],
    victim: str,
) -> None:
    penstock = start_penstock()
    with slow_copies(penstock) as end_naps:
        senders = load(penstock)
        for _ in range(KILLS):
            (pid, *_) = wait_until(lambda: copying_backends(penstock), "a COPY")
            if victim == "postmaster":
                postmaster = penstock.postmaster_pid()
                assert postmaster is not None
                pid = postmaster
            failed = penstock.metric(FAILURES)
            os.kill(pid, signal.SIGKILL)
            wait_until(
                lambda failed=failed: penstock.metric(FAILURES) > failed,  # type: ignore[misc]
                "a batch was hit",
            )
            if victim == "backend":  # a postmaster that has not seen it yet goes on
                wait_until(lambda pid=pid: is_seen_dead(pid), "it is seen")  # type: ignore[misc]
            wait_until(lambda: can_connect(penstock), "PostgreSQL is up again")
        end_naps()
        judge(penstock, senders)
    assert all(sender.connects == 1 for sender in senders), "no sender noticed"


def can_connect(penstock: Penstock) -> bool:
    try:
        penstock.fetch("SELECT 1")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True
