"""Events that come one by one are the same, taken together or one after another."""

from itertools import pairwise
from typing import TypeGuard
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import ProtocolError
from penstock.settings import WireLimits
from penstock.wire import frames
from penstock.wire.messages import Message, MessageReader, Mode
from tests import msgpack_bytes as m
from tests import msgpack_strategies as some

CASES = settings(max_examples=150, deadline=None)
TAGS = [
    m.fixstr(b"t"),
    m.str8(b"t"),
    m.fixstr(b"u"),
    m.bin8(b"t"),
    m.NIL,
    m.fixstr(b""),
]
TIMES = [
    *(b"\x05", m.uint32(m.T), m.uint64(2**64 - 1), m.int64(-1), m.int32(m.T)),
    *(m.event_time(m.T, 5), m.event_time(0xFFFFFFFF), m.ext8(0, m.time_payload(m.T))),
    *(m.event_time(0x00FFFFFF, 0xFF000000), m.event_time(m.T, 0x00FFFFFF)),
    *(m.NIL, m.pack(1.5), m.pack(True), m.fixmap(), m.uint32(0xFFFFFFFE)),
]
OPTIONS = [
    *(b"", b"", b"", b"\x80", m.NIL, m.fixmap((m.fixstr(b"a"), b"\x01"))),
    *(m.fixmap((m.fixstr(b"chunk"), m.fixstr(b"c"))), b"\x05", b"\x90"),
]
RECORDS = [
    *(b"\x80", m.pack({"a": "b"}), m.pack({"log": "x" * 100}), m.NIL, b"\x91\x01"),
    *(m.nested_arrays(900), m.nested_arrays(1100), m.pack(list(range(1200)))),
    *(m.pack({"a": 1})[:-1], b"\xc1", m.pack({"\xff\xff": "\uffff"})),
]


NEXT_FRAME = frames.FrameReader.next_frame


def lone(tag: bytes, time: bytes, record: bytes, option: bytes) -> bytes:
    return bytes((0x94 if option else 0x93,)) + tag + time + record + option


events = st.builds(
    lone,
    st.sampled_from([TAGS[0]] * 10 + TAGS),
    st.sampled_from([TIMES[5]] * 10 + TIMES),
    st.sampled_from([RECORDS[1]] * 10 + RECORDS),
    st.sampled_from(OPTIONS),
)
streams = st.lists(events | st.just(m.NIL) | some.messages, max_size=12).map(b"".join)


def read(data: bytes, cuts: list[int], limits: WireLimits) -> list[Message | str]:
    reader = MessageReader(limits)
    found: list[Message | str] = []
    edges = [0, *sorted({min(cut, len(data)) for cut in cuts}), len(data)]
    try:
        for start, end in pairwise(edges):
            reader.receive_data(data[start:end])
            while (message := reader.next_message()) is not None:
                found.append(message)
    except ProtocolError as error:
        found.append(error.reason)
    return found


def joined(found: list[Message | str]) -> list[Message | str]:
    """Take together all that can be.

    How many are in one message is not promised: one tag may be written in two ways,
    and the shortcut, which compares bytes, ends a message there.
    """
    whole: list[Message | str] = []
    for each in found:
        last = whole[-1] if whole else ""
        if is_lone(each) and is_lone(last) and each.tag == last.tag:
            entries, count = last.entries + each.entries, last.frames + each.frames
            whole[-1] = last._replace(entries=entries, frames=count)
        else:
            whole.append(each)
    return whole


def is_lone(found: Message | str) -> TypeGuard[Message]:
    return isinstance(found, Message) and found == Message(
        Mode.MESSAGE, found.tag, found.entries, frames=found.frames
    )


@pytest.mark.skipif(not frames.IS_BUILT, reason="no compiled modules: see the header")
@CASES
@given(
    streams | some.mutated(streams),
    st.lists(st.integers(0, 400), max_size=4),
    st.sampled_from([1 << 20, 200]),
)
def test_messages_are_the_same_with_and_without_the_compiled_shortcut(
    data: bytes, cuts: list[int], max_frame_bytes: int
) -> None:
    limits = WireLimits(max_frame_bytes=max_frame_bytes)
    taken = joined(read(data, cuts, limits))
    with mock.patch.object(frames, "IS_BUILT", False):
        assert joined(read(data, cuts, limits)) == taken


@pytest.mark.skipif(not frames.IS_BUILT, reason="no compiled modules: see the header")
@pytest.mark.parametrize("option", [b"", b"\x80", m.NIL])
def test_what_docker_sends_is_taken_together(option: bytes) -> None:
    event = lone(m.fixstr(b"t"), m.event_time(m.T, 5), m.pack({"log": "x"}), option)
    with mock.patch.object(
        frames.FrameReader, "next_frame", autospec=True
    ) as next_frame:
        next_frame.side_effect = NEXT_FRAME
        (message,) = read(event * 300, [], WireLimits())
    assert isinstance(message, Message)
    assert message.frames == 300
    assert next_frame.call_count <= 3
