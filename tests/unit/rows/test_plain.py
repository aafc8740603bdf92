"""The table in `penstock.rows.plain`, row by row, and that nothing is lost by it."""

import base64
import json
import math
from typing import Any

import msgpack
import orjson
import pytest

from penstock.rows.plain import MAX_DEPTH, read_plain
from penstock.wire.values import IncompleteValueError, InvalidValueError
from tests import msgpack_bytes as m
from tests.copy_tuples import read_jsonb

A, K = m.fixstr(b"a"), m.fixstr(b"k")


def plain(value: bytes) -> Any:
    result, end = read_plain(b"\xc1" + value + b"\xc1", 1)
    assert end == 1 + len(value), "it reports where the value ends"
    return result


def opaque(raw: bytes) -> str:
    return f"data:application/vnd.msgpack;base64,{base64.b64encode(raw).decode()}"


def opened(text: str) -> bytes:
    """Get back the bytes that a data: URL holds."""
    head, _, encoded = text.partition(";base64,")
    assert head in ("data:", "data:application/vnd.msgpack")
    return base64.b64decode(encoded, validate=True)


def test_what_json_holds_is_taken_as_it_is() -> None:
    value = {
        "s": 'héllo 日本 🎉 \\u0000 "quoted" \n\t\x01\x7f',
        "i": [0, 1, -1, 127, -128, 2**31, -(2**31), 2**63 - 1, -(2**63), 2**64 - 1],
        "f": [0.0, -0.0, 0.1, 1e300, 5e-324],
        "c": {"t": True, "f": False, "n": None, "e": {}, "l": [[]], "": "empty"},
    }
    assert plain(m.pack(value)) == value
    assert json.dumps(plain(m.pack(value))) == json.dumps(value), "types and all"


@pytest.mark.parametrize("form", [m.fixstr, m.str8, m.str16, m.str32])
def test_a_str_with_bytes_that_are_no_utf8_names_them(form: Any) -> None:
    assert plain(form(b"caf\xe9\0!")) == "caf\\xe9\\x00!"
    assert plain(form("é".encode())) == "é"


@pytest.mark.parametrize("form", [m.bin8, m.bin16, m.bin32])
def test_a_bin_that_is_text_is_that_text(form: Any) -> None:
    for text in ("", "text", "é日🎉", "\\x00"):
        assert plain(form(text.encode())) == text


@pytest.mark.parametrize("raw", [b"\0\xff", b"\xff", b"a\0b", b"\0", bytes(range(256))])
def test_a_bin_that_is_no_text_is_a_data_url_of_its_bytes(raw: bytes) -> None:
    text = plain(m.bin16(raw))
    assert text.startswith("data:;base64,")
    assert opened(text) == raw


@pytest.mark.parametrize("form", [m.float32, m.float64])
def test_what_is_not_finite_is_named(form: Any) -> None:
    assert plain(form(math.nan)) == "NaN"
    assert plain(form(math.inf)) == "Infinity"
    assert plain(form(-math.inf)) == "-Infinity"
    nested = m.fixmap((A, m.fixarray(form(math.nan), m.fixmap((K, form(math.inf))))))
    assert plain(nested) == {"a": ["NaN", {"k": "Infinity"}]}


@pytest.mark.parametrize(
    "value",
    [
        m.event_time(m.T, 5),
        m.ext8(0, m.time_payload(m.T, 5)),
        m.ext16(0, m.time_payload(m.T, 5)),
        m.ext32(0, m.time_payload(m.T, 5)),
        m.ext8(-1, (5).to_bytes(4) + m.T.to_bytes(8)),
        m.fixext(-1, (5 << 34 | m.T).to_bytes(8)),
    ],
    ids=bytes.hex,
)
def test_an_event_time_or_timestamp_is_rfc_3339_text(value: bytes) -> None:
    assert plain(value) == "2015-09-07T01:23:04.000000005Z"
    assert plain(m.fixmap((A, m.fixarray(value)))) == {
        "a": ["2015-09-07T01:23:04.000000005Z"]
    }


@pytest.mark.parametrize(
    "value",
    [
        m.fixext(5, b"\x01"),
        m.fixext(-1, b"\0\1"),  # a timestamp of a length that is none
        m.ext8(-1, b""),
        m.fixext(0, bytes(4)),
        m.ext8(127, b"abc"),
        m.ext16(-128, bytes(300)),
        m.ext32(1, b""),
    ],
    ids=lambda value: value.hex()[:12],
)
def test_any_other_ext_is_a_data_url_of_its_msgpack(value: bytes) -> None:
    assert plain(value) == opaque(value)
    assert opened(plain(value)) == value


