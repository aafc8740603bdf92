"""The invariant of the pure core, for any bytes that a peer may send.

- No exception but ProtocolError leaves the core (wire and rows).
- Memory stays under a cap: MAX_GROWTH_BYTES past what the process had at the start.
- Whatever was whole before the damage was delivered.

And, since it costs nothing more: any split of the bytes gives the same rows, rejected
events and acks; PostgreSQL takes each row; an ack fits into what clients read; and each
row's entry, encoded alone, is that row again.
"""

import json
import random
import zlib
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from unittest import mock

import msgpack

from penstock.errors import ProtocolError
from penstock.model import EncodedRows
from penstock.rows import stream
from penstock.rows.retrace import entries_of_rows
from penstock.settings import WireLimits
from penstock.wire.messages import TOGETHER_FRAMES, MessageReader
from penstock.wire.values import Kind, read_header, skip_value
from tests.copy_tuples import decode_rows
from tests.pure_core import NEXT_FRAME, NEXT_JSON, NOW, new_encoder, parts_of

# What the largest message allowed inflates to, its rows, and as much again.
MAX_GROWTH_BYTES = 256 * 1024 * 1024

_KIB = 1024
LIMITS = (
    WireLimits(max_frame_bytes=64 * _KIB, max_decompressed_bytes=512 * _KIB),
    # Small, so that a few bytes pass them.
    WireLimits(
        max_frame_bytes=2 * _KIB,
        max_decompressed_bytes=3 * _KIB,
        max_decompression_ratio=10,
        max_chunk_entries=TOGETHER_FRAMES + 10,
        max_tag_bytes=64,
        max_map_keys=20,
    ),
)
# Whole messages that stand before the damage.
_GOOD, _GOOD_JSON = NEXT_FRAME, NEXT_JSON
_PIECES = 6


@dataclass
class Delivered:
    """What came of a connection's bytes, in order, whatever pieces they came in."""

    rows: list[Any] = field(default_factory=list)
    rejected: list[Any] = field(default_factory=list)
    acks: list[bytes] = field(default_factory=list)
    error: str | None = None

    def begins_with(self, other: "Delivered") -> bool:
        """Tell whether all that `other` is came first here."""
        return all(
            ours[: len(theirs)] == theirs
            for ours, theirs in (
                (self.rows, other.rows),
                (self.rejected, other.rejected),
                (self.acks, other.acks),
            )
        )


def judge(data: bytes) -> None:
    """Raise if the invariant does not hold for a connection with these bytes."""
    rng = random.Random(zlib.crc32(data))
    limits = rng.choice(LIMITS)
    whole = deliver([data], limits)
    split = deliver(_split(data, rng), limits)
    assert split.rows == whole.rows, "a split changes the rows"
    assert split.rejected == whole.rejected, "a split changes what is rejected"
    assert split.acks == whole.acks, "a split changes the acks"
    # What saw less may have stopped for another reason, but has it stopped.
    assert (split.error is None) == (whole.error is None), "a split hides an error"
    cut = rng.randint(0, len(data))
    assert whole.begins_with(deliver([data[:cut]], limits)), "not delivered"
    good = _GOOD_JSON if data[:1] in (b"[", b"{") else _GOOD
    behind = deliver([good + data], LIMITS[0])
    assert behind.begins_with(deliver([good], LIMITS[0])), "the good one is lost"


def judge_rows(data: bytes) -> None:
    """Raise if the two encoders do not write the same of a message's entries.

    The first byte says by which limits, in parts of what size, and how many of the
    others are metadata: some of the input's bytes have to.
    """
    choice = data[0] if data else 0
    rest = data[1:]
    metadata = None
    if choice & 0x40:
        try:
            end = skip_value(rest, 0)
        except ProtocolError:
            end = 0
        if end and read_header(rest, 0).kind is Kind.MAP:
            metadata, rest = rest[:end], rest[end:]
    part_bytes = (1, 16, 100, stream.PART_BYTES)[choice & 3]
    with mock.patch.object(stream, "PART_BYTES", part_bytes):
        encoder = new_encoder(LIMITS[choice >> 2 & 1])
        # A copy: whatever stands behind it is not its own.
        for part in parts_of(
            bytes(bytearray(rest)), metadata=metadata, encoder=encoder
        ):
            assert len(decode_rows(part.data)) == part.rows


def deliver(pieces: list[bytes], limits: WireLimits) -> Delivered:
    """Take a connection's bytes through the core, as `net` does."""
    delivered = Delivered()
    reader = MessageReader(limits)
    try:
        for piece in pieces:
            reader.receive_data(piece)
            _ = reader.asks_for_ack
            while (message := reader.next_message()) is not None:
                if message.rejection is not None:
                    delivered.rejected.append(message.rejection)
                for part in parts_of(
                    message.entries,
                    tag=message.tag,
                    metadata=message.metadata,
                    encoder=new_encoder(limits),
                ):
                    _take(part, delivered)
                if message.ack is not None:
                    _check_ack(message.ack)
                    delivered.acks.append(message.ack)
            assert reader.buffered_bytes <= limits.max_frame_bytes + len(piece)
    except ProtocolError as error:
        delivered.error = error.reason
    return delivered


def _take(part: EncodedRows, delivered: Delivered) -> None:
    rows = decode_rows(part.data)
    assert len(rows) == part.rows
    delivered.rows += [row._replace(id=0) for row in rows]
    delivered.rejected += part.rejected
    entries = entries_of_rows(part)
    for entry, row in list(zip(entries, rows, strict=True))[:3]:
        (alone,) = parts_of(entry, now=NOW + 1, tag=row.tag)
        assert alone.rejected == ()
        assert [each._replace(id=0) for each in decode_rows(alone.data)] == [
            row._replace(id=0)
        ], "an entry is another row when it comes alone"


def _check_ack(ack: bytes) -> None:
    assert len(ack) < 256
    if ack.startswith(b"{"):
        assert list(json.loads(ack)) == ["ack"]
        return
    answer = msgpack.unpackb(ack, unicode_errors="surrogateescape")
    assert list(answer) == ["ack"]


def _split(data: bytes, rng: random.Random) -> list[bytes]:
    if len(data) < 64 and rng.random() < 0.3:
        return [data[i : i + 1] for i in range(len(data))]
    cuts = sorted(rng.randint(0, len(data)) for _ in range(rng.randint(1, _PIECES)))
    return [data[a:b] for a, b in pairwise([0, *cuts, len(data)])]
