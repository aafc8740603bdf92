"""What one sender does costs the others no more than its share."""

import select
import socket
import statistics
import threading
import time
from collections.abc import Iterator

import pytest

from tests.acceptance.forward_sender import ForwardSender, pack, packed_forward
from tests.acceptance.penstock_process import Penstock, wait_until
from tests.acceptance.resender import (
    Believer,
    Resender,
    assert_books_balance,
    assert_stored_once,
    wait_until_all_is_stored,
)

MIB = 1024 * 1024
RING_BYTES = 16 * MIB
BATCH_BYTES = 2 * MIB
WRITERS = 2
ROUND_TRIPS = 20
# A message of the quiet sender waits behind what the flood has in the ring, a quarter,
# and behind what writers had in hand.
SHARE_BYTES = RING_BYTES / 4 + (WRITERS + 1) * BATCH_BYTES

# More than a flood writes during the round trips, on any machine.
FLOOD_MESSAGES = 1_000_000
FLOOD_EVENTS = 100

# Unread acks that Penstock may hold, what the kernel holds beside, and the allocator.
UNREAD_GROWTH_BYTES = 12 * MIB
# Before that it is a peer that is slow to read.
UNREAD_BYTES = 64 * 1024
# The longest name that a chunk may have makes the largest acks.
NAME = "{:0190}"
ACK_BYTES = len(pack({"ack": NAME.format(0)}))
# What Penstock would hold, were it to read on: far more than it may.
MOST_UNREAD = 4 * UNREAD_GROWTH_BYTES // ACK_BYTES
WRITTEN_AT_ONCE = 20
STUCK_LOOKS = 25

RESENT_CHUNKS = 10_000
RESENT_EVENTS = 3


@pytest.fixture(scope="module")
def fair_penstock(stopped_penstock: Penstock) -> Iterator[Penstock]:
    penstock = stopped_penstock
    penstock.start(
        *("--ring-bytes", str(RING_BYTES), "--batch-bytes", str(BATCH_BYTES)),
        *("--writers", str(WRITERS)),
    )
    yield penstock
    penstock.end()


def round_trips(
    penstock: Penstock, tag: str, count: int, least_bytes: int = 0
) -> list[float]:
    """Send a small chunk at a time; return the bytes committed within each.

    So many, and more until so many bytes are committed.
    """
    committed: list[float] = []
    with ForwardSender(penstock.port) as quiet:
        while (number := len(committed)) < count or sum(committed) < least_bytes:
            before = penstock.metric("penstock_copy_bytes_total")
            chunk = f"quiet-{number}"
            quiet.send(packed_forward(tag, [(1_700_000_000, {"n": number})], chunk))
            assert quiet.read_ack() == chunk
            committed.append(penstock.metric("penstock_copy_bytes_total") - before)
    return committed


class Flood(Believer):
    """Writes as fast as it is read, until it is told to end."""

    def __init__(self, port: int, tag: str) -> None:
        super().__init__(
            port, tag, messages=FLOOD_MESSAGES, message_events=FLOOD_EVENTS
        )

    def stop(self) -> int:
        """Write no more; return how many events were read."""
        self.messages = 0
        self.finish()
        return self.written * FLOOD_EVENTS


def test_a_flood_costs_another_sender_no_more_than_the_floods_share(
    fair_penstock: Penstock, tag: str
) -> None:
    """Counted in bytes that are committed between a message and its ack.

    And until this process comes to look, when it has to wait for its turn: so it is the
    usual round trip that is judged. Behind all of the flood each of them would be late.
    """
    penstock = fair_penstock
    flood = Flood(penstock.port, f"{tag}.flood")
    flood.start()
    try:
        wait_until(
            lambda: penstock.metric("penstock_ring_bytes") > 2 * MIB, "there is a flood"
        )
        committed = round_trips(penstock, f"{tag}.quiet", ROUND_TRIPS, BATCH_BYTES)
        assert flood.is_alive(), "the flood was too short"
    finally:
        flood_events = flood.stop()
    usual = statistics.median(committed)
    assert usual < SHARE_BYTES, f"{usual / MIB:.1f} MiB before an ack"
    wait_until_all_is_stored(penstock)
    assert_stored_once(penstock, f"{tag}.flood", flood_events)
    assert_stored_once(penstock, f"{tag}.quiet", len(committed))


