"""The forward protocol's conformance cases that the pure core decides.

`tests/data/forward_cases.json` has for each case its bytes, what is to become of them,
and which implementation or issue it was learnt from. Those that take too many bytes to
be written down are made here. `conformance_tests.json` has all cases there are, and
where each is tested: handshakes, UDP and what needs a socket are elsewhere.
"""

import ast
import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests import msgpack_bytes as m
from tests.pure_core import (
    MAX_FRAME_BYTES,
    WAYS,
    Received,
    arriving,
    receive,
    written_row,
)

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
CASES: list[dict[str, Any]] = json.loads((DATA / "forward_cases.json").read_text())
# Where each of the protocol facts' cases is tested: a file, and a test in it.
TESTS: dict[str, str] = json.loads((DATA / "conformance_tests.json").read_text())


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


def received_in_each_way(data: bytes, *, step: int = 1) -> list[Received]:
    """Receive bytes in each of the ways; in steps what is too long for single bytes."""
    received = []
    for way in WAYS:
        if way == "byte by byte" and step > 1:
            pieces = [data[i : i + step] for i in range(0, len(data), step)]
        else:
            pieces = arriving(way, data)
        each = receive(pieces)
        if way == "next frame glued on" and each.error is None:
            each.without_next_frame()
        received.append(each)
    return received


def test_b14_a_frame_that_comes_a_byte_at_a_time_is_one_row() -> None:
    for received in received_in_each_way(bytes_of(CASES[0])):
        assert [written_row(row)["attributes"] for row in received.rows] == [{"a": 1}]


def test_c13_a_gzip_bomb_is_inflated_no_further_than_allowed() -> None:
    # 100 MiB of zeros; past the limit that the tests have, in a third of the bytes.
    bomb = gzip.compress(bytes(100 * 1024 * 1024), 9, mtime=0)
    frame = m.fixarray(
        m.fixstr(b"t"),
        m.bin32(bomb),
        m.fixmap((m.fixstr(b"chunk"), m.fixstr(b"c"))),
    )
    for received in received_in_each_way(frame, step=997):
        assert received.rows == []
        assert received.rejected == [("decompression_limit", bomb)]
        assert received.acks == [b"\x81\xa3ack\xa1c"]


def test_c14_twenty_thousand_gzip_members_are_inflated_in_linear_time() -> None:
    member = gzip.compress(m.entry({"a": 1}), mtime=0)
    frame = m.fixarray(m.fixstr(b"t"), m.str32(member * 20_000))
    began = time.perf_counter()
    received = receive([frame])
    # Half a second if nobody else is there; quadratic it takes a minute.
    assert time.perf_counter() - began < 10
    assert (len(received.rows), received.rejected) == (20_000, [])
    for each in received_in_each_way(frame, step=4_999):
        assert [row.attributes for row in each.rows] == [{"a": 1}] * 20_000


def test_l05_a_frame_past_the_limit_is_refused_and_what_came_before_is_not() -> None:
    def frame(size_bytes: int) -> bytes:
        options = m.fixmap((m.fixstr(b"chunk"), m.fixstr(b"c")))
        entry = m.fixarray(m.uint32(m.T), m.fixmap((m.fixstr(b"x"), m.str32(b""))))
        around = len(m.fixarray(m.fixstr(b"t"), m.bin32(entry), options))
        text = m.str32(b"x" * (size_bytes - around))
        entry = m.fixarray(m.uint32(m.T), m.fixmap((m.fixstr(b"x"), text)))
        return m.fixarray(m.fixstr(b"t"), m.bin32(entry), options)

    for received in received_in_each_way(frame(MAX_FRAME_BYTES), step=65_536):
        assert (received.error, len(received.acks)) == (None, 1)
        assert (len(received.rows), received.rejected) == (1, [])
    too_large = bytes_of(CASES[0]) + frame(MAX_FRAME_BYTES + 1)
    for received in received_in_each_way(too_large, step=65_536):
        assert (received.error, received.acks) == ("frame_too_large", [])
        assert len(received.rows) == 1


# --- all of them


def test_each_case_is_there_once() -> None:
    ids = [case["id"] for case in CASES]
    assert len(set(ids)) == len(ids) == 82
    assert len(TESTS) == 108
    ours = {case for case, test in TESTS.items() if test.endswith("::test_conformance")}
    assert ours == set(ids)


@pytest.mark.parametrize("case", TESTS)
def test_each_case_has_a_test_of_its_name(case: str) -> None:
    name, _, test = TESTS[case].partition("::")
    source = (ROOT / name).read_text()
    if test == "test_conformance":
        assert case in {each["id"] for each in CASES}
    elif test:
        functions = {
            node.name
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert test in functions
    else:  # the file has several, each with the case's id in its name or parameters
        assert case in source or case.lower() in source
