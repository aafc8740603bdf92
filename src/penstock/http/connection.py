"""One connection of the HTTP side, and how much it may have of us.

It owns the limits: how many there are, how long one may take, how much it may send.
A connection is one request: what follows it, or is its body, is not waited for. It
must not know what is served.
"""

import asyncio
import logging
import math
import resource
import traceback
from typing import cast

from aiohttp import web

from penstock.telemetry.http import HttpMetrics

logger = logging.getLogger(__name__)

# From the connection to the end of the request's headers: a probe sends them at once.
HEADER_SECONDS = 10.0
# From there to the last byte of the answer; Prometheus waits 10 s by default.
ANSWER_SECONDS = 20.0
# All that is read of a connection: the headers of browsers have some KiB, and nothing
# that is served needs a body.
MAX_REQUEST_BYTES = 64 * 1024
# A body that is still coming is thrown away for so long: closing at once would be a
# reset, which can overtake the answer.
BODY_SECONDS = 1.0
# Of the files that the process may open, at most: senders and PostgreSQL need the rest.
FILES_SHARE = 0.25
# Probes come every few seconds and say nothing.
NO_ACCESS_LOG = logging.Logger("no access log", logging.CRITICAL)


class HttpConnections:
    """All open connections.

    Past `max_connections`, or a share of the files that we may open, one that has not
    asked yet makes room for the new one: the oldest of the address that has most of
    them. So silent ones, however many, keep nobody out.
    """

    def __init__(self, max_connections: int, metrics: HttpMetrics) -> None:
        self.max_connections = max_connections
        self.metrics = metrics
        # By address, the oldest first.
        self._silent: dict[str, dict[HttpConnection, None]] = {}
        self._asking: dict[HttpConnection, None] = {}
        self._count = 0
        self._has_none = asyncio.Event()

    def __len__(self) -> int:
        return self._count

    def add(self, connection: "HttpConnection") -> None:
        """Take in a new connection; those past the limit are closed for it."""
        most = min(self.max_connections, _share_of_files())
        while self._count and self._count >= most:
            self._expendable().refuse("max_connections")
        self._silent.setdefault(connection.address, {})[connection] = None
        self._count += 1

    def make_room(self, count: int) -> None:
        """Close so many: the process has no file left."""
        for _ in range(min(count, self._count)):
            self._expendable().refuse("open_files")

    def asks(self, connection: "HttpConnection") -> None:
        """Note that a connection's request is there."""
        if self._is_silent_no_more(connection):
            self._asking[connection] = None

    def remove(self, connection: "HttpConnection") -> None:
        """Forget a connection; one that is not known is none."""
        if self._is_silent_no_more(connection) or connection in self._asking:
            self._asking.pop(connection, None)
            self._count -= 1
        if not self._count:
            self._has_none.set()

    async def close(self, timeout_seconds: float) -> None:
        """Close all; who does not take its answer is waited for so long."""
        for group in list(self._silent.values()):
            for each in list(group):
                each.abort()
        for each in list(self._asking):
            each.close_gently()
        self._has_none.clear()
        if self._count:
            try:
                await asyncio.wait_for(self._has_none.wait(), timeout_seconds)
            except TimeoutError:
                for each in list(self._asking):
                    each.abort()

    def _expendable(self) -> "HttpConnection":
        """Return the one that is the least loss to others; there has to be one."""
        largest = max(self._silent.values(), key=len, default=self._asking)
        return next(iter(largest))

    def _is_silent_no_more(self, connection: "HttpConnection") -> bool:
        """Take it out of the silent ones, if it was among them."""
        group = self._silent.get(connection.address, {})
        if connection not in group:
            return False
        del group[connection]
        if not group:
            del self._silent[connection.address]
        return True


class HttpConnection(web.RequestHandler):
    """aiohttp's protocol of one connection, within the limits."""

    __slots__ = ("_connections", "_deadline", "_link", "_received_bytes", "address")

    def __init__(
        self, server: web.Server, connections: HttpConnections, address: str
    ) -> None:
        """`address` is the peer's."""
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            logger=logger,
            access_log=NO_ACCESS_LOG,
            keepalive_timeout=0,
            lingering_time=BODY_SECONDS,
            auto_decompress=False,
        )
        self.address = address
        self._connections = connections
        self._received_bytes = 0
        self._link: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the request's headers."""
        self._link = cast("asyncio.Transport", transport)
        self._connections.add(self)
        self._give(HEADER_SECONDS)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Read the request, unless it is too much."""
        self._received_bytes += len(data)
        if self._received_bytes > MAX_REQUEST_BYTES:
            self.refuse("too_large")
        else:
            super().data_received(data)

    def asks(self) -> None:
        """Note that the headers are there and the answer begins."""
        self._connections.asks(self)
        self._give(ANSWER_SECONDS)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget it."""
        self._forget()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP, or met a bug of ours; what was sent is told nobody.

        aiohttp's own answer and log line quote it, and a token may be in it.
        """
        if status == web.HTTPBadRequest.status_code:
            self._connections.metrics.refused("not_http")
        else:
            logger.error(
                "the HTTP side met a bug in Penstock",
                extra={
                    "error": type(exc).__name__,
                    "traceback": _where(exc),
                },
            )
        return plain_answer(status)

    def refuse(self, reason: str) -> None:
        """Close it for a limit."""
        self._connections.metrics.refused(reason)
        self.abort()

    def close_gently(self) -> None:
        """Close it when what is written has been taken."""
        if self._link is not None:
            self._link.close()

    def abort(self) -> None:
        """Close it now."""
        self._forget()
        if self._link is not None:
            self._link.abort()

    def _give(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(
            seconds, self.refuse, "too_slow"
        )

    def _forget(self) -> None:
        self._connections.remove(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def answer(
    status: int, body: bytes, content_type: str, headers: dict[str, str] | None = None
) -> web.Response:
    """Return an answer, the last one on its connection."""
    response = web.Response(
        status=status,
        body=body,
        headers={
            "Content-Type": content_type,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            # Without it aiohttp says which version of it and of Python there is.
            "Server": "penstock",
            **(headers or {}),
        },
    )
    response.force_close()
    return response


def plain_answer(status: int, headers: dict[str, str] | None = None) -> web.Response:
    """Return an answer that holds no more than its status."""
    body = f"{status} {web.Response(status=status).reason}\n".encode()
    return answer(status, body, "text/plain; charset=utf-8", headers)


def _share_of_files() -> float:
    """Return the share of the open files that are allowed now: the limit may change."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if limit == resource.RLIM_INFINITY else limit * FILES_SHARE


def _where(error: BaseException | None) -> str:
    """Return where, not what: the error's own words may be those of the request."""
    return "" if error is None else "".join(traceback.format_tb(error.__traceback__))
