"""Penstock's clock jumps: nothing is lost, and chunks are known again."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from penstock.buffer.identity import chunk_identity, part_claim
from penstock.model import Batch, Outcome
from penstock.sink.postgres import PostgresWriter
from tests import msgpack_bytes as m
from tests.integration.conftest import Database, batch_of, new_writer, numbers_in

NOW = 1_800_000_000.0
YEAR_SECONDS = 366 * 86_400
# Set wrongly at boot, a year and 30 years ahead (ids last until 2091), right again.
JUMPS = [NOW, 0.0, NOW + YEAR_SECONDS, NOW + 30 * YEAR_SECONDS, NOW]
CHUNK = m.fixstr(b"chunk")


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[PostgresWriter]:
    made = new_writer(database.url)
    await made.connect()
    yield made
    made.terminate()


def chunk_of(number: int, now_seconds: float) -> Batch:
    """Make a chunk with one event that has a time, and one that came without."""
    entries = m.entry({"n": 2 * number}) + m.entry({"n": 2 * number + 1}, m.NIL)
    identity = chunk_identity(
        sender="s", tag="test", chunk=CHUNK, metadata=None, entries=entries
    )
    batch = batch_of(entries, sender="s", chunk=CHUNK, now_seconds=now_seconds)
    for segment in batch.segments:
        segment.claim = part_claim(identity, segment.encoded)
    return batch


async def test_whatever_the_clock_says_all_is_stored_once(
    writer: PostgresWriter, database: Database
) -> None:
    for number, now in enumerate(JUMPS):
        outcome = await writer.store(chunk_of(number, now), now_seconds=now)
        assert outcome == Outcome(stored_events=2), f"at {now}"
    duplicate = Outcome(duplicate_events=2, duplicate_segments=1)
    for number in range(len(JUMPS)):
        for now in JUMPS:  # sent again, the clock another
            batch = chunk_of(number, now)
            assert await writer.store(batch, now_seconds=now) == duplicate
    numbers = await asyncio.to_thread(numbers_in, database)
    assert sorted(numbers) == list(range(2 * len(JUMPS)))
