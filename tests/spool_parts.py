"""Parts as the spool is given them, told apart by their claims."""

import random

from penstock.model import Beside, Day, EncodedRows, RejectedEvent
from penstock.sink.spool_format import CLAIM_BYTES, SpooledPart

MARK = b"\x00mark\xff\x00\x01"


def claim_of(number: int) -> bytes:
    return number.to_bytes(CLAIM_BYTES)


def number_of(part: SpooledPart) -> int:
    return int.from_bytes(part.claim)


def part_of(number: int, size_bytes: int = 40, *, rows: int = 3) -> SpooledPart:
    """Make a part of bytes that do not compress, two thirds of them rows."""
    noise = random.Random(number).randbytes(size_bytes)
    split = size_bytes * 2 // 3
    rejected = (RejectedEvent("no_record", b"raw"),) * (number % 3)
    encoded = EncodedRows(
        noise[:split],
        rows,
        frozenset({Day(20_000 + number)}),
        rejected,
        noise[split:],
        number,
        1_767_323_045_678_901 + number,
        Beside(b"%d" % number, None) if number % 2 else None,
    )
    return SpooledPart(claim_of(number), "10.0.0.7", "app.web", encoded)
