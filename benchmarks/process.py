"""What running processes have used, read from /proc: CPU time and memory.

Owns reading these for a process and its children; starts and ends none. Linux only.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and its descendants, as far as they still run."""
    pids = [pid]
    for one in pids:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # ended meanwhile
                pids += map(int, children.read_text().split())
    return pids


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its descendants, the ended ones too."""
    ticks = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            # proc(5): fields 14 and 15 are its own, 16 and 17 those of the children
            # it waited for; the name, field 2, may itself hold spaces.
            stat = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, stat[11:15]))
    return ticks / _TICKS_PER_SECOND


def rss_bytes(pids: Iterable[int]) -> int:
    """The memory these processes hold now, added up."""
    return _status_bytes(pids, "VmRSS:")


def peak_rss_bytes(pids: Iterable[int]) -> int:
    """The most memory each of these processes ever held, added up."""
    return _status_bytes(pids, "VmHWM:")


def _status_bytes(pids: Iterable[int], name: str) -> int:
    kib = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(name):
                    kib += int(line.split()[1])
    return kib * 1024
