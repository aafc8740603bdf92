"""PostgreSQL is away and senders do not stop: memory is bounded, nothing is lost."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.acceptance.forward_sender import ForwardSender, packed_forward
from tests.acceptance.penstock_process import Penstock, wait_until
from tests.acceptance.resender import wait_until_steady
from tests.workers import one_worker

MIB = 1024 * 1024
RING_BYTES = 8 * MIB
CONNECTIONS = 4
# In all five times what the ring holds.
FLOOD_BYTES = 5 * RING_BYTES // CONNECTIONS
FRAME_EVENTS = 400  # about 90 KiB
FILLER = "GET /api/v1/items?page=2 HTTP/1.1 " * 6

# What the process may have on top of its memory at rest: the ring, and for each
# connection what is read and not yet encoded, a few reads of 256 KiB and a frame.
CONNECTION_BYTES = 1 * MIB
# Pieces on their way to PostgreSQL, what the allocator keeps, Python's own caches.
SLACK_BYTES = 8 * MIB
GROWTH_BYTES = RING_BYTES + CONNECTIONS * CONNECTION_BYTES + SLACK_BYTES
# The ring's bound is soft by one segment for each connection.
SEGMENT_BYTES = 256 * 1024

# What it may grow by while nothing moves: the scrapes of this test, and what they leave
# in the allocator. A leak by time or by refused reads would be more in so long.
FLAT_BYTES = 1 * MIB

# Long beside the second in which the flood would be read.
PAUSED_SECONDS = 4.0
# A transaction may take some seconds; only one that takes longer is a sign.
UNREADY_SECONDS = 20.0


class Flood(threading.Thread):
    """A sender with acks that writes all it has, as fast as it is let."""

    def __init__(self, port: int, tag: str) -> None:
        super().__init__(name=tag, daemon=True)
        self.tag = tag
        self.frames = [self._frame(0)]
        while len(self.frames) * len(self.frames[0]) < FLOOD_BYTES:
            self.frames.append(self._frame(len(self.frames)))
        self.events = len(self.frames) * FRAME_EVENTS
        self.acked: list[str] = []
        self.error: Exception | None = None
        self._sender = ForwardSender(port)

    def _frame(self, number: int) -> bytes:
        first = number * FRAME_EVENTS
        entries = [
            (1_700_000_000, {"n": n, "message": FILLER, "status": 200})
            for n in range(first, first + FRAME_EVENTS)
        ]
        return packed_forward(self.tag, entries, f"chunk-{number}")

    def run(self) -> None:
        """Write all, then read the acks."""
        try:
            for frame in self.frames:
                self._sender.send(frame)
            self.acked = self._sender.read_acks(len(self.frames))
        except Exception as error:  # the test looks at it
            self.error = error

    def has_no_ack(self) -> bool:
        """Tell whether no byte has come back so far; it reads them only in the end."""
        return not self.acked and self._sender.is_silent_for(0)

    def end(self) -> None:
        """Give up, if it is still at it."""
        self._sender.hang_up()
        self.join()
        self._sender.close()

    def assert_stored_once(self, penstock: Penstock) -> None:
        """Judge it when it has ended: all acked, each event stored, none twice."""
        assert self.error is None, self.error
        assert self.acked == [f"chunk-{n}" for n in range(len(self.frames))]
        (stored,) = penstock.fetch(
            "SELECT count(*), count(DISTINCT n), min(n), max(n) FROM ("
            " SELECT (attributes->>'n')::int AS n FROM logs WHERE tag = $1) AS numbers",
            self.tag,
        )
        assert tuple(stored) == (self.events, self.events, 0, self.events - 1)


class MemoryBound:
    """The memory that the server may have from now on."""

    def __init__(self, penstock: Penstock) -> None:
        self._penstock = penstock
        self._at_rest_bytes = penstock.rss_bytes()

    def check(self) -> None:
        """Fail if the server has more."""
        grown_bytes = self._penstock.rss_bytes() - self._at_rest_bytes
        assert grown_bytes < GROWTH_BYTES, (
            f"{grown_bytes / MIB:.1f} MiB more than at rest, {GROWTH_BYTES / MIB:.0f}"
            f" allowed; the ring holds"
            f" {self._penstock.metric('penstock_ring_bytes') / MIB:.1f} MiB"
        )


def assert_flat(sizes: list[int]) -> None:
    """Judge the server's memory over a time in which nothing moved."""
    grown = max(sizes) - sizes[0]
    assert grown <= FLAT_BYTES, f"{grown / MIB:.1f} MiB more than at its beginning"


