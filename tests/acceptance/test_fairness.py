"""What one sender does costs the others no more than its share."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

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

# Unread acks that Penstock may hold, what the kernel holds beside, and the allocator.
UNREAD_GROWTH_BYTES = 12 * MIB
LONG_NAME = "c" * 200
MOST_UNREAD = 400_000

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


def round_trips(penstock: Penstock, tag: str, count: int) -> list[float]:
    """Send a small chunk at a time; return the bytes committed within each."""
    committed = []
    with ForwardSender(penstock.port) as quiet:
        for number in range(count):
            before = penstock.metric("penstock_copy_bytes_total")
            chunk = f"quiet-{number}"
            quiet.send(packed_forward(tag, [(1_700_000_000, {"n": number})], chunk))
            assert quiet.read_ack() == chunk
            committed.append(penstock.metric("penstock_copy_bytes_total") - before)
    return committed


@pytest.mark.timeout(120)
def test_a_flood_costs_another_sender_no_more_than_the_floods_share(
    fair_penstock: Penstock, tag: str
) -> None:
    """Counted in bytes that are committed between a message and its ack."""
    penstock = fair_penstock
    floods = [Believer(penstock.port, f"{tag}.flood", messages=6000)]
    for flood in floods:
        flood.start()
    try:
        wait_until(
            lambda: penstock.metric("penstock_ring_bytes") > 2 * MIB, "there is a flood"
        )
        committed = round_trips(penstock, f"{tag}.quiet", ROUND_TRIPS)
        assert all(flood.is_alive() for flood in floods), "the flood was too short"
    finally:
        for flood in floods:
            flood.finish()
    assert sum(committed) > BATCH_BYTES, "there was no flood beside it"
    assert max(committed) < SHARE_BYTES, f"{max(committed) / MIB:.1f} MiB before an ack"
    wait_until_all_is_stored(penstock)
    assert_stored_once(penstock, f"{tag}.flood", floods[0].events)
    assert_stored_once(penstock, f"{tag}.quiet", ROUND_TRIPS)


class Deaf(threading.Thread):
    """Asks for acks and reads none."""

    def __init__(self, port: int, tag: str) -> None:
        super().__init__(name=tag, daemon=True)
        self.tag = tag
        self.written = 0
        self.link = socket.socket()
        self.link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.link.connect(("127.0.0.1", port))

    def run(self) -> None:
        """Write until the server takes no more, and until told to end."""
        with suppress(OSError):
            while self.written < MOST_UNREAD:
                name = f"{self.written:07}{LONG_NAME}"
                event = {"n": self.written}
                self.link.sendall(
                    pack([self.tag, 1_700_000_000, event, {"chunk": name}])
                )
                self.written += 1

    def is_stuck(self) -> bool:
        """Tell whether nothing could be written for longer than a slow commit takes."""
        before = self.written
        time.sleep(5.0)
        return self.written == before


@pytest.mark.timeout(120)
def test_acks_that_nobody_reads_do_not_pile_up(
    fair_penstock: Penstock, tag: str
) -> None:
    penstock = fair_penstock
    at_rest_bytes = penstock.rss_bytes()
    deaf = Deaf(penstock.port, tag)
    deaf.start()
    try:
        wait_until(deaf.is_stuck, "it is read no more", 60.0)
        written = deaf.written
        assert 1000 < written < MOST_UNREAD
        grown_bytes = penstock.rss_bytes() - at_rest_bytes
        assert grown_bytes < UNREAD_GROWTH_BYTES, f"{grown_bytes / MIB:.1f} MiB"
        assert penstock.metric("penstock_ring_events") == 0
        assert len(round_trips(penstock, f"{tag}.other", 10)) == 10
        assert deaf.written == written
        assert_books_balance(penstock)
    finally:
        deaf.link.close()
        deaf.join(10)
    wait_until_all_is_stored(penstock)


@pytest.mark.timeout(150)
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
