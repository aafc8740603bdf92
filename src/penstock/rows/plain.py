r"""Any msgpack value as one that jsonb accepts, losing as little as can be.

The careful half of the encoder: it reads msgpack bytes itself, so it sees what
the C unpacker hides (bytes that are no UTF-8, the type of a key, containers as
keys). It must not know what a record's keys mean.

What JSON, or PostgreSQL's jsonb (documentation, section 8.14), cannot hold:

| msgpack                            | becomes                                        |
|------------------------------------|------------------------------------------------|
| str with NUL or bytes not UTF-8    | the same text with `\xNN` for each such byte   |
| bin, three quarters of it text     | the text, as above (Fluentd tails files so)    |
| any other bin                      | `data:;base64,...` (RFC 2397)                  |
| NaN, infinities                    | `"NaN"`, `"Infinity"`, `"-Infinity"`           |
| EventTime, Timestamp               | RFC 3339 text with nanoseconds                 |
| any other ext                      | `data:application/vnd.msgpack;base64,...`      |
| a container more than 254 deep     | the same                                       |
| a key that is a number, bool, nil  | its JSON text: `1`, `0.5`, `true`, `null`      |
| a key that is an array or a map    | `data:application/vnd.msgpack;base64,...`      |
| a key that comes twice             | the last one counts, as in jsonb itself        |
"""

import base64
import math

import orjson

from penstock.rows.times import read_ext_time
from penstock.wire.values import (
    Header,
    Kind,
    length_of,
    read_bytes,
    read_header,
    skip_value,
    text_of,
)

# How deep orjson writes; PostgreSQL's jsonb takes some thousands of levels.
MAX_DEPTH = 254

# Tab, line ends and the escape of terminals' colours stand in texts, others do not.
_WITHOUT_CONTROLS = dict.fromkeys(set(range(32)) - set(b"\t\n\r\x1b"))

# Looked up once, and not at each of a hundred thousand values.
_STR, _BIN, _EXT, _FLOAT = Kind.STR, Kind.BIN, Kind.EXT, Kind.FLOAT
_ARRAY, _MAP = Kind.ARRAY, Kind.MAP
# Values of one byte by that byte.
_BYTES: dict[int, bool | int | None] = (
    {first: first for first in range(0x80)}
    | {first: first - 0x100 for first in range(0xE0, 0x100)}
    | {0xC0: None, 0xC2: False, 0xC3: True}
)

# What orjson writes: the JSON types.
Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


def read_plain(data: bytes, offset: int, depth: int = 1) -> tuple[Plain, int]:
    """Read the value at `offset`; return it and the offset behind it.

    `depth` is 1 for a record itself. Recurses `MAX_DEPTH` levels at most.

    Raises:
        IncompleteValueError: the data ends inside the value.
        InvalidValueError: 0xc1 stands where a value should.
    """
    if offset < len(data):
        first = data[offset]
        if first in _BYTES:
            return _BYTES[first], offset + 1
    header = read_header(data, offset)
    kind = header.kind
    if kind is _STR or kind is _BIN:
        raw = read_bytes(data, header)
        return text_of(raw) if kind is _STR else _plain_bin(raw), header.body + len(raw)
    if kind is _MAP or kind is _ARRAY:
        if depth > MAX_DEPTH:
            end = skip_value(data, offset)
            return _opaque(data[offset:end]), end
        if kind is _MAP:
            return _read_map(data, header, depth)
        return _read_array(data, header, depth)
    if kind is _EXT:
        raw = read_bytes(data, header)
        end = header.body + len(raw)
        time = read_ext_time(header.code, raw)
        return time.rfc3339() if time else _opaque(data[offset:end]), end
    if kind is _FLOAT:
        return _plain_float(header), header.body
    return header.argument, header.body


def _read_array(data: bytes, header: Header, depth: int) -> tuple[list[Plain], int]:
    items: list[Plain] = []
    offset = header.body
    for _ in range(length_of(header)):
        item, offset = read_plain(data, offset, depth + 1)
        items.append(item)
    return items, offset


def _read_map(data: bytes, header: Header, depth: int) -> tuple[dict[str, Plain], int]:
    pairs: dict[str, Plain] = {}
    offset = header.body
    for _ in range(length_of(header)):
        key, offset = _read_key(data, offset)
        pairs[key], offset = read_plain(data, offset, depth + 1)
    return pairs, offset


def _read_key(data: bytes, offset: int) -> tuple[str, int]:
    header = read_header(data, offset)
    kind = header.kind
    if kind is _STR or kind is _BIN:
        raw = read_bytes(data, header)
        return text_of(raw), header.body + len(raw)
    if kind is _ARRAY or kind is _MAP:
        # Not as JSON text: a key within a key within a key would double its
        # escapes at each level.
        end = skip_value(data, offset)
        return _opaque(data[offset:end]), end
    key, end = read_plain(data, offset)
    return key if isinstance(key, str) else orjson.dumps(key).decode(), end


def _plain_bin(raw: bytes) -> str:
    readable = raw.decode("utf-8", "ignore").translate(_WITHOUT_CONTROLS)
    if 4 * len(readable.encode()) >= 3 * len(raw):
        return text_of(raw)
    return f"data:;base64,{base64.b64encode(raw).decode()}"


def _plain_float(header: Header) -> float | str:
    number = header.argument
    assert isinstance(number, float)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _opaque(raw: bytes) -> str:
    return f"data:application/vnd.msgpack;base64,{base64.b64encode(raw).decode()}"
