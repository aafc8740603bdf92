"""A stop is clean, and a kill is survived (promise 6)."""

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from tests.acceptance.forward_sender import ForwardSender, pack, packed_forward
from tests.acceptance.penstock_process import Penstock, wait_until
from tests.workers import WORKERS

T = 1_700_000_000
CONNECTIONS = 4
FRAMES = 20
FRAME_EVENTS = 500
EVENTS = CONNECTIONS * FRAMES * FRAME_EVENTS
FILLER = "GET /api/v1/items?page=2 HTTP/1.1 " * 6
# Each sender writes about twice its quarter of it; the kernel holds the rest.
SMALL_RING_BYTES = 8 * 1024 * 1024 * WORKERS
# Half a megabyte each, of which a connection's sockets hold five.
LARGE_FRAME_EVENTS = 2000
LARGE_EVENTS = 200 * LARGE_FRAME_EVENTS
WRITE_SECONDS = 20.0
STALL_SECONDS = 0.5
# For what a busy machine takes long to encode and to store.
SHUTDOWN_SECONDS = 100.0


def write_and_close(port: int, tag: str, sender_number: int) -> None:
    """Write un-acked frames and go, as a program that logs and exits."""
    with ForwardSender(port) as sender:
        for frame in range(FRAMES):
            first = (sender_number * FRAMES + frame) * FRAME_EVENTS
            numbers = range(first, first + FRAME_EVENTS)
            entries = [(T, {"n": number, "message": FILLER}) for number in numbers]
            sender.send(packed_forward(tag, entries))


def start_senders(penstock: Penstock, tag: str) -> list[threading.Thread]:
    senders = [
        threading.Thread(target=write_and_close, args=(penstock.port, tag, number))
        for number in range(CONNECTIONS)
    ]
    for sender in senders:
        sender.start()
    return senders


def accepts(port: int) -> bool:
    try:
        ForwardSender(port).close()
    except OSError:
        return False
    return True


def stored_numbers(penstock: Penstock, tag: str) -> list[int]:
    found = penstock.fetch(
        "SELECT (attributes->>'n')::int FROM logs WHERE tag = $1 ORDER BY 1", tag
    )
    return [row[0] for row in found]


def judge(penstock: Penstock, tag: str, events: int) -> None:
    left = ("penstock_spooled_events", "penstock_ring_events")
    wait_until(
        lambda: penstock.metrics(*left) == [0, 0],
        "what the stop has spooled is stored",
        SHUTDOWN_SECONDS,
    )
    stored = stored_numbers(penstock, tag)
    missing = events - len(set(stored))
    assert missing == 0, f"{missing} of {events} are lost"
    assert stored == list(range(events))


@pytest.mark.parametrize(
    "tell_to_stop",
    [
        pytest.param(Penstock.terminate, id="SIGTERM"),
        pytest.param(Penstock.press_ctrl_c, id="Ctrl-C"),
    ],
)
def test_a_stop_under_load_stores_what_senders_have_written(
    start_penstock: Callable[..., Penstock],
    tag: str,
    tell_to_stop: Callable[[Penstock], None],
) -> None:
    penstock = start_penstock()
    # Or a server that is quick has stored all before it is told to stop.
    with penstock.postgres_paused():
        for sender in start_senders(penstock, tag):
            sender.join()
        tell_to_stop(penstock)
    assert penstock.wait_for_end() == 0, penstock.stderr()
    assert not penstock.postgres_processes(), "PostgreSQL outlives `penstock up`"
    penstock.start()
    judge(penstock, tag, EVENTS)


def test_a_stop_with_a_full_ring_stores_what_waits_in_the_sockets(
    start_penstock: Callable[..., Penstock], tag: str
) -> None:
    penstock = start_penstock("--ring-bytes", str(SMALL_RING_BYTES))
    with penstock.postgres_paused():
        senders = start_senders(penstock, tag)
        for sender in senders:
            sender.join(WRITE_SECONDS)
            assert not sender.is_alive(), "the kernel's buffers are too small for this"
        wait_until(
            lambda: penstock.metric("penstock_paused_connections") == CONNECTIONS,
            "the ring is full",
        )
        os.kill(penstock.pid, signal.SIGTERM)
        wait_until(lambda: not accepts(penstock.port), "it has begun to stop")
        # It must not give up on what it cannot read yet.
        time.sleep(STALL_SECONDS)
    assert penstock.wait_for_end() == 0, penstock.stderr()
    penstock.start()
    judge(penstock, tag, EVENTS)


