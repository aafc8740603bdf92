r"""From socket bytes to frames where a sender speaks JSON: PHP's client, Go's if asked.

Stands in for `frames` on a connection whose first byte is `{` or `[`. Resumable,
linear and bounded as `frames` is. What it returns is msgpack, so that everything
behind it sees one shape. It must not know what the values mean, but for the chunk's
name, which is sent back as JSON.

Fluentd decides by the first byte too (protocol facts, 6.6). What JSON holds and
msgpack does not is written another way:

| JSON                                  | becomes                                    |
|---------------------------------------|--------------------------------------------|
| an integer of more than 64 bits       | the text of its digits                     |
| a number past the largest float, NaN  | an infinity or NaN, which become texts     |
| half of a surrogate pair              | the same text with `\udNNN` for it         |
| a byte that is not UTF-8              | the same text with `\xNN` for it           |
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgpack

from penstock.errors import ProtocolError
from penstock.wire.frames import (
    MAX_ELEMENTS,
    Frame,
    frame_too_large,
    too_many_elements,
)
from penstock.wire.values import MAX_VALUES, TooManyValuesError

# The clients that speak JSON send an event at a time, and Fluentd's chunks are of so
# much. As text, and as the objects it is read into, a message takes ten times its size
# while it is read, and forty times where it is not UTF-8.
MAX_JSON_BYTES = 8 * 1024 * 1024
# Python's parser and msgpack's packer recurse: 511 levels is what the latter allows.
MAX_JSON_DEPTH = 500

_BETWEEN = re.compile(rb"[ \t\r\n]*")
# Runs of what opens or closes a container, or the quote that begins a string.
_STRUCTURE = re.compile(rb'[\[{]+|[\]}]+|"')
# As much of a string as is whole: up to its closing quote, or to what is cut short.
_WITHIN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
# Where `surrogateescape` puts a byte that is not UTF-8; and what it reads as there.
_NOT_UTF_8 = {0xDC00 + byte: f"\\\\x{byte:02x}" for byte in range(0x80, 0x100)}
_MIN_INTEGER, _MAX_INTEGER = -(1 << 63), (1 << 64) - 1
_MAX_INTEGER_DIGITS = 20  # with a sign or, where there is none, of the largest


class JsonFrameReader:
    """Cuts one connection's bytes into frames."""

    def __init__(self, *, max_frame_bytes: int) -> None:
        self._max_frame_bytes = min(max_frame_bytes, MAX_JSON_BYTES)
        self._buffer = bytearray()
        self._start = 0  # where the value now read begins
        self._scanned = 0  # up to where it has been looked at
        self._depth = 0
        self._is_in_string = False

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
            ProtocolError: the peer does not speak the forward protocol in JSON, or a
                message is larger than allowed. The reader is of no further use.
        """
        if self._scanned == self._start and not self._begin_value():
            return None
        while self._depth:
            if self._is_in_string:
                self._skip_string()
                if self._is_in_string:
                    break
            elif not self._skip_structure():
                break
        if self._scanned - self._start > self._max_frame_bytes:
            raise frame_too_large(self._max_frame_bytes)
        return None if self._depth else _frame_of(self._take_value())

    def _begin_value(self) -> bool:
        between = _BETWEEN.match(self._buffer, self._start)
        assert between is not None
        self._start = self._scanned = between.end()
        if self._start == len(self._buffer):
            self._buffer.clear()
            self._start = self._scanned = 0
            return False
        if self._buffer[self._start] != ord("["):
            raise ProtocolError(
                "not_forward", "not the forward protocol: JSON that is no array"
            )
        self._scanned += 1
        self._depth = 1
        return True

    def _skip_string(self) -> None:
        within = _WITHIN_STRING.match(self._buffer, self._scanned)
        assert within is not None
        self._scanned = within.end()
        # Else it ends with the buffer, or at a backslash that is the last byte of it.
        if self._buffer[self._scanned : self._scanned + 1] == b'"':
            self._scanned += 1
            self._is_in_string = False

    def _skip_structure(self) -> bool:
        found = _STRUCTURE.search(self._buffer, self._scanned)
        if found is None:
            self._scanned = len(self._buffer)
            return False
        self._scanned = found.end()
        first = found.group()[:1]
        count = found.end() - found.start()
        if first == b'"':
            self._is_in_string = True
        elif first in b"[{":
            self._depth += count
            if self._depth > MAX_JSON_DEPTH:
                raise _malformed(f"JSON that nests past {MAX_JSON_DEPTH} levels")
        elif count < self._depth:
            self._depth -= count
        else:
            self._scanned = found.start() + self._depth
            self._depth = 0
        return True

    def _take_value(self) -> bytes:
        value = bytes(memoryview(self._buffer)[self._start : self._scanned])
        self._start = self._scanned
        # As in `frames`: each byte is moved once at most.
        if self._start > len(self._buffer) // 2:
            del self._buffer[: self._start]
            self._start = self._scanned = 0
        return value


class _LongInteger(str):
    """An integer that msgpack cannot hold, as its digits."""


def _integer(digits: str) -> int | _LongInteger:
    if len(digits) <= _MAX_INTEGER_DIGITS:
        integer = int(digits)
        if _MIN_INTEGER <= integer <= _MAX_INTEGER:
            return integer
    return _LongInteger(digits)


# Not strict: a tab or a line end within a string is what it is.
DECODER = json.JSONDecoder(parse_int=_integer, strict=False)


def _frame_of(value: bytes) -> Frame:
    """Return a JSON array as a frame of msgpack."""
    if len(value) > MAX_VALUES and _count_values(value) > MAX_VALUES:
        raise TooManyValuesError
    try:
        elements: list[Any] = DECODER.decode(text_of(value))
    except (ValueError, RecursionError) as error:
        raise _malformed("a message that is no JSON") from error
    if len(elements) > MAX_ELEMENTS:
        raise too_many_elements(len(elements))
    if len(elements) > 1 and type(elements[1]) is _LongInteger:
        elements[1] = float(elements[1])  # a time; as a text it were packed entries
    packer = new_packer()
    packed: list[bytes] = [packer.pack_array_header(len(elements))]
    packed += [packer.pack(element) for element in elements]
    starts, offset = [], 0
    for piece in packed:
        offset += len(piece)
        starts.append(offset)
    return Frame(b"".join(packed), tuple(starts), _chunk_of(elements))


def new_packer() -> msgpack.Packer:
    """Return what writes as msgpack what `DECODER` has read."""
    return msgpack.Packer(unicode_errors="backslashreplace")


def text_of(value: bytes) -> str:
    """Return the text; a byte that is not UTF-8 reads `\\xNN` when it is parsed."""
    return "".join(text_in_pieces(value, len(value)))


def text_in_pieces(value: bytes, piece_characters: int) -> Iterator[str]:
    """Yield the text as `text_of` returns it.

    In pieces where not all is UTF-8: to write such bytes takes half a microsecond each.
    """
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode(errors="surrogateescape")
    else:
        yield text
        return
    for begin in range(0, len(text), piece_characters):
        yield text[begin : begin + piece_characters].translate(_NOT_UTF_8)


def _count_values(value: bytes) -> int:
    structure = _STRING.sub(b"", value)
    return sum(map(structure.count, (b",", b":", b"[", b"{")))


def _chunk_of(elements: list[Any]) -> bytes | None:
    """Return the chunk's name as JSON, where the message has one."""
    is_packed = len(elements) > 1 and isinstance(elements[1], list | str)
    options = elements[2 if is_packed else 3 :][:1]
    chunk = options[0].get("chunk") if options and type(options[0]) is dict else None
    if type(chunk) is _LongInteger:
        return chunk.encode()
    return json.dumps(chunk).encode() if type(chunk) in (str, int) else None


def _malformed(message: str) -> ProtocolError:
    return ProtocolError("malformed_json", message)
