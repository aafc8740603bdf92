"""SIGHUP: the configuration is read again, and no connection and no event is lost.

It owns what a SIGHUP means, and the order of a reload: all that is new is made before
anything old is replaced, so that a configuration that is wrong changes nothing. It
must not know what the parts do with their settings.
"""

import asyncio
import logging
import os
import signal
import threading
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TypeVar

from penstock import config
from penstock.errors import PenstockError, SettingsError
from penstock.settings import Settings
from penstock.telemetry.reload import ReloadMetrics

logger = logging.getLogger(__name__)

# A shell may tell its jobs that the terminal is closed a moment before it is.
TERMINAL_SECONDS = 0.2
# For the files to be read: a network's file system may hang.
LOAD_SECONDS = 30.0

T = TypeVar("T")


class Reloading:
    """The reloads of one server, one after the other."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        apply: Callable[[Settings], Awaitable[None]],
        metrics: ReloadMetrics,
        terminal: "Terminal | None",
    ) -> None:
        """Prepare.

        Args:
            settings: those that the server has begun with.
            load: reads them again, in a thread; raises PenstockError.
            apply: gives the parts theirs, all or none; raises PenstockError.
            metrics: told of each reload.
            terminal: told if SIGHUP says that it is closed; None: it never does.
        """
        self._settings = settings
        self._load = load
        self._apply = apply
        self._metrics = metrics
        self._terminal = terminal
        self._asked = asyncio.Event()

    def hung_up(self) -> None:
        """SIGHUP has come; what comes while a reload is under way is one more."""
        self._asked.set()

    async def run(self) -> None:
        """Reload whenever SIGHUP asks for it, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            if self._terminal is None or not await self._terminal.told_of_its_end():
                await self._reload()

    async def _reload(self) -> None:
        try:
            settings = await self._load_in_time()
            await self._apply(settings)
        except PenstockError as error:
            self._refused(problems=str(error).splitlines())
            return
        except Exception as error:
            # A bug of ours costs this reload, not the server.
            where = traceback.format_tb(error.__traceback__)
            self._refused(bug=type(error).__name__, traceback="".join(where))
            return
        self._metrics.reloaded(is_good=True)
        logger.info("the configuration is read again, and in force")
        if waiting := config.needs_restart(self._settings, settings):
            logger.warning(
                "settings have changed that only a restart applies",
                extra={"settings": list(waiting)},
            )

    async def _load_in_time(self) -> Settings:
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                return await _in_thread(self._load)
        except TimeoutError as error:
            raise SettingsError(
                f"the files could not be read within {LOAD_SECONDS:.0f} s"
            ) from error

    def _refused(self, **extra: object) -> None:
        self._metrics.reloaded(is_good=False)
        logger.error("the new configuration is refused, the old one stays", extra=extra)


async def _in_thread(call: Callable[[], T]) -> T:
    """Return what the call does, made in a thread that no stop waits for."""
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            outcome.set_result(call())
        except Exception as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name="reload", daemon=True).start()
    return await asyncio.wrap_future(outcome)


class Terminal:
    """The terminal that this process was started from, if there is one.

    `on_end` is called when SIGHUP comes because it is closed.
    """

    def __init__(self, on_end: Callable[[], None], device: str = "/dev/tty") -> None:
        self._on_end = on_end
        self._device = device
        self._was_there = self._is_there()

    async def told_of_its_end(self) -> bool:
        """Tell whether it was there and is no more, and then tell the server too."""
        if not self._was_there:
            return False
        if self._is_there():
            await asyncio.sleep(TERMINAL_SECONDS)
            if self._is_there():
                return False
        self._on_end()
        return True

    def _is_there(self) -> bool:
        try:
            os.close(os.open(self._device, os.O_RDWR | os.O_NOCTTY))
        except OSError:
            return False
        return True


def hangup_stops() -> bool:
    """Tell whether SIGHUP may mean the end; under nohup(1) it does not."""
    return signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
