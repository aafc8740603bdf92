"""What one message may cost before an entry is read: each limit from both its sides."""

import contextlib
import gzip
import random
import time
import zlib
from typing import Any

import pytest
import zstandard

from penstock.errors import ProtocolError
from penstock.settings import WireLimits
from penstock.wire import compression, messages, options, values
from penstock.wire.compression import Codec, CompressionError, inflate
from penstock.wire.messages import (
    TOGETHER_FRAMES,
    Message,
    MessageReader,
    parse_message,
)
from penstock.wire.options import (
    MAX_CHUNK_BYTES,
    MAX_METADATA_VALUES,
    MAX_OPTION_BYTES,
    MAX_OPTION_VALUES,
    Options,
)
from penstock.wire.values import (
    MAX_VALUES,
    TooManyValuesError,
    excess_of,
    least_excessive_bytes,
    skip_value,
)
from tests import msgpack_bytes as m
from tests.pure_core import frames_of

TAG, TIME, RECORD = m.fixstr(b"t"), m.uint32(m.T), m.pack({"a": 1})
ENTRY = m.entry({"a": 1})
MIB = 1024 * 1024


def parsed(*elements: bytes, **limits: int) -> Message:
    (frame,) = frames_of([m.fixarray(*elements)])
    return parse_message(frame, WireLimits(**limits))


def refusal_of(*elements: bytes) -> str:
    with pytest.raises(ProtocolError) as raised:
        parsed(*elements)
    return raised.value.reason


# --- max_tag_bytes


@pytest.mark.parametrize("limit", [64, 1024, 5000])
def test_a_tag_is_cut_where_the_setting_says(limit: int) -> None:
    fits, too_long = b"t" * limit, b"t" * (limit + 1)
    assert parsed(m.str16(fits), TIME, RECORD, max_tag_bytes=limit).tag == fits.decode()
    tag = parsed(m.str16(too_long), TIME, RECORD, max_tag_bytes=limit).tag
    assert len(tag) == limit
    assert tag[-17] == "~"


# --- max_decompression_ratio


