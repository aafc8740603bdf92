"""From frames to messages: mode, tag, options, and the entries as bytes.

Second in the flow. Whatever the mode, a message ends up with its entries as one
run of msgpack bytes, so that everything behind this file knows a single shape:
a Forward message's array and a packed one's blob hold the same bytes, and a
Message mode event becomes one entry by changing its header. It must not decode
an entry.

Forward specification v1.5, "Message Modes" and "Option"; what clients really send
is in the facts collected for this project, sections 1 and 2.
"""

import hashlib
from enum import StrEnum
from typing import NamedTuple

from penstock.errors import ProtocolError
from penstock.model import RejectedEvent
from penstock.settings import WireLimits
from penstock.wire.compression import Codec, CompressionError, Inflation, sniff
from penstock.wire.frames import Frame, FrameReader
from penstock.wire.json_frames import JsonFrameReader
from penstock.wire.options import (
    MAX_CHUNK_BYTES,
    Options,
    chunk_too_long,
    options_of,
    read_options,
)
from penstock.wire.values import (
    Kind,
    excess_of,
    least_excessive_bytes,
    read_bytes,
    read_header,
    text_of,
)

_DIGEST_DIGITS = 16
# How the seconds of Fluent Bit's group markers begin, and where in an entry.
_MARKER_SECONDS = b"\xff\xff\xff"
_MARKER_WITHIN = 12
# As a Timestamp of 12 bytes they are further behind; no client writes its times so.
_LONG_TIMES = (b"\xc7", b"\xc8", b"\xc9")  # ext 8, 16, 32
# What is put together of events that come one by one: the size of a part of rows.
TOGETHER_BYTES = 128 * 1024
# And how many at most: 10 ms of work, where they are tiny.
TOGETHER_FRAMES = 512
_STR_8 = 0xD9  # msgpack specification, "str format family"
_ACK = b"\x81\xa3ack"  # a map of one pair, its key the str "ack"


class Mode(StrEnum):
    """The carrier modes of the forward specification, and the way past it."""

    MESSAGE = "message"
    FORWARD = "forward"
    PACKED_FORWARD = "packed_forward"
    COMPRESSED_PACKED_FORWARD = "compressed_packed_forward"
    HTTP = "http"


class Message(NamedTuple):
    """One forward message.

    `entries` are msgpack entries, `[time, record]`, one behind the other. `chunk`
    is the msgpack value the sender named its chunk with, to the byte, or None if
    it asks for no ack. `metadata` is Message mode's per-event metadata, as msgpack.
    A `rejection` says that the payload as a whole is no log entries. `json_chunk` is
    the chunk's name in a message that was JSON.
    """

    mode: Mode
    tag: str
    entries: bytes
    chunk: bytes | None = None
    metadata: bytes | None = None
    rejection: RejectedEvent | None = None
    frames: int = 1
    json_chunk: bytes | None = None
    # Fluent Bit names chunks by their content, and is known by its `fluent_signal`
    # (protocol facts, 3.4): what has one name and came behind its ack is another.
    is_named_by_content: bool = False

    @property
    def is_lone_event(self) -> bool:
        """Tell whether this is one event with nothing beside it and no ack to write."""
        return (
            self.mode is Mode.MESSAGE
            and self.chunk is None
            and self.metadata is None
            and self.rejection is None
            # A group's marker, which is for the events of its own message only.
            and self.entries.find(_MARKER_SECONDS, 0, _MARKER_WITHIN) < 0
            and self.entries[1:2] not in _LONG_TIMES
        )

    @property
    def ack(self) -> bytes | None:
        """Return the response to write once this message is committed."""
        if self.json_chunk is not None:
            return b'{"ack":' + self.json_chunk + b"}"
        return None if self.chunk is None else _ACK + self.chunk


