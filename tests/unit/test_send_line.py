"""Lines become entries: record and time exactly as promised, or a reason why not."""

import gzip
import json
import os
from pathlib import Path

import msgpack
import pytest

from penstock.cli.send_input import BadInputError, InputFile, LineEncoder, parse_time_ns

NOW_NS = 1_700_000_000_123_456_789


def encode(
    line: bytes, line_format: str = "auto", time_key: str | None = None
) -> tuple[int, object]:
    """Return time and record as a receiver reads them, text as bytes."""
    encoder = LineEncoder(line_format, time_key, clock_ns=lambda: NOW_NS)
    time, record = msgpack.unpackb(
        encoder.encode(line), raw=True, strict_map_key=False, max_str_len=2**31
    )
    assert time.code == 0
    assert len(time.data) == 8
    seconds, ns = divmod(int.from_bytes(time.data), 2**32)
    return seconds * 10**9 + ns, record


def record_of(line: bytes, line_format: str = "auto") -> object:
    return encode(line, line_format)[1]


def test_a_json_object_is_the_record() -> None:
    assert record_of(b' {"a": 1, "b": {"c": [true, null, 1.5, "x"]}} ') == {
        b"a": 1,
        b"b": {b"c": [True, None, 1.5, b"x"]},
    }


@pytest.mark.parametrize(
    "line", [b"plain", b"[1]", b"17", b'"text"', b"{", b'{"a":1} x', b"{}{}", b"  "]
)
def test_any_other_line_is_the_message(line: bytes) -> None:
    assert record_of(line) == {b"message": line}
    with pytest.raises(ValueError, match="not a JSON object"):
        record_of(line, "json")


def test_format_lines_looks_into_no_line() -> None:
    assert record_of(b'{"a":1}', "lines") == {b"message": b'{"a":1}'}


def test_an_empty_object_is_an_empty_record() -> None:
    assert record_of(b"{}", "json") == {}


@pytest.mark.parametrize("line", [b"caf\xe9 \xff\x00", bytes(range(256)), b"\xed\xa0"])
def test_bytes_that_are_not_utf8_are_sent_as_they_are(line: bytes) -> None:
    assert record_of(line) == {b"message": line}


def test_bytes_that_are_not_utf8_stay_in_a_json_record() -> None:
    assert record_of(b'{"a":"caf\xe9"}', "json") == {b"a": b"caf\xe9"}


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 10**18, 9_999_999_999])
def test_integers_of_64_bits_are_exact(number: int) -> None:
    assert record_of(b'{"n":%d}' % number) == {b"n": number}


@pytest.mark.parametrize("digits", [b"18446744073709551616", b"-" + b"9" * 5000])
def test_wider_integers_travel_as_their_digits(digits: bytes) -> None:
    assert record_of(b'{"n":%s}' % digits) == {b"n": digits}


def test_nan_as_loggers_write_it_is_taken() -> None:
    record = record_of(b'{"n":Infinity}', "json")
    assert record == {b"n": float("inf")}


@pytest.mark.parametrize(
    "line", [b'{"a":' * 5000 + b"1" + b"}" * 5000, b'{"a":"\\ud800"}']
)
def test_what_msgpack_cannot_carry_is_sent_as_text(line: bytes) -> None:
    assert record_of(line) == {b"message": line}


def test_the_time_is_now_in_nanoseconds() -> None:
    assert encode(b"x")[0] == NOW_NS


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2015-09-07T01:23:04Z", 1441588984_000000000),
        ("2015-09-07t01:23:04.123456789z", 1441588984_123456789),
        ("2015-09-07 03:23:04.5+02:00", 1441588984_500000000),
        ("2015-09-06T18:53:04.1234567891-06:30", 1441588984_123456789),
        ("2016-12-31T23:59:60Z", 1483228800_000000000),
        (1441588984, 1441588984_000000000),
        (1441588984.123456, 1441588984_123456000),
        (0, 0),
    ],
)
def test_time_key_reads_to_the_digit(value: object, expected: int) -> None:
    assert parse_time_ns(value) == expected
    line = json.dumps({"ts": value, "a": 1}).encode()
    assert encode(line, time_key="ts")[0] == expected


@pytest.mark.parametrize(
    "value",
    [
        b'"2015-09-07T01:23:04"',  # no offset: which time is it?
        b'"2015-02-30T01:23:04Z"',
        b'"2015-09-07T01:23:61Z"',
        b'"2015-09-07T01:23:04+99:00"',
        b'"0001-01-01T00:00:00+23:00"',
        b'"yesterday"',
        b"1441588984123",  # milliseconds
        b"-1",
        b"4294967294",  # a group marker, not a time
        b"true",
        b"null",
        b"NaN",
        b"1e400",
        b"[]",
    ],
)
def test_a_time_that_cannot_be_read_is_bad_input(value: bytes) -> None:
    with pytest.raises(ValueError, match="'ts' is neither an RFC 3339 time"):
        encode(b'{"ts":%s}' % value, time_key="ts")


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b"{}", "no 'ts'"), (b'{"a":1}', "no 'ts'"), (b"plain", "not a JSON object")],
)
def test_with_time_key_each_line_must_have_a_time(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        encode(line, time_key="ts")


def lines_of(path: Path) -> list[bytes]:
    source = InputFile(str(path))
    try:
        return list(source.lines(lambda: None))
    finally:
        source.close()


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\r\nb\r\r\n\n\nc\r", [b"a", b"b\r", b"", b"", b"c\r"]),
        (b"\n", [b""]),
    ],
)
def test_lines_lose_their_end_and_nothing_else(
    tmp_path: Path, data: bytes, lines: list[bytes]
) -> None:
    plain, packed = tmp_path / "a.log", tmp_path / "a.log.gz"
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data))
    assert lines_of(plain) == lines
    assert lines_of(packed) == lines


def test_lines_longer_than_a_block_are_whole(tmp_path: Path) -> None:
    long = [os.urandom(700_000).replace(b"\n", b"_").replace(b"\r", b"_"), b"b" * 10]
    path = tmp_path / "long.log"
    path.write_bytes(b"\n".join([b"first", *long, b""]))
    assert lines_of(path) == [b"first", *long]


def test_a_line_without_end_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.cli.send_input.MAX_LINE_BYTES", 1000)
    path = tmp_path / "zeros"
    path.write_bytes(b"ok\n" + b"0" * 3000)
    with pytest.raises(BadInputError, match=r"zeros:2: longer than 1,000 bytes"):
        lines_of(path)


def test_a_truncated_gzip_names_the_line_it_ends_in(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    data = b"".join(os.urandom(40).hex().encode() + b"\n" for _ in range(5000))
    path.write_bytes(gzip.compress(data)[:-4000])
    source = InputFile(str(path))
    read: list[bytes] = []
    with pytest.raises(BadInputError, match=r"cut.gz:\d+: cannot be read further"):
        read.extend(source.lines(lambda: None))
    source.close()
    assert 4000 < len(read) == source.line_number - 1 < 5000


def test_a_file_that_is_no_gzip_says_so(tmp_path: Path) -> None:
    path = tmp_path / "plain.gz"
    path.write_bytes(b"plain\n")
    with pytest.raises(BadInputError, match=r"plain.gz:1: .*gzip"):
        lines_of(path)
