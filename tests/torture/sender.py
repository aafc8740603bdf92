"""Senders that do as Fluentd, Fluent Bit and Docker do, and keep books of it.

One thread each. It owns the connection and what is resent when; what an event looks
like is `event`'s, what is known of it goes into the `ledger`.
"""

import contextlib
import random
import select
import socket
import threading
import time
from collections import deque
from typing import Any, NamedTuple

import msgpack
from msgpack import packb

from tests.torture.event import GARBAGE_SHARE, Kind, compressed, draw_event, garbage
from tests.torture.ledger import Fate, Ledger, Span

# Then a sender takes the connection for dead and sends again on another, as Fluentd
# does after 190 s; shorter, for there are some minutes.
ACK_SECONDS = 15.0
CONNECT_SECONDS = 5.0
# How long Penstock may let an un-acked sender wait for room.
READ_SECONDS = 120.0
RETRY_SECONDS = 0.2
AGAIN_SHARE = 0.05  # of acked chunks, sent again on purpose
TWICE_SHARE = 0.03  # of chunks, sent on two connections at the same moment
REMEMBERED_CHUNKS = 200


class Pace(NamedTuple):
    """How a sender sends: in which mode, how many events a message, how often."""

    mode: str  # packed, gzip, forward or message
    most_events: int
    pause_seconds: float
    ahead: int = 1  # messages written before the first ack is read


class Chunk(NamedTuple):
    """A message that asks for an ack, before it is put on the wire."""

    name: str
    first: int
    entries: list[bytes]
    garbage: bytes | None


class Sender(threading.Thread):
    """What both kinds have in common."""

    def __init__(self, ledger: Ledger, port: int, pace: Pace, seed: str) -> None:
        super().__init__(name=f"sender-{ledger.sender}", daemon=True)
        self.ledger = ledger
        self.rng = random.Random(seed)
        self.pace = pace
        self.tag = f"torture.{pace.mode}.{ledger.sender}"
        self._port = port
        self._is_told_to_end = threading.Event()

    def finish(self) -> None:
        """Begin nothing new; end when all that was begun is done."""
        self._is_told_to_end.set()

    def run(self) -> None:
        """Send until told to end."""
        try:
            while not self._is_told_to_end.is_set():
                self.send_some()
                self._is_told_to_end.wait(
                    self.rng.uniform(0, 2 * self.pace.pause_seconds)
                )
            self.send_rest()
        except Exception as error:  # a bug of the harness, or of an answer
            self.ledger.problems.append(
                f"sender {self.ledger.sender} gave up: {error!r}"
            )

    def send_some(self) -> None:
        """Send a message or some."""
        raise NotImplementedError

    def send_rest(self) -> None:
        """Send what is left of what was begun."""

    def draw_entries(self) -> list[bytes]:
        """Make the events of a message and note them."""
        entries = []
        for _ in range(self.rng.randint(1, self.pace.most_events)):
            number = len(self.ledger.kinds)
            event = draw_event(self.rng, self.ledger.sender, number)
            self.ledger.take_number(event.kind)
            entries.append(event.entry)
        return entries

    def connect(self) -> socket.socket:
        """Connect."""
        link = socket.create_connection(("127.0.0.1", self._port), CONNECT_SECONDS)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return link

    def frame(self, entries: list[bytes], option: dict[str, Any]) -> bytes:
        """Write a message in the sender's mode."""
        if self.pace.mode == "message":
            # The event without its own array's header, between tag and option.
            head = bytes((0x93 + bool(option),)) + packb(self.tag)
            return bytes(head + entries[0][1:] + (packb(option) if option else b""))
        option = {"size": len(entries)} | option
        if self.pace.mode == "forward":
            packer = msgpack.Packer()
            array = packer.pack_array_header(len(entries)) + b"".join(entries)
            return bytes(b"\x93" + packb(self.tag) + array + packb(option))
        blob = b"".join(entries)
        if self.pace.mode == "gzip":
            blob, option = compressed(self.rng, blob), option | {"compressed": "gzip"}
        return bytes(packb([self.tag, blob, option]))


