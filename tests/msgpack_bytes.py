"""msgpack written out header by header, in the width a test asks for.

The msgpack library writes each value in its shortest form; senders do not. These
are the forms of the msgpack specification by its own names.
"""

import struct
from collections.abc import Callable
from typing import Any

import msgpack

# 2015-09-07T01:23:04Z, the time of the conformance cases.
T = 1441588984

NIL = b"\xc0"
FALSE = b"\xc2"
TRUE = b"\xc3"
# The one first byte that msgpack never uses.
NEVER_USED = b"\xc1"


def pack(value: Any) -> bytes:
    """Write a value in its shortest form."""
    packed = msgpack.packb(value, use_bin_type=True)
    assert isinstance(packed, bytes)
    return packed


def _scalar(first: int, layout: str) -> Callable[[float], bytes]:
    return lambda value: bytes([first]) + struct.pack(layout, value)


uint8, uint16, uint32, uint64 = (
    _scalar(first, layout)
    for first, layout in ((0xCC, ">B"), (0xCD, ">H"), (0xCE, ">I"), (0xCF, ">Q"))
)
int8, int16, int32, int64 = (
    _scalar(first, layout)
    for first, layout in ((0xD0, ">b"), (0xD1, ">h"), (0xD2, ">i"), (0xD3, ">q"))
)
float32, float64 = _scalar(0xCA, ">f"), _scalar(0xCB, ">d")


def fixstr(raw: bytes) -> bytes:
    assert len(raw) < 32
    return bytes([0xA0 + len(raw)]) + raw


def _raw(first: int, layout: str) -> Callable[[bytes], bytes]:
    return lambda raw: bytes([first]) + struct.pack(layout, len(raw)) + raw


str8, str16, str32 = _raw(0xD9, ">B"), _raw(0xDA, ">H"), _raw(0xDB, ">I")
bin8, bin16, bin32 = _raw(0xC4, ">B"), _raw(0xC5, ">H"), _raw(0xC6, ">I")


def fixarray(*items: bytes) -> bytes:
    assert len(items) < 16
    return bytes([0x90 + len(items)]) + b"".join(items)


def array16(*items: bytes) -> bytes:
    return b"\xdc" + struct.pack(">H", len(items)) + b"".join(items)


def array32(*items: bytes) -> bytes:
    return b"\xdd" + struct.pack(">I", len(items)) + b"".join(items)


def fixmap(*pairs: tuple[bytes, bytes]) -> bytes:
    assert len(pairs) < 16
    return bytes([0x80 + len(pairs)]) + b"".join(key + value for key, value in pairs)


def map16(*pairs: tuple[bytes, bytes]) -> bytes:
    return (
        b"\xde"
        + struct.pack(">H", len(pairs))
        + b"".join(key + value for key, value in pairs)
    )


def map32(*pairs: tuple[bytes, bytes]) -> bytes:
    return (
        b"\xdf"
        + struct.pack(">I", len(pairs))
        + b"".join(key + value for key, value in pairs)
    )


def fixext(code: int, data: bytes) -> bytes:
    first = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}[len(data)]
    return bytes([first]) + struct.pack(">b", code) + data


def _ext(first: int, layout: str) -> Callable[[int, bytes], bytes]:
    return lambda code, data: (
        bytes([first]) + struct.pack(layout, len(data), code) + data
    )


ext8, ext16, ext32 = _ext(0xC7, ">Bb"), _ext(0xC8, ">Hb"), _ext(0xC9, ">Ib")


def time_payload(seconds: int, nanoseconds: int = 0) -> bytes:
    """Write what an EventTime's ext header has behind it."""
    return struct.pack(">II", seconds, nanoseconds)


def event_time(seconds: int, nanoseconds: int = 0) -> bytes:
    """Write an EventTime as most senders do, in a fixext8."""
    return fixext(0, time_payload(seconds, nanoseconds))


def entry(record: Any, time: bytes | None = None) -> bytes:
    """Write an entry whose record has its shortest form."""
    return fixarray(uint32(T) if time is None else time, pack(record))


def nested_arrays(levels: int) -> bytes:
    """Write arrays of one element within one another, an empty one innermost."""
    return b"\x91" * (levels - 1) + b"\x90"
