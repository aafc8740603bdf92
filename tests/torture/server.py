"""The Penstock under torture: started, started again when it has ended, and scraped.

It owns the process and the record of its lives; a thread of its own keeps it running,
as systemd would. What a kill or a stop is good for is the director's.
"""

import contextlib
import http.client
import random
import re
import shlex
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.acceptance.penstock_process import clean_environment
from tests.ports import free_ports
from tests.torture.ledger import Life, Scrape

MIB = 1024 * 1024
RING_BYTES = 8 * MIB  # the least there is: the spool is needed in every outage
# Longer than Penstock takes to notice that PostgreSQL does not answer (10 s).
SHUTDOWN_SECONDS = 15.0
# For the embedded PostgreSQL, which is ended by force in 10 s more; and for a process
# that is slow on a busy machine.
STOP_SECONDS = SHUTDOWN_SECONDS + 45.0
START_SECONDS = 60.0
POLL_SECONDS = 0.05
SCRAPE_SECONDS = 0.1
DATABASE_AWAY_EXIT = 3
WORKER = "penstock.supervising.worker"

READY = re.compile(
    r"forward protocol +(?:on )?\S+:(?P<port>\d+)"
    r".*metrics +(?:on )?http://\S+:(?P<http_port>\d+)/metrics",
    re.DOTALL,
)
UP_URL = re.compile(r"^  database +(?P<url>\S.*)$", re.MULTILINE)


