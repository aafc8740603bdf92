"""Slices of ciphertext: they end with a record, and hold a few of them at most."""

import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.net.tls_records import PIECE_BYTES, SLICE_BYTES, SLICE_RECORDS, Ciphertext


def record(length: int) -> bytes:
    return struct.pack(">BHH", 23, 0x303, length) + b"x" * length


def taken(ciphertext: Ciphertext) -> list[bytes]:
    """Take all there is, slice by slice."""
    slices = []
    while ciphertext.waiting_bytes:
        slices.append(b"".join(ciphertext.slice()))
        assert slices[-1]
    return slices


@given(
    lengths=st.lists(st.integers(0, 40) | st.integers(0, 65_535), max_size=20),
    cuts=st.lists(st.integers(0, 2000)),
)
def test_all_is_given_out_once_and_in_order_however_it_comes(
    lengths: list[int], cuts: list[int]
) -> None:
    stream = b"".join(map(record, lengths))
    ciphertext, given_out, rest = Ciphertext(), b"", stream
    for cut in [*cuts, len(stream)]:
        ciphertext.receive(rest[:cut])
        rest = rest[cut:]
        given_out += b"".join(taken(ciphertext))
        # All but the part of a header, which nobody could read.
        assert 0 <= len(stream) - len(rest) - len(given_out) < 5
    assert given_out == stream


@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=400))
def test_a_slice_holds_few_records_and_whole_ones(lengths: list[int]) -> None:
    records = list(map(record, lengths))
    ciphertext = Ciphertext()
    ciphertext.receive(b"".join(records))
    assert taken(ciphertext) == [
        b"".join(records[first : first + SLICE_RECORDS])
        for first in range(0, len(records), SLICE_RECORDS)
    ]


def test_a_slice_of_large_records_is_bounded_in_bytes() -> None:
    ciphertext = Ciphertext()
    stream = record(16_384) * 60
    ciphertext.receive(stream)
    slices = taken(ciphertext)
    assert b"".join(slices) == stream
    assert max(map(len, slices)) < SLICE_BYTES + PIECE_BYTES + 16_384 + 5
    ciphertext.receive(stream)
    assert max(map(len, ciphertext.slice())) < PIECE_BYTES + 16_384 + 5


@pytest.mark.parametrize("left", [0, 4])
def test_what_is_given_out_is_not_kept(left: int) -> None:
    ciphertext = Ciphertext()
    data = record(16_384) * 10 + b"\x17\3\3\1"[:left]
    before = sys.getrefcount(data)
    ciphertext.receive(data)
    taken(ciphertext)
    assert sys.getrefcount(data) == before


def test_a_part_of_a_header_does_not_wait_for_anybody() -> None:
    ciphertext = Ciphertext()
    ciphertext.receive(record(3) + b"\x17\x03\x03\0")
    assert taken(ciphertext) == [record(3)]
    assert ciphertext.waiting_bytes == 0
    ciphertext.receive(b"\1x")
    assert ciphertext.waiting_bytes == 6


def test_a_part_of_a_record_is_given_out_and_so_is_its_rest() -> None:
    ciphertext = Ciphertext()
    ciphertext.receive(record(100)[:50])
    assert taken(ciphertext) == [record(100)[:50]]
    ciphertext.receive(record(100)[50:] + record(1))
    assert taken(ciphertext) == [record(100)[50:] + record(1)]


def test_nothing_is_left_when_it_is_told_to_forget() -> None:
    ciphertext = Ciphertext()
    ciphertext.receive(record(100)[:50])
    taken(ciphertext)
    ciphertext.receive(b"more")
    ciphertext.clear()
    assert ciphertext.waiting_bytes == 0
    ciphertext.receive(record(1))
    assert ciphertext.waiting_bytes == 6
