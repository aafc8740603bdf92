"""Runs tests in parts side by side: `python -m tests.side_by_side`, `make test`.

Most tests wait, for a server or a database, and leave a core to others. It owns the
pytest processes: what the one says is seen as it comes, what the others say at the end,
and all end when this is told to. It must not know a test.
"""

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

NO_TESTS = 5  # pytest's code for it: -k may leave a half without one
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Runs:
    """Runs of pytest."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []
        self._is_told = False
        for number in ENDS:
            # A signal that is caught has its default in a child, also where a shell
            # has it ignored: tests send SIGINT to processes of their own.
            signal.signal(number, self._end)

    def start(self, arguments: Sequence[str], log: Path | None = None) -> None:
        """Start a run, all that it says in `log`."""
        command = [sys.executable, "-m", "pytest", *arguments]
        output = None if log is None else log.open("wb")
        try:
            # Groups of their own: what a terminal sends to all, each would get twice,
            # and pytest leaves its servers running when it is interrupted again.
            started = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output and subprocess.STDOUT,
                process_group=0,
            )
        finally:
            if output is not None:
                output.close()
        self._started.append(started)
        if self._is_told:
            started.send_signal(signal.SIGINT)

    def wait(self) -> list[int]:
        """Wait for all; return their codes in the order of their start."""
        return [each.wait() for each in self._started]

    def _end(self, number: int, frame: FrameType | None) -> None:
        """Interrupt all, whatever it was: only so pytest ends what it has started."""
        self._is_told = True
        for each in self._started:
            each.send_signal(signal.SIGINT)


def code_of(codes: Sequence[int]) -> int:
    """Return the code of all: the first failure's, or that none had a test."""
    failed = [code for code in codes if code not in (0, NO_TESTS)]
    return failed[0] if failed else min(codes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--shown", nargs="+", required=True, help="tests of the one part")
    add("--logged", nargs="+", action="append", required=True, help="of each other")
    add("--logs", type=Path, required=True, help="a directory, for the others")
    add("arguments", nargs="*", help="behind --, for pytest")
    given = parser.parse_args()
    given.logs.mkdir(parents=True, exist_ok=True)
    runs = Runs()
    logs = []
    for number, tests in enumerate(given.logged, 1):
        logs.append(given.logs / f"tests-{number}.log")
        runs.start([*tests, *given.arguments], logs[-1])
    runs.start([*given.shown, *given.arguments])
    codes = runs.wait()
    sys.stdout.flush()
    for log in logs:
        sys.stdout.buffer.write(log.read_bytes())
    return code_of(codes)


if __name__ == "__main__":
    sys.exit(main())