@pytest.fixture(scope="module")
def small_ring_penstock(stopped_penstock: Penstock) -> Iterator[Penstock]:
    """A Penstock with a ring that fills at once."""
    penstock = stopped_penstock
    penstock.start("--ring-bytes", str(RING_BYTES))
    # What is made at first use is made.
    with ForwardSender(penstock.port) as sender:
        sender.send(packed_forward("acceptance.first", [(1, {"n": 0})], "first"))
        assert sender.read_ack() == "first"
    yield penstock
    penstock.end()


@pytest.fixture
def small_ring(small_ring_penstock: Penstock) -> Penstock:
    """The same at rest: what an earlier test sent is stored, its senders are gone."""
    wait_until(
        lambda: (
            small_ring_penstock.metric("penstock_connections") == 0
            and small_ring_penstock.metric("penstock_ring_events") == 0
        ),
        "the server is at rest",
    )
    return small_ring_penstock


@contextmanager
def flooding(floods: list[Flood]) -> Iterator[list[Flood]]:
    """Flood from these connections; they have ended when the block has."""
    try:
        for flood in floods:
            flood.start()
        yield floods
    finally:
        for flood in floods:
            flood.end()


def paused_connections(penstock: Penstock) -> float:
    return penstock.metric("penstock_paused_connections")


@one_worker
def test_a_flood_while_postgresql_is_paused_is_held_back_unacked_and_then_stored_once(
    small_ring: Penstock, tag: str
) -> None:
    """And /ready says why it is not: a pause takes long, so there is one for both."""
    penstock = small_ring
    assert penstock.http("/ready")[0] == 200
    memory = MemoryBound(penstock)
    received_before = penstock.metric("penstock_received_bytes_total")

    def all_wait() -> bool:
        memory.check()
        return paused_connections(penstock) == CONNECTIONS

    made = [Flood(penstock.port, f"{tag}.{number}") for number in range(CONNECTIONS)]
    with ExitStack() as stack:
        with penstock.postgres_paused():
            floods = stack.enter_context(flooding(made))
            wait_until(all_wait, "reading is paused on every connection")

            # For as long as PostgreSQL is away: alive, no ack, and nothing grows, when
            # the last of what PostgreSQL's sockets take is out of the ring.
            (received, paused) = wait_until_steady(
                penstock, "penstock_received_bytes_total", "penstock_paused_connections"
            )
            assert paused == CONNECTIONS
            assert received - received_before < CONNECTIONS * FLOOD_BYTES / 2
            sizes = []
            paused_from = time.monotonic()
            unready_seconds = 0.0
            body = ""
            while time.monotonic() < paused_from + PAUSED_SECONDS or (
                not unready_seconds and time.monotonic() < paused_from + UNREADY_SECONDS
            ):
                status, told = penstock.http("/ready")
                if status != 200 and not unready_seconds:
                    unready_seconds, body = time.monotonic() - paused_from, told
                memory.check()
                sizes.append(penstock.rss_bytes())
                assert penstock.http("/health")[0] == 200
                assert all(flood.has_no_ack() for flood in floods)
                time.sleep(0.1)
            assert_flat(sizes)
            assert penstock.metric("penstock_received_bytes_total") == received
            assert penstock.metric("penstock_ring_bytes") < (
                RING_BYTES + CONNECTIONS * SEGMENT_BYTES
            )
            assert all(flood.is_alive() for flood in floods)
            assert unready_seconds, f"ready after {UNREADY_SECONDS:g} s"
            assert "database" in body, body

        for flood in floods:
            while flood.is_alive():
                memory.check()
                flood.join(0.05)
            flood.assert_stored_once(penstock)
        assert paused_connections(penstock) == 0
    wait_until(lambda: penstock.http("/ready")[0] == 200, "it is ready again")


def test_one_noisy_sender_leaves_room_for_another(
    small_ring: Penstock, tag: str
) -> None:
    penstock = small_ring
    taken = 'penstock_received_events_total{mode="packed_forward"}'
    made = Flood(penstock.port, f"{tag}.noisy")
    with ForwardSender(penstock.port) as quiet, ExitStack() as stack:
        with penstock.postgres_paused():
            (noisy,) = stack.enter_context(flooding([made]))
            wait_until(
                lambda: paused_connections(penstock) == 1,
                "reading is paused for the noisy sender",
            )
            before, _ = wait_until_steady(penstock, taken, "penstock_ring_events")
            quiet.send(packed_forward(f"{tag}.quiet", [(1, {"n": 0})], "quiet"))
            wait_until(lambda: penstock.metric(taken) == before + 1, "it is taken")
            assert paused_connections(penstock) == 1
            assert penstock.http("/ready")[0] == 200
        assert quiet.read_ack() == "quiet"
        noisy.join()
        noisy.assert_stored_once(penstock)