class MessageReader:
    """One connection's bytes as messages.

    Events that come one by one, as Docker sends them, are put together while they
    have the same tag: what a message costs is then shared by all of them.

    One that is compressed is inflated in steps of about `step_bytes`, if given.
    """

    def __init__(self, limits: WireLimits, step_bytes: int | None = None) -> None:
        self._limits = limits
        self._step_bytes = step_bytes
        self._frames: FrameReader | JsonFrameReader | None = None
        self._frame: Frame | None = None  # looked at, not yet taken
        self._frame_bytes = 0  # of what is looked at, or being inflated
        self._options: Options | None = None  # of that frame
        self._inflating: _Compressed | None = None  # taken, not yet a message
        self._ahead: Message | None = None
        self._raw_tag = b""  # of the events that came last, as msgpack
        self._tag = ""
        self._is_all = False  # nothing like them came behind
        self._error: ProtocolError | None = None

    @property
    def buffered_bytes(self) -> int:
        """Return how many received bytes are not yet part of a message."""
        if self._frames is None:
            return 0
        return self._frames.buffered_bytes + self._frame_bytes

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing left to return, nor to raise."""
        return not (
            self._ahead or self._error or self.buffered_bytes or self._inflating
        )

    @property
    def is_inflating(self) -> bool:
        """Tell whether the next message is here and not yet inflated to its end."""
        return self._inflating is not None

    @property
    def asks_for_ack(self) -> bool | None:
        """Tell whether the next message asks for an ack; None if none is whole yet.

        The message is not taken, nor decompressed.

        Raises:
            ProtocolError: as `next_message`.
        """
        if self._ahead is not None:
            return self._ahead.chunk is not None
        if self._inflating is not None:
            return self._inflating.options.chunk is not None
        if self._frame is None and self._frames_hold_lone_event():
            return False
        self._peek()
        if self._frame is None:
            return None
        if self._options is None:
            self._options = options_of(self._frame)
        return self._options.chunk is not None

    def receive_data(self, data: bytes | memoryview) -> None:
        """Take bytes as they came from the socket.

        The first of them says whether the sender speaks msgpack or JSON, for good.
        """
        if self._frames is None:
            if not data:
                return
            is_json = data[0] in b"[{"
            reader = JsonFrameReader if is_json else FrameReader
            self._frames = reader(max_frame_bytes=self._limits.max_frame_bytes)
        self._frames.receive_data(data)

    def next_message(self) -> Message | None:
        """Return the next whole message, or None until more bytes are received.

        None as well before and between the steps of one that `is_inflating`: then call
        it again for the next.

        Raises:
            ProtocolError: the peer does not speak the forward protocol; what came
                before was returned. The reader is of no further use.
        """
        message = self._take_lone_events()
        if message is not None and self._is_all:
            return message
        if message is None:
            message, self._ahead = self._ahead or self._parse_next(), None
            if message is None or not message.is_lone_event:
                return message
        entries, size_bytes = [message.entries], len(message.entries)
        frames = message.frames
        while (
            size_bytes < TOGETHER_BYTES
            and frames < TOGETHER_FRAMES
            and self._error is None
        ):
            try:
                self._ahead = self._parse_next()
            except ProtocolError as error:
                self._error = error
            following = self._ahead
            if (
                following is None
                or not following.is_lone_event
                or following.tag != message.tag
            ):
                break
            entries.append(following.entries)
            size_bytes += len(following.entries)
            frames += 1
            self._ahead = None
        return message._replace(entries=b"".join(entries), frames=frames)

    def _frames_hold_lone_event(self) -> bool:
        return isinstance(self._frames, FrameReader) and self._frames.has_lone_event

    def _take_lone_events(self) -> Message | None:
        """Take events by the compiled shortcut, unless something else comes first."""
        if (
            self._ahead is not None
            or self._frame is not None
            or self._inflating is not None
            or self._error is not None
            or not isinstance(self._frames, FrameReader)
        ):
            return None
        lone = self._frames.take_lone_events(
            most_frames=TOGETHER_FRAMES, most_bytes=TOGETHER_BYTES
        )
        if lone is None:
            return None
        if lone.tag != self._raw_tag:
            self._raw_tag = lone.tag
            self._tag = _read_short_tag(lone.tag, self._limits.max_tag_bytes)
        self._is_all = lone.is_all
        return Message(Mode.MESSAGE, self._tag, lone.entries, frames=lone.frames)

    def _parse_next(self) -> Message | None:
        if self._error is not None:
            raise self._error
        if self._inflating is None:
            frame, options = self._frame, None
            if frame is not None:
                options, self._options = self._options, None
                self._frame, self._frame_bytes = None, 0
            elif self._frames is not None:
                frame = self._frames.next_frame()
            if frame is None:
                return None
            begun = _begin(frame, options, self._limits)
            if isinstance(begun, Message):
                return begun
            self._inflating, self._frame_bytes = begun, len(frame.data)
            if self._step_bytes is not None:
                return None
        message = self._inflating.go_on(self._step_bytes)
        if message is not None:
            self._inflating, self._frame_bytes = None, 0
        return message

    def _peek(self) -> None:
        if self._frame is not None or self._frames is None:
            return
        left_bytes = self._frames.buffered_bytes
        self._frame = self._frames.next_frame()
        if self._frame is not None:
            self._frame_bytes = left_bytes - self._frames.buffered_bytes


def parse_message(frame: Frame, limits: WireLimits) -> Message:
    """Read a frame as a forward message; element 1 tells its mode.

    Raises:
        ProtocolError: the tag is no string, or the frame's own values are malformed.
    """
    begun = _begin(frame, None, limits)
    message = begun if isinstance(begun, Message) else begun.go_on()
    assert message is not None
    return message


def _begin(
    frame: Frame, options: Options | None, limits: WireLimits
) -> "Message | _Compressed":
    begun = _parse(frame.data, frame.starts, options, limits)
    # What is compressed is bytes, and JSON has none.
    if frame.json_chunk is None or isinstance(begun, _Compressed):
        return begun
    if begun.chunk is None:
        return begun
    if len(frame.json_chunk) > MAX_CHUNK_BYTES:
        raise chunk_too_long()
    return begun._replace(json_chunk=frame.json_chunk)


def _parse(
    data: bytes | bytearray,
    starts: tuple[int, ...],
    options: Options | None,
    limits: WireLimits,
) -> "Message | _Compressed":
    if len(starts) < 3:
        # Fewer than two elements: no event at all. Read as an entry it is one
        # without a record, and is rejected as that.
        return Message(Mode.MESSAGE, "", bytes(data))
    tag = _read_tag(data, starts[0], limits.max_tag_bytes)
    header = read_header(data, starts[1])
    if header.kind is Kind.ARRAY:
        options = options or read_options(data, starts, 2)
        entries = bytes(memoryview(data)[header.body : starts[2]])
        return _classified(Mode.FORWARD, tag, entries, options, limits)
    if header.kind is Kind.STR or header.kind is Kind.BIN:
        options = options or read_options(data, starts, 2)
        blob = bytes(memoryview(data)[header.body : starts[2]])
        return _packed(tag, blob, options, limits)
    # [tag, time, record, option] without its tag and option is an entry; without a
    # record too it is one that the row encoder rejects.
    elements = min(len(starts) - 2, 2)
    entry = bytes((0x90 + elements,)) + data[starts[1] : starts[1 + elements]]
    options = options or read_options(data, starts, 3)
    return _classified(Mode.MESSAGE, tag, entry, options, limits)


class _Compressed(NamedTuple):
    """A message whose entries are still to be inflated."""

    tag: str
    options: Options
    blob: bytes
    inflation: Inflation
    limits: WireLimits

    def go_on(self, step_bytes: int | None = None) -> Message | None:
        """Inflate about so much, all if it is None; return the message at its end."""
        mode = Mode.COMPRESSED_PACKED_FORWARD
        try:
            entries = self.inflation.go_on(step_bytes)
        except CompressionError as error:
            return _rejected(mode, self.tag, self.options, error.reason, self.blob)
        if entries is None:
            return None
        return _classified(mode, self.tag, entries, self.options, self.limits)


def _packed(
    tag: str, blob: bytes, options: Options, limits: WireLimits
) -> Message | _Compressed:
    # The label first, magic bytes where it is missing or unknown ("text" is
    # Fluentd's word for uncompressed). A label whose magic is not there is wrong:
    # what begins like an entry is taken as entries.
    codec = sniff(blob)
    if codec is None and options.compressed in (b"gzip", b"zstd") and blob:
        codec = None if _begins_like_entry(blob) else Codec(options.compressed.decode())
    if codec is None or options.signal:
        return _classified(Mode.PACKED_FORWARD, tag, blob, options, limits)
    inflation = Inflation(
        blob,
        codec,
        max_bytes=limits.max_decompressed_bytes,
        max_ratio=limits.max_decompression_ratio,
    )
    return _Compressed(tag, options, blob, inflation, limits)


def _classified(
    mode: Mode,
    tag: str,
    entries: bytes,
    options: Options,
    limits: WireLimits,
) -> Message:
    """Build the message; Fluent Bit's metrics and traces are none of ours to decode."""
    if options.signal:
        reason = {1: "signal_metrics", 2: "signal_traces"}.get(
            options.signal, "signal_other"
        )
        return _rejected(mode, tag, options, reason, entries)
    metadata, max_keys = options.metadata, limits.max_map_keys
    if metadata and len(metadata) >= least_excessive_bytes(max_map_keys=max_keys):
        excess = excess_of(metadata, max_map_keys=max_keys)
        if excess is not None:
            return _rejected(mode, tag, options, excess, entries)
    return Message(
        mode,
        tag,
        entries,
        options.chunk,
        metadata,
        is_named_by_content=options.is_fluent_bit,
    )


