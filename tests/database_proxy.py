"""A link to PostgreSQL that can stand still and be cut, as a network does.

Listens on a Unix socket in a directory of its own and passes on to the server's.
"""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PORT = 5432


class DatabaseProxy:
    """Stands between Penstock and the PostgreSQL of a URL with a Unix socket."""

    def __init__(self, database_url: str) -> None:
        query = parse_qs(urlsplit(database_url).query)
        port = query.get("port", [str(PORT)])[0]
        self._behind = os.path.join(query["host"][0], f".s.PGSQL.{port}")
        self._database = urlsplit(database_url).path
        self._user = urlsplit(database_url).username
        self._directory = Path(tempfile.mkdtemp(prefix="penstock-proxy-"))
        self._writes_flow, self._answers_flow = asyncio.Event(), asyncio.Event()
        self._hold_after_bytes: int | None = None
        self._is_holding = asyncio.Event()
        self._delay_seconds = 0.0
        self.flow()
        self._links: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._unnoticed: set[asyncio.StreamWriter] = set()  # the server's ends
        self._left_open: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Return the database's URL by way of this proxy."""
        return (
            f"postgresql://{self._user}@{self._database}"
            f"?host={self._directory}&port={PORT}"
        )

    async def __aenter__(self) -> "DatabaseProxy":
        path = self._directory / f".s.PGSQL.{PORT}"
        self._server = await asyncio.start_unix_server(self._link, path)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        self.let_server_know()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            (self._directory / f".s.PGSQL.{PORT}").unlink()
        self._directory.rmdir()

    def stand_still(self) -> None:
        """Pass nothing on, in either direction, until `flow` or `cut`."""
        self._writes_flow.clear()
        self._answers_flow.clear()

    def hold_writes(self, after_bytes: int) -> None:
        """Pass on what the server says, and of what it is told only so many bytes."""
        self._hold_after_bytes = after_bytes

    async def writes_are_held(self) -> None:
        """Wait until so many bytes have come that the next ones are held."""
        await self._is_holding.wait()

    def flow(self) -> None:
        """Pass on again."""
        self._hold_after_bytes = None
        self._is_holding.clear()
        self._writes_flow.set()
        self._answers_flow.set()

    def cut(self, *, server_knows: bool = True) -> None:
        """Cut all links, without a word; the server may not hear of it."""
        for near, far in self._links:
            near.transport.abort()
            if server_knows:
                far.transport.abort()
            else:
                self._unnoticed.add(far)
        self._links.clear()

    def let_server_know(self) -> None:
        """End what `cut` left open, as the server's own keepalive does in time."""
        for far in self._left_open:
            far.transport.abort()
        self._left_open.clear()

    def hold_answers(self) -> None:
        """Pass on what the server is told, and not what it says."""
        self._answers_flow.clear()

    def delay_answers(self, *, seconds: float) -> None:
        """Pass on each thing that the server says so much later."""
        self._delay_seconds = seconds

    async def _link(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(self._behind)
        except OSError:  # the server is not there
            writer.transport.abort()
            return
        self._links.add((writer, far_writer))
        pumps = [
            asyncio.create_task(_pump(reader, far_writer, self._writes)),
            asyncio.create_task(_pump(far_reader, writer, self._answers)),
        ]
        self._tasks.update(pumps)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        self._links.discard((writer, far_writer))
        writer.transport.abort()
        # Of this cut only: a client that ends by itself is noticed.
        if far_writer in self._unnoticed:
            self._unnoticed.discard(far_writer)
            self._left_open.append(far_writer)
        else:
            far_writer.transport.abort()
        for pump in pumps:
            pump.cancel()
            self._tasks.discard(pump)

    async def _writes(self, size_bytes: int) -> None:
        await self._writes_flow.wait()
        if self._hold_after_bytes is not None:
            self._hold_after_bytes -= size_bytes
            if self._hold_after_bytes < 0:
                self._writes_flow.clear()
                self._is_holding.set()

    async def _answers(self, size_bytes: int) -> None:
        await asyncio.sleep(self._delay_seconds)
        await self._answers_flow.wait()


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    may_pass: Callable[[int], Awaitable[None]],
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            await may_pass(len(data))
            writer.write(data)
            await writer.drain()
