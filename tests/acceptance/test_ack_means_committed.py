"""An ack is written when the rows are committed, and not before (promise 1)."""

import json
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import asyncpg
import pytest

from tests.acceptance.forward_sender import ForwardSender, pack, packed_forward
from tests.acceptance.penstock_process import Penstock, Row, run_async

T = 1_700_000_000
# Long for a commit, which takes milliseconds.
SILENCE_SECONDS = 2.0

Frame = Callable[[str, list[int], str], bytes]


def message(tag: str, numbers: list[int], chunk: str) -> bytes:
    (number,) = numbers
    return pack([tag, T, {"n": number}, {"chunk": chunk}])


def forward(tag: str, numbers: list[int], chunk: str) -> bytes:
    return pack([tag, [[T, {"n": number}] for number in numbers], {"chunk": chunk}])


def packed(tag: str, numbers: list[int], chunk: str) -> bytes:
    return packed_forward(tag, [(T, {"n": number}) for number in numbers], chunk)


def compressed(tag: str, numbers: list[int], chunk: str) -> bytes:
    compressor = zlib.compressobj(wbits=31)
    entries = b"".join(pack([T, {"n": number}]) for number in numbers)
    blob = compressor.compress(entries) + compressor.flush()
    return pack([tag, blob, {"chunk": chunk, "compressed": "gzip"}])


FRAMES: dict[str, Frame] = {
    "message": message,
    "forward": forward,
    "packed_forward": packed,
    "compressed_packed_forward": compressed,
}


def rows(tag: str, numbers: list[int]) -> list[Row]:
    return [
        Row(T * 1_000_000, tag, None, None, None, None, {"n": number})
        for number in numbers
    ]


def test_no_ack_comes_while_postgresql_is_paused(penstock: Penstock, tag: str) -> None:
    with ExitStack() as stack:
        senders = {
            mode: stack.enter_context(ForwardSender(penstock.port)) for mode in FRAMES
        }
        with penstock.postgres_paused():
            for mode, sender in senders.items():
                # Three at once: their acks come in the order of the frames.
                for number in range(3):
                    sender.send(
                        FRAMES[mode](f"{tag}.{mode}", [number], f"{mode}-{number}")
                    )
            first, *others = senders.values()
            assert first.is_silent_for(SILENCE_SECONDS)
            assert all(other.is_silent_for(0) for other in others)
        for mode, sender in senders.items():
            assert sender.read_acks(3) == [f"{mode}-{number}" for number in range(3)]
            # Not waited for: an ack was read.
            assert penstock.rows(f"{tag}.{mode}") == rows(f"{tag}.{mode}", [0, 1, 2])
            assert sender.finish() == b""


@pytest.mark.parametrize("mode", FRAMES)
def test_rows_are_visible_to_others_when_the_ack_is_read(
    penstock: Penstock, tag: str, mode: str
) -> None:
    async def found(connection: Any) -> list[int]:
        # One statement on a connection that is open: the soonest that can be asked.
        rows = await connection.fetch(select, tag)
        return [json.loads(row[0])["n"] for row in rows]

    async def acked_and_asked() -> None:
        connection = await asyncpg.connect(penstock.database_url)
        try:
            with ForwardSender(penstock.port) as sender:
                for number in range(50):
                    sender.send(FRAMES[mode](tag, [number], f"chunk-{number}"))
                    assert sender.read_ack() == f"chunk-{number}"
                    assert await found(connection) == list(range(number + 1))
        finally:
            await connection.close()

    select = "SELECT attributes::text FROM logs WHERE tag = $1 ORDER BY id"
    run_async(acked_and_asked())


def test_frames_without_a_chunk_get_no_answer(penstock: Penstock, tag: str) -> None:
    with ForwardSender(penstock.port) as sender:
        sender.send(pack([tag, T, {"n": 0}]))
        sender.send(pack([tag, T, {"n": 1}, {}]))
        sender.send(pack([tag, [[T, {"n": 2}]]]))
        sender.send(packed_forward(tag, [(T, {"n": 3})]))
        assert penstock.wait_for_rows(tag, 4) == rows(tag, [0, 1, 2, 3])
        assert sender.finish() == b""


def test_the_ack_of_a_large_message_comes_after_its_last_row(
    penstock: Penstock, tag: str
) -> None:
    # 16 MB as rows: stored in several transactions, by several writers.
    events = 60_000
    filler = "x" * 200
    entries = [(T, {"n": number, "message": filler}) for number in range(events)]
    with ForwardSender(penstock.port) as sender:
        sender.send(packed_forward(tag, entries, "large"))
        assert sender.read_ack() == "large"
        assert penstock.count(tag) == events
        assert sender.finish() == b""
    numbers = penstock.fetch(
        "SELECT attributes->>'n' FROM logs WHERE tag = $1 ORDER BY id", tag
    )
    assert [int(row[0]) for row in numbers] == list(range(events))
