"""The forward protocol's conformance cases that need a server and its database.

Each is named by its id. Those that bytes alone decide are in `tests/unit`; which case
is tested where is in `tests/data/conformance_tests.json`.
"""

import json
import socket
import time
import zlib
from contextlib import ExitStack

import pytest

from tests.acceptance.forward_sender import ForwardSender, another_address, pack
from tests.acceptance.penstock_process import Penstock, wait_until

T = 1_441_588_984
MIB = 1024 * 1024


def event(tag: str, number: int, chunk: str | None = None) -> bytes:
    option = [] if chunk is None else [{"chunk": chunk}]
    return pack([tag, T, {"n": number}, *option])


def numbers(penstock: Penstock, tag: str, expected: int) -> list[int]:
    rows = penstock.wait_for_rows(tag, expected)
    return [row.attributes["n"] for row in rows]


def test_a09_a_chunk_whose_ack_was_never_read_is_stored_once_and_acked_again(
    penstock: Penstock, tag: str
) -> None:
    address = another_address()
    frame = event(tag, 1, "once")
    with ForwardSender(penstock.port, address) as first:
        first.send(frame)
        assert not first.is_silent_for(30)  # it has come, and is not read
    with ForwardSender(penstock.port, address) as second:
        second.send(frame)
        assert second.read_ack() == "once"
    assert numbers(penstock, tag, 1) == [1]


@pytest.mark.parametrize("options", [{"fluent_signal": 0}, {}], ids=["FB", "others"])
def test_a10_a_chunk_of_fluent_bit_twice_on_one_connection_is_stored_twice(
    penstock: Penstock, tag: str, options: dict[str, int]
) -> None:
    """Fluent Bit names a chunk by its content: two that are equal may be two.

    When it goes on to another message it has read the ack, and sends nothing again.
    Others name each chunk anew: theirs is one that came again.
    """
    frame = pack([tag, [[T, {"n": 1}]], {"chunk": "twice", **options}])
    with ForwardSender(penstock.port) as sender:
        for each, chunk in ((frame, "twice"), (event(tag, 2), None), (frame, "twice")):
            sender.send(each)
            if chunk is not None:
                assert sender.read_ack() == chunk
        assert sender.finish() == b""
    stored = [1, 1, 2] if options else [1, 2]
    assert sorted(numbers(penstock, tag, len(stored))) == stored


def test_a13_an_ack_does_not_wait_for_the_next_frame_to_be_whole(
    penstock: Penstock, tag: str
) -> None:
    half, rest = event(tag, 2)[:-3], event(tag, 2)[-3:]
    with ForwardSender(penstock.port) as sender:
        sender.send(event(tag, 1, "c") + half)
        assert sender.read_ack() == "c"
        sender.send(rest)
        assert numbers(penstock, tag, 2) == [1, 2]
        assert sender.finish() == b""


def test_b02_who_connects_and_closes_is_nobodys_business(penstock: Penstock) -> None:
    """Fluentd does so each second, for a heartbeat."""
    logged_before = len(penstock.logged())
    accepted = penstock.metric("penstock_connections_accepted_total")
    for _ in range(20):
        ForwardSender(penstock.port).close()
        with ForwardSender(penstock.port) as sender:
            assert sender.finish() == b""
    wait_until(
        lambda: penstock.metric("penstock_connections_accepted_total") >= accepted + 40,
        "all have been accepted",
    )
    logged = penstock.logged()[logged_before:].splitlines()
    # Its first round is some time after the start.
    assert [line for line in logged if "penstock.sink.maintenance" not in line] == []


def test_b10_half_a_frame_is_no_row_and_no_trouble_to_others(
    penstock: Penstock, tag: str
) -> None:
    with ForwardSender(penstock.port) as other:
        with ForwardSender(penstock.port) as sender:
            sender.send(event(tag, 1)[:-1])
            assert sender.finish() == b""
        other.send(event(tag, 2, "c"))
        assert other.read_ack() == "c"
    assert numbers(penstock, tag, 1) == [2]


def test_b14_a_frame_of_one_byte_a_segment_is_one_row(
    penstock: Penstock, tag: str
) -> None:
    with ForwardSender(penstock.port) as sender:
        for value in event(tag, 1):
            sender.send(bytes((value,)))
            time.sleep(0.001)  # else the kernel puts them together
        assert numbers(penstock, tag, 1) == [1]
        assert sender.finish() == b""


