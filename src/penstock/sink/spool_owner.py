"""Who has a spool's directory: one Penstock at a time, of one process or of several.

It owns the lock of the whole, beside that of each worker's spool, and the wait for
workers whose parent was killed: these have the latter only. What is in a directory it
must not know, nor make one that cannot be used into an error: the spool itself does.
"""

import asyncio
import fcntl
import logging
import os
import time
from pathlib import Path

from penstock.errors import UnavailableError
from penstock.sink.spools import any_in_use

logger = logging.getLogger(__name__)

LOCK_NAME = "owner.lock"
LOOK_SECONDS = 0.1


class SpoolOwner:
    """A Penstock that wants a spool's directory for itself."""

    def __init__(self, spool_dir: Path) -> None:
        self._spool_dir = spool_dir
        self._lock_fd: int | None = None

    async def take(self, patience_seconds: float) -> None:
        """Have it; wait for so long for workers that commit what they have and end.

        Raises:
            UnavailableError: another Penstock has it.
        """
        try:
            self._spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            fd = os.open(self._spool_dir / LOCK_NAME, flags, 0o600)
        except OSError:  # said by the spool, when it is opened
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise UnavailableError(
                f"another Penstock uses the spool in {self._spool_dir}; give each"
                " one a directory of its own"
            ) from error
        self._lock_fd = fd
        await self._outlive_orphans(patience_seconds)

    def release(self) -> None:
        """Let it go."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    async def _outlive_orphans(self, patience_seconds: float) -> None:
        give_up_seconds = time.monotonic() + patience_seconds
        is_told = False
        while any_in_use(self._spool_dir) and time.monotonic() < give_up_seconds:
            if not is_told:
                logger.info("waiting for workers of a parent that was killed")
                is_told = True
            await asyncio.sleep(LOOK_SECONDS)
