"""Runs the benchmarks: all of them in turn, or one: `make bench`.

    make bench                                        the set
    make bench ARGS="--with-fluent-bit"               and Fluent Bit beside us
    make bench ARGS="end_to_end --pairs 5"            one, with its options
    make bench ARGS="--json -"                        end_to_end, with these options

Owns the list and its order. Each runs in a process of its own, as if by hand; one that
fails is told of and the others run all the same. Ctrl-C and SIGTERM reach the one that
runs, which ends all it started, and then this ends.

Exit codes: 0 all measured, 1 some failed, 2 usage, 130 interrupted.
"""

import importlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from benchmarks.question import Question

# In the order of their importance, which is the report's too.
NAMES: Final = (
    "end_to_end",
    "variants",
    "encoder",
    "small_messages",
    "connections",
    "latency",
    "outage",
    "growth",
    "disk",
    "queries",
    "backup",
)
FLUENT_BIT: Final = "fluent_bit"
ALL: Final = (*NAMES[:4], FLUENT_BIT, *NAMES[4:])

_WITH_FLUENT_BIT: Final = "--with-fluent-bit"
_INTERRUPTED: Final = 130

USAGE: Final = f"""\
usage: make bench [ARGS="[{_WITH_FLUENT_BIT}] | [NAME] [OPTIONS]"]

Runs all benchmarks, or the one named: {", ".join(ALL)}.
Options without a name are those of end_to_end; NAME --help lists a benchmark's.
{_WITH_FLUENT_BIT} adds {FLUENT_BIT}, where a fluent-bit is on PATH.
"""


def question(name: str) -> Question:
    """The benchmark of this name."""
    found: Question = importlib.import_module(f"benchmarks.{name}").QUESTION
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given in (["--help"], ["-h"]):
        sys.stdout.write(USAGE)
        return 0
    runner = _Runner()
    if not given:
        return runner.run_set(NAMES)
    if given == [_WITH_FLUENT_BIT]:
        return runner.run_set(ALL)
    if given[0].startswith("-"):
        given.insert(0, NAMES[0])
    if given[0] not in ALL:
        sys.stderr.write(f"bench: there is no {given[0]}\n{USAGE}")
        return 2
    return runner.run(given[0], given[1:])


class _Runner:
    """The benchmark that runs at the moment, and whether it is to be the last."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, self._stop)

    def run_set(self, names: Sequence[str]) -> int:
        """Run several with their defaults; 1 where one fails."""
        failed = []
        began = time.monotonic()
        for number, name in enumerate(names, 1):
            sys.stderr.write(f"\n== {name}, {number} of {len(names)}\n")
            code = self.run(name, [])
            if self._stopped or code == _INTERRUPTED:
                return _INTERRUPTED
            if code:
                failed.append(name)
        minutes = (time.monotonic() - began) / 60
        sys.stderr.write(f"\n{len(names) - len(failed)} of {len(names)} measured")
        sys.stderr.write(f" in {minutes:.1f} minutes\n")
        if failed:
            sys.stderr.write(f"failed: {', '.join(failed)}\n")
        return 1 if failed else 0

    def run(self, name: str, options: Sequence[str]) -> int:
        """Run one and wait for its end."""
        if self._stopped:
            return _INTERRUPTED
        file = Path(__file__).with_name(f"{name}.py")
        # A session of its own: Ctrl-C is for us, who hand it on once.
        self._process = subprocess.Popen(
            [sys.executable, str(file), *options], start_new_session=True
        )
        return self._process.wait()

    def _stop(self, signal_number: int, frame: FrameType | None) -> None:
        self._stopped = True
        if self._process is not None:
            self._process.send_signal(signal_number)


if __name__ == "__main__":
    sys.exit(main())
