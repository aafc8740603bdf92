"""/metrics, /health and /ready, and the door of what is below /api.

It owns who gets an answer, and these three; what is ready, what the metrics are and
what the API answers it is told. It must not touch the flow of events.
"""

import errno
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from aiohttp import web

from penstock.accepting import (
    AcceptLoop,
    Address,
    addresses_of,
    bind_all,
    close_all,
    is_reachable,
    listen_all,
)
from penstock.errors import UnavailableError
from penstock.http.answers import (
    ApiError,
    answer,
    error_answer,
    json_answer,
    plain_answer,
)
from penstock.http.browsers import why_not_from
from penstock.http.connection import HttpConnection, HttpConnections
from penstock.http.routes import API_PREFIX, Route, Router, handler_of
from penstock.http.token import COMMON_TOKEN, Bearer, Right, check_token
from penstock.settings import HttpSettings
from penstock.telemetry.http import OTHER_PATH
from penstock.telemetry.metrics import CONTENT_TYPE, Metrics

if TYPE_CHECKING:
    import socket

logger = logging.getLogger(__name__)

# Answered without a token, and says only that somebody answers.
OPEN_PATH = "/health"
METRICS_PATH = "/metrics"
# At the stop, for answers that are being read.
CLOSE_SECONDS = 1.0
# Of a body that is not asked for: it is read, and not kept, so that whoever sends it
# can read why.
DISCARDED_BYTES = 1024 * 1024
# So many of the oldest connections make room when the process has no file left.
ROOM = 16