def _rejected(
    mode: Mode, tag: str, options: Options, reason: str, raw: bytes
) -> Message:
    rejection = RejectedEvent(reason, raw)
    return Message(mode, tag, b"", options.chunk, rejection=rejection)


def _begins_like_entry(blob: bytes) -> bool:
    return 0x90 <= blob[0] <= 0x9F or blob[0] in (0xDC, 0xDD)


def _read_short_tag(raw: bytes, max_bytes: int) -> str:
    """Read a tag that is a str of less than 256 bytes; the usual one in a moment."""
    text = raw[2:] if raw[0] == _STR_8 else raw[1:]
    if len(text) <= max_bytes and text.isascii() and text.find(0) < 0:
        return text.decode()
    return _read_tag(raw, 0, max_bytes)


def _read_tag(data: bytes | bytearray, offset: int, max_bytes: int) -> str:
    header = read_header(data, offset)
    if header.kind is Kind.NIL:
        return ""
    if header.kind is not Kind.STR and header.kind is not Kind.BIN:
        raise ProtocolError("invalid_tag", "a message whose tag is no string")
    raw = read_bytes(data, header)
    text = text_of(raw)
    encoded = text.encode()
    if len(encoded) <= max_bytes:
        return text
    # Cut, but two long tags with the same beginning stay two.
    digest = hashlib.sha256(raw).hexdigest()[:_DIGEST_DIGITS]
    cut = encoded[: max_bytes - 1 - _DIGEST_DIGITS].decode(errors="ignore")
    return f"{cut}~{digest}"
