"""A sender that resends what is not acked, as Fluentd and Fluent Bit do.

And one that asks for no ack and believes what it has written. Threads of their own; the
events are numbered, so that each can be found.
"""

import select
import socket
import sys
import threading
import time
from contextlib import suppress

from tests.acceptance.forward_sender import ForwardSender, packed_forward
from tests.acceptance.penstock_process import Penstock

FILLER = "GET /api/v1/items?page=2 HTTP/1.1 " * 6
T = 1_700_000_000
RETRY_SECONDS = 0.1
# Longer than any fault of these tests; a sender that waits so long found a bug.
PATIENCE_SECONDS = 90.0
# What moves at all moves several times meanwhile.
STEADY_SECONDS = 1.0


def numbered_frame(
    tag: str, first: int, events: int, chunk: str | None = None
) -> bytes:
    """Write a message of events with the numbers from `first` on."""
    entries = [(T, {"n": first + n, "message": FILLER}) for n in range(events)]
    return packed_forward(tag, entries, chunk)


class Resender(threading.Thread):
    """Sends chunks, some ahead of their acks, until all are acked.

    Without a number of chunks it sends until it is enough.
    """

    def __init__(
        self,
        port: int,
        tag: str,
        *,
        chunk_events: int,
        chunks: int = sys.maxsize,
        ahead: int = 4,
    ) -> None:
        super().__init__(name=tag, daemon=True)
        self.tag = tag
        self.chunks = chunks
        self.acked = 0  # chunks; they are acked in order
        self.connects = 0
        self.error: Exception | None = None
        self._port = port
        self._chunk_events = chunk_events
        self._ahead = ahead
        self._begun = 0  # chunks of which Penstock may have something
        self._has_sent_enough = threading.Event()
        self._gives_up = threading.Event()

    @property
    def events(self) -> int:
        """Return how many events it sends in all."""
        return self.chunks * self._chunk_events

    def run(self) -> None:
        """Send all."""
        try:
            while self.acked < self.chunks and not self._gives_up.is_set():
                with suppress(
                    OSError, AssertionError
                ):  # the latter: closed by Penstock
                    self._send_until_it_fails()
                self._gives_up.wait(RETRY_SECONDS)
        except Exception as error:  # the test looks at it
            self.error = error

    def end(self) -> None:
        """Give up, if it is still at it."""
        self._gives_up.set()
        self.join(PATIENCE_SECONDS)

    def enough(self) -> None:
        """Begin no further chunk."""
        self._has_sent_enough.set()

    def finish(self) -> None:
        """Wait until all is acked."""
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive(), f"{self.acked} of {self.chunks} chunks are acked"
        assert self.error is None, self.error
        assert self.acked == self.chunks

    def _send_until_it_fails(self) -> None:
        with ForwardSender(self._port) as sender:
            self.connects += 1
            written = self.acked
            while self.acked < self.chunks and not self._gives_up.is_set():
                if self._has_sent_enough.is_set():
                    self.chunks = min(self.chunks, self._begun)
                while written < min(self.acked + self._ahead, self.chunks):
                    self._begun = max(self._begun, written + 1)
                    first = written * self._chunk_events
                    frame = numbered_frame(
                        self.tag, first, self._chunk_events, f"chunk-{written}"
                    )
                    sender.send(frame)
                    written += 1
                if written == self.acked:
                    break  # it was enough, and all of it is acked
                (chunk,) = sender.read_acks(1)
                if chunk != f"chunk-{self.acked}":
                    raise ValueError(f"{chunk} acked in place of {self.acked}")
                self.acked += 1


class Believer(threading.Thread):
    """Writes messages without asking for acks, then waits until they are read."""

    def __init__(
        self, port: int, tag: str, *, messages: int, message_events: int = 100
    ) -> None:
        super().__init__(name=tag, daemon=True)
        self.tag = tag
        self.messages = messages
        self.events = messages * message_events
        self.written = 0  # messages
        self.written_bytes = 0
        self.ended_seconds = 0.0  # of the monotonic clock
        self.was_read = False
        self.error: Exception | None = None
        self._message_events = message_events
        self._link = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)

    def run(self) -> None:
        """Write all; Penstock closes when it has read to the end."""
        try:
            while self.written < self.messages:
                first = self.written * self._message_events
                frame = numbered_frame(self.tag, first, self._message_events)
                self._link.sendall(frame)
                self.written_bytes += len(frame)
                self.written += 1
            self._link.shutdown(socket.SHUT_WR)
            self.was_read = self._link.recv(1) == b""
        except Exception as error:  # the test looks at it
            self.error = error
        finally:
            self._link.close()
            self.ended_seconds = time.monotonic()

    @property
    def is_stuck(self) -> bool:
        """Tell whether its socket takes no more: that of Penstock is full then, too."""
        return not select.select([], [self._link], [], 0)[1]

    def end(self) -> None:
        """Give up, if it is still at it."""
        with suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self.join(PATIENCE_SECONDS)

    def finish(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until all is read."""
        self.join(seconds)
        assert not self.is_alive(), (
            f"{self.written} of {self.messages} messages are written"
        )
        assert self.error is None, self.error
        assert self.was_read


# --- what is in the database afterwards


def numbers_of(penstock: Penstock, tag: str) -> list[int]:
    """Return the numbers of a tag's events in the order in which they came."""
    rows = penstock.fetch(
        "SELECT (attributes->>'n')::int FROM logs WHERE tag = $1 ORDER BY id", tag
    )
    return [row[0] for row in rows]


def assert_stored_once(penstock: Penstock, tag: str, events: int) -> None:
    """Judge: all of the tag's events are there, and none twice."""
    numbers = numbers_of(penstock, tag)
    missing = events - len(set(numbers))
    assert missing == 0, f"{missing} of {events} are lost"
    assert len(numbers) == events, f"{len(numbers) - events} are stored twice"


def assert_books_balance(penstock: Penstock) -> None:
    """Judge: every event that was received is accounted for."""
    assert "penstock_unaccounted_events 0.0" in penstock.http("/metrics")[1]


def wait_until_steady(
    penstock: Penstock, *names: str, seconds: float = STEADY_SECONDS
) -> list[float]:
    """Wait until these metrics have been the same for so long; return them."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    found, since = penstock.metrics(*names), time.monotonic()
    while time.monotonic() < since + seconds:
        assert time.monotonic() < give_up, f"never steady: {names}, last {found}"
        time.sleep(0.05)
        if (now := penstock.metrics(*names)) != found:
            found, since = now, time.monotonic()
    return found


def wait_until_all_is_stored(
    penstock: Penstock, seconds: float = PATIENCE_SECONDS
) -> None:
    """Wait until nothing is on its way, in memory or on disk; the books balance."""
    give_up = time.monotonic() + seconds
    while True:
        assert_books_balance(penstock)
        # Of one moment: what is replayed goes from the one to the other.
        left = penstock.metrics("penstock_ring_events", "penstock_spooled_events")
        if left == [0, 0]:
            return
        assert time.monotonic() < give_up, f"left in ring and spool: {left}"
        time.sleep(0.05)
