"""The composition root of the server: builds, starts and stops every part, in order.

It owns the tasks, the signals and the order of start and stop; nothing else knows
all the parts. It must hold no logic of theirs. The flow of events is in this process
(`flow`), or in several workers that this one looks after (`supervising`).
"""

import asyncio
import contextlib
import faulthandler
import gc
import logging
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import uvloop

from penstock import config
from penstock.allocation import keep_large_blocks
from penstock.ask.audit import Audit
from penstock.ask.lazily import conversations
from penstock.errors import UnavailableError
from penstock.flow import GC_THRESHOLD, Flow
from penstock.http.api import api_routes
from penstock.http.server import HttpServer
from penstock.net.places import ListenedOn
from penstock.postgres.connection import without_password
from penstock.reader.session import open_session
from penstock.reloading import Reloading, Terminal, hangup_stops
from penstock.settings import Settings
from penstock.settings.shares import worker_count
from penstock.sink.maintenance import maintain_periodically
from penstock.sink.maintenance_round import Upkeep
from penstock.sink.migrations import migrate
from penstock.sink.spool_owner import SpoolOwner
from penstock.sink.spools import make_spool
from penstock.sink.summaries import summarize_periodically
from penstock.stopping import STOP_GRACE_SECONDS, Stop
from penstock.supervising.workers import Workers
from penstock.telemetry.logs import set_log_level
from penstock.telemetry.metrics import Metrics
from penstock.telemetry.systemd import Systemd
from penstock.telemetry.workers import MetricsOfAll

logger = logging.getLogger(__name__)

# An embedded PostgreSQL that died is noticed this soon.
SUPERVISE_SECONDS = 0.5


class Listening(NamedTuple):
    """Where a started server is reached; `others` are the listeners' places."""

    host: str
    port: int
    http_host: str
    http_port: int
    others: tuple[ListenedOn, ...] = ()


class Supervised(NamedTuple):
    """An embedded PostgreSQL that the server depends on, and what keeps it well."""

    is_running: Callable[[], bool]
    restart: Callable[[], None]
    give_up: Callable[[], None]  # a restart that is under way
    trim_log: Callable[[], None]


class Stopped(NamedTuple):
    """How a server has ended."""

    was_clean: bool  # all was committed
    # What is left of shutdown_timeout for what is stopped after the server; none when
    # somebody does not want to wait.
    seconds_left: float


def run(
    settings: Settings,
    *,
    on_ready: Callable[[Listening], None],
    reload: Callable[[], Settings],
    spool_dir: Path,
    database: Supervised | None = None,
) -> Stopped:
    """Run the server until SIGTERM or SIGINT; return how it ended.

    Blocks. Calls `on_ready` once senders can connect, and `reload`, in a thread, for
    the settings anew at SIGHUP; when the terminal is closed, SIGHUP ends it too. The
    spool is in `spool_dir` unless the settings name another. `database` is restarted
    when it dies, if it is ours.

    Raises:
        UnavailableError: the database or an address is not to be had.
    """
    gc.set_threshold(GC_THRESHOLD)
    keep_large_blocks()
    # The SIGABRT of systemd's watchdog leaves in the log where the loop hangs.
    faulthandler.enable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        server = Server(settings, reload, spool_dir, is_embedded=database is not None)
        was_clean = runner.run(server.run(on_ready, database))
    return Stopped(was_clean, server.seconds_left() if was_clean else 0.0)