def test_b16_a_thousand_silent_connections_are_kept_and_cost_little(
    penstock: Penstock, tag: str
) -> None:
    """Docker brings one for each container, and may have nothing to say for days."""
    at_rest_bytes = penstock.rss_bytes()
    with ExitStack() as stack:
        silent = [
            stack.enter_context(ForwardSender(penstock.port)) for _ in range(1_000)
        ]
        wait_until(
            lambda: penstock.metric("penstock_connections") >= 1_000, "all are there"
        )
        with ForwardSender(penstock.port) as sender:
            sender.send(event(tag, 0, "c"))
            assert sender.read_ack() == "c"
        grown_bytes = penstock.rss_bytes() - at_rest_bytes
        assert grown_bytes < 32 * MIB, f"{grown_bytes / MIB:.1f} MiB"
        assert all(each.is_silent_for(0) for each in silent)
        for number, each in enumerate(silent, 1):
            each.send(event(tag, number))
        assert sorted(numbers(penstock, tag, 1_001)) == list(range(1_001))


def a_gibibyte_of_zeros() -> bytes:
    """gzip of them: 1,024 times the same piece, for each is written for itself."""
    compressor = zlib.compressobj(9, wbits=31)
    head = compressor.compress(b"") + compressor.flush(zlib.Z_FULL_FLUSH)
    piece = compressor.compress(bytes(MIB)) + compressor.flush(zlib.Z_FULL_FLUSH)
    crc = zlib.crc32(bytes(MIB))
    for _ in range(1_023):
        crc = zlib.crc32(bytes(MIB), crc)
    ending = b"\x03\x00" + crc.to_bytes(4, "little") + (1 << 30).to_bytes(4, "little")
    return head + piece * 1_024 + ending


def test_c13_a_gzip_bomb_is_kept_as_it_came_acked_and_disturbs_nobody(
    penstock: Penstock, tag: str
) -> None:
    bomb = a_gibibyte_of_zeros()
    assert MIB <= len(bomb) < 1.1 * MIB
    at_rest_bytes = penstock.rss_bytes()
    with ForwardSender(penstock.port) as hostile, ForwardSender(penstock.port) as other:
        hostile.send(pack([tag, bomb, {"compressed": "gzip", "chunk": "bomb"}]))
        other.send(event(tag, 1, "c"))
        assert other.read_ack() == "c"
        assert hostile.read_ack() == "bomb"
    found = penstock.fetch(
        "SELECT reason, length(raw) FROM rejected_event WHERE tag = $1", tag
    )
    assert [tuple(each) for each in found] == [("decompression_limit", len(bomb))]
    assert numbers(penstock, tag, 1) == [1]
    # What was inflated of it is gone again.
    wait_until(
        lambda: penstock.rss_bytes() < at_rest_bytes + 64 * MIB, "memory is free again"
    )


def test_j03_a_sender_of_json_gets_its_ack_in_json(
    penstock: Penstock, tag: str
) -> None:
    """As Go's client sends it, if asked to, and PHP's always does."""
    first = json.dumps([tag, T, {"n": 1}, {"chunk": "c1"}]).encode()
    with ForwardSender(penstock.port) as sender:
        sender.send(first)
        ack = b'{"ack":"c1"}'
        assert sender.read(len(ack)) == ack
        sender.send(first + b"\n" + json.dumps([tag, T, {"n": 2}]).encode())
        assert sender.finish() == ack
    assert numbers(penstock, tag, 2) == [1, 2]


def test_l05_a_frame_past_the_limit_closes_its_connection_and_no_other(
    penstock: Penstock, tag: str
) -> None:
    limit = 64 * MIB
    name = 'penstock_protocol_errors_total{reason="frame_too_large"}'
    before = penstock.metric(name)
    # Its header alone says how long it is: none of the rest is waited for.
    head = pack([tag])[1:] + b"\xc6" + limit.to_bytes(4)
    with ForwardSender(penstock.port) as large, ForwardSender(penstock.port) as other:
        large.send(b"\x93" + head + bytes(1_000))
        assert large.read(1) == b""
        other.send(event(tag, 1, "c"))
        assert other.read_ack() == "c"
    assert penstock.metric(name) == before + 1
    assert numbers(penstock, tag, 1) == [1]


def test_x03_a_buffer_that_is_sent_again_behind_half_a_frame_is_stored_once(
    penstock: Penstock, tag: str
) -> None:
    """As the Python and Ruby clients do it: they do not know what had arrived."""
    buffer = b"".join(event(tag, number) for number in range(10))
    link = socket.create_connection(("127.0.0.1", penstock.port), 30)
    with link:
        link.sendall(buffer[: len(event(tag, 0)) - 2])
    with ForwardSender(penstock.port) as again:
        again.send(buffer)
        assert again.finish() == b""
    assert numbers(penstock, tag, 10) == list(range(10))
