"""`penstock serve` as a process of its own: started, metered, asked, stopped.

Owns that process from ready to ended, on free ports of loopback. Knows nothing of what
is sent to it.
"""

import functools
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import process, stage
from benchmarks.stage import StageError

# Longer than the server's own shutdown_timeout, after which it is killed.
STOP_SECONDS: Final = 60.0


def free_port() -> int:
    """A loopback port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@functools.cache
def has_setting(name: str) -> bool:
    """Whether this version of Penstock knows the setting."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "config", "reference"],
        env=stage.clean_environment(),
        capture_output=True,
        text=True,
        timeout=stage.READY_SECONDS,
        check=False,
    )
    return bool(re.search(rf"^#? ?{name} = ", done.stdout, re.MULTILINE))


class PenstockServer:
    """`penstock serve` as a process of its own, from ready to stopped."""

    def __init__(self, url: str, directory: Path, arguments: Sequence[str]) -> None:
        self.port = free_port()
        self._http_url = f"http://127.0.0.1:{free_port()}"
        self._log = directory / f"penstock-{self.port}.log"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [sys.executable, "-m", "penstock", "serve"]
        self._command += ["--database-url", url, "--port", str(self.port)]
        self._command += ["--http-port", self._http_url.rpartition(":")[2], *arguments]
        # Without a proxy: loopback is never behind one, whatever http_proxy says.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> "PenstockServer":
        try:
            with self._log.open("wb") as log:
                # A session of its own: Ctrl-C is for us, who then stop it in order.
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self._directory,
                    env=stage.penstock_environment(self._directory),
                    start_new_session=True,
                )
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process with SIGTERM, and with SIGKILL if that does not help."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # Its session is its own, so this ends its workers too, and nobody else.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def log_tail(self) -> str:
        """The last lines the server logged."""
        if not self._log.exists():
            return ""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])

    def cpu_seconds(self) -> float:
        """User and system time of the server's processes so far."""
        return process.cpu_seconds(self._pid())

    def rss_bytes(self) -> int:
        """The memory the server's processes hold now, added up."""
        return process.rss_bytes(process.family(self._pid()))

    def peak_rss_mib(self) -> float:
        """The most memory each of the server's processes ever held, added up."""
        return process.peak_rss_bytes(process.family(self._pid())) / 2**20

    def metrics(self) -> dict[str, float]:
        """What /metrics says; series of one name with several labels are added up.

        Raises:
            StageError: it does not answer.
        """
        try:
            with self._opener.open(f"{self._http_url}/metrics", timeout=30) as answer:
                text = answer.read().decode()
        except OSError as error:
            raise StageError(f"no metrics: {error}\n{self.log_tail()}") from error
        sums: dict[str, float] = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                name = series.partition("{")[0]
                sums[name] = sums.get(name, 0.0) + float(value)
        return sums

    def _pid(self) -> int:
        assert self._process is not None
        if self._process.poll() is not None:
            raise StageError(
                f"penstock serve ended with {self._process.returncode}\n"
                + self.log_tail()
            )
        return self._process.pid

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + stage.READY_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                with self._opener.open(f"{self._http_url}/ready", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise StageError(f"penstock serve is not ready:\n{self.log_tail()}")
