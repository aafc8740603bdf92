"""Single msgpack values: every header, nothing past the data, no work beyond it."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from penstock.errors import ProtocolError
from penstock.wire import values
from penstock.wire.values import (
    Header,
    IncompleteValueError,
    InvalidValueError,
    Kind,
    may_hold_non_finite,
    read_bytes,
    read_header,
    skip_to_array,
    skip_value,
    text_of,
)
from tests import msgpack_bytes as m

MIN_INT64, MAX_UINT64 = -(2**63), 2**64 - 1

# Value, its kind, its argument, its ext code. Each format of the specification at the
# ends of its range; the non-minimal forms are ones that senders use.
SCALARS: list[tuple[bytes, Kind, Any]] = [
    (b"\xc0", Kind.NIL, None),
    (b"\xc2", Kind.BOOL, False),
    (b"\xc3", Kind.BOOL, True),
    (b"\x00", Kind.INT, 0),
    (b"\x7f", Kind.INT, 127),
    (b"\xe0", Kind.INT, -32),
    (b"\xff", Kind.INT, -1),
    (m.uint8(0), Kind.INT, 0),
    (m.uint8(255), Kind.INT, 255),
    (m.uint16(65535), Kind.INT, 65535),
    (m.uint32(2**32 - 1), Kind.INT, 2**32 - 1),
    (m.uint64(MAX_UINT64), Kind.INT, MAX_UINT64),
    (m.int8(-128), Kind.INT, -128),
    (m.int8(127), Kind.INT, 127),
    (m.int16(-32768), Kind.INT, -32768),
    (m.int32(-(2**31)), Kind.INT, -(2**31)),
    (m.int32(m.T), Kind.INT, m.T),
    (m.int64(MIN_INT64), Kind.INT, MIN_INT64),
    (m.int64(2**63 - 1), Kind.INT, 2**63 - 1),
    (m.float32(0.5), Kind.FLOAT, 0.5),
    (m.float64(-1e300), Kind.FLOAT, -1e300),
    (m.float64(math.inf), Kind.FLOAT, math.inf),
]
CONTAINERS: list[tuple[bytes, Kind, int]] = [
    (b"\x80", Kind.MAP, 0),
    (b"\x8f", Kind.MAP, 15),
    (b"\x90", Kind.ARRAY, 0),
    (b"\x9f", Kind.ARRAY, 15),
    (b"\xdc\xff\xff", Kind.ARRAY, 65535),
    (b"\xdd\xff\xff\xff\xff", Kind.ARRAY, 2**32 - 1),
    (b"\xde\xff\xff", Kind.MAP, 65535),
    (b"\xdf\xff\xff\xff\xff", Kind.MAP, 2**32 - 1),
]
PAYLOADS: list[tuple[bytes, Kind, bytes, int]] = [
    (b"\xa0", Kind.STR, b"", 0),
    (m.fixstr(b"a" * 31), Kind.STR, b"a" * 31, 0),
    (m.str8(b"ab"), Kind.STR, b"ab", 0),
    (m.str16(b"ab"), Kind.STR, b"ab", 0),
    (m.str32(b"ab"), Kind.STR, b"ab", 0),
    (m.bin8(b"\x00\xff"), Kind.BIN, b"\x00\xff", 0),
    (m.bin16(b"\x00\xff"), Kind.BIN, b"\x00\xff", 0),
    (m.bin32(b"\x00\xff"), Kind.BIN, b"\x00\xff", 0),
    *(
        (m.fixext(-128, bytes(length)), Kind.EXT, bytes(length), -128)
        for length in (1, 2, 4, 8, 16)
    ),
    (m.ext8(127, b"abc"), Kind.EXT, b"abc", 127),
    (m.ext16(-1, b"abc"), Kind.EXT, b"abc", -1),
    (m.ext32(0, b"abc"), Kind.EXT, b"abc", 0),
]
WHOLE_VALUES = [
    *(value for value, *_ in SCALARS),
    *(value for value, *_ in PAYLOADS),
    m.fixarray(m.NIL, m.fixarray(b"\x01", m.str8(b"x"))),
    m.fixmap((b"\x01", m.fixmap((m.TRUE, m.fixext(5, b"z"))))),
    m.array16(m.NIL),
    m.array32(m.NIL, m.NIL),
    m.map16((m.NIL, m.NIL)),
    m.map32((m.fixstr(b"k"), m.float32(1.5))),
]


@pytest.mark.parametrize(("value", "kind", "argument"), SCALARS)
def test_a_scalar_is_read_with_its_value_and_its_end(
    value: bytes, kind: Kind, argument: Any
) -> None:
    for before in (b"", b"\xc1\xc1"):
        header = read_header(before + value + b"\xc1", len(before))
        assert header == Header(kind, argument, len(before) + len(value))
        assert type(header.argument) is type(argument)


@pytest.mark.parametrize(("value", "kind", "items"), CONTAINERS)
def test_a_container_is_read_with_its_count(
    value: bytes, kind: Kind, items: int
) -> None:
    assert read_header(value, 0) == Header(kind, items, len(value))


@pytest.mark.parametrize(("value", "kind", "payload", "code"), PAYLOADS)
def test_a_payload_is_read_with_its_bytes_and_code(
    value: bytes, kind: Kind, payload: bytes, code: int
) -> None:
    header = read_header(value + b"\xc1", 0)
    body = len(value) - len(payload)
    assert header == Header(kind, len(payload), body, code)
    assert read_bytes(value + b"\xc1", header) == payload


def test_every_first_byte_but_one_begins_a_value() -> None:
    kinds = {}
    for first in range(256):
        try:
            kinds[first] = read_header(bytes([first]) + bytes(16), 0).kind
        except InvalidValueError:
            kinds[first] = Kind.INVALID
    assert [first for first in kinds if kinds[first] is Kind.INVALID] == [0xC1]


def test_a_value_cut_anywhere_is_incomplete() -> None:
    for value in WHOLE_VALUES:
        assert skip_value(value + b"\xc1", 0) == len(value)
        for length in range(len(value)):
            with pytest.raises(IncompleteValueError):
                skip_value(value[:length], 0)


@pytest.mark.parametrize("value", [v for v, *_ in PAYLOADS if len(v) > 1])
def test_a_payload_cut_short_is_not_read(value: bytes) -> None:
    header = read_header(value, 0)
    with pytest.raises(IncompleteValueError):
        read_bytes(value[:-1], header)


def test_both_ways_to_be_broken_are_protocol_errors_of_one_reason() -> None:
    for data in (b"\xc1", b""):
        with pytest.raises(ProtocolError) as raised:
            read_header(data, 0)
        assert raised.value.reason == "malformed_msgpack"


@pytest.mark.parametrize("within", [b"\x91", b"\x81", b"\x81\x01", b"\x92\x01"])
def test_the_byte_that_is_never_used_is_found_within_containers(within: bytes) -> None:
    with pytest.raises(InvalidValueError):
        skip_value(within + m.NEVER_USED + m.NIL, 0)


def test_skipping_does_not_recurse() -> None:
    deep = m.nested_arrays(50_000)
    assert skip_value(deep, 0) == len(deep)


@pytest.mark.parametrize(
    "header",
    [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdd\x00\x00\x00\x65"],
)
def test_a_count_that_cannot_fit_is_refused_before_it_is_walked(
    header: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0

    def counting(data: bytes, offset: int) -> Header:
        nonlocal reads
        reads += 1
        return read_header(data, offset)

    monkeypatch.setattr(values, "read_header", counting)
    with pytest.raises(IncompleteValueError):
        skip_value(header + m.NIL * 100, 0)
    assert reads == 1


def test_nested_counts_that_cannot_fit_are_not_walked_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = 0

    def counting(data: bytes, offset: int) -> Header:
        nonlocal reads
        reads += 1
        return read_header(data, offset)

    monkeypatch.setattr(values, "read_header", counting)
    # 60 values are to follow 50 nested arrays of 100 items: only the first ones fit.
    with pytest.raises(IncompleteValueError):
        skip_value((b"\xdc\x00\x64" * 50) + m.NIL * 60, 0)
    assert reads <= 3


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        ("héllo 日本 🎉".encode(), "héllo 日本 🎉"),
        (b"a\0b", "a\\x00b"),
        (b"\0", "\\x00"),
        (b"\xff", "\\xff"),
        (b"caf\xe9!", "caf\\xe9!"),
        (b"f\x93\xa7flow", "f\\x93\\xa7flow"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),  # a surrogate written as UTF-8
        (b"\xc0\x80", "\\xc0\\x80"),  # NUL in two bytes
        (b"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"),  # past U+10FFFF
        ("日".encode()[:2], "\\xe6\\x97"),
        (b"\0\xff\0", "\\x00\\xff\\x00"),
        (b"\\x00", "\\x00"),
    ],
)
def test_text_is_what_postgresql_takes_and_names_each_bad_byte(
    raw: bytes, text: str
) -> None:
    assert text_of(raw) == text
    assert "\0" not in text_of(raw)
    text_of(raw).encode()


@pytest.mark.parametrize("packed", [m.float32, m.float64])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_noticed_wherever_it_stands(
    packed: Callable[[float], bytes], value: float
) -> None:
    finite = packed(1.5) + m.uint64(2**63) + "héllo 日本".encode()
    assert not may_hold_non_finite(finite)
    assert may_hold_non_finite(packed(value))
    assert may_hold_non_finite(finite * 3 + packed(value) + finite)


def test_a_text_with_the_bytes_of_a_float_is_not_taken_for_one() -> None:
    assert not may_hold_non_finite("ʀ˘\x7f ˿".encode())
    assert not may_hold_non_finite(b"\xca") and not may_hold_non_finite(b"")


# --- values that are no arrays


@pytest.mark.parametrize(
    ("junk", "ends_at"),
    [
        (b"", 0),
        (b"\x05", 1),
        (b"2024-01-01", 10),
        (m.fixstr(b"\x92\x92") + m.NIL, 4),
        (b"\x05" + m.NEVER_USED, 1),
        (b"\x05" + b"\xa5abc", 1),
    ],
)
def test_junk_ends_before_an_array_and_before_what_cannot_be_read(
    junk: bytes, ends_at: int
) -> None:
    before, entry = m.entry({"a": 1}), m.entry({"a": 2})
    offset = len(before)
    readable = ends_at == len(junk)
    entries = before + junk + (entry if readable else b"")
    assert skip_to_array(entries, offset, len(entries)) == offset + ends_at


def test_junk_is_followed_no_further_than_asked() -> None:
    assert skip_to_array(b"\x05" * 100, 10, 20) == 20
    assert skip_to_array(b"\x05" * 19 + m.str8(b"long one"), 10, 20) == 29
