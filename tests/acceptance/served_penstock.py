"""A Penstock as `penstock serve`, on a PostgreSQL that a test may take away for long.

`penstock up` starts its own again at once; here nobody does but the test.
"""

import contextlib
import os
import re
import signal
import sys
from pathlib import Path

from penstock.embedded import EmbeddedPostgres
from tests.acceptance.penstock_process import Penstock

READY = re.compile(
    r"on \S+:(?P<port>\d+)[ ,].*metrics on http://\S+:(?P<http_port>\d+)/"
)


class ServedPenstock(Penstock):
    """`penstock serve`, its PostgreSQL, and its spool."""

    def __init__(self) -> None:
        super().__init__()
        self.spool_dir = self.home / "spool"
        self._postgres = EmbeddedPostgres(self.data_dir)

    def start_postgres(self) -> None:
        """Start PostgreSQL."""
        self._postgres.start()
        self.database_url = self._postgres.url

    def stop_postgres(self) -> None:
        """Stop PostgreSQL; nobody starts it again."""
        self._postgres.stop()

    def start(self, *flags: str) -> None:
        """Start `penstock serve`, with these flags besides; wait until it is ready."""
        command = (
            *(sys.executable, "-m", "penstock", "serve"),
            *("--database-url", self.database_url, "--spool-dir", str(self.spool_dir)),
            *("--port", str(self.port), "--http-port", str(self.http_port)),
            *flags,
        )
        self._launch(command, READY)

    def end(self) -> None:
        """End all, in whatever state a test left it."""
        for process in self.postgres_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._postgres.stop()


def spool_files(directory: Path) -> list[Path]:
    """Return the files that hold what is spooled."""
    return sorted(directory.glob("*.spool"))
