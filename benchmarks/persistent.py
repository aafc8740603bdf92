"""Senders that outlive a server's troubles: they connect again and send again.

Owns threads that send until they are told to stop, as log agents do: those with acks
keep a chunk until it is acked and send it again on a new connection where the old one
was closed; those without acks send once. Cheap enough to fill any buffer, not made to
measure a rate.
"""

import itertools
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.frames import Form, Frame, frames
from benchmarks.load import LoadError
from benchmarks.records import Chunk

RECONNECT_SECONDS: Final = 0.5
# How long to wait for the acks of what is out, once told to stop.
DRAIN_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.2


@dataclass(slots=True)
class Tally:
    """What a sender did."""

    sent_events: int = 0  # without acks: written whole
    acked_events: int = 0
    reconnects: int = 0
    error: Exception | None = None


@dataclass(slots=True)
class _Lane:
    """One connection's frames that wait for an ack, and what has come of one."""

    unacked: deque[Frame] = field(default_factory=deque)
    received: bytes = b""


class Sender:
    """One connection in a thread of its own, until `stop`."""

    def __init__(
        self,
        port: int,
        chunks: Sequence[Chunk],
        name: str,
        *,
        window: int,
        chunks_per_second: float | None = None,
    ) -> None:
        """`window` of 0 asks for no acks; without a pace it is as fast as it can be."""
        self.tally = Tally()
        self._address = ("127.0.0.1", port)
        self._window = window
        self._step_seconds = 1 / chunks_per_second if chunks_per_second else 0.0
        self._frames = _endless(chunks, name, Form(acks=window > 0))
        self._stopped = threading.Event()
        self._gives_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send nothing new."""
        self._stopped.set()

    def join(self) -> None:
        """Wait until all that was sent is acked.

        Raises:
            LoadError: it is not, or an answer was none.
        """
        self._thread.join(DRAIN_SECONDS)
        if self._thread.is_alive():
            raise LoadError(f"{self._thread.name}: no acks in {DRAIN_SECONDS:.0f} s")
        if self.tally.error is not None:
            raise LoadError(f"{self._thread.name}: {self.tally.error}")

    def abandon(self) -> None:
        """Stop at once, whatever is unacked."""
        self._stopped.set()
        self._gives_up.set()
        self._thread.join(10)

    def _run(self) -> None:
        lane = _Lane()
        try:
            while not self._gives_up.is_set():
                try:
                    self._session(lane)
                    return
                except OSError:
                    self.tally.reconnects += 1
                    self._gives_up.wait(RECONNECT_SECONDS)
        except LoadError as error:
            self.tally.error = error

    def _session(self, lane: _Lane) -> None:
        with socket.create_connection(self._address, 10) as connection:
            connection.settimeout(_POLL_SECONDS)
            lane.received = b""
            for frame in tuple(lane.unacked):  # again, in order
                self._write(connection, frame)
            due = time.monotonic()
            while not self._stopped.is_set() or lane.unacked:
                if self._gives_up.is_set():
                    return
                if not self._stopped.is_set() and len(lane.unacked) < max(
                    1, self._window
                ):
                    frame = next(self._frames)
                    if self._window:
                        lane.unacked.append(frame)
                    self._write(connection, frame)
                    if not self._window:
                        self.tally.sent_events += frame.events
                    due += self._step_seconds
                    if self._step_seconds:
                        self._gives_up.wait(max(0.0, due - time.monotonic()))
                else:
                    self._read(connection, lane)

    def _write(self, connection: socket.socket, frame: Frame) -> None:
        data = memoryview(b"".join(frame.parts))
        while data and not self._gives_up.is_set():
            try:
                data = data[connection.send(data) :]
            except TimeoutError:
                continue  # the server reads nothing at the moment

    def _read(self, connection: socket.socket, lane: _Lane) -> None:
        try:
            data = connection.recv(65_536)
        except TimeoutError:
            return
        if not data:
            raise ConnectionResetError
        lane.received += data
        while lane.unacked and lane.received.startswith(lane.unacked[0].ack):
            frame = lane.unacked.popleft()
            lane.received = lane.received[len(frame.ack) :]
            self.tally.acked_events += frame.events
        due = lane.unacked[0].ack if lane.unacked else b""
        if not due.startswith(lane.received):
            raise LoadError(f"another ack than is due: {lane.received[:80]!r}")


def _endless(chunks: Sequence[Chunk], name: str, form: Form) -> Iterator[Frame]:
    for round_number in itertools.count():
        for number, chunk in enumerate(chunks):
            # With 0 connections no frame is the last of one.
            yield from frames([chunk], f"{name}/{round_number}/{number}", form, 0)
