"""Server-sent events: an answer that goes on for as long as somebody reads it.

It owns the answer's form (the HTML standard, "Server-sent events"), and that whoever
does not read is not written to for ever. It must not know what is told.
"""

import asyncio
from types import TracebackType

from aiohttp import web

from penstock.http.answers import SECURITY_HEADERS, ApiError
from penstock.http.connection import HttpConnection

# Of what is written and not read, the system holds some 100 KiB. Who takes nothing of
# it for so long has gone, or might as well have.
UNREAD_SECONDS = 30.0
# Before a client tries again that was told there is no place.
RETRY_SECONDS = 5
EVENT_STREAM = "text/event-stream; charset=utf-8"


class EventStream:
    """One client's stream, to be used as a context: `async with open_events(request)`.

    The handler returns `response`. It is cancelled when the client goes, or we stop.
    """

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.response = web.StreamResponse(
            headers={
                "Content-Type": EVENT_STREAM,
                **SECURITY_HEADERS,
                # nginx would keep events until it has some KiB of them.
                "X-Accel-Buffering": "no",
            }
        )

    async def __aenter__(self) -> "EventStream":
        connection = self._request.protocol
        assert isinstance(connection, HttpConnection)
        if not connection.goes_on():
            raise ApiError(
                503,
                "as many streams are open as may be (half of http_max_connections)",
                {"Retry-After": str(RETRY_SECONDS)},
            )
        self.response.force_close()
        await self.response.prepare(self._request)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            await self._write(b"", is_last=True)

    async def send(
        self, data: bytes, *, event: str = "", event_id: str = "", retry_ms: int = 0
    ) -> None:
        """Send an event; its data is text without line ends, such as JSON.

        Raises:
            ConnectionError: the client has gone, or does not read.
        """
        assert b"\n" not in data and b"\r" not in data, "one line"
        lines = []
        if event:
            lines.append(b"event: " + event.encode())
        if event_id:
            lines.append(b"id: " + event_id.encode())
        if retry_ms:
            lines.append(b"retry: %d" % retry_ms)
        lines.append(b"data: " + data)
        await self._write(b"\n".join(lines) + b"\n\n")

    async def send_bytes(self, events: bytes) -> None:
        """Send events as they were written elsewhere. Raises as `send`."""
        await self._write(events)

    async def keep_alive(self) -> None:
        """Send a comment, so that nobody between takes the stream for dead."""
        await self._write(b":\n\n")

    async def _write(self, data: bytes, *, is_last: bool = False) -> None:
        try:
            async with asyncio.timeout(UNREAD_SECONDS):
                if is_last:
                    await self.response.write_eof(data)
                else:
                    await self.response.write(data)
        except TimeoutError:
            connection = self._request.protocol
            assert isinstance(connection, HttpConnection)
            connection.refuse("too_slow")
            raise ConnectionResetError("the client does not read") from None


def open_events(request: web.BaseRequest) -> EventStream:
    """Return a stream; entering it raises ApiError if there is no place."""
    return EventStream(request)
