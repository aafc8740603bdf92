"""What real senders put on a connection, byte for byte, over a real socket.

The recordings stand for the senders that cannot be run here: Fluentd, Fluent Bit,
Docker and the clients in other languages. What is compared is what PostgreSQL gives
back, and all that the server ever writes to the connection.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.acceptance.forward_sender import ForwardSender, another_address
from tests.acceptance.penstock_process import Penstock, Row, wait_until
from tests.data.recordings import RECORDINGS, Recording

EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")


def whole(sender: ForwardSender, data: bytes) -> None:
    sender.send(data)


def byte_by_byte(sender: ForwardSender, data: bytes) -> None:
    for value in data:
        sender.send(bytes((value,)))


def expected_row(row: dict[str, Any]) -> Row:
    ts = (datetime.fromisoformat(row["ts"]) - EPOCH) // timedelta(microseconds=1)
    return Row(
        ts,
        row["tag"],
        row.get("level"),
        row.get("service"),
        row.get("host"),
        row.get("message"),
        row["attributes"],
    )


def last_rejected_id(penstock: Penstock) -> int:
    found = penstock.fetch("SELECT coalesce(max(id), 0) FROM rejected_event")
    return int(found[0][0])


def of_different_chunks() -> list[Recording]:
    """Return recordings of which none may be another's chunk that comes again."""
    chosen: list[Recording] = []
    names: set[bytes] = set()
    for recording in RECORDINGS:
        if names.isdisjoint(recording.acks):
            names.update(recording.acks)
            chosen.append(recording)
    return chosen


def assert_stored(
    penstock: Penstock,
    recordings: list[Recording],
    send: Callable[[ForwardSender, bytes], None],
) -> None:
    """Send recordings over one connection and judge what comes of them."""
    last_id, last_rejected = penstock.last_id(), last_rejected_id(penstock)
    with ForwardSender(penstock.port, another_address()) as sender:
        for recording in recordings:
            send(sender, recording.data)
        answers = sender.finish()
    assert (
        answers.hex()
        == b"".join(ack for recording in recordings for ack in recording.acks).hex()
    )
    # It has closed, so all was taken; what was not acked may still be on its way.
    wait_until(lambda: penstock.metric("penstock_ring_events") == 0, "all is stored")
    assert penstock.rows_after(last_id) == [
        expected_row(row) for recording in recordings for row in recording.rows
    ]
    # Two writers store them, so their order is not that of their arrival.
    rejected = penstock.fetch(
        "SELECT reason, raw FROM rejected_event WHERE id > $1", last_rejected
    )
    assert sorted((reason, raw) for reason, raw in rejected) == sorted(
        event for recording in recordings for event in recording.rejected
    )


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda each: each.name)
def test_a_recording_is_stored_and_acked(
    penstock: Penstock, recording: Recording
) -> None:
    assert_stored(penstock, [recording], whole)


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda each: each.name)
def test_a_recording_that_comes_byte_by_byte_is_stored_and_acked(
    penstock: Penstock, recording: Recording
) -> None:
    assert_stored(penstock, [recording], byte_by_byte)


def test_recordings_on_one_connection_are_stored_and_acked_in_order(
    penstock: Penstock,
) -> None:
    assert_stored(penstock, of_different_chunks(), whole)


def test_recordings_in_one_write_are_stored_and_acked_in_order(
    penstock: Penstock,
) -> None:
    glued = b"".join(recording.data for recording in of_different_chunks())
    everything = Recording(
        name="all",
        source="all",
        data=glued,
        rows=[row for recording in of_different_chunks() for row in recording.rows],
        acks=[ack for recording in of_different_chunks() for ack in recording.acks],
        rejected=[
            event for recording in of_different_chunks() for event in recording.rejected
        ],
    )
    assert_stored(penstock, [everything], whole)
