"""Tells systemd how the server is: ready, alive, stopping.

It owns the datagrams of sd_notify(3), which are a line or two to a socket; no library
is needed for that. Without systemd it says nothing. It must not know what "alive"
means, nor read the environment: both are arguments.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

logger = logging.getLogger(__name__)

# `systemctl status` need not be newer, where no watchdog wants to hear of us sooner.
STATUS_SECONDS = 10.0
# systemd reads at once; where it does not, senders are not to wait for it.
SEND_SECONDS = 0.5


class Systemd:
    """The service manager that has started us, if one has."""

    def __init__(self, address: str | None, watchdog_seconds: float | None) -> None:
        """`address` is NOTIFY_SOCKET, `watchdog_seconds` the time of WATCHDOG_USEC."""
        self._address = address
        self._has_watchdog = watchdog_seconds is not None
        # Half of it, as sd_watchdog_enabled(3) asks for.
        patience_seconds = (watchdog_seconds or 2 * STATUS_SECONDS) / 2
        self._interval_seconds = min(patience_seconds, STATUS_SECONDS)

    def ready(self, status: str) -> None:
        """Say that senders can connect."""
        self._tell("READY=1", f"STATUS={status}")

    def stopping(self, status: str) -> None:
        """Say that the end is near; from here on no watchdog waits for us."""
        self._tell("STOPPING=1", f"STATUS={status}")

    async def keep_told(
        self, *, is_alive: Callable[[], bool], status: Callable[[], str]
    ) -> None:
        """Say how it is, again and again, until cancelled.

        The watchdog hears of us while the event loop comes round to this and
        `is_alive` says so.
        """
        if self._address is None:
            return
        while True:
            lines = [f"STATUS={status()}"]
            if self._has_watchdog and is_alive():
                lines.append("WATCHDOG=1")
            self._tell(*lines)
            await asyncio.sleep(self._interval_seconds)

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        # The name of an abstract socket begins with a NUL, written as @.
        address = self._address
        address = "\0" + address[1:] if address.startswith("@") else address
        try:
            with contextlib.closing(
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            ) as link:
                link.settimeout(SEND_SECONDS)
                link.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            logger.warning("systemd cannot be told", extra={"error": str(error)})
