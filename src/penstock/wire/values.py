"""Single msgpack values, read one header at a time from bytes nobody vouches for.

This is the careful way to read msgpack: it never recurses over what a peer sent,
never allocates by a declared length, and reports where each value starts and
ends, and whether more is in it than anybody should have to hold. The fast way, a
run of entries at once, is msgspec's decoder in `rows`; what that cannot take, or
loses, is read again here. It must not know what a forward
message is.

Source of the format: the msgpack specification, sections "Formats" and
"Extension types".
"""

import re
import struct
from enum import IntEnum
from typing import NamedTuple

from penstock.errors import ProtocolError

# Values in one entry, keys counted, past which it is kept as its bytes: each costs us
# up to 72 bytes when it is read (an empty map, of one byte) and 2 us, so 10 MB and a
# quarter of a second, at most. The largest records that people log, whole API
# responses, have some thousands; the largest map that can be allowed has 100,000.
MAX_VALUES = 1 << 17


class Kind(IntEnum):
    """What a msgpack header announces."""

    NIL = 0
    BOOL = 1
    INT = 2
    FLOAT = 3
    STR = 4
    BIN = 5
    ARRAY = 6
    MAP = 7
    EXT = 8
    INVALID = 9


class Header(NamedTuple):
    """One msgpack header.

    `argument` is the value of a scalar, the bytes of a str, bin or ext, the
    elements of an array, the pairs of a map. `body` is the offset behind the
    header: a scalar ends there. `code` is an ext's type, else 0.
    """

    kind: Kind
    argument: int | float | bool | None
    body: int
    code: int = 0


class IncompleteValueError(ProtocolError):
    """The bytes end before the value does."""

    def __init__(self) -> None:
        super().__init__("malformed_msgpack", "a msgpack value is cut short")


class InvalidValueError(ProtocolError):
    """The bytes are no msgpack value at all (the one unused first byte, 0xc1)."""

    def __init__(self) -> None:
        super().__init__("malformed_msgpack", "a byte that msgpack never uses (0xc1)")


class TooManyValuesError(ProtocolError):
    """A value with more values in it than are looked at."""

    def __init__(self) -> None:
        super().__init__(
            "too_many_values", f"more than {MAX_VALUES} values within one another"
        )


ARRAY_32 = 0xDD
_FLOAT_32, _FLOAT_64 = 0xCA, 0xCB
_MAP_16, _MAP_32 = 0xDE, 0xDF

# First byte -> (kind, struct format of what follows it). For str, bin, ext, array
# and map it is the length; for scalars the value. Fix types are handled by range.
_FORMATS: dict[int, tuple[Kind, struct.Struct]] = {
    0xC4: (Kind.BIN, struct.Struct(">B")),
    0xC5: (Kind.BIN, struct.Struct(">H")),
    0xC6: (Kind.BIN, struct.Struct(">I")),
    0xC7: (Kind.EXT, struct.Struct(">Bb")),
    0xC8: (Kind.EXT, struct.Struct(">Hb")),
    0xC9: (Kind.EXT, struct.Struct(">Ib")),
    0xCA: (Kind.FLOAT, struct.Struct(">f")),
    0xCB: (Kind.FLOAT, struct.Struct(">d")),
    0xCC: (Kind.INT, struct.Struct(">B")),
    0xCD: (Kind.INT, struct.Struct(">H")),
    0xCE: (Kind.INT, struct.Struct(">I")),
    0xCF: (Kind.INT, struct.Struct(">Q")),
    0xD0: (Kind.INT, struct.Struct(">b")),
    0xD1: (Kind.INT, struct.Struct(">h")),
    0xD2: (Kind.INT, struct.Struct(">i")),
    0xD3: (Kind.INT, struct.Struct(">q")),
    0xD9: (Kind.STR, struct.Struct(">B")),
    0xDA: (Kind.STR, struct.Struct(">H")),
    0xDB: (Kind.STR, struct.Struct(">I")),
    0xDC: (Kind.ARRAY, struct.Struct(">H")),
    0xDD: (Kind.ARRAY, struct.Struct(">I")),
    0xDE: (Kind.MAP, struct.Struct(">H")),
    0xDF: (Kind.MAP, struct.Struct(">I")),
}
_FIXEXT_BYTES = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}


