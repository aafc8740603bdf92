"""A forward sender that costs next to nothing: frames ready, acks counted.

Owns the client's side of a run: several connections, a few frames unacked on each, as
fast as they are taken or at a given pace, and the time from a frame's last byte written
to its ack read. One thread and one selector, so that an ack is read when it comes and
not when some write has ended. It never packs or compresses while the clock runs, nor
copies, unless it is to speak TLS.
"""

import argparse
import gc
import selectors
import socket
import ssl
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks import records
from benchmarks.frames import Frame, frames

# A sender that gets no ack for so long has met a server that stands still; Fluentd's
# own patience is 190 s, a benchmark need not wait as long.
STALL_SECONDS: Final = 60.0

_READ_BYTES: Final = 65_536
_WOULD_BLOCK: Final = (
    BlockingIOError,
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
)
# At most so much of one connection goes out before the others have their turn.
_TURN_FRAMES: Final = 8


class LoadError(Exception):
    """The server closed, stood still, or answered something that is no ack."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send, over how many connections, how many chunks unacked on each."""

    host: str
    port: int
    connections: int = 4
    window: int = 2
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a run was: from the first byte sent to the last ack read."""

    events: int
    bytes: int
    seconds: float
    cpu_seconds: float
    ack_seconds: list[float]
    # How much later than its pace each frame was begun; the sender's own fault.
    late_seconds: list[float]


def send(target: Target, frames: Sequence[Frame]) -> LoadResult:
    """Send all frames, frame i on connection i modulo connections; wait for all acks.

    Raises:
        LoadError: the server closed, stood still or answered something else.
    """
    return _send(target, frames, 0.0)


def send_paced(
    target: Target, frames: Sequence[Frame], frames_per_second: float
) -> LoadResult:
    """Send the frames at a pace that does not wait for acks; then wait for all.

    The time to an ack counts from when a frame was begun, so that one whose bytes the
    server does not take counts from then.

    Raises:
        LoadError: the server closed, stood still or answered something else.
    """
    return _send(target, frames, 1 / frames_per_second)


def _send(target: Target, frames: Sequence[Frame], step_seconds: float) -> LoadResult:
    with _lanes(target, min(target.connections, len(frames))) as lanes:
        started, cpu_started = time.perf_counter(), time.process_time()
        late_seconds: list[float] = []
        if step_seconds:
            late_seconds = _Pace(lanes, frames, step_seconds).drive()
        else:
            for number, lane in enumerate(lanes):
                lane.pending.extend(frames[number :: len(lanes)])
            _drive(lanes)
        seconds = time.perf_counter() - started
        cpu_seconds = time.process_time() - cpu_started
    return LoadResult(
        events=sum(frame.events for frame in frames),
        bytes=sum(len(part) for frame in frames for part in frame.parts),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        ack_seconds=[waited for lane in lanes for waited in lane.ack_seconds],
        late_seconds=late_seconds,
    )


@contextmanager
def _lanes(target: Target, count: int) -> Iterator[list["_Lane"]]:
    lanes: list[_Lane] = []
    gc.collect()
    gc.disable()
    try:
        lanes.extend(_Lane(target) for _ in range(count))
        yield lanes
    except OSError as error:
        raise LoadError(f"connection to port {target.port} lost: {error}") from error
    finally:
        gc.enable()
        for lane in lanes:
            lane.close()


def _drive(lanes: list["_Lane"]) -> None:
    with selectors.DefaultSelector() as selector:
        for lane in lanes:
            selector.register(lane.socket, selectors.EVENT_WRITE, lane)
        while selector.get_map():
            ready = selector.select(STALL_SECONDS)
            if not ready:
                raise LoadError(f"no ack for {STALL_SECONDS:.0f} s")
            for key, events in ready:
                lane = key.data
                if events & selectors.EVENT_READ:
                    lane.read()
                wanted = lane.write()
                if not wanted:
                    selector.unregister(lane.socket)
                elif wanted != key.events:
                    selector.modify(lane.socket, wanted, lane)


class _Pace:
    """Hands out frames when they are due, whatever has been acked."""

    def __init__(
        self, lanes: list["_Lane"], frames: Sequence[Frame], step_seconds: float
    ) -> None:
        self._lanes = lanes
        self._frames = frames
        self._step_seconds = step_seconds
        self._late_seconds: list[float] = []

    def drive(self) -> list[float]:
        """Send all; return how late each frame was begun."""
        with selectors.DefaultSelector() as selector:
            for lane in self._lanes:
                selector.register(lane.socket, selectors.EVENT_READ, lane)
            self._drive(selector)
        return self._late_seconds

    def _drive(self, selector: selectors.BaseSelector) -> None:
        started = heard = time.perf_counter()
        number, count = 0, len(self._frames)
        while number < count or any(lane.is_busy for lane in self._lanes):
            now = time.perf_counter()
            while number < count and (due := started + number * self._step_seconds) <= (
                now
            ):
                lane = self._lanes[number % len(self._lanes)]
                lane.pending.append(self._frames[number])
                lane.begun.append(now)
                self._late_seconds.append(now - due)
                self._write(selector, lane)
                number += 1
            patience = STALL_SECONDS
            if number < count:
                patience = max(0.0, started + number * self._step_seconds - now)
            ready = selector.select(patience)
            if ready:
                heard = time.perf_counter()
            elif now - heard > STALL_SECONDS and number == count:
                raise LoadError(f"no ack for {STALL_SECONDS:.0f} s")
            for key, events in ready:
                if events & selectors.EVENT_READ:
                    key.data.read()
                if events & selectors.EVENT_WRITE:
                    self._write(selector, key.data)

    @staticmethod
    def _write(selector: selectors.BaseSelector, lane: "_Lane") -> None:
        wanted = lane.write() or selectors.EVENT_READ
        if wanted != selector.get_key(lane.socket).events:
            selector.modify(lane.socket, wanted, lane)


class _Lane:
    """One connection: its frames, what is half written, what waits for an ack."""

    def __init__(self, target: Target) -> None:
        self.socket = socket.create_connection((target.host, target.port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._is_tls = target.tls is not None
        if target.tls is not None:
            self.socket = target.tls.wrap_socket(
                self.socket, server_hostname=target.host
            )
        self.socket.setblocking(False)
        self.ack_seconds: list[float] = []
        self.pending: deque[Frame] = deque()
        # When each of `pending` was begun, where that is before its last byte went out.
        self.begun: deque[float] = deque()
        self._window = target.window
        self._unsent: list[memoryview] = []
        self._unacked: deque[tuple[bytes, float]] = deque()
        self._received = b""

    @property
    def is_busy(self) -> bool:
        """Something is to be written, or an ack to come."""
        return bool(self.pending or self._unacked)

    def close(self) -> None:
        self.socket.close()

    def write(self) -> int:
        """Write what the window and the socket take; return the events to wait for."""
        written_frames = 0
        while self._unsent or (self.pending and len(self._unacked) < self._window):
            if written_frames == _TURN_FRAMES:
                return selectors.EVENT_READ | selectors.EVENT_WRITE
            if not self._unsent:
                parts = self.pending[0].parts
                # OpenSSL takes one piece at a time, and makes a record of each.
                pieces = (b"".join(parts),) if self._is_tls else parts
                self._unsent = [memoryview(piece) for piece in pieces]
            if not self._write_some():
                return selectors.EVENT_READ | selectors.EVENT_WRITE
            written_frames += not self._unsent
        return selectors.EVENT_READ if self._unacked else 0

    def _write_some(self) -> bool:
        try:
            written = (
                self.socket.send(self._unsent[0])
                if self._is_tls
                else self.socket.sendmsg(self._unsent)
            )
        except _WOULD_BLOCK:
            return False
        while self._unsent and written >= len(self._unsent[0]):
            written -= len(self._unsent.pop(0))
        if self._unsent:
            self._unsent[0] = self._unsent[0][written:]
            return True
        frame = self.pending.popleft()
        since = self.begun.popleft() if self.begun else time.perf_counter()
        if frame.ack:
            self._unacked.append((frame.ack, since))
        return True

    def read(self) -> None:
        """Read acks, which come in the order their chunks were sent in."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except _WOULD_BLOCK:
            return
        if not data:
            raise LoadError(f"closed with {len(self._unacked)} chunks unacked")
        now = time.perf_counter()
        self._received += data
        while self._received:
            if not self._unacked:
                raise LoadError(f"{len(self._received)} bytes that no chunk asked for")
            ack, written_at = self._unacked[0]
            if not self._received.startswith(ack):
                if ack.startswith(self._received):
                    return
                raise LoadError(f"another ack than is due: {self._received[:80]!r}")
            self._received = self._received[len(ack) :]
            self._unacked.popleft()
            self.ack_seconds.append(now - written_at)


def percentile(values: list[float], share: float) -> float:
    """The nearest-rank percentile of `values`, which need not be sorted."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    """Send seeded records to a forward server that is already running."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=24224)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--window", type=int, default=2)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--chunk-events", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    now_ns = time.time_ns()
    mix = records.Mix(options.events, options.chunk_events, options.seed, now_ns)
    ready = frames(records.workload(mix), run=str(now_ns))
    target = Target(options.host, options.port, options.connections, options.window)
    result = send(target, ready)
    sys.stdout.write(
        f"{result.events:,} events acked in {result.seconds:.2f} s: "
        f"{result.events / result.seconds:,.0f} events/s, "
        f"{result.bytes / result.seconds / 2**20:,.0f} MiB/s, "
        f"sender {result.cpu_seconds / result.events * 1e6:.2f} CPU-s a million, "
        f"ack p50 {percentile(result.ack_seconds, 0.5) * 1e3:.1f} ms "
        f"p99 {percentile(result.ack_seconds, 0.99) * 1e3:.1f} ms\n"
    )


if __name__ == "__main__":
    main()
