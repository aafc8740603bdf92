"""PostgreSQL is away and senders ask for no acks: they write on, and it is kept."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from tests.acceptance.penstock_process import Penstock, wait_until
from tests.acceptance.resender import (
    Believer,
    Resender,
    assert_books_balance,
    assert_stored_once,
    numbers_of,
    wait_until_all_is_stored,
    wait_until_steady,
)
from tests.acceptance.served_penstock import ServedPenstock, spool_files
from tests.workers import WORKERS, one_worker

MIB = 1024 * 1024
RING_BYTES = 8 * MIB * WORKERS
CONNECTIONS = 4
MESSAGES = 150
MESSAGE_EVENTS = 100
EVENTS = CONNECTIONS * MESSAGES * MESSAGE_EVENTS
SHUTDOWN_SECONDS = 15.0
FLAGS = (
    *("--ring-bytes", str(RING_BYTES)),
    *("--shutdown-timeout-seconds", str(SHUTDOWN_SECONDS)),
)
# Past the ring: what a piece of the spool takes while it is packed or read, each
# connection's reads, and what the allocator keeps. Not what the spool holds.
GROWTH_BYTES = RING_BYTES + CONNECTIONS * MIB + 40 * MIB
PAUSED_SECONDS = 15.0
# Each fits into what is read ahead of a sender, together they are many times the ring.
CROWD = 40
CROWD_MESSAGE_EVENTS = 600
SHORT_SHUTDOWN_SECONDS = 1.0
LONG_SHUTDOWN_SECONDS = 60.0
# What a stop takes besides, on a busy machine. One that waits for PostgreSQL does so
# for as long as that is away: in these tests, for ever.
SLACK_SECONDS = 15.0
# Nothing has moved for so long: what was read last is on disk.
SETTLE_SECONDS = 2.0


@pytest.fixture(scope="module")
def one_served() -> Iterator[ServedPenstock]:
    served = ServedPenstock()
    try:
        yield served
    finally:
        served.remove()


@pytest.fixture
def served(one_served: ServedPenstock) -> Iterator[ServedPenstock]:
    """PostgreSQL runs, Penstock does not; nothing is in the spool."""
    one_served.start_postgres()
    yield one_served
    one_served.end()
    for path in spool_files(one_served.spool_dir):
        path.unlink()


@pytest.fixture
def believers(tag: str) -> Iterator[Callable[..., list[Believer]]]:
    """Start senders that ask for no acks; they have ended after the test."""
    with ExitStack() as stack:

        def start(
            penstock: Penstock,
            connections: int = CONNECTIONS,
            messages: int = MESSAGES,
            message_events: int = 100,
        ) -> list[Believer]:
            made = [
                Believer(
                    penstock.port,
                    f"{tag}.{number}",
                    messages=messages,
                    message_events=message_events,
                )
                for number in range(connections)
            ]
            for each in made:
                stack.callback(each.end)
                each.start()
            return made

        yield start


def assert_all_there_in_order(penstock: Penstock, senders: list[Believer]) -> None:
    for sender in senders:
        assert_stored_once(penstock, sender.tag, sender.events)
        assert numbers_of(penstock, sender.tag) == list(range(sender.events))


@pytest.mark.timeout(300)
def test_while_postgresql_is_paused_the_spool_fills_and_memory_does_not(
    served: ServedPenstock, believers: Callable[..., list[Believer]]
) -> None:
    served.start(*FLAGS)
    at_rest_bytes = served.rss_bytes()
    grown_bytes = []
    with served.postgres_paused():
        senders = believers(served, messages=4 * MESSAGES)
        until = time.monotonic() + PAUSED_SECONDS
        give_up = until + PAUSED_SECONDS
        while (now := time.monotonic()) < until or (
            now < give_up and not served.metric("penstock_spooled_events")
        ):
            grown_bytes.append(served.rss_bytes() - at_rest_bytes)
            assert_books_balance(served)
            time.sleep(0.1)
        spooled = served.metric("penstock_spooled_events")
        in_ring = served.metric("penstock_ring_events")
    for sender in senders:
        sender.finish()
    wait_until_all_is_stored(served)
    assert_all_there_in_order(served, senders)
    assert spooled > 0, f"nothing is in the spool; {in_ring} events in memory"
    assert max(grown_bytes) < GROWTH_BYTES, f"{max(grown_bytes) / MIB:.1f} MiB"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", ["overflow", "always"])
@one_worker
def test_penstock_killed_with_a_spool_and_no_postgresql_has_lost_what_was_in_memory(
    served: ServedPenstock, believers: Callable[..., list[Believer]], mode: str
) -> None:
    served.start(*FLAGS, "--spool-mode", mode)
    served.stop_postgres()
    senders = believers(served)
    for sender in senders:
        sender.finish()
    in_memory, on_disk = wait_until_settled(served)
    assert on_disk + in_memory == EVENTS
    assert on_disk > EVENTS / 2
    if mode == "always":  # what is in memory is on its way back, and on disk as well
        on_disk = EVENTS
    served.stop(signal.SIGKILL)

    served.start_postgres()
    served.start(*FLAGS)
    wait_until_all_is_stored(served)
    stored = [numbers_of(served, sender.tag) for sender in senders]
    assert sum(map(len, stored)) == on_disk
    assert all(numbers == sorted(set(numbers)) for numbers in stored), "twice"


def wait_until_settled(penstock: Penstock) -> list[float]:
    """Wait until nothing moves; return the events in the ring and in the spool."""
    names = ("penstock_ring_events", "penstock_spooled_events")
    return wait_until_steady(penstock, *names, seconds=SETTLE_SECONDS)


# Who stores the last row does not come back from it.
HOLD = (
    "CREATE OR REPLACE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM pg_sleep(600); RETURN new; END $$"
)
HOLD_LAST = (
    "CREATE TRIGGER hold BEFORE INSERT ON logs FOR EACH ROW"
    " WHEN (new.tag = '{}' AND new.attributes->>'n' = '{}') EXECUTE FUNCTION hold()"
)
HELD = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
END_HELD = f"SELECT pg_terminate_backend(pid, 30000) FROM ({HELD}) AS held"


@contextmanager
def held_back(penstock: Penstock, tag: str, number: int) -> Iterator[None]:
    """Let all be stored but the batch that has this event."""
    penstock.fetch(HOLD)
    penstock.fetch(HOLD_LAST.format(tag, number))
    try:
        yield
    finally:
        penstock.fetch("DROP TRIGGER hold ON logs")


@pytest.mark.timeout(300)
def test_killed_again_in_the_middle_of_replay_it_stores_all_once(
    served: ServedPenstock, believers: Callable[..., list[Believer]]
) -> None:
    served.start(*FLAGS, "--spool-mode", "always")
    served.stop_postgres()
    senders = believers(served)
    for sender in senders:
        sender.finish()
    wait_until_settled(served)
    served.stop(signal.SIGKILL)
    served.start_postgres()
    last = max(senders, key=lambda each: each.ended_seconds)
    with held_back(served, last.tag, last.events - 1):
        for kill in range(3):
            served.start(*FLAGS)
            wait_until(lambda: served.fetch(HELD), "the last batch is being stored")
            assert_books_balance(served)
            left = ("penstock_ring_events", "penstock_spooled_events")
            assert sum(served.metrics(*left)) > 0
            assert kill or served.metric("penstock_copy_batches_total") > 0
            served.stop(signal.SIGKILL)
            served.fetch(END_HELD)  # it does not look whether anybody waits for it
    served.start(*FLAGS)
    wait_until_all_is_stored(served)
    assert_all_there_in_order(served, senders)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("away", ["stopped", "paused"])
def test_a_stop_without_postgresql_is_clean_and_the_rest_is_stored_after_the_next_start(
    served: ServedPenstock, believers: Callable[..., list[Believer]], away: str
) -> None:
    served.start(*FLAGS)
    with ExitStack() as stack:
        if away == "paused":
            stack.enter_context(served.postgres_paused())
        else:
            served.stop_postgres()
        senders = believers(served, messages=20)
        for sender in senders:
            sender.finish()
        began = time.monotonic()
        assert served.stop() == 0, served.stderr()
        assert time.monotonic() - began < SHUTDOWN_SECONDS + SLACK_SECONDS
        assert spool_files(served.spool_dir)
    served.start_postgres()
    served.start(*FLAGS)
    wait_until_all_is_stored(served)
    assert_all_there_in_order(served, senders)


def test_one_sender_alone_is_spooled_too(
    served: ServedPenstock, believers: Callable[..., list[Believer]]
) -> None:
    """It fills its share of the ring, and never the ring."""
    served.start(*FLAGS)
    served.stop_postgres()
    (sender,) = believers(served, connections=1, messages=3 * MESSAGES)
    sender.finish()
    assert served.metric("penstock_spooled_events") > 0
    served.start_postgres()
    wait_until_all_is_stored(served)
    assert_all_there_in_order(served, [sender])


def test_senders_with_acks_leave_room_for_those_without(
    served: ServedPenstock, believers: Callable[..., list[Believer]], tag: str
) -> None:
    served.start(*FLAGS)
    served.stop_postgres()
    with ExitStack() as stack:
        resenders = [
            Resender(served.port, f"{tag}.acks{n}", chunks=8, chunk_events=3000)
            for n in range(6)
        ]
        for each in resenders:
            stack.callback(each.end)
            each.start()
        wait_until(
            lambda: served.metric("penstock_paused_connections") >= 4, "they wait"
        )
        senders = believers(served)
        for sender in senders:
            sender.finish()
        assert served.metric("penstock_spooled_events") > 0
        served.start_postgres()
        for each in resenders:
            each.finish()
    wait_until_all_is_stored(served)
    assert_all_there_in_order(served, senders)
    for each in resenders:
        assert_stored_once(served, each.tag, each.events)


def test_a_stop_while_postgresql_hangs_keeps_what_waits_in_the_sockets(
    served: ServedPenstock, believers: Callable[..., list[Believer]]
) -> None:
    served.start(*FLAGS)
    with served.postgres_paused():
        senders = believers(served, connections=3, messages=5, message_events=3000)
        wait_until(lambda: all(each.written == 5 for each in senders), "it is written")
        assert served.metric("penstock_spooled_events") == 0, "there was time for it"
        assert served.stop() == 0, served.stderr()
    served.start(*FLAGS)
    wait_until_all_is_stored(served)
    assert_all_there_in_order(served, senders)


@one_worker
def test_a_second_signal_tells_that_somebody_was_not_read(
    served: ServedPenstock, believers: Callable[..., list[Believer]]
) -> None:
    served.start(*FLAGS, "--spool-mode", "off")
    with served.postgres_paused():
        senders = believers(served, connections=3, messages=500, message_events=1000)
        wait_until(lambda: served.metric("penstock_paused_connections") == 3, "full")
        # Not before: one that has written nothing yet is one of whom all is read.
        wait_until(lambda: all(each.is_stuck for each in senders), "they cannot write")
        os.kill(served.pid, signal.SIGTERM)
        wait_until(lambda: '"stopping"' in served.stderr(), "it has begun to stop")
        assert served.stop() == 1
    assert '"senders_not_read": 3' in served.stderr().splitlines()[-1]


def test_always_stores_what_a_disk_does_not_take_and_spools_again_when_it_does(
    served: ServedPenstock, believers: Callable[..., list[Believer]], tag: str
) -> None:
    served.start(*FLAGS, "--spool-mode", "always")
    process = psutil.Process(served.pid)
    no_limit = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (0, no_limit[1]))  # every write fails
    senders = believers(served)
    for sender in senders:
        sender.finish()
    wait_until_all_is_stored(served)
    assert_all_there_in_order(served, senders)

    process.rlimit(psutil.RLIMIT_FSIZE, no_limit)
    served.stop_postgres()
    late = Believer(served.port, f"{tag}.late", messages=MESSAGES)
    late.start()
    late.finish()
    wait_until(lambda: served.metric("penstock_spooled_events") > 0, "it spools")
    served.start_postgres()
    wait_until_all_is_stored(served)
    assert_all_there_in_order(served, [late])


def test_a_short_stop_with_a_full_ring_and_postgresql_hung_keeps_all_that_came_in_time(
    served: ServedPenstock, believers: Callable[..., list[Believer]]
) -> None:
    """Most of it waits in the sessions for their turn when the connections are cut."""
    served.start(
        *("--ring-bytes", str(RING_BYTES)),
        *("--shutdown-timeout-seconds", str(SHORT_SHUTDOWN_SECONDS)),
    )
    with served.postgres_paused():
        senders = believers(
            served, connections=CROWD, messages=1, message_events=CROWD_MESSAGE_EVENTS
        )
        wait_until(lambda: all(each.written for each in senders), "all is written")
        written_bytes = sum(each.written_bytes for each in senders)
        received = "penstock_received_bytes_total"
        wait_until(lambda: served.metric(received) == written_bytes, "all is read")
        began = time.monotonic()
        assert served.stop() == 0, served.stderr()
        took_seconds = time.monotonic() - began
    served.start_postgres()
    served.start(*FLAGS)
    wait_until_all_is_stored(served)
    assert_all_there_in_order(served, senders)
    assert took_seconds < SHORT_SHUTDOWN_SECONDS + SLACK_SECONDS


def test_a_stop_does_not_wait_for_postgresql_that_is_gone(
    served: ServedPenstock, tag: str
) -> None:
    flag = "--shutdown-timeout-seconds"
    served.start(*FLAGS, flag, str(LONG_SHUTDOWN_SECONDS))
    served.stop_postgres()
    sender = Resender(served.port, tag, chunks=2, chunk_events=10)
    sender.start()
    try:
        wait_until(lambda: served.metric("penstock_ring_events") > 0, "it is there")
        wait_until_settled(served)
        began = time.monotonic()
        assert served.stop() == 0, served.stderr()
        assert time.monotonic() - began < LONG_SHUTDOWN_SECONDS / 2
        served.start_postgres()
        served.start(*FLAGS)
        sender.finish()
        assert_stored_once(served, tag, sender.events)
    finally:
        sender.end()