@pytest.mark.timeout(300)
def test_a_stop_reads_on_for_as_long_as_what_was_written_takes(
    start_penstock: Callable[..., Penstock], tag: str
) -> None:
    """More than it can encode in the time that a sender is given to fall silent."""
    penstock = start_penstock("--shutdown-timeout-seconds", str(SHUTDOWN_SECONDS))
    frames = [
        packed_forward(tag, [(T, {"n": n, "message": FILLER}) for n in numbers])
        for numbers in (
            range(first, first + LARGE_FRAME_EVENTS)
            for first in range(0, LARGE_EVENTS, LARGE_FRAME_EVENTS)
        )
    ]
    os.kill(penstock.pid, signal.SIGSTOP)
    try:
        for first in range(0, len(frames), 5):
            with ForwardSender(penstock.port) as sender:
                for frame in frames[first : first + 5]:
                    sender.send(frame)
        os.kill(penstock.pid, signal.SIGTERM)
    finally:
        os.kill(penstock.pid, signal.SIGCONT)
    assert penstock.wait_for_end(SHUTDOWN_SECONDS) == 0, penstock.stderr()
    penstock.start()
    judge(penstock, tag, LARGE_EVENTS)


def test_a_stop_stores_what_waits_in_the_sockets_and_in_the_backlog(
    start_penstock: Callable[..., Penstock], tag: str
) -> None:
    penstock = start_penstock()
    events = 40
    with ForwardSender(penstock.port) as old:
        old.send(pack([tag, T, {"n": 0}, {"chunk": "accepted"}]))
        assert old.read_ack() == "accepted"
        # It hears the signal before it hears of any of this.
        os.kill(penstock.pid, signal.SIGSTOP)
        try:
            old.send(pack([tag, T, {"n": 1}]))
            for number in range(2, events):
                with ForwardSender(penstock.port) as new:
                    new.send(pack([tag, T, {"n": number}]))
            os.kill(penstock.pid, signal.SIGTERM)
        finally:
            os.kill(penstock.pid, signal.SIGCONT)
        assert penstock.wait_for_end() == 0, penstock.stderr()
        assert old.finish() == b""
    penstock.start()
    judge(penstock, tag, events)


def test_a_stop_acks_what_it_stores(
    start_penstock: Callable[..., Penstock], tag: str
) -> None:
    penstock = start_penstock()
    frames = 50
    with ForwardSender(penstock.port) as sender:
        os.kill(penstock.pid, signal.SIGSTOP)
        try:
            for number in range(frames):
                sender.send(pack([tag, T, {"n": number}, {"chunk": f"c{number}"}]))
            os.kill(penstock.pid, signal.SIGTERM)
        finally:
            os.kill(penstock.pid, signal.SIGCONT)
        assert sender.read_acks(frames) == [f"c{number}" for number in range(frames)]
        assert penstock.wait_for_end() == 0, penstock.stderr()
        assert sender.read(1) == b""
    penstock.start()
    judge(penstock, tag, frames)


def test_after_a_kill_penstock_is_up_again_with_all_that_was_acked(
    start_penstock: Callable[..., Penstock], tag: str
) -> None:
    penstock = start_penstock()
    postmaster = penstock.postmaster_pid()
    with ForwardSender(penstock.port) as sender:
        for number in range(20):
            sender.send(packed_forward(tag, [(T, {"n": number})], f"c{number}"))
        assert len(sender.read_acks(20)) == 20
        assert penstock.stop(signal.SIGKILL) == -signal.SIGKILL
    assert penstock.postmaster_pid() == postmaster is not None, "it was left alone"

    penstock.start()
    assert penstock.postmaster_pid() == postmaster, "the same server, taken over"
    with ForwardSender(penstock.port) as sender:
        sender.send(packed_forward(tag, [(T, {"n": 20})], "after"))
        assert sender.read_ack() == "after"
    judge(penstock, tag, 21)

    assert penstock.stop() == 0, penstock.stderr()
    assert not penstock.postgres_processes(), "PostgreSQL outlives `penstock up`"