class Deaf(threading.Thread):
    """Asks for acks and reads none."""

    def __init__(self, port: int, tag: str) -> None:
        super().__init__(name=tag, daemon=True)
        self.tag = tag
        self.written = 0
        self.error: OSError | None = None
        self.link = socket.socket()
        # Little waits in the kernel, in place of megabytes.
        self.link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.link.connect(("127.0.0.1", port))

    def run(self) -> None:
        """Write until the server takes no more, and until told to end."""
        try:
            while self.written < MOST_UNREAD:
                numbers = range(self.written, self.written + WRITTEN_AT_ONCE)
                self.link.sendall(b"".join(map(self.message, numbers)))
                self.written += WRITTEN_AT_ONCE
        except OSError as error:  # the test looks at it
            self.error = error

    def message(self, number: int) -> bytes:
        """Write a message of one event."""
        option = {"chunk": NAME.format(number)}
        return pack([self.tag, 1_700_000_000, {"n": number}, option])

    def is_stuck(self, penstock: Penstock) -> bool:
        """Tell whether it cannot write on, since Penstock does not read what it wrote.

        Each look at the metrics is a turn of Penstock's loop, in which it would read.
        """
        assert self.is_alive(), f"{self.written} messages written, then: {self.error}"
        if penstock.metric("penstock_ring_events"):
            return False  # it may wait for these
        looks = set()
        for _ in range(STUCK_LOOKS):
            is_full = not select.select([], [self.link], [], 0)[1]
            received_bytes = penstock.metric("penstock_received_bytes_total")
            looks.add((is_full, self.written, received_bytes))
            time.sleep(0.02)
        return len(looks) == 1 and is_full

    def end(self) -> None:
        """Close the connection, in the middle of a write."""
        self.link.shutdown(socket.SHUT_RDWR)
        self.join(10)
        self.link.close()


def test_acks_that_nobody_reads_do_not_pile_up(
    fair_penstock: Penstock, tag: str
) -> None:
    penstock = fair_penstock
    at_rest_bytes = penstock.rss_bytes()
    acks = penstock.metric("penstock_acks_total")
    deaf = Deaf(penstock.port, tag)
    deaf.start()
    try:
        wait_until(lambda: deaf.is_stuck(penstock), "it is read no more", 60.0)
        written = deaf.written
        unread = penstock.metric("penstock_acks_total") - acks
        assert unread * ACK_BYTES > UNREAD_BYTES, f"it is not read after {unread} acks"
        grown_bytes = penstock.rss_bytes() - at_rest_bytes
        assert grown_bytes < UNREAD_GROWTH_BYTES, f"{grown_bytes / MIB:.1f} MiB"
        assert len(round_trips(penstock, f"{tag}.other", 10)) == 10
        wait_until(lambda: deaf.is_stuck(penstock), "it is not read now either", 60.0)
        assert deaf.written == written
        assert_books_balance(penstock)
    finally:
        deaf.end()
    wait_until_all_is_stored(penstock)


@pytest.mark.timeout(300)
def test_ten_thousand_chunks_sent_again_are_stored_once(
    fair_penstock: Penstock, tag: str
) -> None:
    penstock = fair_penstock
    before = penstock.metric("penstock_duplicate_events_total")
    for _ in range(2):
        sender = Resender(
            penstock.port,
            tag,
            chunks=RESENT_CHUNKS,
            chunk_events=RESENT_EVENTS,
            ahead=500,
        )
        sender.start()
        sender.finish()
        assert sender.connects == 1
    duplicates = penstock.metric("penstock_duplicate_events_total") - before
    assert duplicates == RESENT_CHUNKS * RESENT_EVENTS
    assert_books_balance(penstock)
    assert_stored_once(penstock, tag, RESENT_CHUNKS * RESENT_EVENTS)
