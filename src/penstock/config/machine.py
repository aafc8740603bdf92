"""How many cores there are for us, which are not always those of the machine; its zone.

It owns where that is read. It must not know what they are for.
"""

import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from zoneinfo import ZoneInfo

from penstock.config.environment import time_zone_variable

# Linux kernel documentation, "Control Group v2", cpu.max: quota and period, "max" for
# none. In a container this is its own group.
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
# A link into the database of time zones (localtime(5)), and what Debian has beside it.
LOCAL_TIME = Path("/etc/localtime")
TIME_ZONE = Path("/etc/timezone")
# EST5EDT, <+09>-9, CET-1CEST,M3.5.0,M10.5.0/3.
_STANDARD = r"([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)"
_RULES = re.compile(
    rf"{_STANDARD}[+-]?\d[\d:]*({_STANDARD}([+-]?\d[\d:]*)?(,[^,]+,[^,]+)?)?"
)


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


def unknown_time_zone() -> str | None:
    """Return what TZ says if it means no zone: the C library then takes UTC silently.

    POSIX, "Environment Variables", TZ: a zone's name or file, or its rules.
    """
    given = time_zone_variable()
    if not given or _RULES.fullmatch(given) or given.startswith("/"):
        is_file = not given.startswith("/") or Path(given).is_file()
        return None if is_file else given
    try:
        ZoneInfo(given)
    except (OSError, ValueError, KeyError):
        return given
    return None


def time_zone_name(local_time: Path = LOCAL_TIME, time_zone: Path = TIME_ZONE) -> str:
    """Return the name of this machine's time zone, as PostgreSQL takes it, else UTC."""
    names = [time_zone_variable()]
    with suppress(OSError):
        names.append(str(local_time.resolve()).partition("zoneinfo/")[2])
    with suppress(OSError, ValueError):
        names.append(time_zone.read_text().strip())
    for name in names:
        with suppress(OSError, ValueError, KeyError):  # no such name, or no name at all
            if name:
                return ZoneInfo(name).key
    return "UTC"
