"""One connection of the HTTP side, and how much it may have of us.

It owns the limits: how many there are, how long one may take, how much it may send.
A connection is one request: what follows it is not waited for, nor is its body unless
what it asks for takes one. It must not know what is served.
"""

import asyncio
import logging
import math
import resource
import traceback
from contextlib import suppress
from typing import cast

from aiohttp import web

from penstock.http.answers import plain_answer
from penstock.telemetry.http import HttpMetrics

logger = logging.getLogger(__name__)

# From the connection to the end of the request's headers: a probe sends them at once.
HEADER_SECONDS = 10.0
# From there to the last byte of the answer; Prometheus waits 10 s by default.
ANSWER_SECONDS = 20.0
# All that is read of a connection before it is known whether its request may have a
# body: the headers of browsers have some KiB.
MAX_REQUEST_BYTES = 64 * 1024
# What has come with them is held until then, which is the loop's next rounds. It is
# what the socket gives at once: uvloop reads 250 KB, and heeds a pause one read later.
MAX_HELD_BYTES = 1024 * 1024
HELD_SECONDS = 1.0
# A body in chunks has lines between them; one of bytes in as small ones as this allows
# for is cut off.
FRAMING_TIMES = 2
# Answers that go on for as long as somebody reads them have this share of the places:
# the rest is for who asks for a moment.
LONG_SHARE = 0.5
# A body that is still coming is thrown away for so long: closing at once would be a
# reset, which can overtake the answer.
BODY_SECONDS = 1.0
# Of the files that the process may open, at most: senders and PostgreSQL need the rest.
FILES_SHARE = 0.25
ROUNDS_TO_WRITE = 5
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
        self._long: dict[HttpConnection, None] = {}
        self._answering: set[HttpConnection] = set()
        self._count = 0
        self._has_none = asyncio.Event()
        self._has_answered = asyncio.Event()

    def __len__(self) -> int:
        return self._count

    def add(self, connection: "HttpConnection") -> None:
        """Take in a new connection; those past the limit are closed for it."""
        most = self._most
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
            self._answering.add(connection)

    def answered(self, connection: "HttpConnection") -> None:
        """Note that a connection's answer is made, and at most still to be taken."""
        self._answering.discard(connection)
        if not self._answering:
            self._has_answered.set()

    def go_on(self, connection: "HttpConnection") -> bool:
        """Let a connection's answer go on for long; return whether there is a place.

        It makes room for nobody: those that are long have a share of their own.
        """
        if len(self._long) >= LONG_SHARE * self._most:
            return False
        if connection in self._asking:
            del self._asking[connection]
            self._long[connection] = None
        return True

    def remove(self, connection: "HttpConnection") -> None:
        """Forget a connection; one that is not known is none."""
        is_known = self._is_silent_no_more(connection)
        for group in (self._asking, self._long):
            if connection in group:
                del group[connection]
                is_known = True
        self.answered(connection)
        self._count -= is_known
        if not self._count:
            self._has_none.set()

    async def close(self, timeout_seconds: float) -> None:
        """Close all; who has no answer yet, or does not take it, has so long."""
        for group in list(self._silent.values()):
            for each in list(group):
                each.abort()
        for each in list(self._long):
            each.close_gently()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._all_answered()
                for each in list(self._asking):
                    each.close_gently()
                self._has_none.clear()
                if self._count:
                    await self._has_none.wait()
        for each in [*self._asking, *self._long]:
            each.abort()

    @property
    def _most(self) -> float:
        return min(self.max_connections, _share_of_files())

    async def _all_answered(self) -> None:
        while self._answering:
            self._has_answered.clear()
            await self._has_answered.wait()
        # aiohttp writes an answer in the rounds after it was made.
        for _ in range(ROUNDS_TO_WRITE):
            await asyncio.sleep(0)

    def _expendable(self) -> "HttpConnection":
        """Return the one that is the least loss to others; there has to be one."""
        asking = self._asking or self._long
        largest = max(self._silent.values(), key=len, default=asking)
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

    __slots__ = (
        "_connections",
        "_deadline",
        "_has_asked",
        "_held",
        "_link",
        "_most_bytes",
        "_received_bytes",
        "address",
    )

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
        self._most_bytes = MAX_REQUEST_BYTES
        self._has_asked = False
        self._held = b""  # what came before it was known whether it may
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
        room = self._most_bytes - self._received_bytes
        self._received_bytes += len(data)
        if len(data) <= room:
            super().data_received(data)
        elif self._has_asked:
            self.refuse("too_large")
        else:
            self._hold(data, max(0, room))

    def _hold(self, data: bytes, room: int) -> None:
        """Read what there is room for; hold the rest until it is known what it is."""
        is_first = not self._held
        self._held += data[room:]
        if len(self._held) > MAX_HELD_BYTES:
            self.refuse("too_large")
            return
        if is_first and self._link is not None:
            self._link.pause_reading()
            self._give(HELD_SECONDS, "too_large")
            super().data_received(data[:room])

    def asks(self, body_bytes: int = 0, seconds: float = 0.0) -> None:
        """Note that the headers are there, and the answer begins.

        Args:
            body_bytes: of a body that it may have, at most.
            seconds: until it has the answer's first byte, besides what that takes.
        """
        self._connections.asks(self)
        self._has_asked = True
        if body_bytes:
            self._most_bytes += FRAMING_TIMES * body_bytes
        self._give(seconds + ANSWER_SECONDS)
        if self._held:
            held, self._held = self._held, b""
            if self._received_bytes > self._most_bytes:
                self.refuse("too_large")
            else:
                super().data_received(held)
                self.resume_reading()

    def answered(self) -> None:
        """Note that the answer is made; it has the usual time to be taken."""
        self._connections.answered(self)
        if self._deadline is not None:
            self._give(ANSWER_SECONDS)

    def goes_on(self) -> bool:
        """Let the answer take as long as it will; return whether there is a place.

        Whoever writes it has to see that it is read.
        """
        if not self._connections.go_on(self):
            return False
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None
        return True

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

    def _give(self, seconds: float, reason: str = "too_slow") -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(
            seconds, self.refuse, reason
        )

    def _forget(self) -> None:
        self._connections.remove(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _share_of_files() -> float:
    """Return the share of the open files that are allowed now: the limit may change."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if limit == resource.RLIM_INFINITY else limit * FILES_SHARE


def _where(error: BaseException | None) -> str:
    """Return where, not what: the error's own words may be those of the request."""
    return "" if error is None else "".join(traceback.format_tb(error.__traceback__))
