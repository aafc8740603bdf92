"""How many cores there are for us: not always those of the machine.

It owns where that is read. It must not know what they are for.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

# Linux kernel documentation, "Control Group v2", cpu.max: quota and period, "max" for
# none. In a container this is its own group.
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def cores(cpu_max: Path = CPU_MAX) -> float:
    """Return the cores that this process may use, a part of one where it is limited."""
    if sys.platform == "linux":
        count = float(len(os.sched_getaffinity(0)))
    else:
        count = float(os.cpu_count() or 1)
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = cpu_max.read_text().split()
        count = min(count, int(quota) / int(period))
    return count
