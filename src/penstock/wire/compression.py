"""Inflates compressed entries, bounded and in linear time.

Between `frames` and the entries of a CompressedPackedForward message. Senders
append one gzip member or zstd frame for each write to their own buffer, so a
message may hold thousands of them; `gzip.decompress` is quadratic in members
(forward-protocol facts 10.3), this is not. It must not produce more than it is
allowed, nor begin more members: it counts while it inflates. And it may be done in
steps: a few kilobytes may take half a second, and others are waiting.
"""

import io
import re
import zlib
from collections.abc import Iterator
from enum import StrEnum

import zstandard

from penstock.errors import ProtocolError

# What gzip may produce in one step, and the input that is looked at for one.
STEP_BYTES = 64 * 1024
# zstd's inflater takes no output limit. A block of 4 bytes makes 128 KiB at most
# (RFC 8878, 3.1.1.2), so this much input makes 32 MiB at most past the limit; and so
# little of it 2 MiB, which is all that is given of what has inflated to a lot.
ZSTD_STEP_BYTES = 1024
ZSTD_SHORT_STEP_BYTES = 64
ZSTD_SHORT_FROM_RATIO = 64
# What RFC 8878, 3.1.1.1.2, wants every decoder to support; a frame that asks for
# more would make us allocate it.
MAX_ZSTD_WINDOW_BYTES = 8 * 1024 * 1024
# What logs inflate to at once is no bomb yet, however well they were compressed: the
# ratio counts from here. Twice what Fluentd puts into a chunk by default.
RATIO_FROM_BYTES = 16 * 1024 * 1024
# Members or frames of one blob: 3.5 us each, so 0.7 s, as long as it takes to inflate
# the most that is allowed. A chunk of Fluentd's default size, 8 MiB, has 160,000 if
# each append brings one line of 50 bytes.
MAX_MEMBERS = 200_000
# As so many inflated bytes.
MEMBER_WORK_BYTES = 2048


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


def inflate(
    blob: bytes, codec: Codec, *, max_bytes: int, max_ratio: int | None = None
) -> bytes:
    """Return what `blob` inflates to, all members or frames of it.

    Args:
        blob: the compressed bytes.
        codec: what they are compressed with.
        max_bytes: what they may inflate to.
        max_ratio: how many times their size that may be, past RATIO_FROM_BYTES.

    Raises:
        CompressionError: damaged, truncated, or larger than it may be. Nothing
            of such a blob is used, since a damaged end puts the rest in doubt.
    """
    content = Inflation(blob, codec, max_bytes=max_bytes, max_ratio=max_ratio).go_on()
    assert content is not None
    return content


class Inflation:
    """A blob that is inflated in steps; as `inflate`, to which all of them come."""

    def __init__(
        self, blob: bytes, codec: Codec, *, max_bytes: int, max_ratio: int | None = None
    ) -> None:
        self._inflated = _Inflated(len(blob), max_bytes, max_ratio)
        steps = _inflate_gzip if codec is Codec.GZIP else _inflate_zstd
        self._steps = steps(blob, self._inflated)

    def go_on(self, step_bytes: int | None = None) -> bytes | None:
        """Do about so much more, all if it is None; return the content once it is all.

        Raises:
            CompressionError: as `inflate`.
        """
        inflated = self._inflated
        until = None if step_bytes is None else inflated.work_bytes + step_bytes
        for _ in self._steps:
            if until is not None and inflated.work_bytes >= until:
                return None
        return inflated.content()


class _Inflated:
    """What came of a blob so far; it raises when that is too much."""

    def __init__(self, blob_bytes: int, max_bytes: int, max_ratio: int | None) -> None:
        self._max_bytes = max_bytes
        self._most_bytes = max_bytes
        if max_ratio is not None:
            by_ratio_bytes = max(RATIO_FROM_BYTES, max_ratio * blob_bytes)
            self._most_bytes = min(max_bytes, by_ratio_bytes)
        self._members = 0
        # Hands out its bytes without a copy, which bytearray does not.
        self._content = io.BytesIO()
        self._bytes = 0
        self.work_bytes = 0  # what has been done, as inflated bytes

    def add(self, piece: bytes, taken_bytes: int) -> None:
        self._bytes += len(piece)
        # Of input too: there are blocks that inflate to nothing.
        self.work_bytes += len(piece) + taken_bytes
        if self._bytes > self._max_bytes:
            raise CompressionError(
                "decompression_limit",
                f"entries inflate to more than {self._max_bytes} bytes; raise"
                " PENSTOCK_MAX_DECOMPRESSED_BYTES, or lower the sender's chunk size",
            )
        if self._bytes > self._most_bytes:
            raise CompressionError(
                "decompression_ratio",
                "entries inflate to too many times their size; if they are logs, raise"
                " PENSTOCK_MAX_DECOMPRESSION_RATIO",
            )
        self._content.write(piece)

    def begin_member(self) -> None:
        self._members += 1
        self.work_bytes += MEMBER_WORK_BYTES
        if self._members > MAX_MEMBERS:
            raise CompressionError(
                "decompression_members",
                f"entries compressed in more than {MAX_MEMBERS} pieces",
            )

    def content(self) -> bytes:
        return self._content.getvalue()


def _inflate_gzip(blob: bytes, inflated: _Inflated) -> Iterator[None]:
    view = memoryview(blob)
    offset = 0
    member = None
    while offset < len(blob):
        if member is None:
            if blob[offset] == 0:
                # Padding behind the last member, which gzip allows.
                offset = _end_of_padding(blob, offset)
                continue
            inflated.begin_member()
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
                left = member.unconsumed_tail
                inflated.add(piece, len(pending) - len(left))
                piece_bytes, pending = len(piece), left
                yield
        except zlib.error as error:
            raise CompressionError("decompression", "damaged gzip") from error
        if member.eof:
            offset -= len(member.unused_data)
            member = None
    if member is not None:
        raise CompressionError("decompression", "gzip cut short")


def _inflate_zstd(blob: bytes, inflated: _Inflated) -> Iterator[None]:
    view = memoryview(blob)
    context = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
    offset = 0
    frame = None
    step_bytes = ZSTD_SHORT_STEP_BYTES
    while offset < len(blob):
        if frame is None:
            inflated.begin_member()
            frame = context.decompressobj()
        window = view[offset : offset + step_bytes]
        offset += len(window)
        try:
            piece = frame.decompress(window)
        except zstandard.ZstdError as error:
            raise CompressionError("decompression", "damaged zstd") from error
        inflated.add(piece, len(window))
        is_short = len(piece) > ZSTD_SHORT_FROM_RATIO * len(window)
        step_bytes = ZSTD_SHORT_STEP_BYTES if is_short else ZSTD_STEP_BYTES
        if frame.eof:
            offset -= len(frame.unused_data)
            frame = None
        yield
    if frame is not None:
        raise CompressionError("decompression", "zstd cut short")


_PADDING = re.compile(rb"\0+")


def _end_of_padding(blob: bytes, offset: int) -> int:
    padding = _PADDING.match(blob, offset)
    return offset if padding is None else padding.end()