@pytest.mark.parametrize(
    ("key", "written"),
    [
        (m.NIL, "null"),
        (m.TRUE, "true"),
        (m.FALSE, "false"),
        (b"\x01", "1"),
        (b"\xff", "-1"),
        (m.uint64(2**64 - 1), "18446744073709551615"),
        (m.int64(-(2**63)), "-9223372036854775808"),
        (m.float64(1.0), "1.0"),
        (m.float32(0.5), "0.5"),
        (m.float64(-2.5), "-2.5"),
        (m.float64(math.nan), "NaN"),
        (m.float64(-math.inf), "-Infinity"),
        (m.bin8(b"k"), "k"),
        (m.bin8(b"k\xff"), "k\\xff"),
        (m.fixstr(b"k\0"), "k\\x00"),
        (m.fixstr(b"\xff"), "\\xff"),
        (m.fixstr(b""), ""),
        (m.event_time(m.T, 5), "2015-09-07T01:23:04.000000005Z"),
        (m.fixext(5, b"x"), opaque(m.fixext(5, b"x"))),
        (b"\x90", opaque(b"\x90")),
        (m.fixarray(K, m.NIL), opaque(m.fixarray(K, m.NIL))),
        (m.fixmap((K, m.NIL)), opaque(m.fixmap((K, m.NIL)))),
        (m.fixmap((b"\x80", m.NIL)), opaque(m.fixmap((b"\x80", m.NIL)))),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else None,
)
def test_a_key_is_written_as_text(key: bytes, written: str) -> None:
    assert plain(m.fixmap((key, b"\x05"))) == {written: 5}
    assert plain(m.fixarray(m.fixmap((key, b"\x05")))) == [{written: 5}]


def test_keys_that_python_thinks_equal_stay_apart() -> None:
    keys = [b"\x01", m.float64(1.0), m.TRUE, b"\x00", m.float64(0.0), m.FALSE, m.NIL]
    value = m.fixmap(*((key, bytes([i])) for i, key in enumerate(keys)))
    written = ["1", "1.0", "true", "0", "0.0", "false", "null"]
    assert plain(value) == {key: i for i, key in enumerate(written)}
    assert list(plain(value)) == written


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (A, A),
        (A, m.bin8(b"a")),
        (m.bin8(b"a"), A),
        (A, m.str32(b"a")),
        (b"\x01", m.fixstr(b"1")),
        (b"\x01", m.uint64(1)),
        (m.NIL, m.fixstr(b"null")),
    ],
)
def test_of_a_key_that_comes_twice_the_last_counts(first: bytes, second: bytes) -> None:
    value = m.fixmap((first, b"\x01"), (K, b"\x02"), (second, b"\x03"))
    (key,) = {*plain(value)} - {"k"}
    assert plain(value) == {key: 3, "k": 2}


def test_containers_that_are_keys_do_not_grow_with_each_level() -> None:
    value = m.fixmap((K, m.NIL))
    for _ in range(12):
        value = m.fixmap((value, m.NIL))
    assert len(orjson.dumps(plain(value))) < 2 * len(value) + 100


@pytest.mark.parametrize("levels", [MAX_DEPTH - 1, MAX_DEPTH])
def test_as_deep_as_json_is_written_nothing_changes(levels: int) -> None:
    value: Any = plain(m.nested_arrays(levels))
    orjson.dumps(value)
    for _ in range(levels - 1):
        (value,) = value
    assert value == []


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, MAX_DEPTH + 2, 2000, 100_000])
def test_what_is_deeper_is_kept_as_msgpack(levels: int) -> None:
    value: Any = plain(m.nested_arrays(levels))
    read_jsonb(orjson.dumps({"a": value[0]}).decode())
    for _ in range(MAX_DEPTH):
        (value,) = value
    assert opened(value) == m.nested_arrays(levels - MAX_DEPTH)


def test_maps_count_as_levels_too_and_neighbours_are_not_affected() -> None:
    deep = b"\x81\xa1a" * (MAX_DEPTH - 1)
    value = m.fixarray(deep + b"\x90", b"\x05", deep + b"\x80", b"\x06")
    result = plain(value)
    assert (result[1], result[3]) == (5, 6)
    for item, inner in ((result[0], b"\x90"), (result[2], b"\x80")):
        for _ in range(MAX_DEPTH - 1):
            item = item["a"]
        assert opened(item) == inner


def test_a_scalar_below_the_deepest_container_is_itself() -> None:
    value: Any = plain(b"\x91" * MAX_DEPTH + b"\x05")
    for _ in range(MAX_DEPTH):
        (value,) = value
    assert value == 5


def test_depth_is_counted_from_where_the_caller_says() -> None:
    value: Any = read_plain(m.nested_arrays(MAX_DEPTH), 0, 2)[0]
    orjson.dumps({"_metadata": value})
    for _ in range(MAX_DEPTH - 1):
        (value,) = value
    assert opened(value) == b"\x90"


def test_a_declared_count_is_not_allocated() -> None:
    for header in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"):
        with pytest.raises(IncompleteValueError):
            read_plain(header, 0)


@pytest.mark.parametrize(
    "value",
    [
        m.fixmap((A, m.fixarray(m.bin8(b"\xff"), m.fixext(5, b"x")))),
        m.fixmap((m.fixarray(K), m.event_time(1))),
        m.str8(b"abc"),
    ],
)
def test_a_value_cut_short_or_broken_raises_what_it_says(value: bytes) -> None:
    for length in range(len(value)):
        with pytest.raises(IncompleteValueError):
            read_plain(value[:length], 0)
    with pytest.raises(InvalidValueError):
        read_plain(m.fixarray(value, m.NEVER_USED), 0)


def test_every_str_is_the_same_as_msgpack_reads_it_where_both_can() -> None:
    for text in ("", "a", "é" * 100, "🎉" * 20_000, "x" * 70_000):
        assert plain(m.pack(text)) == text == msgpack.unpackb(m.pack(text))
