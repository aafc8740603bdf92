"""A forward sender that costs next to nothing: frames ready, acks counted.

Owns the client's side of a run: PackedForward over several connections, a few chunks
outstanding on each, and the time from a chunk's last byte written to its ack read.
One thread and one selector, so that an ack is read when it comes and not when some
write has ended. It never packs or compresses while the clock runs, nor
copies, unless it is to speak TLS.
"""

import argparse
import gc
import random
import selectors
import socket
import ssl
import struct
import sys
import time
from base64 import b64encode
from collections import deque
from dataclasses import dataclass
from typing import Final

import msgpack

from benchmarks import records
from benchmarks.records import Chunk

# A sender that gets no ack for so long has met a server that stands still; Fluentd's
# own patience is 190 s, a benchmark need not wait as long.
STALL_SECONDS: Final = 60.0

_READ_BYTES: Final = 65_536
_WOULD_BLOCK: Final = (
    BlockingIOError,
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
)
_ARRAY_OF_3: Final = b"\x93"
_BIN_32: Final = struct.Struct(">BI")


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
class Frame:
    """One message in parts, so that frames with equal entries share their bytes."""

    parts: tuple[bytes, bytes, bytes]
    ack: bytes
    events: int


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a run was: from the first byte sent to the last ack read."""

    events: int
    bytes: int
    seconds: float
    cpu_seconds: float
    ack_seconds: list[float]


def frames(chunks: list[Chunk], run: str) -> list[Frame]:
    """Wrap chunks as PackedForward; `run` makes the chunk ids unlike other runs'."""
    rng = random.Random(run)
    return [_frame(chunk, rng.randbytes(16)) for chunk in chunks]


def _frame(chunk: Chunk, identity: bytes) -> Frame:
    chunk_id = b64encode(identity).decode()
    packed_id = msgpack.packb(chunk_id)
    head = _ARRAY_OF_3 + msgpack.packb(chunk.tag)
    head += _BIN_32.pack(0xC6, len(chunk.entries))
    option = msgpack.packb({"size": chunk.events, "chunk": chunk_id})
    # The ack is {"ack": chunk}, the chunk echoed byte for byte (specification v1,
    # "Response"), so it can be told in advance and compared without a parser.
    ack = b"\x81" + msgpack.packb("ack") + packed_id
    return Frame((head, chunk.entries, option), ack, chunk.events)


def send(target: Target, frames: list[Frame]) -> LoadResult:
    """Send all frames, frame i on connection i modulo connections; wait for all acks.

    Raises:
        LoadError: the server closed, stood still or answered something else.
    """
    lanes: list[_Lane] = []
    gc.collect()
    gc.disable()
    try:
        lanes.extend(
            _Lane(target, frames[first :: target.connections])
            for first in range(min(target.connections, len(frames)))
        )
        started, cpu_started = time.perf_counter(), time.process_time()
        _drive(lanes)
        seconds = time.perf_counter() - started
        cpu_seconds = time.process_time() - cpu_started
    except OSError as error:
        raise LoadError(f"connection to port {target.port} lost: {error}") from error
    finally:
        gc.enable()
        for lane in lanes:
            lane.close()
    return LoadResult(
        events=sum(frame.events for frame in frames),
        bytes=sum(len(part) for frame in frames for part in frame.parts),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        ack_seconds=[waited for lane in lanes for waited in lane.ack_seconds],
    )


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


class _Lane:
    """One connection: its frames, what is half written, what waits for an ack."""

    def __init__(self, target: Target, frames: list[Frame]) -> None:
        self.socket = socket.create_connection((target.host, target.port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._is_tls = target.tls is not None
        if target.tls is not None:
            self.socket = target.tls.wrap_socket(
                self.socket, server_hostname=target.host
            )
        self.socket.setblocking(False)
        self.ack_seconds: list[float] = []
        self._window = target.window
        self._frames = iter(frames)
        self._next: Frame | None = next(self._frames, None)
        self._unsent: list[memoryview] = []
        self._unacked: deque[tuple[bytes, float]] = deque()
        self._received = b""

    def close(self) -> None:
        self.socket.close()

    def write(self) -> int:
        """Write what the window and the socket take; return the events to wait for."""
        while self._unsent or (self._next and len(self._unacked) < self._window):
            if not self._unsent and self._next:
                parts = self._next.parts
                # OpenSSL takes one piece at a time, and makes a record of each.
                pieces = (b"".join(parts),) if self._is_tls else parts
                self._unsent = [memoryview(piece) for piece in pieces]
            if not self._write_some():
                return selectors.EVENT_READ | selectors.EVENT_WRITE
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
        assert self._next is not None
        self._unacked.append((self._next.ack, time.perf_counter()))
        self._next = next(self._frames, None)
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
