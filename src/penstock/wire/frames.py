"""From socket bytes to frames: whole top-level msgpack values and their elements.

First in the flow. Resumable: bytes may come one at a time or a megabyte at a
time, the work is linear in either case. Bounded: a frame never grows past
`max_frame_bytes`, and a length that a header declares is checked before the
bytes behind it arrive. It must not look into a frame further than to find where
its top-level elements end.

Forward specification v1, "Server": a connection carries msgpack values one after
the other, without a length or a separator; nil is a heartbeat.
"""

import re
from typing import NamedTuple

import msgpack

from penstock.errors import ProtocolError
from penstock.wire.values import (
    Header,
    IncompleteValueError,
    Kind,
    length_of,
    read_header,
)

# A frame that had begun is looked at from its beginning again if no more than this has
# come of it: over and over it would be, were it large.
LOOK_AGAIN_BYTES = 64 * 1024

try:
    from penstock.wire import _lone_events
except ImportError:  # no C compiler when Penstock was installed: slower, and the same
    IS_BUILT = False
else:
    IS_BUILT = True

# Smaller ones are copied: that is quicker than another buffer.
LARGE_FRAME_BYTES = 64 * 1024

# Forward messages have 2 to 4 elements; Fluentd tolerates more. Past this a peer
# speaks something else.
MAX_ELEMENTS = 16
# First look ahead of the C skipper: most records end within it, and what it is
# given too much is at most what the value itself has.
SKIP_WINDOW_BYTES = 2048


class Frame(NamedTuple):
    """A whole top-level array: its bytes and the offset at which each element ends.

    `starts` has one more offset than the array has elements: element i is
    `data[starts[i]:starts[i + 1]]`. `json_chunk` is the chunk's name as it goes into
    an ack that is JSON, where the frame was.
    """

    data: bytes | bytearray
    starts: tuple[int, ...]
    json_chunk: bytes | None = None


class LoneEvents(NamedTuple):
    """Events that came one by one: their tag as msgpack, and their entries.

    `is_all` tells that what comes next, if anything has, is none of them.
    """

    tag: bytes
    entries: bytes
    frames: int
    is_all: bool


# nil: a heartbeat (forward specification, "Heartbeat Message").
_HEARTBEATS = re.compile(rb"\xc0+")


