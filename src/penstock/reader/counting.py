"""The bytes that PostgreSQL sends, counted as they come, and cut off when too many.

One row can be a gigabyte, which a driver holds whole before anybody sees it. So what
bounds a reader's memory is here, between the socket and asyncpg. It must not know what
the bytes are.
"""

import asyncio
from typing import Any, cast

import asyncpg


class Counting(asyncio.Protocol):
    """Stands before a connection's own protocol."""

    def __init__(self, inner: asyncio.Protocol, stream: asyncio.Transport) -> None:
        self.received_bytes = 0
        self.is_over = False
        self._inner = inner
        self._stream = stream
        self._limit_bytes: int | None = None

    def begin(self, limit_bytes: int) -> None:
        """Count from now on, and end the connection past `limit_bytes`."""
        self.received_bytes = 0
        self._limit_bytes = limit_bytes

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if self._limit_bytes is not None and self.received_bytes > self._limit_bytes:
            self.is_over = True
            self._stream.abort()  # PostgreSQL ends what it cannot send
            return
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


def count(connection: asyncpg.Connection) -> Counting:
    """Count what a connection of `postgres.connection` receives, from now on."""
    stream = cast("Any", connection).stream
    counting = Counting(stream.get_protocol(), stream)
    stream.set_protocol(counting)
    return counting
