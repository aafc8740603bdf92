"""Whatever a connection's bytes are, the core's invariant holds (`tests.fuzz.judge`).

What the fuzzer does for hours, by grammar and in seconds.
"""

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import msgpack_strategies as some
from tests.fuzz.judge import LIMITS, deliver, judge
from tests.fuzz.make_corpus import CORPUS, corpus
from tests.fuzz.mutator import Mutator

# A busy machine makes inputs slowly; that is no fault of theirs.
CASES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@CASES
@given(some.connections)
def test_it_holds_for_what_the_grammar_makes(data: bytes) -> None:
    judge(data)


@CASES
@given(some.mutated(some.connections))
def test_it_holds_for_what_was_damaged(data: bytes) -> None:
    judge(data)


@CASES
@given(
    st.tuples(some.connections, st.binary(max_size=20), some.connections).map(b"".join)
    | st.binary(max_size=200)
)
def test_it_holds_for_what_is_junk_or_has_some_within(data: bytes) -> None:
    judge(data)


@settings(CASES, max_examples=25)
@given(some.connections)
def test_each_place_to_split_a_connection_gives_the_same(data: bytes) -> None:
    data = data[:150]
    whole = deliver([data], LIMITS[0])
    for cut in range(1, len(data)):
        assert deliver([data[:cut], data[cut:]], LIMITS[0]) == whole
    assert deliver([data[i : i + 1] for i in range(len(data))], LIMITS[0]) == whole


def _is_exact(value: Any) -> bool:
    """Tell whether JSON and msgpack both hold it as it is."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
        msgpack.packb(value)
    except (ValueError, OverflowError):
        return False
    return True


@CASES
@given(
    st.integers(0, 2**40),
    st.lists(some.json_records.filter(_is_exact), min_size=1, max_size=3),
    st.booleans(),
)
def test_json_is_the_rows_that_the_same_is_in_msgpack(
    time: int, records: list[dict[str, Any]], is_forward: bool
) -> None:
    messages: list[list[Any]] = [["t", time, record] for record in records]
    if is_forward:
        messages = [["t", [[time, record] for record in records]]]
    in_json = deliver([json.dumps(each).encode() for each in messages], LIMITS[0])
    in_msgpack = deliver([msgpack.packb(each) for each in messages], LIMITS[0])
    assert (in_json.rows, in_json.rejected) == (in_msgpack.rows, in_msgpack.rejected)


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_it_holds_for_the_corpus(path: Path) -> None:
    judge(path.read_bytes())


def test_the_corpus_is_that_of_the_cases_and_recordings() -> None:
    assert {path.name: path.read_bytes() for path in CORPUS.iterdir()} == corpus()


def test_the_mutator_makes_the_same_of_the_same_seed() -> None:
    inputs = sorted(corpus().values())
    made = [[Mutator(inputs, seed).new() for _ in range(1)] for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    mutator = Mutator(inputs, 3)
    for _ in range(40):
        judge(mutator.new())
