"""The spool's records as bytes: what a part of a message looks like on disk.

Between the ring's segments and the spool's files. It owns the record's layout, its
checksums, and how what a crash left is told from damage. It must not do I/O: bytes
and a `read_at` come in as arguments.

A segment file is records, one behind the other, and nothing else:

    offset  bytes  what
    0       8      mark: random, the same for all records of a file
    8       1      version of the format
    9       4      bytes of the body
    13      4      bytes of the body before compression
    17      4      events, so that they are counted without a look into the body
    21      4      CRC-32 of the body
    25      4      CRC-32 of the 25 bytes before it
    29             the body: a msgpack array, compressed by zstd at level 1

Numbers are big-endian. CRC-32, from zlib, because it has to find accidents, not
forgers: it finds every burst of up to 32 bits and all but one in 4e9 of other damage,
and is computed where the bytes lie, before anything is inflated. zstd's own checksum
would ask for inflating first, a cryptographic one costs more than writing the file.
The header has a checksum of its own so that a body's length can be believed. Where a
header is damaged the next mark is looked for. It is random, and not a word of ours,
because a log line may hold any word, and a forged record behind it.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgpack
import orjson
import zstandard

from penstock.errors import UnavailableError
from penstock.model import Beside, Day, EncodedRows, RejectedEvent

VERSION: Final = 1
CLAIM_BYTES: Final = 16
MARK_BYTES: Final = 8
# Rows and entries say the same twice, so level 1 leaves a quarter to an eighth; higher
# levels take longer than the disk saves.
ZSTD_LEVEL: Final = 1

_HEADER: Final = struct.Struct(">8sBIIIII")
_CHECKED_BYTES: Final = _HEADER.size - 4
HEADER_BYTES: Final = _HEADER.size
# How much is searched for the next mark in one step.
_STEP_BYTES: Final = 1024 * 1024


class SpooledPart(NamedTuple):
    """A part of a message whose sender asks for no ack, and the id we gave it.

    `claim` is claimed with the rows, so a part that is replayed twice is stored once.
    `tried_in` names the batch that it was in hand with when it was spooled: should that
    one have been committed after all, the part is not stored again.
    """

    claim: bytes
    sender: str
    tag: str
    encoded: EncodedRows
    tried_in: bytes = b""

    @property
    def events(self) -> int:
        """Count the rows and what was rejected."""
        return self.encoded.rows + len(self.encoded.rejected)


class Record(NamedTuple):
    """A record that is whole, from `offset` to `end` in its file."""

    offset: int
    end: int
    events: int
    inflated_bytes: int
    body: bytes


class Damage(NamedTuple):
    """Bytes that were a record, or several, and are not any more."""

    offset: int
    end: int


class TornTail(NamedTuple):
    """The beginning of a record whose writing was cut short: the last in its file."""

    offset: int
    end: int


class DamagedBodyError(ValueError):
    """A body whose checksum is right is no part: a bug wrote it."""


class _Header(NamedTuple):
    body_bytes: int
    inflated_bytes: int
    events: int
    body_crc: int


def encode_record(part: SpooledPart, mark: bytes) -> bytes:
    """Return the part as a record for the file of this mark.

    They are bounded by the largest message, so lengths fit into 4 bytes.
    """
    assert len(part.claim) == CLAIM_BYTES
    rows = part.encoded
    packed: bytes = msgpack.packb(
        (
            part.claim,
            part.sender,
            part.tag,
            rows.data,
            rows.rows,
            sorted(rows.days),
            rows.rejected,
            rows.entries,
            rows.offset,
            rows.received_microseconds,
            rows.beside,
            part.tried_in,
        ),
        unicode_errors="surrogatepass",
    )
    body = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(packed)
    header = _HEADER.pack(
        mark, VERSION, len(body), len(packed), part.events, zlib.crc32(body), 0
    )[:_CHECKED_BYTES]
    return b"".join((header, zlib.crc32(header).to_bytes(4), body))


def decode_body(record: Record) -> SpooledPart:
    """Return the part that a record was made of.

    Raises:
        DamagedBodyError: it was made of something else.
    """
    try:
        packed = zstandard.ZstdDecompressor().decompress(record.body)
        fields: list[Any] = msgpack.unpackb(
            packed, strict_map_key=False, unicode_errors="surrogatepass"
        )
        claim, sender, tag, data, rows, days, rejected, *origin = fields
        entries, offset, received_microseconds, beside, tried_in = origin
        encoded = EncodedRows(
            data,
            rows,
            frozenset(map(Day, days)),
            tuple(RejectedEvent(*each) for each in rejected),
            entries,
            offset,
            received_microseconds,
            None if beside is None else Beside(*map(_as_json, beside)),
        )
    except (zstandard.ZstdError, ValueError, TypeError) as error:
        raise DamagedBodyError(type(error).__name__) from error
    return SpooledPart(claim, sender, tag, encoded, tried_in)


def _as_json(value: Any) -> bytes | None:
    """Return a value that an older version wrote down as it was as JSON."""
    return value if value is None or type(value) is bytes else orjson.dumps(value)


def scan(
    read_at: Callable[[int, int], bytes], mark: bytes, *, offset: int, end: int
) -> Iterator[Record | Damage | TornTail]:
    """Walk the records from `offset` to `end`; `read_at` takes a size and an offset.

    A torn tail comes last. Only what one cut explains is a torn tail: too few bytes
    for a record, or, where the power failed before bytes were written, zeros.

    Raises:
        UnavailableError: a version of Penstock that we do not know wrote it.
    """
    while offset < end:
        head = read_at(min(HEADER_BYTES, end - offset), offset)
        if len(head) < HEADER_BYTES:
            yield TornTail(offset, end)
            return
        header = _parse_header(head, mark)
        if header is None:
            next_offset = _find_header(read_at, mark, offset + 1, end)
            is_tail = next_offset == end and _is_zeros(read_at, offset, end)
            yield TornTail(offset, end) if is_tail else Damage(offset, next_offset)
            offset = next_offset
            continue
        body_end = offset + HEADER_BYTES + header.body_bytes
        body = b""
        if body_end <= end:
            body = read_at(header.body_bytes, offset + HEADER_BYTES)
        if len(body) < header.body_bytes:
            yield TornTail(offset, end)
            return
        if zlib.crc32(body) == header.body_crc:
            yield Record(offset, body_end, header.events, header.inflated_bytes, body)
        else:
            yield Damage(offset, body_end)
        offset = body_end


def _parse_header(head: bytes, mark: bytes) -> _Header | None:
    found, version, *fields, crc = _HEADER.unpack(head)
    if found != mark or crc != zlib.crc32(head[:_CHECKED_BYTES]):
        return None
    if version != VERSION:
        raise UnavailableError(
            f"the spool has records of format {version}, this Penstock reads format"
            f" {VERSION}; start the one that wrote them until they are replayed"
        )
    return _Header(*fields)


def _find_header(
    read_at: Callable[[int, int], bytes], mark: bytes, offset: int, end: int
) -> int:
    """Return where the next header begins whose checksum is right, else `end`."""
    while offset + HEADER_BYTES <= end:
        piece = read_at(min(_STEP_BYTES, end - offset), offset)
        found = piece.find(mark)
        if found < 0:
            if len(piece) < MARK_BYTES:
                break  # the file is shorter than it was
            offset += len(piece) - MARK_BYTES + 1
            continue
        offset += found
        head = read_at(HEADER_BYTES, offset)
        if len(head) == HEADER_BYTES and _parse_header(head, mark):
            return offset
        offset += 1
    return end


def _is_zeros(read_at: Callable[[int, int], bytes], offset: int, end: int) -> bool:
    while offset < end:
        piece = read_at(min(_STEP_BYTES, end - offset), offset)
        if not piece or piece.strip(b"\0"):
            return not piece
        offset += len(piece)
    return True
