"""The composition root of the server: builds, starts and stops every part, in order.

It owns the tasks, the signals and the order of start and stop; nothing else knows
all the parts. It must hold no logic of theirs.
"""

import asyncio
import contextlib
import faulthandler
import gc
import logging
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import uvloop

from penstock import config
from penstock.buffer.books import Books
from penstock.buffer.ring import SOURCE_SHARE, Ring
from penstock.errors import DatabaseUnavailableError, SinkError, UnavailableError
from penstock.http.server import HttpServer
from penstock.net.admission import Admission, terms_of
from penstock.net.incoming import Intake
from penstock.net.listener import ForwardListener
from penstock.net.opened import Opened
from penstock.net.partials import Partials
from penstock.net.places import ListenedOn
from penstock.net.turns import Turns
from penstock.net.waiting import Waiting
from penstock.reloading import Reloading, Terminal, hangup_stops
from penstock.rows import RowEncoder
from penstock.settings import Settings
from penstock.sink.claim_periods import ClaimPeriods
from penstock.sink.claims import Claims
from penstock.sink.connection import without_password
from penstock.sink.flusher import Flusher, Writer
from penstock.sink.maintenance import maintain_periodically
from penstock.sink.maintenance_round import Upkeep
from penstock.sink.migrations import migrate
from penstock.sink.partitions import Partitions
from penstock.sink.postgres import PostgresWriter, next_receiver
from penstock.sink.spool import Spool
from penstock.sink.spooler import Spooler
from penstock.stopping import Ending, Parts, Stop
from penstock.telemetry.logs import set_log_level
from penstock.telemetry.metrics import Metrics
from penstock.telemetry.systemd import Systemd

logger = logging.getLogger(__name__)

# Encoding makes and frees containers by the hundred thousand and no cycles among
# them, so the collector's default of 700 only costs time.
GC_THRESHOLD = 50_000
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
    # The SIGABRT of systemd's watchdog leaves in the log where the loop hangs.
    faulthandler.enable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        server = Server(settings, reload, spool_dir)
        was_clean = runner.run(server.run(on_ready, database))
    return Stopped(was_clean, server.seconds_left() if was_clean else 0.0)


