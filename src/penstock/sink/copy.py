"""Rows by COPY; where PostgreSQL refuses one, all the others and that one by name.

It owns the COPY statement and how a batch is split to find what is refused. It must
not begin or end a transaction: the caller's holds it all.

A table may have constraints and triggers of its user's. Where a COPY fails for what
its rows hold, its halves are tried, each within a savepoint, down to the record; that
one goes to `rejected_event`.
"""

import struct
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

import asyncpg

from penstock.errors import PermanentSinkError
from penstock.model import Segment
from penstock.pieces import joined
from penstock.postgres.connection import KeptAlive, unless_lost
from penstock.rows.copy_format import COLUMNS, COPY_HEADER, COPY_TRAILER, row_bounds
from penstock.sink.classify import classify
from penstock.sink.day_table import LOGS, Table
from penstock.sink.sql import load_blocks

# PostgreSQL documentation, "Message Formats", CopyData: its length counts itself.
_pack_copy_data_head = struct.Struct(">ci").pack
_LENGTH_BYTES = 4


class Row(NamedTuple):
    """One row of a segment, as its tuple."""

    segment: Segment
    number: int  # within the segment
    data: bytes


class Refused(NamedTuple):
    """A row that PostgreSQL refused, and why."""

    row: Row
    error: asyncpg.PostgresError


async def copy_segments(
    connection: asyncpg.Connection, segments: Sequence[Segment], into: Table = LOGS
) -> None:
    """COPY all rows of the segments, or none.

    Raises:
        asyncpg.PostgresError: the transaction, or the savepoint, is to be rolled back.
    """
    await _copy(connection, [each.encoded.data for each in segments], into)


async def copy_what_passes(
    connection: asyncpg.Connection,
    segments: Sequence[Segment],
    *,
    is_refusal: Callable[[asyncpg.PostgresError], bool],
) -> list[Refused]:
    """COPY the rows of the segments but those that PostgreSQL refuses; return these.

    Raises:
        asyncpg.PostgresError: an error that is no refusal of what a row holds.
    """
    # What is only checked at COMMIT would refuse the whole batch.
    await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    refused: list[Refused] = []
    rows = [
        Row(segment, number, segment.encoded.data[start:end])
        for segment in segments
        for number, (start, end) in enumerate(row_bounds(segment.encoded.data))
    ]
    waiting = [rows] if rows else []
    while waiting:
        some = waiting.pop()
        try:
            async with connection.transaction():  # a savepoint
                await _copy(connection, [row.data for row in some], LOGS)
        except asyncpg.PostgresError as error:
            if connection.is_closed() or not is_refusal(error):
                raise
            if len(some) == 1:
                refused.append(Refused(some[0], error))
            else:
                middle = len(some) // 2
                waiting += [some[middle:], some[:middle]]
    return refused


async def takes_rows(connection: asyncpg.Connection) -> bool:
    """Tell whether the table takes a row of ours, or refuses it for what it holds.

    If so, what a row of a sender's has met is of its own. Ours is taken back.
    """
    probing = connection.transaction()  # a savepoint
    await probing.start()
    try:
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        await connection.execute(load_blocks("store")["probe"])
    except asyncpg.PostgresError as error:
        return isinstance(classify(error), PermanentSinkError)
    finally:
        if not connection.is_closed():
            await probing.rollback()
    return True


async def _copy(
    connection: asyncpg.Connection, pieces: Sequence[bytes], into: Table
) -> None:
    assert isinstance(connection, KeptAlive), "not of postgres.connection"
    copying = connection.copy_to_table(
        into.name,
        schema_name=into.schema,
        source=_written(connection, pieces),
        columns=list(COLUMNS),
        format="binary",
    )
    await unless_lost(connection, copying)


async def _written(
    connection: KeptAlive, pieces: Sequence[bytes]
) -> AsyncIterator[bytes]:
    """Let asyncpg begin and end a COPY, and write what is between on its stream.

    All at once, as CopyData messages that need no copy of a row: the loop sends them
    while PostgreSQL reads. Through asyncpg each piece is copied, and waited for in
    Python, which is a quarter of what a row costs us from here on. Flow control stays:
    asyncpg does not end the COPY before its stream can be written to again.
    """
    yield COPY_HEADER
    messages: list[bytes] = []
    for piece in joined(pieces):
        messages.append(_pack_copy_data_head(b"d", len(piece) + _LENGTH_BYTES))
        messages.append(piece)
    connection.stream.writelines(messages)
    yield COPY_TRAILER