def read_header(data: bytes | bytearray, offset: int) -> Header:
    """Read the msgpack header at `offset`.

    Raises:
        IncompleteValueError: the header is not all there yet.
        InvalidValueError: the first byte is 0xc1.
    """
    if offset >= len(data):
        raise IncompleteValueError
    first = data[offset]
    if first in _FORMATS:
        return _read_sized_header(data, offset, first)
    body = offset + 1
    if first < 0x80:
        return Header(Kind.INT, first, body)
    if first < 0x90:
        return Header(Kind.MAP, first & 0x0F, body)
    if first < 0xA0:
        return Header(Kind.ARRAY, first & 0x0F, body)
    if first < 0xC0:
        return Header(Kind.STR, first & 0x1F, body)
    if first >= 0xE0:
        return Header(Kind.INT, first - 0x100, body)
    if first == 0xC0:
        return Header(Kind.NIL, None, body)
    if first in (0xC2, 0xC3):
        return Header(Kind.BOOL, first == 0xC3, body)
    if first in _FIXEXT_BYTES:
        if body >= len(data):
            raise IncompleteValueError
        code = int.from_bytes(data[body : body + 1], signed=True)
        return Header(Kind.EXT, _FIXEXT_BYTES[first], body + 1, code)
    raise InvalidValueError


def _read_sized_header(data: bytes | bytearray, offset: int, first: int) -> Header:
    kind, layout = _FORMATS[first]
    body = offset + 1 + layout.size
    if body > len(data):
        raise IncompleteValueError
    fields = layout.unpack_from(data, offset + 1)
    return Header(kind, fields[0], body, fields[1] if kind is Kind.EXT else 0)


def length_of(header: Header) -> int:
    """Return the length a str, bin, ext, array or map header declares."""
    assert isinstance(header.argument, int)
    return header.argument


def _step_of(first: int) -> tuple[int, int]:
    """Return a value's bytes by its first one, and how many values then follow it.

    No bytes where the first one does not say it.
    """
    if first in _FIXEXT_BYTES:
        return 2 + _FIXEXT_BYTES[first], 0
    if first in _FORMATS:
        kind, layout = _FORMATS[first]
        is_whole = kind is Kind.INT or kind is Kind.FLOAT
        return (1 + layout.size if is_whole else 0), 0
    if first < 0x80 or first >= 0xE0 or first in (0xC0, 0xC2, 0xC3):
        return 1, 0
    if first < 0x90:
        return 1, 2 * (first & 0x0F)
    if first < 0xA0:
        return 1, first & 0x0F
    return (1 + (first & 0x1F), 0) if first < 0xC0 else (0, 0)


_STEPS = [_step_of(first) for first in range(256)]


def skip_value(
    data: bytes | bytearray, offset: int, max_values: int = MAX_VALUES
) -> int:
    """Return the offset behind the value at `offset`, however deep it nests.

    Raises:
        IncompleteValueError: the data ends inside the value.
        InvalidValueError: 0xc1 stands where a value should.
        TooManyValuesError: it has more than `max_values`, wherever it may end.
    """
    size = len(data)
    pending = 1
    for _ in range(max_values):
        if offset >= size:
            raise IncompleteValueError
        step, following = _STEPS[data[offset]]
        if step:
            offset += step
        else:
            header = read_header(data, offset)
            offset = header.body
            match header.kind:
                case Kind.STR | Kind.BIN | Kind.EXT:
                    offset += length_of(header)
                case Kind.ARRAY:
                    following = length_of(header)
                case _:
                    following = 2 * length_of(header)
        pending += following - 1
        # Each value still pending takes a byte at least, so a declared count that
        # cannot fit is refused before it is walked.
        if offset + pending > size:
            raise IncompleteValueError
        if not pending:
            return offset
    raise TooManyValuesError


