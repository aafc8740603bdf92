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
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from penstock.errors import ProtocolError
from penstock.model import RejectedEvent
from penstock.settings import WireLimits
from penstock.wire.compression import Codec, CompressionError, inflate, sniff
from penstock.wire.frames import Frame, FrameReader
from penstock.wire.json_frames import JsonFrameReader
from penstock.wire.values import (
    Header,
    Kind,
    excess_of,
    least_excessive_bytes,
    length_of,
    read_bytes,
    read_header,
    skip_value,
    text_of,
)

_DIGEST_DIGITS = 16
# Longer than any client's name for a chunk (36 bytes, protocol facts 3.2). It is
# sent back whole, and clients read an ack into 256 to 512 bytes.
MAX_CHUNK_BYTES = 200
# Clients send five at most (protocol facts, 2); each costs a look, and so do the bytes
# of one: metadata, which stands beside one record, is the only one of some size.
MAX_OPTIONS = 64
MAX_OPTION_BYTES = 256 * 1024
# How the seconds of Fluent Bit's group markers begin, and where in an entry.
_MARKER_SECONDS = b"\xff\xff\xff"
_MARKER_WITHIN = 12
# What is put together of events that come one by one: the size of a part of rows.
TOGETHER_BYTES = 128 * 1024
# And how many at most: 10 ms of work, where they are tiny.
TOGETHER_FRAMES = 512
_ACK = b"\x81\xa3ack"  # a map of one pair, its key the str "ack"


class Mode(StrEnum):
    """The carrier modes of the forward specification."""

    MESSAGE = "message"
    FORWARD = "forward"
    PACKED_FORWARD = "packed_forward"
    COMPRESSED_PACKED_FORWARD = "compressed_packed_forward"


