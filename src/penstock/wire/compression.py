"""Inflates compressed entries, bounded and in linear time.

Between `frames` and the entries of a CompressedPackedForward message. Senders
append one gzip member or zstd frame for each write to their own buffer, so a
message may hold thousands of them; `gzip.decompress` is quadratic in members
(forward-protocol facts 10.3), this is not. It must not produce more than it is
allowed: it counts while it inflates.
"""

import zlib
from enum import StrEnum

import zstandard

from penstock.errors import ProtocolError

# What gzip may produce in one step, and the input that is looked at for one.
STEP_BYTES = 64 * 1024
# zstd's inflater takes no output limit. A block of 4 bytes makes 128 KiB at most
# (RFC 8878, 3.1.1.2), so this much input makes 32 MiB at most past the limit.
ZSTD_STEP_BYTES = 1024
# What RFC 8878, 3.1.1.1.2, wants every decoder to support; a frame that asks for
# more would make us allocate it.
MAX_ZSTD_WINDOW_BYTES = 8 * 1024 * 1024


class Codec(StrEnum):
    """The values of the `compressed` option that we know."""

    GZIP = "gzip"
    ZSTD = "zstd"


class CompressionError(ProtocolError):
    """The compressed bytes are damaged, cut short, or inflate past the limit."""


def sniff(blob: bytes) -> Codec | None:
    """Return the codec whose magic bytes `blob` begins with.

    Entries never begin so: an entry's first byte is 0x92, 0xdc or 0xdd.
    """
    if blob[:2] == b"\x1f\x8b":
        return Codec.GZIP
    if blob[:4] == b"\x28\xb5\x2f\xfd":
        return Codec.ZSTD
    return None


def inflate(blob: bytes, codec: Codec, *, max_bytes: int) -> bytes:
    """Return what `blob` inflates to, all members or frames of it.

    Raises:
        CompressionError: damaged, truncated, or larger than `max_bytes`. Nothing
            of such a blob is used, since a damaged end puts the rest in doubt.
    """
    if codec is Codec.GZIP:
        return _inflate_gzip(blob, max_bytes)
    return _inflate_zstd(blob, max_bytes)


def _inflate_gzip(blob: bytes, max_bytes: int) -> bytes:
    inflated = bytearray()
    view = memoryview(blob)
    offset = 0
    member = None
    while offset < len(blob):
        if member is None:
            if blob[offset] == 0:
                offset += 1  # padding behind the last member, which gzip allows
                continue
            member = zlib.decompressobj(wbits=31)
        window = view[offset : offset + STEP_BYTES]
        offset += len(window)
        pending: bytes | memoryview = window
        piece_bytes = STEP_BYTES
        try:
            # A full piece says that more may wait inside the inflater. At the end of
            # a member zlib leaves its tail in unconsumed_tail too, so eof decides.
            while not member.eof and (pending or piece_bytes == STEP_BYTES):
                piece = member.decompress(pending, STEP_BYTES)
                inflated += piece
                piece_bytes = len(piece)
                _check_inflated(len(inflated), max_bytes)
                pending = member.unconsumed_tail
        except zlib.error as error:
            raise CompressionError("decompression", "damaged gzip") from error
        if member.eof:
            offset -= len(member.unused_data)
            member = None
    if member is not None:
        raise CompressionError("decompression", "gzip cut short")
    return bytes(inflated)


def _inflate_zstd(blob: bytes, max_bytes: int) -> bytes:
    inflated = bytearray()
    view = memoryview(blob)
    context = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
    offset = 0
    frame = None
    while offset < len(blob):
        if frame is None:
            frame = context.decompressobj()
        window = view[offset : offset + ZSTD_STEP_BYTES]
        offset += len(window)
        try:
            inflated += frame.decompress(window)
        except zstandard.ZstdError as error:
            raise CompressionError("decompression", "damaged zstd") from error
        _check_inflated(len(inflated), max_bytes)
        if frame.eof:
            offset -= len(frame.unused_data)
            frame = None
    if frame is not None:
        raise CompressionError("decompression", "zstd cut short")
    return bytes(inflated)


def _check_inflated(inflated_bytes: int, max_bytes: int) -> None:
    if inflated_bytes > max_bytes:
        raise CompressionError(
            "decompression_limit",
            f"entries inflate to more than {max_bytes} bytes; raise"
            " PENSTOCK_MAX_DECOMPRESSED_BYTES, or lower the sender's chunk size",
        )
