"""A record holds a part whole, and what a crash or a disk does to it is told apart."""

import random
import struct
import zlib
from typing import Any, cast

import msgpack
import pytest
import zstandard

from penstock.errors import UnavailableError
from penstock.model import Beside, EncodedRows, RejectedEvent
from penstock.sink.spool_format import (
    HEADER_BYTES,
    Damage,
    DamagedBodyError,
    Record,
    SpooledPart,
    TornTail,
    decode_body,
    encode_record,
    scan,
)
from tests.spool_parts import MARK, claim_of, part_of

FULL = SpooledPart(
    claim_of(1 << 127),
    "fluent-bit.example",
    "kube.var.log.\u00fc",
    EncodedRows(
        b"tuples\0\xff",
        2,
        frozenset(),
        (RejectedEvent("no_time", b"\xc1"), RejectedEvent("too_deep", b"")),
        b"\x92\x00\x80",
        131_072,
        1_767_323_045_678_901,
        Beside(b'{"a": [1, -1, 0.5, null]}', b'{"group": "\\n"}'),
    ),
)
BARE = SpooledPart(claim_of(0), "", "", EncodedRows(b"", 0, frozenset()))
# A name that is no UTF-8 may come as surrogates from a certificate or a tag.
ODD_TEXT = BARE._replace(sender="\udcff", tag="a\0b")
DEEP = b"[" * 250 + b"]" * 250
NESTED = BARE._replace(
    encoded=BARE.encoded._replace(beside=Beside(b'{"d":' + DEEP + b"}", None))
)


def scanned(data: bytes, offset: int = 0) -> list[Record | Damage | TornTail]:
    def read_at(size_bytes: int, start: int) -> bytes:
        return data[start : start + size_bytes]

    return list(scan(read_at, MARK, offset=offset, end=len(data)))


def record_of(part: SpooledPart) -> bytes:
    return encode_record(part, MARK)


def parts_in(data: bytes) -> list[SpooledPart]:
    return [decode_body(each) for each in scanned(data) if isinstance(each, Record)]


def record_with(body: bytes, *, version: int = 1) -> bytes:
    """A record whose checksums are right, whatever is in it."""
    head = struct.pack(
        ">8sBIIII", MARK, version, len(body), len(body), 1, zlib.crc32(body)
    )
    return head + struct.pack(">I", zlib.crc32(head)) + body


@pytest.mark.parametrize("part", [FULL, BARE, ODD_TEXT, NESTED, part_of(7, 200_000)])
def test_a_part_comes_back_as_it_was(part: SpooledPart) -> None:
    (record,) = scanned(record_of(part))
    assert isinstance(record, Record)
    assert decode_body(record) == part
    assert record.events == part.events


def test_what_is_encoded_is_all_that_a_part_has() -> None:
    """A new field of EncodedRows has to be spooled too, in a new version."""
    assert EncodedRows._fields == (
        "data",
        "rows",
        "days",
        "rejected",
        "entries",
        "offset",
        "received_microseconds",
        "beside",
    )


def test_records_follow_each_other_and_can_be_read_from_any_of_them() -> None:
    parts = [part_of(number) for number in range(5)]
    records = [record_of(part) for part in parts]
    data = b"".join(records)
    assert parts_in(data) == parts
    second = scanned(data, offset=len(records[0]))
    assert [(each.offset, each.end) for each in second] == [
        (sum(map(len, records[:n])), sum(map(len, records[: n + 1])))
        for n in range(1, 5)
    ]


def test_repeated_rows_take_a_fraction_of_their_bytes() -> None:
    rows = EncodedRows(b"GET /index.html 200 " * 5_000, 5_000, frozenset())
    assert len(record_of(BARE._replace(encoded=rows))) < len(rows.data) / 20


def test_a_cut_at_any_byte_leaves_the_records_before_it_and_a_torn_tail() -> None:
    records = [record_of(part_of(number)) for number in range(3)]
    data = b"".join(records)
    ends = [0, len(records[0]), len(records[0] + records[1]), len(data)]
    for cut in range(len(data)):
        whole = sum(end <= cut for end in ends[1:])
        *before, last = [*scanned(data[:cut]), None]
        if cut in ends:
            assert len(before) == whole and last is None
        else:
            assert before[-1] == TornTail(ends[whole], cut)
            assert all(isinstance(each, Record) for each in before[:-1])
            assert len(before) == whole + 1