@dataclass(frozen=True, slots=True)
class Message:
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
    """

    def __init__(self, limits: WireLimits) -> None:
        self._limits = limits
        self._frames: FrameReader | JsonFrameReader | None = None
        self._frame: Frame | None = None  # looked at, not yet taken
        self._frame_bytes = 0  # which it came in
        self._ahead: Message | None = None
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
        return not (self._ahead or self._error or self.buffered_bytes)

    @property
    def asks_for_ack(self) -> bool | None:
        """Tell whether the next message asks for an ack; None if none is whole yet.

        The message is not taken, nor decompressed.

        Raises:
            ProtocolError: as `next_message`.
        """
        if self._ahead is not None:
            return self._ahead.chunk is not None
        self._peek()
        return None if self._frame is None else _asks_for_ack(self._frame)

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they came from the socket.

        The first of them says whether the sender speaks msgpack or JSON, for good.
        """
        if self._frames is None:
            if not data:
                return
            is_json = data.startswith((b"[", b"{"))
            reader = JsonFrameReader if is_json else FrameReader
            self._frames = reader(max_frame_bytes=self._limits.max_frame_bytes)
        self._frames.receive_data(data)

    def next_message(self) -> Message | None:
        """Return the next whole message, or None until more bytes are received.

        Raises:
            ProtocolError: the peer does not speak the forward protocol; what came
                before was returned. The reader is of no further use.
        """
        message, self._ahead = self._ahead or self._parse_next(), None
        if message is None or not message.is_lone_event:
            return message
        entries, size_bytes = [message.entries], len(message.entries)
        while (
            size_bytes < TOGETHER_BYTES
            and len(entries) < TOGETHER_FRAMES
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
            self._ahead = None
        return replace(message, entries=b"".join(entries), frames=len(entries))

    def _parse_next(self) -> Message | None:
        if self._error is not None:
            raise self._error
        frame, self._frame, self._frame_bytes = self._frame, None, 0
        if frame is None and self._frames is not None:
            frame = self._frames.next_frame()
        return None if frame is None else parse_message(frame, self._limits)

    def _peek(self) -> None:
        if self._frame is not None or self._frames is None:
            return
        left_bytes = self._frames.buffered_bytes
        self._frame = self._frames.next_frame()
        if self._frame is not None:
            self._frame_bytes = left_bytes - self._frames.buffered_bytes


class _Options(NamedTuple):
    chunk: bytes | None = None
    compressed: bytes | None = None
    signal: int = 0
    metadata: bytes | None = None
    is_fluent_bit: bool = False


_NO_OPTIONS = _Options()


def parse_message(frame: Frame, limits: WireLimits) -> Message:
    """Read a frame as a forward message; element 1 tells its mode.

    Raises:
        ProtocolError: the tag is no string, or the frame's own values are malformed.
    """
    message = _parse(frame.data, frame.starts, limits)
    if frame.json_chunk is None or message.chunk is None:
        return message
    if len(frame.json_chunk) > MAX_CHUNK_BYTES:
        raise _chunk_too_long()
    return replace(message, json_chunk=frame.json_chunk)


def _parse(data: bytes, starts: tuple[int, ...], limits: WireLimits) -> Message:
    if len(starts) < 3:
        # Fewer than two elements: no event at all. Read as an entry it is one
        # without a record, and is rejected as that.
        return Message(Mode.MESSAGE, "", data)
    tag = _read_tag(data, starts[0], limits.max_tag_bytes)
    header = read_header(data, starts[1])
    if header.kind is Kind.ARRAY:
        options = _read_options(data, starts, 2)
        entries = data[header.body : starts[2]]
        return _classified(Mode.FORWARD, tag, entries, options, limits)
    if header.kind is Kind.STR or header.kind is Kind.BIN:
        options = _read_options(data, starts, 2)
        return _packed(tag, data[header.body : starts[2]], options, limits)
    # [tag, time, record, option] without its tag and option is an entry; without a
    # record too it is one that the row encoder rejects.
    elements = min(len(starts) - 2, 2)
    entry = bytes((0x90 + elements,)) + data[starts[1] : starts[1 + elements]]
    options = _read_options(data, starts, 3)
    return _classified(Mode.MESSAGE, tag, entry, options, limits)


def _asks_for_ack(frame: Frame) -> bool:
    data, starts = frame.data, frame.starts
    if len(starts) < 3:
        return False
    payload = read_header(data, starts[1]).kind
    is_event = payload not in (Kind.ARRAY, Kind.STR, Kind.BIN)
    return _read_options(data, starts, 3 if is_event else 2).chunk is not None


def _packed(tag: str, blob: bytes, options: _Options, limits: WireLimits) -> Message:
    # The label first, magic bytes where it is missing or unknown ("text" is
    # Fluentd's word for uncompressed). A label whose magic is not there is wrong:
    # what begins like an entry is taken as entries.
    codec = sniff(blob)
    if codec is None and options.compressed in (b"gzip", b"zstd") and blob:
        codec = None if _begins_like_entry(blob) else Codec(options.compressed.decode())
    if codec is None or options.signal:
        return _classified(Mode.PACKED_FORWARD, tag, blob, options, limits)
    mode = Mode.COMPRESSED_PACKED_FORWARD
    try:
        entries = inflate(
            blob,
            codec,
            max_bytes=limits.max_decompressed_bytes,
            max_ratio=limits.max_decompression_ratio,
        )
    except CompressionError as error:
        return _rejected(mode, tag, options, error.reason, blob)
    return _classified(mode, tag, entries, options, limits)


def _classified(
    mode: Mode, tag: str, entries: bytes, options: _Options, limits: WireLimits
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
    mode: Mode, tag: str, options: _Options, reason: str, raw: bytes
) -> Message:
    rejection = RejectedEvent(reason, raw)
    return Message(mode, tag, b"", options.chunk, rejection=rejection)


def _begins_like_entry(blob: bytes) -> bool:
    return 0x90 <= blob[0] <= 0x9F or blob[0] in (0xDC, 0xDD)


def _read_tag(data: bytes, offset: int, max_bytes: int) -> str:
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


def _read_options(data: bytes, starts: tuple[int, ...], index: int) -> _Options:
    """Read the option map at element `index`; missing, nil and empty mean none.

    A value of the wrong type is as good as absent: the events are worth more than
    the option.
    """
    if len(starts) < index + 2 or data[starts[index]] in (0x80, 0xC0):
        return _NO_OPTIONS
    header = read_header(data, starts[index])
    if header.kind is not Kind.MAP:
        return _NO_OPTIONS
    option_bytes = starts[index + 1] - starts[index]
    if length_of(header) > MAX_OPTIONS or option_bytes > MAX_OPTION_BYTES:
        raise ProtocolError(
            "too_many_options",
            f"a message with more than {MAX_OPTIONS} options, or"
            f" {MAX_OPTION_BYTES} bytes of them",
        )
    found: dict[bytes, tuple[Header, bytes]] = {}
    offset = header.body
    for _ in range(length_of(header)):
        key = read_header(data, offset)
        value_start = skip_value(data, offset)
        offset = skip_value(data, value_start)
        if key.kind is Kind.STR or key.kind is Kind.BIN:
            value = read_header(data, value_start)
            found[read_bytes(data, key)] = (value, data[value_start:offset])
    chunk = _of_kind(found.get(b"chunk"), Kind.STR, Kind.BIN, Kind.INT)
    if chunk is not None and len(chunk) > MAX_CHUNK_BYTES:
        raise _chunk_too_long()
    return _Options(
        chunk=chunk,
        compressed=_payload(found.get(b"compressed")),
        signal=_signal(found.get(b"fluent_signal")),
        metadata=_of_kind(found.get(b"metadata"), Kind.MAP),
        is_fluent_bit=b"fluent_signal" in found,
    )


def _chunk_too_long() -> ProtocolError:
    return ProtocolError(
        "invalid_chunk", f"a chunk's name of more than {MAX_CHUNK_BYTES} bytes"
    )


def _of_kind(option: tuple[Header, bytes] | None, *kinds: Kind) -> bytes | None:
    return option[1] if option is not None and option[0].kind in kinds else None


def _payload(option: tuple[Header, bytes] | None) -> bytes | None:
    raw = _of_kind(option, Kind.STR, Kind.BIN)
    return None if raw is None else read_bytes(raw, read_header(raw, 0))


def _signal(option: tuple[Header, bytes] | None) -> int:
    if option is None or option[0].kind is not Kind.INT:
        return 0
    assert isinstance(option[0].argument, int)
    return option[0].argument