class Server:
    """All parts of one server."""

    def __init__(
        self,
        settings: Settings,
        reload: Callable[[], Settings],
        spool_dir: Path,
        *,
        is_embedded: bool = False,
    ) -> None:
        self._settings = settings
        named = settings.spool.spool_dir
        spool_dir = spool_dir if named == "auto" else Path(named)
        self._spool_owner = SpoolOwner(spool_dir)
        count = worker_count(settings, config.cores())
        self._metrics: Metrics
        self._flow: Flow | Workers
        if count == 1:
            self._metrics, self._flow = _flow_here(settings, spool_dir)
        else:
            self._metrics, self._flow = _flow_of_workers(settings, spool_dir, count)
        reading_url = settings.api.api_database_url or settings.database_url
        reading = partial(
            open_session, reading_url, settings.reading, is_embedded=is_embedded
        )
        if settings.backup.backup_metrics_file:
            self._metrics.watch_backup_file(Path(settings.backup.backup_metrics_file))
        key, url = config.model_access()
        self._http = HttpServer(
            settings.http,
            self._metrics,
            self._flow.unready_reasons,
            refresh=self._flow.refresh,
            routes=api_routes(
                settings,
                submit=self._flow.submit,
                looking=self._flow.looking,
                open_session=reading,
                converse=conversations(
                    settings.ask,
                    Audit(
                        settings.ask.ask_database_url or reading_url,
                        asked_by="/api/ask",
                        is_embedded=is_embedded,
                    ),
                    reading,
                    environment_key=key,
                    environment_url=url,
                ),
            ),
        )
        self._systemd = Systemd(*config.service_manager())
        self._stop = Stop(settings.process.shutdown_timeout_seconds)
        self._reloading = Reloading(
            settings,
            reload,
            self._apply,
            self._metrics.reload,
            # nohup: the end of the terminal is nothing to us.
            Terminal(self._terminal_closed) if hangup_stops() else None,
        )

    async def run(
        self, on_ready: Callable[[Listening], None], database: Supervised | None = None
    ) -> bool:
        """Start, serve until told to stop, stop; return whether all was committed."""
        settings, flow = self._settings, self._flow
        self._catch_signals()
        if not await self._stop.unless_asked(self._start()):
            return True
        try:
            gc.freeze()
            on_ready(self._listening())
            self._systemd.ready(flow.status())
            logger.info(
                "ready", extra={"database": without_password(settings.database_url)}
            )
            async with asyncio.TaskGroup() as tasks:
                flow.begin(tasks)
                upkeep = tasks.create_task(self._maintain(), name="maintenance")
                reloading = tasks.create_task(self._reloading.run(), name="reload")
                telling = tasks.create_task(self._tell_systemd(), name="systemd")
                await self._serve(database)
                self._systemd.stopping("Stopping: " + flow.status())
                return await flow.end(self._stop, (upkeep, reloading, telling))
        finally:
            await self._http.close()
            await flow.close()
            self._spool_owner.release()

    def seconds_left(self) -> float:
        """Return what is left of the time that the stop may take."""
        return self._stop.seconds_left()

    async def _start(self) -> None:
        settings = self._settings
        await migrate(settings.database_url)
        try:
            if settings.spool.spool_mode != "off":
                await self._spool_owner.take(
                    settings.process.shutdown_timeout_seconds + STOP_GRACE_SECONDS
                )
            await self._flow.prepare()
            await self._http.start()
            await self._flow.listen()
        except BaseException:
            await self._http.close()
            self._spool_owner.release()
            raise

    async def _apply(self, settings: Settings) -> None:
        """Give each part what a reload has brought; raises before any has changed."""
        self._http.check(settings.http)
        await self._flow.apply(settings)
        self._http.reload(settings.http)
        set_log_level(settings.process.log_level)

    async def _maintain(self) -> None:
        settings = self._settings
        url = settings.maintenance.maintenance_database_url or settings.database_url
        upkeep = Upkeep(settings.partitions, settings.maintenance)
        if not settings.maintenance.maintenance_interval_seconds:
            return  # `penstock db maintain` does it
        await asyncio.gather(
            maintain_periodically(url, upkeep, self._metrics.maintenance),
            summarize_periodically(url),
        )

    async def _tell_systemd(self) -> None:
        await self._systemd.keep_told(
            is_alive=lambda: self._flow.is_alive, status=self._flow.status
        )

    async def _serve(self, database: Supervised | None) -> None:
        """Wait for the signal to stop, keeping our own PostgreSQL alive meanwhile."""
        while not self._stop.asked.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.asked.wait(), SUPERVISE_SECONDS)
            if database is None or self._stop.asked.is_set():
                continue
            try:
                if not database.is_running():
                    logger.error("the embedded PostgreSQL has died; starting it again")
                    await self._restart(database)
                database.trim_log()
            except (UnavailableError, OSError) as error:
                logger.error(
                    "the embedded PostgreSQL does not start",
                    extra={"error": str(error)},
                )

    async def _restart(self, database: Supervised) -> None:
        """Start our own PostgreSQL again, unless told to stop meanwhile."""
        starting = asyncio.create_task(asyncio.to_thread(database.restart))
        stopping = asyncio.create_task(self._stop.asked.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            database.give_up()
            return  # its thread is waited for at the very end
        starting.result()

    def _listening(self) -> Listening:
        first, *others = self._flow.listening
        return Listening(
            self._settings.listen.host,
            first.port,
            self._settings.http.http_host,
            self._http.port,
            tuple(others),
        )

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._told_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._reloading.hung_up)

    def _told_to_stop(self) -> None:
        if not self._stop.asked.is_set():
            self._stop.ask()
        else:  # whoever asks twice does not want to wait
            self._stop.hurried.set()

    def _terminal_closed(self) -> None:
        if not self._stop.asked.is_set():
            self._stop.ask()


def _flow_here(settings: Settings, spool_dir: Path) -> tuple[Metrics, Flow]:
    metrics = Metrics()
    spool = None
    if settings.spool.spool_mode != "off":
        most_bytes = settings.spool.spool_max_bytes
        spool = make_spool(spool_dir, worker=0, workers=1, max_bytes=most_bytes)
    reserved = settings.http.http_max_connections
    return metrics, Flow(settings, metrics, spool, reserved_files=reserved)


def _flow_of_workers(
    settings: Settings, spool_dir: Path, count: int
) -> tuple[Metrics, Workers]:
    metrics = MetricsOfAll()
    return metrics, Workers(settings, metrics, spool_dir, count)
