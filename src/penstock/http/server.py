"""/metrics, /health and /ready.

It owns the routes and their answers; what is ready and what the metrics are it is
told. It must not touch the flow of events.
"""

import errno
import os
from collections.abc import Callable

from aiohttp import web

from penstock.errors import UnavailableError
from penstock.settings import HttpSettings
from penstock.telemetry.metrics import CONTENT_TYPE, Metrics


class HttpServer:
    """Serves the routes on one address.

    `unready_reasons` returns why the server should get no traffic now, nothing if
    it may.
    """

    def __init__(
        self,
        settings: HttpSettings,
        metrics: Metrics,
        unready_reasons: Callable[[], list[str]],
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._unready_reasons = unready_reasons
        app = web.Application()
        app.router.add_get("/metrics", self._serve_metrics)
        app.router.add_get("/health", self._serve_health)
        app.router.add_get("/ready", self._serve_ready)
        # No access log: probes come every few seconds and say nothing.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        port: int = self._runner.addresses[0][1]
        return port

    async def start(self) -> None:
        """Listen.

        Raises:
            UnavailableError: the address is taken, not ours, or not allowed.
        """
        host, port = self._settings.http_host, self._settings.http_port
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            is_about_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
            advice = "port with --http-port" if is_about_port else "with --http-host"
            raise UnavailableError(
                f"cannot serve metrics on {host}:{port}: {_reason(error)};"
                f" choose another {advice}"
            ) from error

    async def close(self) -> None:
        """Stop serving."""
        await self._runner.cleanup()

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE}
        )

    async def _serve_health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _serve_ready(self, request: web.Request) -> web.Response:
        reasons = self._unready_reasons()
        if reasons:
            return web.json_response(
                {"status": "not ready", "reasons": reasons}, status=503
            )
        return web.json_response({"status": "ready"})


def _reason(error: OSError) -> str:
    """Return the system's words: asyncio's name the address once more."""
    if error.errno == errno.EADDRINUSE:
        return "it is in use"
    if error.errno is not None and error.errno > 0:  # getaddrinfo's are negative
        return os.strerror(error.errno)
    return error.strerror or str(error)
