"""SIGHUP: the configuration is read again, and no connection and no event is lost.

It owns what a SIGHUP means, and the order of a reload: all that is new is made before
anything old is replaced, so that a configuration that is wrong changes nothing. It
must not know what the parts do with their settings.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

from penstock import config
from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.telemetry.reload import ReloadMetrics

logger = logging.getLogger(__name__)

# A shell may tell its jobs that the terminal is closed a moment before it is.
TERMINAL_SECONDS = 0.2


class Reloading:
    """The reloads of one server, one after the other."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        apply: Callable[[Settings], Awaitable[None]],
        metrics: ReloadMetrics,
    ) -> None:
        """Prepare.

        Args:
            settings: those that the server has begun with.
            load: reads them again; raises PenstockError.
            apply: gives the parts theirs, all or none; raises PenstockError.
            metrics: told of each reload.
        """
        self._settings = settings
        self._load = load
        self._apply = apply
        self._metrics = metrics
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Reload soon; one that is under way is followed by another."""
        self._asked.set()

    async def run(self) -> None:
        """Reload whenever asked, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._reload()

    async def _reload(self) -> None:
        try:
            settings = await asyncio.to_thread(self._load)
            await self._apply(settings)
        except PenstockError as error:
            self._metrics.reloaded(is_good=False)
            for problem in str(error).splitlines():
                logger.error(
                    "the new configuration is refused, the old one stays",
                    extra={"error": problem},
                )
            return
        self._metrics.reloaded(is_good=True)
        waiting = config.needs_restart(self._settings, settings)
        logger.info("the configuration is reloaded")
        if waiting:
            logger.warning(
                "some settings have changed that only a restart applies",
                extra={"settings": ", ".join(waiting)},
            )


class Terminal:
    """The terminal that this process was started from, if there is one."""

    def __init__(self, device: str = "/dev/tty") -> None:
        self._device = device
        self._was_there = self._is_there()

    async def has_closed(self) -> bool:
        """Tell whether it was there and is no more: then SIGHUP says just that."""
        if not self._was_there:
            return False
        if self._is_there():
            await asyncio.sleep(TERMINAL_SECONDS)
        return not self._is_there()

    def _is_there(self) -> bool:
        try:
            os.close(os.open(self._device, os.O_RDWR | os.O_NOCTTY))
        except OSError:
            return False
        return True
