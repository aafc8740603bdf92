"""What costs the most memory for its bytes: run as a program, it says how much.

    python -m tests.worst_entries

It prints for each kind of entries by how many bytes its process grew past its largest
size until then, beside the entries themselves.
"""

import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from penstock.rows import RowEncoder
from penstock.settings import ColumnSettings
from tests import msgpack_bytes as m

SIZE_BYTES = 4_000_000
_START = m.event_time(0xFFFFFFFF)
_TINY = m.fixarray(b"\x01", b"\x80")
_KEY = m.fixstr(b"a")


def _empty_maps(count: int) -> bytes:
    # Written without a list of them, which would be the peak that is looked for.
    return m.fixmap((_KEY, b"\xdd" + count.to_bytes(4) + b"\x80" * count))


def _large_group(values: int) -> bytes:
    body = _empty_maps(values)
    return m.fixarray(m.fixarray(_START, b"\x80"), body)


WORST: dict[str, Callable[[int], bytes]] = {
    "an entry of empty maps": lambda size: m.fixarray(b"\x01", _empty_maps(size)),
    "entries of as many empty maps as allowed": lambda size: (
        m.fixarray(b"\x01", _empty_maps(131_000)) * (size // 131_000)
    ),
    "the same, read carefully": lambda size: (
        m.fixarray(m.NIL, _empty_maps(131_000)) * (size // 131_000)
    ),
    "arrays within one another": lambda size: b"\x92\x01\x81\xa1a" + b"\x91" * size,
    "no entries": lambda size: b"\x90" * size,
    "junk": lambda size: b"\xa1\xff" * (size // 2),
    "large groups": lambda size: (_large_group(60_000) + _TINY) * (size // 60_000),
    "a group for all": lambda size: _large_group(60_000) + _TINY * (size // 3),
    "an entry cut short": lambda size: (
        b"\x92\x01\x81\xa1a\xdd" + (size + 1).to_bytes(4) + m.NIL * size
    ),
}


def peak_bytes() -> int:
    """Return how large this process has been at most."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage tells of the process that started us too
        (line,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        return int(line) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def grown_bytes(name: str, size_bytes: int = SIZE_BYTES, most_parts: int = 6) -> int:
    """Encode some parts; return by how much the process grew meanwhile."""
    entries = WORST[name](size_bytes)
    before_bytes = peak_bytes()
    stream = RowEncoder(ColumnSettings(), receiver=7).start(entries, tag="t")
    for _ in range(most_parts):
        if not stream.exhausted:
            stream.next_part(1_767_323_045_678_901)
    return peak_bytes() - before_bytes


if __name__ == "__main__":
    for worst in WORST:
        sys.stdout.write(f"{grown_bytes(worst)} {worst}\n")
