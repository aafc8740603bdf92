"""A small blocking client of the forward protocol: PackedForward, acks, a window.

Owns one connection at a time and the chunks not acked yet: writes them in order,
matches acks by chunk id, and after a lost connection writes the unacked ones again
under the same ids. How a connection is made is `client_link`'s. Must not read input,
encode records or print: cli/send.py does. One thread waits in one place, `_wait`, for
the connection and a slow input together.
"""

import base64
import errno
import os
import random
import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgpack

from penstock.errors import PenstockError, UnavailableError
from penstock.net.client_link import (
    MAX_ANSWER_BYTES,
    Destination,
    Link,
    LinkMaker,
    no_forward_server,
    reason,
)

# Eight chunks on the way hide the time of one commit behind the writing of the
# next. The bytes bound what is held in memory when single lines make huge chunks.
WINDOW_CHUNKS, WINDOW_BYTES = 8, 16 * 1024 * 1024
# Without acks the server's own close is all we can learn of the end; a server
# that keeps the connection open must not hold us.
CLOSE_SECONDS = 2.0
# First pause after a lost connection, and the longest: a server that restarts is
# found again within seconds, and one that is down is not hammered.
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


class NotAckedError(PenstockError):
    """Chunks were sent and no ack came for them in time."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One PackedForward message, ready for the wire, and the id its ack will name."""

    id: bytes
    frame: bytes
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Where to send, and how long to insist.

    Args:
        destination: where, and how to get in there.
        timeout_seconds: without an ack for that long we give up; None: never.
        retries: connections tried in a row without an ack in between; None: as
            many as the timeout allows, but the first connection is tried once.
    """

    destination: Destination
    ack: bool = True
    window_chunks: int = WINDOW_CHUNKS
    timeout_seconds: float | None = 60.0
    retries: int | None = None


@dataclass(slots=True)
class Tally:
    """What was taken for sending, and what of it is acked (without acks: written)."""

    events: int = 0
    chunks: int = 0
    done_events: int = 0
    reconnects: int = 0


def build_chunk(tag: str, entries: Sequence[bytes], *, ack: bool) -> Chunk:
    """Pack msgpack entries into one message: specification v1, "PackedForward Mode"."""
    # As Fluentd's ids: 16 bytes do not repeat (forward-protocol.md 3.2).
    chunk_id = base64.b64encode(os.urandom(16))
    option: dict[str, int | str] = {"size": len(entries)}
    if ack:
        option["chunk"] = chunk_id.decode("ascii")
    packer = msgpack.Packer(unicode_errors="surrogateescape")
    return Chunk(chunk_id, packer.pack([tag, b"".join(entries), option]), len(entries))


def backoff_seconds(failures: int, rng: random.Random) -> float:
    """Return the pause after so many failures in a row: doubling, with jitter."""
    doubled: float = FIRST_PAUSE_SECONDS * 2 ** min(failures, 16)
    return min(LONGEST_PAUSE_SECONDS, doubled) * rng.uniform(0.5, 1.0)


class ForwardClient:
    """`connect`, then for each chunk `wait_for_room` and `enqueue`, then `finish`."""

    def __init__(
        self,
        settings: ClientSettings,
        *,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tally = Tally()
        self._settings = settings
        self._rng = rng or random.Random()
        self._clock = clock
        self._link: Link | None = None
        self._links = LinkMaker(
            settings.destination, self._wait, clock, settings.timeout_seconds
        )
        self._answers = msgpack.Unpacker()
        self._outstanding: dict[bytes, Chunk] = {}
        self._unwritten: deque[Chunk] = deque()
        self._rest = memoryview(b"")  # of the first unwritten frame, partly written
        self._failures = 0  # connections lost or refused since the last ack
        self._last_failure = ""
        self._retry_at = 0.0
        self._progress_at = 0.0
        self._waiting = False
        self._interrupted = False

    @property
    def address(self) -> str:
        """Return host and port as people write them."""
        return self._settings.destination.address

    def connect(self) -> None:
        """Make the first connection, so that nothing is read for a server that is away.

        Raises:
            UnavailableError: it cannot be made.
        """
        timeout, started = self._settings.timeout_seconds, self._clock()
        attempts = 0
        while True:
            try:
                return self._open()
            except OSError as exc:
                late = timeout is not None and self._clock() - started >= timeout
                if late or attempts >= (self._settings.retries or 0):
                    refused = exc.errno == errno.ECONNREFUSED
                    hint = "; is `penstock up` running?" if refused else ""
                    raise UnavailableError(
                        f"cannot reach {self.address}: {reason(exc)}{hint}"
                    ) from exc
            self.wait(backoff_seconds(attempts, self._rng))
            attempts += 1

    def wait_for_room(self) -> None:
        """Take the acks that are there, and wait while the window is full.

        Raises:
            NotAckedError: no ack came within the timeout.
            UnavailableError: the server asks for a login.
            ProtocolError: what answers is no forward server.
        """
        self._turn(self._clock())
        while (
            len(self._outstanding) >= self._settings.window_chunks
            or sum(len(chunk.frame) for chunk in self._outstanding.values())
            >= WINDOW_BYTES
        ):
            self._turn(None)

    def enqueue(self, chunk: Chunk) -> None:
        """Take a chunk for sending; it is written by the calls that wait."""
        if not self._outstanding:
            self._progress_at = self._clock()
        self._outstanding[chunk.id] = chunk
        self._unwritten.append(chunk)
        self.tally.events += chunk.events
        self.tally.chunks += 1

    def wait(self, seconds: float | None, input_fd: int | None = None) -> bool:
        """Serve the link so long or until input can be read (true). Raises as above."""
        until = None if seconds is None else self._clock() + seconds
        while not self._turn(until, input_fd):
            if until is not None and self._clock() >= until:
                return False
        return True

    def drain(self, seconds: float | None = None) -> None:
        """Wait until every chunk is done, at most so long. Raises as above."""
        until = None if seconds is None else self._clock() + seconds
        while self._outstanding and (until is None or self._clock() < until):
            self._turn(until)

    def finish(self) -> None:
        """Wait until every chunk is done, then end the connection. Raises as above."""
        self.drain()
        if self._link is not None and not self._settings.ack:
            self._half_close(self._link)
        self.close()

    def close(self) -> None:
        """Drop the connection; what was not acked stays counted as such."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def interrupt(self) -> None:
        """End the wait under way, or the next one, with KeyboardInterrupt.

        For a signal handler. The exception comes out of a wait only, never out of
        the middle of a write, so that the client can still be drained after it.
        """
        if self._waiting:
            self._waiting = False
            raise KeyboardInterrupt
        self._interrupted = True

    def _turn(self, until: float | None, input_fd: int | None = None) -> bool:
        """Wait once for what comes first, and serve it; true if input can be read."""
        unlinked = self._link is None and self._outstanding
        if unlinked and self._clock() >= self._retry_at:
            self._reconnect()
        times = [] if until is None else [until]
        if self._outstanding and self._settings.timeout_seconds is not None:
            times.append(self._progress_at + self._settings.timeout_seconds)
        if self._outstanding and self._link is None:
            times.append(self._retry_at)
        link = [] if self._link is None else [self._link.fileno()]
        reads = link if input_fd is None else [*link, input_fd]
        writes = link if self._unwritten else []
        readable, writable = self._wait(reads, writes, min(times, default=None))
        if link and link[0] in readable:
            self._read_answers()
        if link and link[0] in writable:
            self._write()
        # Only now: after a pause of this process (Ctrl-Z) the acks lie in the socket.
        self._give_up_if_stuck()
        return input_fd in readable

    def _wait(
        self, reads: Sequence[int], writes: Sequence[int], wake_at: float | None
    ) -> tuple[list[int], list[int]]:
        self._waiting = True
        try:
            if self._interrupted:
                self._interrupted = False
                raise KeyboardInterrupt
            seconds = None if wake_at is None else max(0.0, wake_at - self._clock())
            return select.select(reads, writes, [], seconds)[:2]
        finally:
            self._waiting = False

    def _give_up_if_stuck(self) -> None:
        timeout, retries = self._settings.timeout_seconds, self._settings.retries
        if not self._outstanding:
            return
        if timeout is not None and self._clock() - self._progress_at >= timeout:
            why = f"no {'ack' if self._settings.ack else 'progress'} for {timeout:g} s"
        elif retries is not None and self._failures > retries:
            why = f"{retries} retries used up"
        else:
            return
        if self._failures:
            times = "once" if self._failures == 1 else f"{self._failures} times"
            why += f"; connection lost {times}, at last: {self._last_failure}"
        raise NotAckedError(f"gave up on {self.address}: {why}")

    def _open(self) -> None:
        """Start on a new connection: everything not done is written again, in order."""
        self._link = self._links.open()
        self._answers = msgpack.Unpacker(
            raw=True, strict_map_key=False, max_buffer_size=MAX_ANSWER_BYTES
        )
        self._unwritten = deque(self._outstanding.values())
        self._rest = memoryview(b"")

    def _reconnect(self) -> None:
        try:
            self._open()
        except OSError as exc:
            self._lost(reason(exc))
        else:
            self.tally.reconnects += 1

    def _lost(self, reason: str) -> None:
        """Drop the connection and note when the next one is due."""
        self.close()
        if self._outstanding:  # else nothing is at stake: the next chunk connects
            self._failures += 1
            self._last_failure = reason
            pause = backoff_seconds(self._failures - 1, self._rng)
            self._retry_at = self._clock() + pause

    def _write(self) -> None:
        while self._unwritten and self._link is not None:
            self._rest = self._rest or memoryview(self._unwritten[0].frame)
            try:
                self._rest = self._rest[self._link.send(self._rest) :]
            except BlockingIOError:
                return
            except OSError as exc:
                # What acks that came before the end name need not be sent again.
                self._read_answers()
                if self._link is not None:
                    self._lost(reason(exc))
                return
            if not self._rest:
                chunk = self._unwritten.popleft()
                if not self._settings.ack:
                    self._done(chunk.id)

    def _read_answers(self) -> None:
        while self._link is not None:
            try:
                data = self._link.receive()
            except BlockingIOError:
                return
            except OSError as exc:
                return self._lost(reason(exc))
            if not data:
                return self._lost("closed by the server")
            try:
                self._answers.feed(data)
                for answer in self._answers:
                    self._take(answer)
            except (ValueError, TypeError, msgpack.UnpackException) as exc:
                raise no_forward_server(self.address) from exc

    def _take(self, answer: object) -> None:
        match answer:
            case {b"ack": bytes(chunk_id)}:
                self._done(chunk_id)
            case [b"HELO", *_]:
                # Forward specification v1, "HELO": the server wants a PING first.
                raise UnavailableError(
                    f"{self.address} asks for a shared key (HELO); give it with"
                    " --shared-key-file"
                )
            case {}:  # Vector's way to say that a chunk failed: try again, later
                self._lost("chunk refused by the server")
            case _:
                raise ValueError("no answer of a forward server")

    def _done(self, chunk_id: bytes) -> None:
        # An id we do not wait for is no reason to stop, nor a sign of progress.
        if (chunk := self._outstanding.pop(chunk_id, None)) is not None:
            self.tally.done_events += chunk.events
            self._progress_at = self._clock()
            self._failures = 0

    def _half_close(self, link: Link) -> None:
        """Say that nothing follows, and see whether the server protests."""
        link.end_writing()
        until = self._clock() + CLOSE_SECONDS
        while self._link is not None and self._clock() < until:
            self._turn(until)