def gzip_of(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def zstd_of(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(content)


@pytest.mark.parametrize("codec", Codec)
def test_a_blob_inflates_to_so_many_times_its_size_and_no_more(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "RATIO_FROM_BYTES", 1000)
    content = random.Random(1).randbytes(100) * 200
    blob = (gzip_of if codec is Codec.GZIP else zstd_of)(content)
    ratio = -(-len(content) // len(blob))
    assert inflate(blob, codec, max_bytes=MIB, max_ratio=ratio) == content
    with pytest.raises(CompressionError) as raised:
        inflate(blob, codec, max_bytes=MIB, max_ratio=ratio - 1)
    assert raised.value.reason == "decompression_ratio"
    assert "PENSTOCK_MAX_DECOMPRESSION_RATIO" in str(raised.value)
    # Where both are passed, the size is named: it is the one to raise.
    with pytest.raises(CompressionError) as raised:
        inflate(blob, codec, max_bytes=len(content) - 1, max_ratio=1)
    assert raised.value.reason in ("decompression_limit", "decompression_ratio")


@pytest.mark.parametrize("codec", Codec)
def test_the_first_megabytes_are_no_bomb_whatever_their_ratio(codec: Codec) -> None:
    content = bytes(compression.RATIO_FROM_BYTES)
    blob = (gzip_of if codec is Codec.GZIP else zstd_of)(content)
    assert len(inflate(blob, codec, max_bytes=64 * MIB, max_ratio=10)) == len(content)
    more = (gzip_of if codec is Codec.GZIP else zstd_of)(content + bytes(1))
    with pytest.raises(CompressionError):
        inflate(more, codec, max_bytes=64 * MIB, max_ratio=10)


def test_the_ratio_is_that_of_the_settings() -> None:
    content = bytes(17 * MIB)
    blob = zstd_of(content)
    options = m.pack({"compressed": "zstd", "chunk": "c"})
    past = parsed(TAG, m.bin16(blob), options)
    assert past.rejection == ("decompression_ratio", blob)
    assert past.ack is not None
    inside = parsed(TAG, m.bin16(blob), options, max_decompression_ratio=1_000_000)
    assert len(inside.entries) == len(content)


# --- pieces that a blob is compressed in


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("content", [b"", b"x"])
def test_a_blob_has_so_many_members_and_no_more(
    codec: Codec, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "MAX_MEMBERS", 100)
    member = (gzip_of if codec is Codec.GZIP else zstd_of)(content)
    assert inflate(member * 100, codec, max_bytes=MIB) == content * 100
    with pytest.raises(CompressionError) as raised:
        inflate(member * 101, codec, max_bytes=MIB)
    assert raised.value.reason == "decompression_members"


def test_twenty_thousand_members_are_well_inside() -> None:
    """Fluentd makes one of each append (protocol facts, 1.6)."""
    compressor = zlib.compressobj(wbits=31)
    member = compressor.compress(ENTRY) + compressor.flush()
    began = time.perf_counter()
    assert inflate(member * 20_000, Codec.GZIP, max_bytes=MIB) == ENTRY * 20_000
    assert time.perf_counter() - began < 5  # 0.07 s, if nobody else is there


def test_megabytes_of_padding_are_passed_over_at_once() -> None:
    began = time.perf_counter()
    assert inflate(gzip_of(b"x") + bytes(32 * MIB), Codec.GZIP, max_bytes=MIB) == b"x"
    assert time.perf_counter() - began < 2


# --- options


def test_options_are_of_some_size_and_no_more() -> None:
    def filled(size_bytes: int) -> bytes:
        pair = (m.fixstr(b"x"), m.bin32(bytes(size_bytes - 8)))
        return m.fixmap(pair)

    assert len(filled(100)) == 100
    assert parsed(TAG, TIME, RECORD, filled(MAX_OPTION_BYTES)).ack is None
    assert refusal_of(TAG, TIME, RECORD, filled(MAX_OPTION_BYTES + 1)) == (
        "too_many_options"
    )


@pytest.mark.parametrize(
    ("name", "most"),
    [(b"x", MAX_OPTION_VALUES), (b"metadata", MAX_METADATA_VALUES)],
)
def test_an_option_holds_some_values_and_no_more(name: bytes, most: int) -> None:
    def holding(values: int) -> bytes:
        value = m.array16(*[m.NIL] * (values - 1))  # which is one itself
        return m.fixmap((m.fixstr(name), value), (m.fixstr(b"chunk"), m.fixstr(b"c")))

    assert parsed(TAG, TIME, RECORD, holding(most)).ack == b"\x81\xa3ack\xa1c"
    assert refusal_of(TAG, TIME, RECORD, holding(most + 1)) == "too_many_options"


def test_metadata_is_of_some_values_however_often_it_is_given() -> None:
    value = m.array16(*[m.NIL] * (MAX_METADATA_VALUES // 2))
    twice = m.fixmap(*[(m.fixstr(b"metadata"), value)] * 2)
    assert refusal_of(TAG, TIME, RECORD, twice) == "too_many_options"


def test_the_options_of_a_message_are_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = []

    def counted(*arguments: Any) -> Options:
        reads.append(arguments)
        return options.read_options(*arguments)

    monkeypatch.setattr(messages, "read_options", counted)
    monkeypatch.setattr(
        messages, "options_of", lambda frame: counted(frame.data, frame.starts, 3)
    )
    reader = MessageReader(WireLimits())
    chunk = m.fixmap((m.fixstr(b"chunk"), m.fixstr(b"c")))
    reader.receive_data(m.fixarray(TAG, TIME, RECORD, chunk) * 2)
    for ends_at in (1, 2):
        for _ in range(3):
            assert reader.asks_for_ack is True
        message = reader.next_message()
        assert message is not None
        assert message.ack is not None
        assert len(reads) == ends_at


# --- inflating in steps


@pytest.mark.parametrize("codec", Codec)
def test_what_inflates_to_a_lot_does_so_in_steps(codec: Codec) -> None:
    content = ENTRY * 500_000
    compress = gzip.compress if codec is Codec.GZIP else zstandard.compress
    message = m.fixarray(
        TAG,
        m.bin32(compress(content)),
        m.fixmap((m.fixstr(b"chunk"), m.fixstr(b"c"))),
    )
    reader = MessageReader(WireLimits(), step_bytes=MIB)
    reader.receive_data(message + m.fixarray(TAG, TIME, RECORD))
    steps = 0
    while (whole := reader.next_message()) is None:
        assert reader.is_inflating
        assert reader.asks_for_ack is True
        assert not reader.is_empty
        steps += 1
    assert steps >= len(content) // (4 * MIB)
    assert whole.entries == content
    assert whole.ack is not None
    assert not reader.is_inflating
    following = reader.next_message()
    assert following is not None
    assert following.tag == "t"
    assert reader.is_empty


@pytest.mark.parametrize(
    "blob",
    [
        gzip.compress(bytes(64 * MIB)),
        zstandard.compress(bytes(64 * MIB)),
        gzip.compress(b"") * 20_000,
        # Stored blocks of nothing: five bytes each, and no output at all.
        gzip.compress(b"")[:10] + b"\0\0\0\xff\xff" * 2_000_000,
    ],
    ids=["gzip", "zstd", "members", "nothing"],
)
def test_whatever_is_inflated_a_step_of_it_is_short(
    blob: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "MAX_MEMBERS", 1 << 40)
    codec = compression.sniff(blob)
    assert codec is not None
    whole = compression.Inflation(blob, codec, max_bytes=1 << 30)
    steps = 0
    with contextlib.suppress(CompressionError):
        while whole.go_on(4 * MIB) is None:
            steps += 1
    assert steps >= 2


def test_metadata_with_too_many_keys_is_kept_with_its_events() -> None:
    def options(keys: int) -> bytes:
        metadata = m.map16(*[(m.uint16(key), m.NIL) for key in range(keys)])
        return m.fixmap(
            (m.fixstr(b"metadata"), metadata), (m.fixstr(b"chunk"), m.fixstr(b"c"))
        )

    fits = parsed(TAG, m.bin8(ENTRY), options(100), max_map_keys=100)
    assert fits.metadata is not None and fits.rejection is None
    past = parsed(TAG, m.bin8(ENTRY), options(101), max_map_keys=100)
    assert past.rejection == ("too_many_keys", ENTRY)
    assert past.ack == b"\x81\xa3ack\xa1c"


def test_a_chunks_name_is_of_some_length_and_no_more() -> None:
    def named(size_bytes: int) -> bytes:
        return m.fixmap((m.fixstr(b"chunk"), m.str8(b"c" * (size_bytes - 2))))

    message = parsed(TAG, TIME, RECORD, named(MAX_CHUNK_BYTES))
    assert message.ack is not None and len(message.ack) < 256
    assert refusal_of(TAG, TIME, RECORD, named(MAX_CHUNK_BYTES + 1)) == "invalid_chunk"


# --- events put together


def test_tiny_events_are_put_together_up_to_a_number() -> None:
    event = m.fixarray(TAG, b"\x01", b"\x80")
    reader = MessageReader(WireLimits())
    reader.receive_data(event * (TOGETHER_FRAMES + 1))
    counts = []
    while (message := reader.next_message()) is not None:
        counts.append(message.frames)
    assert counts == [TOGETHER_FRAMES, 1]
    assert messages.TOGETHER_BYTES > TOGETHER_FRAMES


def test_megabytes_of_heartbeats_are_passed_over_at_once() -> None:
    reader = MessageReader(WireLimits())
    began = time.perf_counter()
    for _ in range(64):
        reader.receive_data(m.NIL * MIB)
        assert reader.next_message() is None
        assert reader.is_empty
    assert time.perf_counter() - began < 5  # 0.05 s, if nobody else is there


# --- values


@pytest.mark.parametrize(
    "value", [m.NIL, b"\x90", b"\x80", m.fixstr(b"a"), m.bin8(b"")]
)
def test_no_more_than_so_many_values_are_walked(value: bytes) -> None:
    fits = m.array32(*[value] * (MAX_VALUES - 1))
    assert skip_value(fits, 0) == len(fits)
    assert excess_of(fits, max_map_keys=100) is None
    past = m.array32(*[value] * MAX_VALUES)
    assert excess_of(past, max_map_keys=100) == "too_many_values"
    with pytest.raises(TooManyValuesError):
        skip_value(past, 0)


@pytest.mark.parametrize("limit", [100, 20_000])
def test_no_larger_map_is_found_in_less_bytes_than_are_looked_at(limit: int) -> None:
    smallest = b"\xde" + (limit + 1).to_bytes(2) + m.NIL * 2 * (limit + 1)
    assert excess_of(smallest, max_map_keys=limit) == "too_many_keys"
    assert len(smallest) >= least_excessive_bytes(max_map_keys=limit)
    largest = b"\xde" + limit.to_bytes(2) + m.NIL * 2 * limit
    assert excess_of(largest, max_map_keys=limit) is None


def test_a_map_is_found_behind_bytes_that_look_like_one() -> None:
    large = b"\xdf" + (101).to_bytes(4) + m.NIL * 202
    assert excess_of(large, max_map_keys=100) == "too_many_keys"
    # More often than is looked at before the value is walked.
    for looks in (0, 1, 63, 64, 65, 500):
        decoys = m.bin16(b"\xde\x00" * looks + b"\xdf\x00\x00\x00\x01")
        value = m.fixarray(decoys, large)
        assert excess_of(value, max_map_keys=100) == "too_many_keys"
        assert excess_of(m.fixarray(decoys, decoys), max_map_keys=100) is None


def test_whatever_holds_no_large_map_is_not_walked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read_header(data: bytes, offset: int) -> None:
        raise AssertionError("walked")

    monkeypatch.setattr(values, "read_header", read_header)
    text = m.fixarray(m.str16(b"GET /index.html 200 " * 3000))
    assert excess_of(text, max_map_keys=100) is None