def excess_of(value: bytes, *, max_map_keys: int) -> str | None:
    """Tell what a whole value has too much of, None if nothing; none of it is kept.

    The answer is fit for a metric label. A value that is shorter than
    `least_excessive_bytes` has nothing too much and need not be looked at.
    """
    size = len(value)
    if size < MAX_VALUES and not _may_hold_map(value, max_map_keys):
        return None
    offset = 0
    for _ in range(MAX_VALUES):
        step, _ = _STEPS[value[offset]]
        if step:
            offset += step
        else:
            header = read_header(value, offset)
            offset = header.body
            if header.kind is Kind.MAP:
                if length_of(header) > max_map_keys:
                    return "too_many_keys"
            elif header.kind is not Kind.ARRAY:
                offset += length_of(header)
        if offset >= size:
            return None
    return "too_many_values"


def _may_hold_map(value: bytes, more_than_keys: int) -> bool:
    """Tell whether bytes are in the value that may be the header of so large a map.

    Text and numbers hold its first byte as well. It is looked at some times and then
    taken for one: to walk over the value costs less.
    """
    looks = 64
    for first_byte, count_bytes in ((_MAP_16, 2), (_MAP_32, 4)):
        at = value.find(first_byte)
        while at >= 0:
            count = int.from_bytes(value[at + 1 : at + 1 + count_bytes])
            if more_than_keys < count <= (len(value) - at) // 2 or not looks:
                return True
            looks -= 1
            at = value.find(first_byte, at + 1)
    return False


def least_excessive_bytes(*, max_map_keys: int) -> int:
    """Return what the smallest value has that is too much: each value takes a byte."""
    return min(2 * (max_map_keys + 1), MAX_VALUES)


_NO_ARRAYS = re.compile(rb"[\x00-\x7f\xc0\xc2\xc3\xe0-\xff]+")


def skip_to_array(data: bytes, offset: int, until: int) -> int:
    """Return where the values that are no arrays end, from `offset` on.

    Looks no further than `until`, and stops before what is no whole value.
    """
    try:
        while offset < until:
            # Text in the place of entries: a value for each of its characters.
            if (run := _NO_ARRAYS.match(data, offset, until)) is not None:
                offset = run.end()
            elif 0x90 <= data[offset] <= 0x9F or data[offset] in (0xDC, 0xDD):
                break
            else:
                offset = skip_value(data, offset)
    except ProtocolError:
        pass
    return offset


def read_bytes(data: bytes | bytearray, header: Header) -> bytes:
    """Return the payload of a str, bin or ext header.

    Raises:
        IncompleteValueError: the data ends inside the payload.
    """
    end = header.body + length_of(header)
    if end > len(data):
        raise IncompleteValueError
    return bytes(data[header.body : end])


def text_of(raw: bytes) -> str:
    r"""Return `raw` as text that PostgreSQL accepts, losing nothing on the way.

    Bytes that are no UTF-8, and NUL, which `text` and `jsonb` refuse
    (PostgreSQL documentation, sections 8.3 and 8.14), become the four characters
    `\xNN`.
    """
    text = raw.decode("utf-8", "backslashreplace")
    return text.replace("\0", "\\x00") if "\0" in text else text


def may_hold_non_finite(data: bytes) -> bool:
    """Tell whether a NaN or an infinity may be among packed values.

    Their exponent is all ones (IEEE 754), so a float's first byte and 0x7f or 0xff
    stand side by side; other bytes may happen to as well, UTF-8 does not.
    """
    for first_byte in (_FLOAT_32, _FLOAT_64):
        at = data.find(first_byte)
        while at >= 0:
            if data[at + 1 : at + 2] in (b"\x7f", b"\xff"):
                return True
            at = data.find(first_byte, at + 1)
    return False
