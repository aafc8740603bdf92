"""The forward protocol's conformance cases that the pure core decides.

`tests/data/forward_cases.json` has for each case its bytes, what is to become of them,
and which implementation or issue it was learnt from. Handshake, JSON, UDP and what
needs a socket are not among them.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pure_core import WAYS, Received, arriving, receive, written_row

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "forward_cases.json").read_text()
)


def bytes_of(case: dict[str, Any]) -> bytes:
    """Read a case's bytes: hex, or pieces of hex each with how often it is repeated."""
    pieces = case["hex"]
    if isinstance(pieces, str):
        return bytes.fromhex(pieces)
    return b"".join(bytes.fromhex(piece) * times for piece, times in pieces)


def outcome_of(received: Received) -> dict[str, Any]:
    return {
        "modes": [
            message.mode.value
            for message in received.messages
            for _ in range(message.frames)
        ],
        "rows": [written_row(row) for row in received.rows],
        "rejected": [
            {"reason": event.reason, "hex": event.raw.hex()}
            for event in received.rejected
        ],
        "acks": [ack.hex() for ack in received.acks],
        "error": received.error,
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['id']} {case['what']}")
def test_conformance(case: dict[str, Any]) -> None:
    expected: dict[str, Any] = {"rejected": [], "acks": [], "error": None}
    expected |= {field: case[field] for field in case.keys() & outcome_of(Received())}
    for way in WAYS:
        glued_on = way == "next frame glued on"
        if glued_on and case.get("ends_open"):
            continue  # the next frame would be the rest of this one
        received = receive(arriving(way, bytes_of(case)))
        if glued_on and received.error is None:
            received.without_next_frame()
        assert outcome_of(received) == expected, way


def test_each_case_is_there_once() -> None:
    ids = [case["id"] for case in CASES]
    assert len(set(ids)) == len(ids) == 76
