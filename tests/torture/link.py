"""A link between senders and Penstock that stands still and is cut, as a network does.

It runs in an event loop of its own thread, with the link to PostgreSQL beside it; the
functions of `Links` are for other threads.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.database_proxy import DatabaseProxy

# Closing sends RST: an end that was cut must not look like one that was meant.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

T = TypeVar("T")


class SenderProxy:
    """Passes on TCP connections to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._flows = asyncio.Event()
        self._flows.set()
        self._links: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Return the port to connect to."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)

    async def close(self) -> None:
        """Cut all and listen no more."""
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hold(self) -> None:
        """Pass nothing on until `flow`."""
        self._flows.clear()

    def flow(self) -> None:
        """Pass on again."""
        self._flows.set()

    def cut(self) -> None:
        """Cut all links."""
        for link in list(self._links):
            for end in link:
                _reset(end)
        self._links.clear()

    def _accepted(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._link(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _link(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            far = await asyncio.open_connection("127.0.0.1", self._behind)
        except OSError:  # Penstock is not there
            _reset(writer)
            return
        link = (writer, far[1])
        self._links.add(link)
        try:
            await asyncio.gather(self._pump(reader, far[1]), self._pump(far[0], writer))
            writer.close()
            far[1].close()
        except (OSError, asyncio.CancelledError):
            _reset(writer)
            _reset(far[1])
        finally:
            self._links.discard(link)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        await self._flows.wait()
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    link = writer.transport.get_extra_info("socket")
    if link is not None and not writer.is_closing():
        with contextlib.suppress(OSError):
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()


class Links:
    """The thread with both links' loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # What a link that is cut complains of is no news.
        self._loop.set_exception_handler(lambda loop, context: None)
        self._thread = threading.Thread(target=self._loop.run_forever, name="links")
        self._thread.start()
        self._senders: SenderProxy | None = None
        self._database: DatabaseProxy | None = None

    @property
    def has_database(self) -> bool:
        """Tell whether the link to PostgreSQL is one of ours."""
        return self._database is not None

    def open_senders(self, port: int) -> int:
        """Make a link to Penstock's port; return its own."""
        self._senders = self._call(SenderProxy, port)
        self._wait(self._senders.start())
        return self._senders.port

    def open_database(self, database_url: str) -> str:
        """Make a link to PostgreSQL; return the URL to use it by."""
        self._database = self._call(DatabaseProxy, database_url)
        self._wait(self._database.__aenter__())
        return self._database.url

    def on_senders(self, act: Callable[[SenderProxy], None]) -> None:
        """Do something to the link of the senders."""
        assert self._senders is not None
        self._call(act, self._senders)

    def on_database(self, act: Callable[[DatabaseProxy], None]) -> None:
        """Do something to the link to PostgreSQL."""
        assert self._database is not None
        self._call(act, self._database)

    def close(self) -> None:
        """Cut all, and end the thread."""
        if self._senders is not None:
            self._wait(self._senders.close())
        if self._database is not None:
            self._wait(self._database.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        async def call() -> T:
            return function(*arguments)

        return self._wait(call())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)
