"""A chunk is itself when it comes again, and no other one."""

from typing import Any

import pytest

from penstock.buffer.identity import IDENTITY_BYTES, chunk_identity, part_claim
from penstock.model import EncodedRows, RejectedEvent

CHUNK: dict[str, Any] = {
    "sender": "192.0.2.7",
    "tag": "app",
    "chunk": b"\xa1c",
    "metadata": None,
    "entries": b"\x92\x01\x80",
}


def test_the_same_chunk_has_the_same_identity() -> None:
    assert chunk_identity(**CHUNK) == chunk_identity(**CHUNK)
    assert len(chunk_identity(**CHUNK)) == IDENTITY_BYTES


@pytest.mark.parametrize(
    "other",
    [
        {"sender": "192.0.2.8"},
        {"tag": "apps"},
        {"chunk": b"\xa1d"},
        {"metadata": b"\x81\xa1k\x01"},
        {"entries": b"\x92\x01\x80\x92\x01\x80"},
        # The same bytes, parted elsewhere.
        {"sender": "192.0.2.7a", "tag": "pp"},
        {"tag": "app\xa1"[:3], "chunk": b"\xa1c\x92", "entries": b"\x01\x80"},
    ],
)
def test_another_chunk_has_another(other: dict[str, Any]) -> None:
    assert chunk_identity(**{**CHUNK, **other}) != chunk_identity(**CHUNK)


def test_each_part_has_a_claim_of_its_own() -> None:
    identity = chunk_identity(**CHUNK)
    first = EncodedRows(b"", 3, frozenset(), offset=0)
    same = EncodedRows(b"other ids", 2, frozenset(), (RejectedEvent("x", b""),))
    assert part_claim(identity, first) == part_claim(identity, same)
    others = [
        EncodedRows(b"", 3, frozenset(), offset=9),
        EncodedRows(b"", 4, frozenset(), offset=0),
    ]
    for other in others:
        assert part_claim(identity, other) != part_claim(identity, first)
    assert part_claim(bytes(16), first) != part_claim(identity, first)