class Server:
    """All parts of one server."""

    def __init__(
        self, settings: Settings, reload: Callable[[], Settings], spool_dir: Path
    ) -> None:
        self._settings = settings
        self._terms = terms_of(settings)
        named = settings.spool.spool_dir
        self._spool_dir = spool_dir if named == "auto" else Path(named)
        self._spooler: Spooler | None = None
        self._metrics = Metrics()
        self._books = Books()
        self._systemd = Systemd(*config.service_manager())
        self._stop = Stop(settings.process.shutdown_timeout_seconds)
        self._admission = Admission(self._terms, self._metrics.receive)
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
        settings = self._settings
        self._catch_signals()
        if not await self._start_unless_stopped():
            return True
        try:
            gc.freeze()
            on_ready(self._listening())
            self._systemd.ready(self._status())
            logger.info(
                "ready", extra={"database": without_password(settings.database_url)}
            )
            async with asyncio.TaskGroup() as tasks:
                writing = [
                    tasks.create_task(
                        self._flusher.run(number), name=f"writer-{number}"
                    )
                    for number in range(settings.copy.writers)
                ]
                watch = tasks.create_task(self._listener.watch(), name="watch")
                upkeep = tasks.create_task(self._maintain(), name="maintenance")
                spooling = tasks.create_task(self._spool(), name="spool")
                reloading = tasks.create_task(self._reloading.run(), name="reload")
                telling = tasks.create_task(self._tell_systemd(writing), name="systemd")
                await self._serve(database)
                others = (watch, upkeep, reloading, telling)
                return await self._end((*writing, *others), spooling)
        finally:
            await self._http.close()
            if self._spooler is not None:
                await self._spooler.close()

    def seconds_left(self) -> float:
        """Return what is left of the time that the stop may take."""
        return self._stop.seconds_left()

    async def _start_unless_stopped(self) -> bool:
        """Start all parts; return False if told to stop before that was done."""
        starting = asyncio.create_task(self._start(), name="start")
        stopping = asyncio.create_task(self._stop.asked.wait(), name="stop")
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if starting.done():
            starting.result()
            return True
        starting.cancel()
        await asyncio.wait((starting,))
        return False

    async def _start(self) -> None:
        await migrate(self._settings.database_url)
        self._build(await next_receiver(self._settings.database_url))
        try:
            if self._spooler is not None:
                await self._spooler.open()
            await self._flusher.connect()
            await self._http.start()
            await self._listener.start()
        except BaseException as error:
            await self._http.close()
            if isinstance(error, SinkError):
                raise DatabaseUnavailableError(str(error)) from error
            raise

    def _build(self, receiver: int) -> None:
        settings = self._settings
        self._ring = Ring(
            max_bytes=settings.ring.ring_bytes,
            max_rows=settings.ring.ring_rows,
            on_waiting=self._something_waits,
            on_drained=lambda: self._flusher.ring_drained(),
            spool_first=settings.spool.spool_mode == "always",
        )
        self._metrics.watch_ring(self._ring)
        books = self._books
        self._metrics.watch_books(
            books, lambda: self._ring.used_events + self._ring.given_up_events
        )
        self._flusher = Flusher(
            self._ring,
            self._make_writers(receiver),
            batch_bytes=self._batch_bytes(),
            books=books,
            metrics=self._metrics.sink,
        )
        self._listener = ForwardListener(
            settings.listen,
            Intake(
                self._ring,
                books,
                RowEncoder(settings.columns, receiver=receiver, limits=settings.wire),
                settings.wire,
                self._metrics.receive,
                Turns(),
                Waiting(max_bytes=int(settings.ring.ring_bytes * SOURCE_SHARE)),
                Partials(max_bytes=settings.limits.max_partial_bytes),
                Opened(max_bytes=settings.wire.max_decompressed_bytes),
                settings.limits,
            ),
            make_doorway=self._admission.doorways(self._terms),
            # Each writer has a connection to PostgreSQL.
            reserved_files=settings.copy.writers + settings.http.http_max_connections,
        )
        self._build_spooler()
        self._http = HttpServer(settings.http, self._metrics, self._unready_reasons)

    async def _apply(self, settings: Settings) -> None:
        """Give each part what a reload has brought; raises before any has changed."""
        terms = terms_of(settings)
        self._http.check(settings.http)
        await self._listener.reload(
            settings.listen,
            settings.limits,
            self._admission.doorways(terms),
        )
        self._admission.change(terms)
        self._http.reload(settings.http)
        set_log_level(settings.process.log_level)

    def _make_writers(self, receiver: int) -> list[Writer]:
        settings = self._settings
        partitions = Partitions(settings.partitions)
        periods = ClaimPeriods()
        return [
            PostgresWriter(
                settings.database_url, partitions, periods, Claims(receiver, number)
            )
            for number in range(settings.copy.writers)
        ]

    def _build_spooler(self) -> None:
        settings = self._settings.spool
        if settings.spool_mode == "off":
            return
        self._spooler = Spooler(
            self._ring,
            Spool(self._spool_dir, max_bytes=settings.spool_max_bytes),
            self._flusher,
            self._books,
            always=settings.spool_mode == "always",
        )
        self._metrics.watch_spool(self._spooler)

    async def _maintain(self) -> None:
        settings = self._settings
        await maintain_periodically(
            settings.maintenance.maintenance_database_url or settings.database_url,
            Upkeep(settings.partitions, settings.maintenance),
            self._metrics.maintenance,
        )

    def _batch_bytes(self) -> int:
        """Return the largest batch: all in hand take half a sender's share at most.

        What writers have in hand cannot go to the spool.
        """
        share_bytes = self._settings.ring.ring_bytes * SOURCE_SHARE
        most = int(share_bytes / 2 / self._settings.copy.writers)
        return min(self._settings.copy.batch_bytes, most)

    def _something_waits(self) -> None:
        self._flusher.rows_wait()
        if self._spooler is not None:
            self._spooler.wake()

    async def _tell_systemd(self, writing: list[asyncio.Task[None]]) -> None:
        def is_alive() -> bool:
            # That PostgreSQL is away is no reason to be started again.
            return not any(task.done() for task in writing)

        await self._systemd.keep_told(is_alive=is_alive, status=self._status)

    async def _spool(self) -> None:
        if self._spooler is not None:
            await self._spooler.run()

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

    async def _end(
        self, tasks: Sequence[asyncio.Task[None]], spooling: asyncio.Task[None]
    ) -> bool:
        """Stop all; return whether nothing is lost."""
        logger.info("stopping", extra={"events_in_memory": self._ring.used_events})
        self._systemd.stopping("Stopping: " + self._status())
        parts = Parts(self._ring, self._listener, self._flusher, self._spooler)
        ending = Ending(self._stop, parts)
        is_committed = await ending.commit()
        await ending.end_tasks(tasks)
        if self._spooler is not None:
            self._spooler.end()
            await spooling
        return is_committed or await ending.keep_rest()

    def _unready_reasons(self) -> list[str]:
        reasons = []
        if not self._listener.is_accepting:
            reasons.append("not accepting senders")
        if self._ring.is_above_low_water and not self._flusher.is_storing:
            reasons.append("the database does not store and the ring is full")
        return reasons

    def _status(self) -> str:
        """Return what `systemctl status` says."""
        in_memory, spooled = self._ring.used_events, self._books.spooled
        status = f"{in_memory:,} events in memory, {spooled:,} in the spool"
        if in_memory and not self._flusher.is_storing:
            status += "; PostgreSQL does not store"
        return status

    def _listening(self) -> Listening:
        return Listening(
            self._settings.listen.host,
            self._listener.port,
            self._settings.http.http_host,
            self._http.port,
            self._listener.listening[1:],
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