def test_a_damaged_body_costs_its_record_and_no_other() -> None:
    records = [record_of(part_of(number)) for number in range(3)]
    start, end = len(records[0]), len(records[0] + records[1])
    for offset in range(start + HEADER_BYTES, end):
        data = bytearray(b"".join(records))
        data[offset] ^= 0x10
        first, damage, last = scanned(bytes(data))
        assert damage == Damage(start, end)
        assert isinstance(first, Record) and isinstance(last, Record)


def test_a_damaged_header_costs_its_record_and_no_other() -> None:
    records = [record_of(part_of(number)) for number in range(3)]
    start, end = len(records[0]), len(records[0] + records[1])
    for offset in range(start, start + HEADER_BYTES):
        data = bytearray(b"".join(records))
        data[offset] ^= 0x01
        first, damage, last = scanned(bytes(data))
        assert isinstance(first, Record) and isinstance(last, Record)
        assert damage == Damage(start, end)


@pytest.mark.parametrize("gap", [1, 7, 100, 2**20 - 11, 2**21 + 11])
def test_records_behind_a_long_gap_are_found(gap: int) -> None:
    """Wherever the mark lies in the steps that the search takes."""
    noise = random.Random(gap).randbytes(gap)
    first, last = record_of(part_of(1)), record_of(part_of(2))
    data = first + MARK + noise + last  # and a mark that begins no record
    assert [(each.offset, each.end) for each in scanned(data)] == [
        (0, len(first)),
        (len(first), len(data) - len(last)),
        (len(data) - len(last), len(data)),
    ]
    assert parts_in(data) == [part_of(1), part_of(2)]


def test_a_record_inside_a_log_line_is_never_taken_for_one() -> None:
    """Who sends a line does not know the mark."""
    forged = encode_record(part_of(666), b"\0" * 8)
    line = BARE._replace(encoded=EncodedRows(forged, 1, frozenset()))
    record = bytearray(record_of(line))
    assert forged[HEADER_BYTES:] in record  # zstd keeps what it cannot compress
    record[0] ^= 0xFF
    assert scanned(bytes(record)) == [Damage(0, len(record))]


@pytest.mark.parametrize("zeros", [1, HEADER_BYTES, 5_000, 3 * 1024 * 1024])
def test_zeros_at_the_end_are_a_torn_tail(zeros: int) -> None:
    """A file that was made longer before its bytes were written, and power failed."""
    record = record_of(part_of(1))
    found, tail = scanned(record + bytes(zeros))
    assert isinstance(found, Record)
    assert tail == TornTail(len(record), len(record) + zeros)


def test_zeros_with_something_behind_them_are_damage() -> None:
    record = record_of(part_of(1))
    assert scanned(bytes(100) + record)[0] == Damage(0, 100)
    assert scanned(bytes(100) + b"x") == [Damage(0, 101)]


def test_a_later_version_is_refused_not_called_damage() -> None:
    with pytest.raises(UnavailableError, match="format 2"):
        scanned(record_with(b"", version=2))


@pytest.mark.parametrize(
    "body",
    [
        b"no zstd",
        zstandard.compress(b"\xc1"),
        zstandard.compress(msgpack.packb([1, 2])),
        zstandard.compress(msgpack.packb(5)),
        zstandard.compress(msgpack.packb([b"", "", "", b"", 0, 0, 0, b"", 0, 0, 0])),
        zstandard.compress(msgpack.packb([b"", "", "", b"", 0, [], [], b"", 0, 0, 5])),
        zstandard.compress(b"\x91" * 5_000),
    ],
)
def test_a_body_that_is_no_part_is_told(body: bytes) -> None:
    (record,) = scanned(record_with(body))
    assert isinstance(record, Record)
    with pytest.raises(DamagedBodyError):
        decode_body(record)


def test_what_an_older_version_wrote_beside_a_part_is_read_as_json() -> None:
    older = BARE._replace(
        encoded=BARE.encoded._replace(beside=cast("Any", ({"m": 1}, None)))
    )
    (part,) = parts_in(record_of(older))
    assert part.encoded.beside == Beside(b'{"m":1}', None)