class HttpServer:
    """Serves the routes on one address.

    `unready_reasons` returns why the server should get no traffic now, nothing if
    it may. `refresh`, if given, is awaited before these or the metrics are asked for.
    """

    def __init__(
        self,
        settings: HttpSettings,
        metrics: Metrics,
        unready_reasons: Callable[[], list[str]],
        refresh: Callable[[], Awaitable[None]] | None = None,
        routes: Iterable[Route] = (),
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._unready_reasons = unready_reasons
        self._refresh = refresh
        self._bearer = Bearer(settings)
        self._connections = HttpConnections(settings.http_max_connections, metrics.http)
        self._router = Router(routes)
        streams = {each.path for each in self._router.routes if each.is_stream}
        metrics.http.serves((each.path for each in self._router.routes), streams)
        self._own = {
            METRICS_PATH: self._serve_metrics,
            OPEN_PATH: self._serve_health,
            "/ready": self._serve_ready,
        }
        self._is_reachable = False
        self._sockets: list[socket.socket] = []
        self._accept_loop: AcceptLoop | None = None

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Return what is listened on."""
        return [each.getsockname()[:2] for each in self._sockets]

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        return self.addresses[0][1]

    async def start(self) -> None:
        """Listen.

        Raises:
            SettingsError: others could read without a token, or a token is none.
            UnavailableError: the address is taken, not ours, or not allowed.
        """
        host, port = self._settings.http_host, self._settings.http_port
        try:
            addresses = await addresses_of(host, port)
            self._is_reachable = is_reachable(addresses)
            check_token(self._settings, is_reachable=self._is_reachable)
            self._sockets = bind_all(addresses)
            listen_all(self._sockets)
        except OSError as error:
            close_all(self._sockets)
            is_about_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
            advice = "port with --http-port" if is_about_port else "with --http-host"
            raise UnavailableError(
                f"cannot serve metrics on {host}:{port}: {_reason(error)};"
                f" choose another {advice}"
            ) from error
        self._accept_loop = AcceptLoop(self._without_files)
        server = web.Server(self._serve, handler_cancellation=True)

        def open_connection(_: "socket.socket", address: Address) -> HttpConnection:
            return HttpConnection(server, self._connections, address[0])

        for each in self._sockets:
            self._accept_loop.add(each, open_connection)

    def check(self, settings: HttpSettings) -> None:
        """See whether `reload` could take these settings.

        Raises:
            SettingsError: it could not; the message says why.
        """
        check_token(settings, is_reachable=self._is_reachable)

    def reload(self, settings: HttpSettings) -> None:
        """Take other tokens and another limit; host and port stay until a restart.

        Raises:
            SettingsError: as from `check`; nothing has changed.
        """
        self.check(settings)
        self._bearer = Bearer(settings)
        self._connections.max_connections = settings.http_max_connections

    async def close(self) -> None:
        """Stop serving."""
        if self._accept_loop is not None:
            for each in self._sockets:
                self._accept_loop.remove(each)
            await self._accept_loop.opened()
        close_all(self._sockets)
        await self._connections.close(CLOSE_SECONDS)

    def _without_files(self, error: OSError) -> None:
        logger.warning(
            "the HTTP side can take no connection and tries again",
            extra={"error": error.strerror},
        )
        self._connections.make_room(ROOM)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, HttpConnection)
        is_api = request.path.startswith(API_PREFIX)
        route = self._router.find(request.path)
        body_bytes = DISCARDED_BYTES if is_api else 0
        if route is None:
            connection.asks(body_bytes)
        else:
            connection.asks(max(body_bytes, route.max_body_bytes), route.seconds)
        try:
            if is_api:
                return await self._serve_api(request, route)
            return await self._serve_own(request)
        finally:
            connection.answered()

    async def _serve_api(
        self, request: web.BaseRequest, route: Route | None
    ) -> web.StreamResponse:
        begun_seconds, status = time.monotonic(), 500
        try:
            response = await self._answer_api(request, route)
            status = response.status
            return response
        finally:  # a client may go before, or it may be a bug
            path = OTHER_PATH if route is None else route.path
            seconds = time.monotonic() - begun_seconds
            self._metrics.http.answered(path, status, seconds)

    async def _answer_api(
        self, request: web.BaseRequest, route: Route | None
    ) -> web.StreamResponse:
        try:
            right = None if route is None else route.right
            refusal = self._refusal(request, right)
            if refusal is not None:  # nor is told whether there is such a path
                raise refusal
            why_not = why_not_from(request.headers, has_token=self._bearer.is_asked_for)
            if why_not is not None:
                raise ApiError(403, why_not)
            return await handler_of(route, request.method)(request)
        except ApiError as error:
            return error_answer(error)

    async def _serve_own(self, request: web.BaseRequest) -> web.Response:
        path = request.path
        right = Right.METRICS if path == METRICS_PATH else None
        refusal = None if path == OPEN_PATH else self._refusal(request, right)
        if refusal is not None:
            # Nor is told whether there is such a path.
            why = str(refusal) if refusal.status == 403 else ""
            return plain_answer(refusal.status, refusal.headers, why)
        serve = self._own.get(path)
        if serve is None:
            return plain_answer(web.HTTPNotFound.status_code)
        if request.method not in ("GET", "HEAD"):
            status = web.HTTPMethodNotAllowed.status_code
            return plain_answer(status, {"Allow": "GET, HEAD"})
        if path != OPEN_PATH and self._refresh is not None:
            await self._refresh()
        return serve()

    def _refusal(
        self, request: web.BaseRequest, right: Right | None
    ) -> ApiError | None:
        """Return why the request's token does not open this, and count it."""
        given = request.headers.getall("Authorization", [])
        reason = self._bearer.why_not(given, right)
        if reason is None:
            return None
        self._metrics.http.unauthorized(reason)
        # Not what it asked for: somebody may have put the token there.
        logger.warning(
            "an HTTP request without the right token",
            extra={"peer": request.remote or "unknown", "reason": reason},
        )
        return _why_refused(reason, right)

    def _serve_metrics(self) -> web.Response:
        return answer(200, self._metrics.exposition(), CONTENT_TYPE)

    def _serve_health(self) -> web.Response:
        return json_answer({"status": "alive"})

    def _serve_ready(self) -> web.Response:
        reasons = self._unready_reasons()
        if reasons:
            return json_answer({"status": "not ready", "reasons": reasons}, status=503)
        return json_answer({"status": "ready"})


def _why_refused(reason: str, right: Right | None) -> ApiError:
    """Return what is answered to a request whose token does not open what it asks for.

    RFC 6750, 3.1: 401 for who is not known, 403 for who is and may not.
    """
    if reason == "no_right" and right is not None:
        return ApiError(
            403,
            f"this token may not {right.in_words}; that takes {right.token_name} or"
            f" {COMMON_TOKEN}",
            {"WWW-Authenticate": 'Bearer error="insufficient_scope"'},
        )
    what = "this needs the header `Authorization: Bearer TOKEN`"
    if reason != "no_token":
        what = "the token is not the right one"
    return ApiError(401, what, {"WWW-Authenticate": "Bearer"})


def _reason(error: OSError) -> str:
    """Return the system's words."""
    if error.errno == errno.EADDRINUSE:
        return "it is in use"
    if error.errno is not None and error.errno > 0:  # getaddrinfo's are negative
        return os.strerror(error.errno)
    return error.strerror or str(error)
