"""The composition root of the server: builds, starts and stops every part, in order.

It owns the tasks, the signals and the order of start and stop; nothing else knows
all the parts. It must hold no logic of theirs.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

import uvloop

from penstock.buffer.ring import Ring
from penstock.errors import DatabaseUnavailableError, SinkError, UnavailableError
from penstock.http.server import HttpServer
from penstock.net.listener import ForwardListener
from penstock.net.session import Intake
from penstock.net.turns import Turns
from penstock.rows import RowEncoder
from penstock.settings import Settings
from penstock.sink.connection import without_password
from penstock.sink.flusher import Flusher, Writer
from penstock.sink.migrations import migrate
from penstock.sink.partitions import Partitions
from penstock.sink.postgres import PostgresWriter, next_receiver
from penstock.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

# Encoding makes and frees containers by the hundred thousand and no cycles among
# them, so the collector's default of 700 only costs time.
GC_THRESHOLD = 50_000
# An embedded PostgreSQL that died is noticed this soon.
SUPERVISE_SECONDS = 0.5


class Listening(NamedTuple):
    """Where a started server is reached."""

    host: str
    port: int
    http_host: str
    http_port: int


class Supervised(NamedTuple):
    """An embedded PostgreSQL that the server depends on, and what keeps it well."""

    is_running: Callable[[], bool]
    restart: Callable[[], None]
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
    database: Supervised | None = None,
) -> Stopped:
    """Run the server until SIGTERM, SIGINT or SIGHUP; return how it ended.

    Blocks. Calls `on_ready` once senders can connect. `database` is restarted when it
    dies, if it is ours.

    Raises:
        UnavailableError: the database or an address is not to be had.
    """
    gc.set_threshold(GC_THRESHOLD)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        server = Server(settings)
        was_clean = runner.run(server.run(on_ready, database))
    return Stopped(was_clean, server.seconds_left() if was_clean else 0.0)


class Server:
    """All parts of one server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._stopping_since = 0.0

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
                late = tasks.create_task(self._listener.close_late(), name="late-acks")
                await self._serve(database)
                was_clean = await self._shut_down()
                for task in (*writing, late):
                    task.cancel()
        finally:
            await self._http.close()
        return was_clean

    def seconds_left(self) -> float:
        """Return what is left of the time that the stop may take."""
        if self._hurry.is_set():
            return 0.0
        took_seconds = time.monotonic() - self._stopping_since
        timeout_seconds = self._settings.process.shutdown_timeout_seconds
        return max(0.0, timeout_seconds - took_seconds)

    async def _start_unless_stopped(self) -> bool:
        """Start all parts; return False if told to stop before that was done."""
        starting = asyncio.create_task(self._start(), name="start")
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
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
            on_waiting=lambda: self._flusher.rows_wait(),
            on_drained=lambda: self._flusher.ring_drained(),
        )
        self._metrics.watch_ring(self._ring)
        partitions = Partitions(settings.partitions)
        writers: list[Writer] = [
            PostgresWriter(settings.database_url, partitions)
            for _ in range(settings.copy.writers)
        ]
        self._flusher = Flusher(
            self._ring,
            writers,
            batch_bytes=settings.copy.batch_bytes,
            metrics=self._metrics.sink,
        )
        self._listener = ForwardListener(
            settings.listen,
            Intake(
                self._ring,
                RowEncoder(settings.columns, receiver=receiver),
                settings.wire,
                self._metrics.receive,
                Turns(),
            ),
        )
        self._http = HttpServer(settings.http, self._metrics, self._unready_reasons)

    async def _serve(self, database: Supervised | None) -> None:
        """Wait for the signal to stop, keeping our own PostgreSQL alive meanwhile."""
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), SUPERVISE_SECONDS)
            if database is None or self._stop.is_set():
                continue
            try:
                if not database.is_running():
                    logger.error("the embedded PostgreSQL has died; starting it again")
                    await asyncio.to_thread(database.restart)
                database.trim_log()
            except (UnavailableError, OSError) as error:
                logger.error(
                    "the embedded PostgreSQL does not start",
                    extra={"error": str(error)},
                )

    async def _shut_down(self) -> bool:
        """Stop: no new senders, no new bytes, commit, ack, close."""
        timeout_seconds = self._settings.process.shutdown_timeout_seconds
        logger.info("stopping", extra={"events_in_memory": self._ring.used_events})
        await self._listener.stop_accepting()
        drained = asyncio.create_task(self._drain(timeout_seconds), name="drain")
        hurried = asyncio.create_task(self._hurry.wait(), name="hurry")
        await asyncio.wait(
            (drained, hurried),
            timeout=timeout_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        was_clean = drained.done()
        drained.cancel()
        hurried.cancel()
        self._listener.abort()
        if was_clean:
            logger.info("stopped; all that was received is committed")
        else:
            logger.error(
                "stopped before all was committed: senders that ask for acks will send"
                " the rest again, what others sent is lost",
                extra={"events_in_memory": self._ring.used_events},
            )
        return was_clean

    async def _drain(self, timeout_seconds: float) -> None:
        await self._listener.read_last(timeout_seconds / 2)
        await self._listener.ended()
        await self._flusher.drained()

    def _unready_reasons(self) -> list[str]:
        reasons = []
        if not self._listener.is_accepting:
            reasons.append("not accepting senders")
        if self._ring.is_above_low_water and not self._flusher.is_storing:
            reasons.append("the database does not store and the ring is full")
        return reasons

    def _listening(self) -> Listening:
        return Listening(
            self._settings.listen.host,
            self._listener.port,
            self._settings.http.http_host,
            self._http.port,
        )

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup: the end of the terminal is nothing to us.
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            loop.add_signal_handler(number, self._told_to_stop, number)

    def _told_to_stop(self, number: signal.Signals) -> None:
        if not self._stop.is_set():
            self._stopping_since = time.monotonic()
            self._stop.set()
        # Whoever asks twice does not want to wait. But a closed terminal sends SIGHUP
        # twice: from the shell, and from the system after it.
        elif number != signal.SIGHUP:
            self._hurry.set()
