"""What goes on the wire is one PackedForward message; the count at the end is exact."""

import base64

import msgpack
import pytest

from penstock.cli.send import tally_line
from penstock.net.client import ClientSettings, ForwardClient, Tally, build_chunk
from penstock.net.client_link import Destination

ENTRIES = [msgpack.packb([1, {"a": 1}]), msgpack.packb([2, {"b": "x" * 70000}])]


def test_a_chunk_is_one_packed_forward_message() -> None:
    chunk = build_chunk("a.b", ENTRIES, ack=True)
    tag, blob, option = msgpack.unpackb(chunk.frame)
    assert tag == "a.b"
    assert blob == b"".join(ENTRIES)
    assert option == {"size": 2, "chunk": chunk.id.decode()}
    assert chunk.events == 2


def test_chunk_ids_are_16_random_bytes_in_base64() -> None:
    ids = {build_chunk("t", ENTRIES, ack=True).id for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(base64.b64decode(chunk_id, validate=True)) for chunk_id in ids} == {16}


def test_without_ack_no_chunk_id_is_sent() -> None:
    assert msgpack.unpackb(build_chunk("t", ENTRIES, ack=False).frame)[2] == {"size": 2}


@pytest.mark.parametrize(
    ("tally", "ack", "sent", "done"),
    [
        (Tally(12_345, 13, 12_345), True, "12,345 events in 13 chunks", "all acked"),
        (Tally(1, 1, 1, 1), True, "1 event in 1 chunk", "all acked, 1 reconnect"),
        (
            Tally(9_000, 9, 4_000, 2),
            True,
            "9,000 events in 9 chunks",
            "4,000 acked, 5,000 unknown, 2 reconnects",
        ),
        (Tally(9, 3, 9), False, "9 events in 3 chunks", "no acks asked for"),
        (
            Tally(9, 3, 4),
            False,
            "9 events in 3 chunks",
            "no acks asked for, 5 not written",
        ),
    ],
)
def test_the_count_says_what_is_known(
    tally: Tally, ack: bool, sent: str, done: str
) -> None:
    rate = f"{tally.done_events * 2:,} events/s"
    assert tally_line(tally, 0.5, ack=ack) == f"sent {sent}, {done}, 0.5 s ({rate})"


def test_nothing_sent_in_no_time_is_counted_too() -> None:
    assert tally_line(Tally(), 0.0, ack=True).startswith("sent 0 events in 0 chunks")


@pytest.mark.parametrize(
    ("host", "address"), [("::1", "[::1]:24224"), ("logs.local", "logs.local:24224")]
)
def test_addresses_read_as_people_write_them(host: str, address: str) -> None:
    assert (
        ForwardClient(
            ClientSettings(destination=Destination(host=host, port=24224))
        ).address
        == address
    )
