"""Batches for a server that runs as one role or another, and who stored them."""

import asyncio
from typing import Any

from penstock.model import Batch, Outcome
from penstock.sink.partitions import DAY_SECONDS
from penstock.sink.postgres import PostgresWriter
from tests import msgpack_bytes as m
from tests.integration.conftest import Database, batch_of, new_writer
from tests.integration.upkeep_parts import clock

# Each row says who stored it.
WHO = """
CREATE FUNCTION who() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN new.host := current_user; RETURN new; END $$
"""
EACH_ROW = """
CREATE TRIGGER who BEFORE INSERT ON logs FOR EACH ROW EXECUTE FUNCTION who()
"""


def events(*numbers: int, days_ago: int = 0, **more: Any) -> bytes:
    """Write entries of a day."""
    at = m.uint32(int(clock()) - days_ago * DAY_SECONDS)
    return b"".join(m.entry({"n": n, **more}, at) for n in numbers)


def claimed(batch: Batch, claim: bytes = b"one", tried_in: bytes = b"") -> Batch:
    """Give a batch's segments a claim, as their session or the spool does."""
    for segment in batch.segments:
        segment.claim, segment.tried_in = claim, tried_in
    return batch


async def store(writer: PostgresWriter, batch: Batch, now: float = 0) -> Outcome:
    """Store a batch."""
    return await asyncio.wait_for(writer.store(batch, now_seconds=now or clock()), 30)


async def store_as(database: Database, entries: bytes) -> None:
    """Store entries as the login of the database's URL."""
    writer = new_writer(database.url)
    await writer.connect()
    await store(writer, batch_of(entries))
    await writer.close()


def tell_who_stores(database: Database) -> None:
    """Let `host` be the role that a row is stored as."""
    for statement in (WHO, EACH_ROW):
        database.fetch(statement)
