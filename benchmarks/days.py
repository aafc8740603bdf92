"""Rows of the usual mix, stored over some time by COPY: what is there to read.

Owns how such rows are made and stored: in the order of arrival with the times a little
out of it, and a few with a word that no other has. Measures nothing.
"""

import random
import struct
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from benchmarks import limit, records
from benchmarks.limit import COPY_HEADER, COPY_TRAILER
from benchmarks.records import Mix

# A row's tuple: the number of fields, then id and ts, each a length and eight bytes.
_HEAD: Final = struct.Struct(">hiqiq")
# PostgreSQL counts microseconds from 2000 on (documentation, 8.5).
EPOCH_2000: Final = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
BATCH_ROWS: Final = 20_000
# What several senders at once are apart.
JITTER_MICROSECONDS: Final = 2_000_000
RARE_WORD: Final = "xyzzy"
RARE_ROWS: Final = 5


def tuples(seed: int) -> list[bytearray]:
    """Return rows of the usual mix as COPY tuples, to be given ids and times."""
    chunks = records.workload(
        Mix(events=100_000, chunk_events=1_000, seed=seed, now_ns=time.time_ns())
    )
    return [
        bytearray(each)
        for chunk in chunks
        for each in _split(limit.binary_tuples(chunk.entries, chunk.tag))
    ]


def _split(data: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(data):
        start = place
        fields = int.from_bytes(data[place : place + 2], "big")
        place += 2
        for _ in range(fields):
            length = int.from_bytes(data[place : place + 4], "big", signed=True)
            place += 4 + max(0, length)
        yield data[start:place]


async def store(
    connection: asyncpg.Connection,
    pool: list[bytearray],
    rows: int,
    start: datetime,
    end: datetime,
    *,
    rare: int = RARE_ROWS,
) -> None:
    """Store so many rows, evenly over the time, and the few rare ones."""
    days = {start.date(), (end - MICROSECOND).date()}
    for day in sorted(days):
        await connection.execute("SELECT penstock_make_day($1)", day)
    rng = random.Random(rows)
    first = (start - EPOCH_2000) // MICROSECOND
    span = (end - start) // MICROSECOND
    for at in range(0, rows, BATCH_ROWS):
        batch = bytearray(COPY_HEADER)
        for number in range(at, min(at + BATCH_ROWS, rows)):
            each = pool[number % len(pool)]
            ts = first + span * number // rows
            ts = max(first, ts - rng.randrange(JITTER_MICROSECONDS))
            # In the order of arrival, as the receiver's ids are; of one window its own.
            _HEAD.pack_into(each, 0, 8, 8, first + number, 8, ts)
            batch += each
        batch += COPY_TRAILER
        await connection.copy_to_table(
            "logs",
            source=_once(bytes(batch)),
            columns=limit.COLUMNS.split(", "),
            format="binary",
        )
    await connection.execute(
        "INSERT INTO logs (id, ts, tag, message, attributes) SELECT n, $1::timestamptz"
        f" + n * $2::interval, 'rare', 'the word {RARE_WORD} is here',"
        " jsonb_build_object('request_id', 'rare-' || n)"
        " FROM generate_series(1, $3::int) AS n",
        start,
        (end - start) / (rare + 1),
        rare,
    )


async def _once(data: bytes) -> Any:
    yield data