class Server:
    """Penstock as `serve` or `up`, kept running."""

    def __init__(self, home: Path, arguments: list[str], workers: int = 1) -> None:
        self.workers = workers
        self._home = home
        self._arguments = arguments
        self.port, self.http_port = free_ports(2)
        self.database_url = ""  # of `up`
        self.lives: list[Life] = []
        self.scrapes: list[Scrape] = []
        self.problems: list[str] = []
        self.failed_starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._began_seconds = 0.0
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._loop, args=work, name=work[0].__name__)
            for work in ((self._keep, POLL_SECONDS), (self._scrape, SCRAPE_SECONDS))
        ]

    # Its life.

    def begin(self) -> None:
        """Start it and keep it running from now on."""
        for thread in self._threads:
            thread.start()
        self.wait_ready()

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until it takes connections."""
        give_up = time.monotonic() + seconds
        while not self._is_ready:
            if time.monotonic() > give_up:
                raise TimeoutError(f"Penstock is not ready:\n{self.said()}")
            time.sleep(POLL_SECONDS)

    def is_ready(self) -> bool:
        """Tell whether it runs and is not told to stop."""
        return self._is_ready and self.lives[-1].told_to_stop_seconds is None

    def kill(self, *, with_workers: bool = True) -> None:
        """SIGKILL, of its workers too; those that live on end by themselves."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self.lives[-1].was_killed = True
                workers = self._find_workers() if with_workers else []
                self._process.kill()
                for each in workers:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        each.kill()
                self._process.wait()

    def kill_worker(self, rng: random.Random) -> None:
        """SIGKILL of one worker; the parent starts it again."""
        with self._lock, contextlib.suppress(psutil.NoSuchProcess):
            if (found := self._find_workers()) and self._is_ready:
                self.lives[-1].worker_kills_seconds.append(time.monotonic())
                rng.choice(found).kill()

    def _find_workers(self) -> list[psutil.Process]:
        if self.workers == 1 or self._process is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self._process.pid).children()
            return [each for each in children if WORKER in each.cmdline()]
        return []

    def tell_to_stop(self) -> None:
        """SIGTERM; it is started again when it has ended."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self.lives[-1].told_to_stop_seconds = time.monotonic()
                self._process.terminate()

    def end(self) -> None:
        """Stop it for good; it has to end as it should."""
        self._is_over.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self.tell_to_stop()
        if self._process is not None:
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
            self._note_end(self._process.returncode)

    def said(self) -> str:
        """Return the last of what it logged."""
        with contextlib.suppress(FileNotFoundError):
            return (self._home / "penstock.log").read_text()[-4000:]
        return ""

    def fetch_metrics(self) -> dict[str, float]:
        """Return its metrics that have no labels."""
        url = f"http://127.0.0.1:{self.http_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs if "{" not in name}

    # What its threads do.

    def _loop(self, work: Callable[[], None], pause_seconds: float) -> None:
        while not self._is_over.wait(pause_seconds):
            try:
                work()
            except Exception as error:  # a bug of the harness
                self.problems.append(f"{work.__name__}: {error!r}")
                return

    def _keep(self) -> None:
        with self._lock:
            if self._process is None:
                self._start()
            elif (code := self._process.poll()) is not None:
                self._note_end(code)
                self._process = None
            elif not self._is_ready:
                self._look_whether_ready()
            elif self._is_stopping_too_long():
                self.problems.append(f"it did not stop in {STOP_SECONDS:g} s")
                self.lives[-1].was_killed = True
                self._process.kill()

    def _start(self) -> None:
        self._is_ready = False
        self._began_seconds = time.monotonic()
        self.lives.append(Life(len(self.lives)))
        command = (
            *(sys.executable, "-m", "penstock", *self._arguments),
            *("--port", str(self.port), "--http-port", str(self.http_port)),
            *("--ring-bytes", str(RING_BYTES * self.workers)),
            *("--workers", str(self.workers)),
            *("--shutdown-timeout-seconds", str(SHUTDOWN_SECONDS)),
        )
        with (
            (self._home / "stdout").open("wb") as stdout,
            (self._home / "penstock.log").open("ab") as stderr,
        ):
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=clean_environment(),
                start_new_session=True,
            )

    def _look_whether_ready(self) -> None:
        text = (self._home / "stdout").read_text()
        if found := READY.search(text):
            self.port = int(found["port"])
            self.http_port = int(found["http_port"])
            if url := UP_URL.search(text):
                (self.database_url,) = shlex.split(url["url"])
            self.lives[-1].ready_seconds = time.monotonic()
            self._is_ready = True
        elif time.monotonic() > self._began_seconds + START_SECONDS:
            self.problems.append(f"it did not start in {START_SECONDS:g} s")
            self._began_seconds = time.monotonic()

    def _note_end(self, code: int) -> None:
        life = self.lives[-1]
        life.ended_seconds = time.monotonic()
        was_ready, self._is_ready = self._is_ready, False
        if life.was_killed:
            return
        if not was_ready and code == DATABASE_AWAY_EXIT:
            self.failed_starts += 1  # PostgreSQL was away; as systemd, try again
            return
        if code != 0 or life.told_to_stop_seconds is None:
            self.problems.append(
                f"life {life.number} ended with {code}, told to stop:"
                f" {life.told_to_stop_seconds is not None}"
            )
            self._keep_log(life.number)

    def _keep_log(self, life: int) -> None:
        self.problems.append(f"the log of life {life}: {self.said()[-1500:]}")

    def _is_stopping_too_long(self) -> bool:
        told_seconds = self.lives[-1].told_to_stop_seconds
        return (
            told_seconds is not None and time.monotonic() > told_seconds + STOP_SECONDS
        )

    def _scrape(self) -> None:
        if not self._is_ready:
            return
        life, at_seconds = len(self.lives) - 1, time.monotonic()
        try:
            found = self.fetch_metrics()
        except (OSError, ValueError, http.client.HTTPException):  # killed meanwhile
            return
        if life != len(self.lives) - 1:
            return
        scrape = Scrape(
            life,
            at_seconds,
            found["penstock_ring_events"],
            found["penstock_spooled_events"],
            found["penstock_unaccounted_events"],
        )
        self.scrapes.append(scrape)
        if scrape.unaccounted_events:
            self.problems.append(f"the books do not balance: {scrape}")
