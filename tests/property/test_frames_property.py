"""Whatever the pieces are that bytes come in, the frames are the same."""

from itertools import pairwise

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import ProtocolError
from penstock.settings import WireLimits
from penstock.wire.frames import Frame, FrameReader
from penstock.wire.messages import parse_message
from penstock.wire.values import IncompleteValueError, skip_value
from tests import msgpack_strategies as some
from tests.msgpack_bytes import NIL
from tests.pure_core import frames_of, receive

CASES = settings(max_examples=80, deadline=None)
SMALL_FRAME_BYTES = 512


def cut_at(data: bytes, offsets: list[int]) -> list[bytes]:
    edges = [0, *sorted(offset % (len(data) + 1) for offset in offsets), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def frames_and_error(
    pieces: list[bytes], max_frame_bytes: int
) -> tuple[list[Frame], str | None]:
    """Cut pieces into frames, up to an error of the protocol; no other may come."""
    frames: list[Frame] = []
    try:
        frames.extend(frames_of(pieces, max_frame_bytes=max_frame_bytes))
    except ProtocolError as error:
        return frames, error.reason
    return frames, None


@CASES
@given(
    st.lists(st.tuples(some.messages, st.integers(0, 3)), max_size=4),
    st.lists(st.integers(0, 10_000), max_size=8),
)
def test_any_split_of_any_messages_gives_the_same_frames(
    sent: list[tuple[bytes, int]], offsets: list[int]
) -> None:
    stream = b"".join(message + NIL * heartbeats for message, heartbeats in sent)
    in_pieces = list(frames_of(cut_at(stream, offsets)))
    assert [frame.data for frame in in_pieces] == [message for message, _ in sent]
    assert in_pieces == list(frames_of([stream]))
    for frame in in_pieces:
        assert frame.starts[-1] == len(frame.data)
        for start, end in pairwise(frame.starts):
            assert skip_value(frame.data, start) == end


@CASES
@given(some.messages)
def test_a_message_that_comes_byte_by_byte_is_that_message(message: bytes) -> None:
    (frame,) = frames_of(message[i : i + 1] for i in range(len(message)))
    assert frame.data == message


@CASES
@given(
    st.one_of(
        st.binary(max_size=200),
        some.mutated(some.messages),
        st.lists(some.messages | st.binary(max_size=9), max_size=4).map(b"".join),
    ),
    st.lists(st.integers(0, 10_000), max_size=6),
)
def test_broken_bytes_give_frames_and_then_nothing_but_a_protocol_error(
    data: bytes, offsets: list[int]
) -> None:
    whole = frames_and_error([data], SMALL_FRAME_BYTES)
    in_pieces = frames_and_error(cut_at(data, offsets), SMALL_FRAME_BYTES)
    assert in_pieces[0] == whole[0]
    # A reader that saw less may have stopped for another reason, or have yet to stop.
    assert (in_pieces[1] is None) == (whole[1] is None)
    for frame in whole[0]:
        assert len(frame.data) <= SMALL_FRAME_BYTES
        try:
            parse_message(frame, WireLimits(max_decompressed_bytes=4096))
        except ProtocolError as error:
            assert error.reason in ("invalid_tag", "malformed_msgpack")


@CASES
@given(some.mutated(some.messages))
def test_a_broken_message_does_no_harm_all_the_way_to_its_rows(data: bytes) -> None:
    received = receive([data])
    assert received.error in (
        None,
        "not_forward",
        "malformed_msgpack",
        "frame_too_large",
        "invalid_tag",
    )


@CASES
@given(st.lists(some.messages, max_size=3).map(b"".join), st.integers(1, 600))
def test_no_frame_is_larger_than_allowed_and_none_that_fits_is_refused(
    stream: bytes, limit: int
) -> None:
    allowed = [frame.data for frame in frames_of([stream])]
    frames, error = frames_and_error([stream], limit)
    fitting = []
    for frame in allowed:
        if len(frame) > limit:
            break
        fitting.append(frame)
    assert [frame.data for frame in frames] == fitting
    assert error == ("frame_too_large" if len(fitting) < len(allowed) else None)


@CASES
@given(some.values, st.binary(max_size=3))
def test_a_value_ends_where_msgpacks_own_skipper_says(
    value: bytes, behind: bytes
) -> None:
    end = skip_value(b"\xc1" + value + behind, 1)
    assert end == 1 + len(value)
    skipper = msgpack.Unpacker()
    skipper.feed(value + behind)
    try:
        skipper.skip()
    except ValueError:
        return  # nested past what it goes
    assert skipper.tell() == len(value)


@CASES
@given(some.values, st.integers(0, 10_000))
def test_a_value_cut_short_is_incomplete_wherever_it_is_cut(
    value: bytes, at: int
) -> None:
    cut = value[: at % len(value)]
    try:
        skip_value(cut, 0)
    except IncompleteValueError:
        return
    raise AssertionError("it was taken for whole")


@CASES
@given(some.messages, st.lists(st.integers(0, 10_000), max_size=6))
def test_what_is_buffered_is_what_came_and_was_not_handed_out(
    message: bytes, offsets: list[int]
) -> None:
    reader = FrameReader(max_frame_bytes=1 << 20)
    came = 0
    for piece in cut_at(message, offsets):
        reader.receive_data(piece)
        came += len(piece)
        frame = reader.next_frame()
        assert (frame is None) == (came < len(message))
        assert reader.buffered_bytes == (came if frame is None else 0)
        if frame is not None:
            break
