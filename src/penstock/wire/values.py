"""Single msgpack values, read one header at a time from bytes nobody vouches for.

This is the careful way to read msgpack: it never recurses over what a peer sent,
never allocates by a declared length, and reports where each value starts and
ends. The fast way, a run of entries at once, is msgspec's decoder in `rows`; what
that cannot take, or loses, is read again here. It must not know what a forward
message is.

Source of the format: the msgpack specification, sections "Formats" and
"Extension types".
"""

import struct
from enum import IntEnum
from typing import NamedTuple

from penstock.errors import ProtocolError


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


ARRAY_32 = 0xDD
_FLOAT_32, _FLOAT_64 = 0xCA, 0xCB

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


def skip_value(data: bytes | bytearray, offset: int) -> int:
    """Return the offset behind the value at `offset`, however deep it nests.

    Raises:
        IncompleteValueError: the data ends inside the value.
        InvalidValueError: 0xc1 stands where a value should.
    """
    pending = 1
    while pending:
        header = read_header(data, offset)
        offset = header.body
        pending -= 1
        match header.kind:
            case Kind.STR | Kind.BIN | Kind.EXT:
                offset += length_of(header)
            case Kind.ARRAY:
                pending += length_of(header)
            case Kind.MAP:
                pending += 2 * length_of(header)
            case _:
                pass
        # Each value still pending takes a byte at least, so a declared count that
        # cannot fit is refused before it is walked.
        if offset + pending > len(data):
            raise IncompleteValueError
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