class FrameReader:
    """Cuts one connection's bytes into frames."""

    def __init__(self, *, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()
        self._start = 0  # where the frame now read begins
        self._begun_bytes = 0  # what had come of it when it was looked at last
        self._starts: list[int] = []  # element offsets found so far, in the buffer
        self._elements = 0
        self._skipper: _ContainerSkipper | None = None

    @property
    def buffered_bytes(self) -> int:
        """Return how many received bytes are not yet handed out as frames."""
        return len(self._buffer) - self._start

    def receive_data(self, data: bytes | memoryview) -> None:
        """Take bytes as they came from the socket."""
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """Return the next whole frame, or None until more bytes are received.

        Raises:
            ProtocolError: the peer does not speak the forward protocol, or a frame
                is larger than allowed. The reader is of no further use.
        """
        try:
            if not self._starts and not self._read_frame_header():
                return None
            while len(self._starts) <= self._elements:
                end = self._element_end(self._starts[-1])
                self._check_size(end)
                if end > len(self._buffer):
                    self._begun_bytes = self.buffered_bytes
                    return None
                self._starts.append(end)
        except IncompleteValueError:
            self._check_size(len(self._buffer))
            self._begun_bytes = self.buffered_bytes
            return None
        return self._take_frame()

    @property
    def has_lone_event(self) -> bool:
        """Tell whether `take_lone_events` would take one."""
        return self._may_hold_lone_events() and _lone_events.stands_at(
            self._buffer, self._start, self._max_frame_bytes
        )

    def _may_hold_lone_events(self) -> bool:
        has_begun_small = not self._starts or self._begun_bytes <= LOOK_AGAIN_BYTES
        return IS_BUILT and self._start < len(self._buffer) and has_begun_small

    def take_lone_events(
        self, *, most_frames: int, most_bytes: int
    ) -> LoneEvents | None:
        """Take the whole events that come next under one tag.

        As many as the compiled shortcut finds; None where it finds none, or there is no
        such. What follows is read by `next_frame`.
        """
        if not self._may_hold_lone_events():
            return None
        tag, entries, frames, end, is_all = _lone_events.take(
            self._buffer,
            self._start,
            most_frames,
            most_bytes,
            self._max_frame_bytes,
        )
        if not frames:
            return None
        self._start = end
        self._starts.clear()
        self._skipper = None
        is_all |= end == len(self._buffer)
        self._compact()
        return LoneEvents(tag, entries, frames, is_all)

    def _read_frame_header(self) -> bool:
        buffer = self._buffer
        if (heartbeats := _HEARTBEATS.match(buffer, self._start)) is not None:
            self._start = heartbeats.end()
        if self._start >= len(buffer):
            self._compact()
            return False
        header = read_header(buffer, self._start)
        if header.kind is not Kind.ARRAY:
            raise _not_forward(bytes(buffer[self._start : self._start + 16]))
        self._elements = length_of(header)
        if self._elements > MAX_ELEMENTS:
            raise too_many_elements(self._elements)
        self._starts.append(header.body)
        return True

    def _element_end(self, offset: int) -> int:
        """Return where the element at `offset` ends, as far as is known now."""
        if self._skipper is None:
            header = read_header(self._buffer, offset)
            if header.kind in (Kind.STR, Kind.BIN, Kind.EXT):
                return header.body + length_of(header)
            if header.kind not in (Kind.ARRAY, Kind.MAP) or header.argument == 0:
                return header.body
            # Each element takes a byte at least: a count that cannot fit is refused
            # here, before any of it has come.
            self._check_size(_least_end(header))
            self._skipper = _ContainerSkipper(offset)
        end = self._skipper.find_end(self._buffer)
        self._skipper = None
        return end

    def _check_size(self, end: int) -> None:
        if end - self._start > self._max_frame_bytes:
            raise frame_too_large(self._max_frame_bytes)

    def _take_frame(self) -> Frame:
        start, end = self._start, self._starts[-1]
        starts = tuple([offset - start for offset in self._starts])
        self._starts.clear()
        size_bytes, rest_bytes = end - start, len(self._buffer) - end
        if size_bytes >= LARGE_FRAME_BYTES and size_bytes > rest_bytes:
            # The rest is less to copy than the frame.
            data, self._buffer = self._buffer, self._buffer[end:]
            self._start = 0
            del data[end:], data[:start]
            return Frame(data, starts)
        frame = Frame(bytes(memoryview(self._buffer)[start:end]), starts)
        self._start = end
        self._compact()
        return frame

    def _compact(self) -> None:
        # Deleting the front moves what is behind it: done when nothing is, or when
        # the dead part is the larger one, so each byte is moved once at most.
        if self._start == len(self._buffer):
            self._buffer.clear()
            self._start = 0
        elif self._start > len(self._buffer) // 2:
            del self._buffer[: self._start]
            self._start = 0


class _ContainerSkipper:
    """Finds the end of an array or map with msgpack's C skipper, resumably.

    The skipper is fed windows that double in size, so a small value costs a small
    copy although megabytes may stand behind it, and a large one is linear.
    """

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._fed_to = offset
        self._unpacker = msgpack.Unpacker(
            read_size=SKIP_WINDOW_BYTES, max_buffer_size=0
        )

    def find_end(self, buffer: bytearray) -> int:
        """Return the offset behind the container.

        Raises:
            IncompleteValueError: the buffer ends inside the container.
            ProtocolError: the container is malformed or nests past 1,024 levels.
        """
        while True:
            window_bytes = max(SKIP_WINDOW_BYTES, self._fed_to - self._offset)
            window_end = min(self._fed_to + window_bytes, len(buffer))
            if window_end == self._fed_to:
                raise IncompleteValueError
            self._unpacker.feed(memoryview(buffer)[self._fed_to : window_end])
            self._fed_to = window_end
            try:
                self._unpacker.skip()
            except msgpack.OutOfData:
                continue
            except (ValueError, msgpack.UnpackException) as error:
                raise ProtocolError(
                    "malformed_msgpack", "a message that is no msgpack"
                ) from error
            consumed_bytes: int = self._unpacker.tell()
            return self._offset + consumed_bytes


def _least_end(header: Header) -> int:
    per_item = 2 if header.kind is Kind.MAP else 1
    return header.body + per_item * length_of(header)


def frame_too_large(max_frame_bytes: int) -> ProtocolError:
    """Return the error of a message that is larger than allowed."""
    return ProtocolError(
        "frame_too_large",
        f"a message of more than {max_frame_bytes} bytes; raise"
        " PENSTOCK_MAX_FRAME_BYTES, or lower the sender's chunk size"
        " (Fluentd: chunk_limit_size)",
    )


def too_many_elements(elements: int) -> ProtocolError:
    """Return the error of a message with more elements than any has."""
    return ProtocolError(
        "not_forward",
        f"a message of {elements} elements; the forward protocol has 4",
    )


# What people point at the port by mistake, by its first bytes.
_FOREIGN = (
    (b"GET ", "an HTTP request"),
    (b"POST", "an HTTP request"),
    (b"HEAD", "an HTTP request"),
    (b"\x16\x03", "a TLS handshake; this listener is plain TCP"),
    (b"PROXY ", "a PROXY protocol header"),
    (b"\r\n\r\n\x00\r\nQ", "a PROXY protocol header"),
    (b"SSH-", "an SSH banner"),
    (b"<", "syslog or XML"),
)


def _not_forward(first_bytes: bytes) -> ProtocolError:
    for prefix, name in _FOREIGN:
        if first_bytes.startswith(prefix):
            return ProtocolError("not_forward", f"not the forward protocol: {name}")
    return ProtocolError(
        "not_forward", "not the forward protocol: a msgpack value that is no array"
    )
