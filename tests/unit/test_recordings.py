"""What real senders send becomes the rows and acks that are expected of it."""

import json

import pytest

from penstock.settings import WireLimits
from penstock.wire.compression import sniff
from penstock.wire.messages import parse_message
from tests.data import make_recordings
from tests.data.recordings import RECORDINGS, Recording
from tests.pure_core import (
    MAX_FRAME_BYTES,
    WAYS,
    arriving,
    frames_of,
    receive,
    written_row,
)


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda each: each.name)
def test_a_recording_becomes_its_rows_and_acks(recording: Recording) -> None:
    for way in WAYS:
        received = receive(arriving(way, recording.data))
        if way == "next frame glued on":
            received.without_next_frame()
        assert received.error is None
        assert [written_row(row) for row in received.rows] == recording.rows
        assert received.acks == recording.acks
        assert received.rejected == recording.rejected


def test_recordings_have_names_of_their_own() -> None:
    names = {recording.name for recording in RECORDINGS}
    assert len(names) == len(RECORDINGS) > 30


def test_the_recordings_are_those_that_the_script_writes() -> None:
    def without_compressed_bytes(recordings: str) -> list[dict[str, object]]:
        # Another zlib compresses differently; what it compressed is in the rows.
        return [
            each | {"hex": None} if is_compressed(each["hex"]) else each
            for each in json.loads(recordings)
        ]

    committed = make_recordings.PATH.read_text()
    assert without_compressed_bytes(committed) == without_compressed_bytes(
        make_recordings.written()
    )


def is_compressed(recording: str) -> bool:
    return any(
        sniff(bytes(frame.data[frame.starts[1] + header :]))
        for frame in frames_of([bytes.fromhex(recording)])
        for header in (2, 3, 5)
        if len(frame.starts) > 2
    )


def test_an_ack_is_short_enough_for_the_clients_single_read() -> None:
    # 256 bytes is the smallest buffer a client reads an ack with (facts, 3.1).
    for recording in RECORDINGS:
        for frame in frames_of([recording.data], max_frame_bytes=MAX_FRAME_BYTES):
            message = parse_message(frame, WireLimits())
            assert message.ack is None or len(message.ack) < 256
