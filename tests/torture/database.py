"""The PostgreSQL under torture: stopped, killed, paused, and up again.

For `serve` it is the harness's own, and the harness starts it again; for `up` it is
Penstock's, which does that itself. It signals no process but those of one data
directory.
"""

import contextlib
import os
import random
import signal
import threading
import time
from pathlib import Path

import psutil

from penstock.embedded import EmbeddedPostgres
from penstock.errors import PenstockError

DOWN_SECONDS = 30.0


class Processes:
    """The server processes of a data directory, and what can be done to them."""

    def __init__(self, data_dir: Path) -> None:
        self._pgdata = data_dir / "postgres"

    def all(self) -> list[psutil.Process]:
        """Return the postmaster, first, and its children; none if it does not run."""
        with contextlib.suppress(OSError, IndexError, ValueError, psutil.NoSuchProcess):
            pid = int((self._pgdata / "postmaster.pid").read_text().splitlines()[0])
            postmaster = psutil.Process(pid)
            # The file outlives its process, and the pid may be somebody else's by now.
            if str(self._pgdata) in " ".join(postmaster.cmdline()):
                return [postmaster, *postmaster.children(recursive=True)]
        return []

    def kill_postmaster(self) -> None:
        """SIGKILL the main process; its children notice by themselves."""
        self._signal(self.all()[:1], signal.SIGKILL)

    def kill_backend(self, rng: random.Random) -> None:
        """SIGKILL one child; the postmaster starts all of them anew."""
        if children := self.all()[1:]:
            self._signal([rng.choice(children)], signal.SIGKILL)

    def stop_fast(self) -> None:
        """SIGINT: as `pg_ctl stop` does."""
        self._signal(self.all()[:1], signal.SIGINT)

    def pause(self) -> None:
        """SIGSTOP all, the main process first, so that it starts no more."""
        self._signal(self.all(), signal.SIGSTOP)
        self._signal(self.all(), signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT all."""
        self._signal(self.all()[::-1], signal.SIGCONT)

    def end(self) -> None:
        """End what is left."""
        self.resume()
        self._signal(self.all()[:1], signal.SIGQUIT)
        give_up = time.monotonic() + DOWN_SECONDS
        while self.all() and time.monotonic() < give_up:
            time.sleep(0.05)

    def _signal(self, processes: list[psutil.Process], number: signal.Signals) -> None:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                os.kill(process.pid, number)


class OwnDatabase:
    """A PostgreSQL of the harness, started again when it has died."""

    def __init__(self, data_dir: Path, problems: list[str]) -> None:
        self._server = EmbeddedPostgres(data_dir)
        self._problems = problems
        self._away_until_seconds = 0.0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="database")

    @property
    def url(self) -> str:
        """Return where it is."""
        return self._server.url

    def begin(self) -> None:
        """Start it and keep it running."""
        self._server.start()
        self._thread.start()

    def stay_away(self, seconds: float) -> None:
        """Do not start it again before so long."""
        self._away_until_seconds = time.monotonic() + seconds

    def end(self) -> None:
        """Stop it for good."""
        self._is_over.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._server.stop(5.0)

    def _keep(self) -> None:
        give_up = float("inf")  # as `up` does, it is tried again
        while not self._is_over.wait(0.05):
            is_due = time.monotonic() > self._away_until_seconds
            if self._server.is_running():
                give_up = float("inf")
            elif is_due:
                try:
                    self._server.restart()
                except PenstockError as error:
                    give_up = min(give_up, time.monotonic() + DOWN_SECONDS)
                    if time.monotonic() > give_up:
                        self._problems.append(f"PostgreSQL does not start: {error}")
                        return
