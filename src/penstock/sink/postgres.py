"""One transaction for each batch: reject what is no row, COPY what is, COMMIT.

It owns one connection and what is said on it. It must not retry, and must not
know where a batch comes from: `flusher` does.
"""

from collections.abc import AsyncIterator

import asyncpg

from penstock.errors import DatabaseUnavailableError, TransientSinkError
from penstock.model import Batch
from penstock.rows.copy_format import COLUMNS, COPY_HEADER, COPY_TRAILER
from penstock.sink.classify import classify, unavailable
from penstock.sink.connection import (
    CONNECTION_ERRORS,
    connect,
    unless_lost,
    without_password,
)
from penstock.sink.partitions import Partitions
from penstock.sink.sql import load_blocks

# Small segments are joined up to this size, the socket's buffer or so, before they
# are handed to asyncpg, whose cost is by piece.
PIECE_BYTES = 64 * 1024
# A goodbye is answered at once or not at all.
CLOSE_TIMEOUT_SECONDS = 1.0


class PostgresWriter:
    """Stores batches over a connection of its own, opened when it is needed."""

    def __init__(self, database_url: str, partitions: Partitions) -> None:
        self._database_url = database_url
        self._partitions = partitions
        self._reject = load_blocks("store")["reject"]
        self._connection: asyncpg.Connection | None = None

    @property
    def is_connected(self) -> bool:
        """Tell whether the connection is open, as far as is known."""
        return self._connection is not None and not self._connection.is_closed()

    async def connect(self) -> None:
        """Open the connection if it is not open.

        Raises:
            TransientSinkError: the database is out of reach.
        """
        if self.is_connected:
            return
        try:
            self._connection = await connect(self._database_url)
        except DatabaseUnavailableError as error:
            raise TransientSinkError(str(error)) from error

    async def store(self, batch: Batch, *, now_seconds: float) -> None:
        """Store the batch; when this returns it is committed.

        Raises:
            TransientSinkError, PermanentSinkError: nothing of the batch is stored,
                unless the connection was lost while it committed.
        """
        connection = self._connection
        if connection is None:
            raise TransientSinkError("not connected")
        try:
            await self._partitions.ensure(connection, batch.days, now_seconds)
            async with connection.transaction():
                await self._store_rejected(connection, batch)
                if batch.rows:
                    copy = connection.copy_to_table(
                        "logs",
                        source=_copy_pieces(batch),
                        columns=list(COLUMNS),
                        format="binary",
                    )
                    await unless_lost(connection, copy)
        except CONNECTION_ERRORS as error:
            # A partition may be gone, or the connection; both are looked at anew.
            self._partitions.forget()
            # A server that only reads was the primary before a failover; another
            # connection may find the new one.
            if not isinstance(error, asyncpg.PostgresError) or isinstance(
                error, asyncpg.ReadOnlySQLTransactionError
            ):
                self.terminate()
            raise classify(error) from error

    async def _store_rejected(
        self, connection: asyncpg.Connection, batch: Batch
    ) -> None:
        rejected = [
            (
                segment.delivery.sender,
                segment.delivery.tag,
                segment.delivery.chunk,
                event.reason,
                event.raw,
            )
            for segment in batch.segments
            for event in segment.encoded.rejected
        ]
        if rejected:
            await connection.executemany(self._reject, rejected)

    def terminate(self) -> None:
        """Drop the connection without a word; the next `connect` opens another."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """End the connection; do not wait long for a server that does not answer."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=CLOSE_TIMEOUT_SECONDS)
        except CONNECTION_ERRORS:
            connection.terminate()


async def _copy_pieces(batch: Batch) -> AsyncIterator[bytes]:
    pieces: list[bytes] = [COPY_HEADER]
    size_bytes = 0
    for segment in batch.segments:
        data = segment.encoded.data
        if len(data) >= PIECE_BYTES:
            yield b"".join(pieces)
            pieces.clear()
            size_bytes = 0
            yield data
            continue
        pieces.append(data)
        size_bytes += len(data)
        if size_bytes >= PIECE_BYTES:
            yield b"".join(pieces)
            pieces.clear()
            size_bytes = 0
    pieces.append(COPY_TRAILER)
    yield b"".join(pieces)


async def next_receiver(database_url: str) -> int:
    """Return a number that tells this process's ids from those of others.

    Raises:
        DatabaseUnavailableError: out of reach, or without our schema.
    """
    connection = await connect(database_url)
    try:
        receiver: int = await connection.fetchval(load_blocks("store")["next_receiver"])
        return receiver
    except asyncpg.PostgresError as error:
        raise unavailable(error, without_password(database_url)) from error
    finally:
        await connection.close()