class AckedSender(Sender):
    """Sends a chunk until it is acked, by the same name and with the same entries."""

    def __init__(self, ledger: Ledger, port: int, pace: Pace, seed: str) -> None:
        super().__init__(ledger, port, pace, seed)
        self._link: socket.socket | None = None
        self._answers = msgpack.Unpacker()
        self._acked: deque[Chunk] = deque(maxlen=REMEMBERED_CHUNKS)

    def send_some(self) -> None:
        chunks = [
            self._draw_chunk() for _ in range(self.rng.randint(1, self.pace.ahead))
        ]
        if self.rng.random() < TWICE_SHARE:
            self._send_elsewhere(chunks[0])
        self._deliver(chunks)
        for chunk in chunks:
            end = chunk.first + (1 if chunk.garbage else len(chunk.entries))
            now = time.monotonic()
            self.ledger.spans.append(Span(chunk.first, end, Fate.ACKED, now, now))
        self._acked.extend(chunks)
        if self.rng.random() < AGAIN_SHARE:
            self.ledger.sent_again += 1
            self._deliver([self.rng.choice(self._acked)])

    def send_rest(self) -> None:
        if self._link is not None:
            self._link.close()

    def _draw_chunk(self) -> Chunk:
        ledger = self.ledger
        first = len(ledger.kinds)
        is_garbage = self.pace.mode == "gzip" and self.rng.random() < GARBAGE_SHARE
        blob = None
        entries: list[bytes] = []
        if is_garbage:
            blob = garbage(ledger.sender, ledger.take_number(Kind.REJECTED))
        else:
            entries = self.draw_entries()
        ledger.chunks += 1
        return Chunk(f"{ledger.sender}-{first}", first, entries, blob)

    def _write(self, chunk: Chunk) -> bytes:
        option = {"chunk": chunk.name}
        if chunk.garbage is not None:
            option["compressed"] = "gzip"
            return bytes(packb([self.tag, chunk.garbage, option]))
        return self.frame(chunk.entries, option)

    def _deliver(self, chunks: list[Chunk]) -> None:
        """Send the chunks, and again what is not acked, until all are."""
        waiting = list(chunks)
        while waiting:
            try:
                if self._link is None:
                    self._link = self.connect()
                    self._answers = msgpack.Unpacker()
                self._link.settimeout(ACK_SECONDS)
                self.ledger.tries += len(waiting)
                for chunk in waiting:
                    self._link.sendall(self._write(chunk))
                while waiting:
                    ack = self._read_ack(self._link)
                    if ack != waiting[0].name:
                        self.ledger.problems.append(
                            f"the ack is {ack}, expected {waiting[0].name}"
                        )
                    waiting.pop(0)
            except OSError:
                if self._link is not None:
                    self._link.close()
                self._link = None
                time.sleep(self.rng.uniform(RETRY_SECONDS / 2, RETRY_SECONDS))

    def _read_ack(self, link: socket.socket) -> str:
        while True:
            for answer in self._answers:
                return str(answer["ack"])
            data = link.recv(65536)
            if not data:
                raise ConnectionError("closed before the ack")
            self._answers.feed(data)

    def _send_elsewhere(self, chunk: Chunk) -> None:
        """Write the chunk on a connection of its own too, and wait for nothing."""
        self.ledger.tries += 1
        with contextlib.suppress(OSError), self.connect() as link:
            link.sendall(self._write(chunk))
            link.shutdown(socket.SHUT_WR)


class UnackedSender(Sender):
    """Writes and believes; only the end of a connection tells whether it was read."""

    MOST_MESSAGES = 40

    def send_some(self) -> None:
        first, began = len(self.ledger.kinds), time.monotonic()
        was_read = self._send_and_close()
        fate = Fate.READ if was_read else Fate.UNKNOWN
        end, now = len(self.ledger.kinds), time.monotonic()
        self.ledger.spans.append(Span(first, end, fate, began, now))
        if not was_read:
            time.sleep(self.rng.uniform(RETRY_SECONDS / 2, RETRY_SECONDS))

    def _send_and_close(self) -> bool:
        """Send some messages; return whether Penstock has read them to the end.

        It closes when it has read our end and handed over all that came before. An end
        of its own accord, before ours, says nothing.
        """
        try:
            with self.connect() as link:
                link.settimeout(READ_SECONDS)
                for _ in range(self.rng.randint(1, self.MOST_MESSAGES)):
                    self.ledger.chunks += 1
                    self.ledger.tries += 1
                    link.sendall(self.frame(self.draw_entries(), {}))
                    self._is_told_to_end.wait(
                        self.rng.uniform(0, 2 * self.pace.pause_seconds)
                    )
                if select.select([link], [], [], 0)[0]:
                    return False
                link.shutdown(socket.SHUT_WR)
                return link.recv(1) == b""
        except TimeoutError:
            self.ledger.problems.append(
                f"sender {self.ledger.sender} was not read for {READ_SECONDS:g} s"
            )
            return False
        except OSError:
            return False
