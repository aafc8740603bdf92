"""Inflating: every member and frame, bounded, in linear work."""

import gzip
import io
import random
import zlib
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard

from penstock.wire import compression
from penstock.wire.compression import (
    MAX_ZSTD_WINDOW_BYTES,
    STEP_BYTES,
    ZSTD_STEP_BYTES,
    Codec,
    CompressionError,
    inflate,
    sniff,
)

MIB = 1024 * 1024
LIMIT = 64 * MIB
RANDOM = random.Random(20260102)
# Sizes around the steps, compressible and not.
CONTENTS = {
    "empty": b"",
    "one byte": b"x",
    "short": b"\x92\xce\x55\xec\xe6\xf8\x81\xa1a\x01",
    "a step": bytes(STEP_BYTES),
    "a step and one": b"y" * (STEP_BYTES + 1),
    "many steps": bytes(5 * STEP_BYTES - 1),
    "noise of a step": RANDOM.randbytes(STEP_BYTES),
    "noise": RANDOM.randbytes(3 * STEP_BYTES + 17),
    "mixed": RANDOM.randbytes(70_000) + bytes(300_000) + RANDOM.randbytes(70_000),
}


def gzip_of(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def gzip_with_name(content: bytes) -> bytes:
    """A member with a file name in its header."""
    written = io.BytesIO()
    with gzip.GzipFile("chunk.log", "wb", fileobj=written) as file:
        file.write(content)
    return written.getvalue()


def zstd_of(content: bytes) -> bytes:
    """A frame as Fluentd writes it, streamed: its header names no content size."""
    return zstandard.ZstdCompressor(write_content_size=False).compress(content)


def zstd_with_size(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


WRITERS = {
    "gzip": (Codec.GZIP, gzip_of),
    "gzip, name": (Codec.GZIP, gzip_with_name),
    "zstd, no size": (Codec.ZSTD, zstd_of),
    "zstd, size and checksum": (Codec.ZSTD, zstd_with_size),
}


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("writer", WRITERS)
def test_what_was_compressed_comes_back(name: str, writer: str) -> None:
    codec, compress = WRITERS[writer]
    content = CONTENTS[name]
    assert inflate(compress(content), codec, max_bytes=LIMIT) == content


@pytest.mark.parametrize("writer", WRITERS)
def test_all_members_and_frames_come_back_in_order(writer: str) -> None:
    codec, compress = WRITERS[writer]
    blob = b"".join(map(compress, CONTENTS.values()))
    content = b"".join(CONTENTS.values())
    assert inflate(blob, codec, max_bytes=len(content)) == content


@pytest.mark.parametrize("writer", WRITERS)
def test_an_entry_may_stand_across_members(writer: str) -> None:
    codec, compress = WRITERS[writer]
    content = CONTENTS["short"]
    blob = b"".join(compress(bytes([byte])) for byte in content)
    assert inflate(blob, codec, max_bytes=LIMIT) == content


def test_zero_padding_between_and_behind_gzip_members_is_passed_over() -> None:
    blob = gzip_of(b"a") + bytes(1000) + gzip_of(b"b") + bytes(100_000)
    assert inflate(blob, Codec.GZIP, max_bytes=LIMIT) == b"ab"


def test_an_empty_blob_holds_nothing() -> None:
    for codec in Codec:
        assert inflate(b"", codec, max_bytes=0) == b""


@pytest.mark.parametrize("writer", WRITERS)
def test_the_limit_itself_is_allowed_and_one_byte_more_is_not(writer: str) -> None:
    codec, compress = WRITERS[writer]
    for content in CONTENTS.values():
        if content:
            assert inflate(compress(content), codec, max_bytes=len(content)) == content
            with pytest.raises(CompressionError) as raised:
                inflate(compress(content), codec, max_bytes=len(content) - 1)
            assert raised.value.reason == "decompression_limit"
            assert "PENSTOCK_MAX_DECOMPRESSED_BYTES" in str(raised.value)


@pytest.mark.parametrize("writer", WRITERS)
def test_the_limit_is_that_of_all_members_together(writer: str) -> None:
    codec, compress = WRITERS[writer]
    blob = compress(b"x" * 100) * 10
    assert len(inflate(blob, codec, max_bytes=1000)) == 1000
    with pytest.raises(CompressionError):
        inflate(blob, codec, max_bytes=999)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_blob_cut_anywhere_is_refused(writer: str) -> None:
    codec, compress = WRITERS[writer]
    whole = compress(CONTENTS["short"])
    for before in (b"", whole):
        for length in range(1, len(whole)):
            with pytest.raises(CompressionError) as raised:
                inflate(before + whole[:length], codec, max_bytes=LIMIT)
            assert raised.value.reason == "decompression"


@pytest.mark.parametrize("name", ["short", "noise", "many steps"])
def test_a_gzip_whose_checksum_is_wrong_is_refused(name: str) -> None:
    blob = gzip_of(CONTENTS[name])
    for damaged in (blob[:-8] + bytes(8), blob[:-1] + bytes([blob[-1] ^ 1])):
        with pytest.raises(CompressionError):
            inflate(damaged, Codec.GZIP, max_bytes=LIMIT)


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("name", ["short", "noise"])
def test_what_stands_behind_the_last_member_puts_all_in_doubt(
    codec: Codec, name: str
) -> None:
    compress = gzip_of if codec is Codec.GZIP else zstd_of
    with pytest.raises(CompressionError):
        inflate(compress(CONTENTS[name]) + b"junk", codec, max_bytes=LIMIT)


def test_a_zstd_frame_that_asks_for_a_large_window_is_refused() -> None:
    def framed(window_log: int) -> bytes:
        parameters = zstandard.ZstdCompressionParameters(window_log=window_log)
        compressor = zstandard.ZstdCompressor(compression_params=parameters)
        # Streamed, or the window would shrink to the content.
        stream = compressor.compressobj()
        return stream.compress(b"abc") + stream.flush()

    allowed = MAX_ZSTD_WINDOW_BYTES.bit_length() - 1
    assert inflate(framed(allowed), Codec.ZSTD, max_bytes=LIMIT) == b"abc"
    with pytest.raises(CompressionError):
        inflate(framed(allowed + 1), Codec.ZSTD, max_bytes=LIMIT)


def test_magic_bytes_tell_the_codec_and_no_entry_has_them() -> None:
    assert sniff(gzip_of(b"x")) is Codec.GZIP
    assert sniff(zstd_of(b"x")) is Codec.ZSTD
    assert sniff(b"\x1f\x8b") is Codec.GZIP
    for blob in (b"", b"\x1f", b"\x28\xb5\x2f", b"\x92\xce", b"\xdc\0\2", b"\xdd\0\0"):
        assert sniff(blob) is None


# --- work and memory, counted


class CountingInflater:
    """An inflater that counts what goes in and what comes out."""

    taken_bytes = 0
    given_bytes = 0
    largest_step_bytes = 0

    def __init__(self, inflater: Any) -> None:
        self._inflater = inflater

    def decompress(self, data: bytes, *limit: int) -> bytes:
        piece: bytes = self._inflater.decompress(data, *limit)
        counts = CountingInflater
        counts.taken_bytes += len(data)
        counts.given_bytes += len(piece)
        counts.largest_step_bytes = max(counts.largest_step_bytes, len(piece))
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inflater, name)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> type[CountingInflater]:
    """Put counting inflaters in the place of zlib's and zstd's."""

    class Context:
        def __init__(self, **options: Any) -> None:
            self._context = zstandard.ZstdDecompressor(**options)

        def decompressobj(self) -> CountingInflater:
            return CountingInflater(self._context.decompressobj())

    def decompressobj(wbits: int) -> CountingInflater:
        return CountingInflater(zlib.decompressobj(wbits=wbits))

    counting_zlib = SimpleNamespace(decompressobj=decompressobj, error=zlib.error)
    counting_zstd = SimpleNamespace(
        ZstdDecompressor=Context, ZstdError=zstandard.ZstdError
    )
    monkeypatch.setattr(compression, "zlib", counting_zlib)
    monkeypatch.setattr(compression, "zstandard", counting_zstd)
    CountingInflater.taken_bytes = CountingInflater.given_bytes = 0
    CountingInflater.largest_step_bytes = 0
    return CountingInflater


@pytest.mark.parametrize("codec", Codec)
def test_the_work_on_thousands_of_members_is_linear(
    codec: Codec, counts: type[CountingInflater]
) -> None:
    member = (gzip_of if codec is Codec.GZIP else zstd_of)(CONTENTS["short"])
    window = STEP_BYTES if codec is Codec.GZIP else ZSTD_STEP_BYTES

    def work(members: int) -> int:
        counts.taken_bytes = 0
        content = inflate(member * members, codec, max_bytes=LIMIT)
        assert content == CONTENTS["short"] * members
        return counts.taken_bytes

    # No member is shown more than a window; a quadratic loop shows it all the rest.
    assert len(member) * 5000 > 2 * window
    assert work(5000) <= 5000 * window
    assert work(10_000) <= 2.5 * work(5000)


def test_the_work_on_one_large_member_is_linear(
    counts: type[CountingInflater],
) -> None:
    noise = RANDOM.randbytes(2 * MIB)
    assert inflate(gzip_of(noise), Codec.GZIP, max_bytes=LIMIT) == noise
    # What a step of output left over is shown again.
    assert counts.taken_bytes <= 3 * len(noise)


@pytest.mark.parametrize(
    ("codec", "step_bytes"),
    [(Codec.GZIP, STEP_BYTES), (Codec.ZSTD, 2 * MIB)],
)
def test_a_bomb_stops_at_the_limit(
    codec: Codec, step_bytes: int, counts: type[CountingInflater]
) -> None:
    bomb = (gzip_of if codec is Codec.GZIP else zstd_of)(bytes(48 * MIB))
    assert len(bomb) < MIB // 10
    with pytest.raises(CompressionError) as raised:
        inflate(bomb, codec, max_bytes=MIB)
    assert raised.value.reason == "decompression_limit"
    assert counts.largest_step_bytes <= step_bytes
    assert counts.given_bytes <= MIB + step_bytes
