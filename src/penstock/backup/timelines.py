"""Timelines of a cluster: which was in use at a moment, and whether its WAL is whole.

It owns what the archive has of each, by names and by the history that a recovery writes
(PostgreSQL documentation, section 25.3.6). It must not restore anything.
"""

import gzip
import re
import zlib
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from penstock.backup.physical import Physical
from penstock.backup.store import Store
from penstock.backup.target_time import in_words
from penstock.errors import BackupError

_SEGMENT: Final = re.compile(r"[0-9A-F]{24}(?=$|\.(?!partial|[0-9A-F]{8}\.backup))")
_BRANCH: Final = re.compile(r"^\s*(\d+)\s+([0-9A-F]+)/([0-9A-F]+)", re.MULTILINE)
# Of 16 MB each, so many have the same middle part of their names.
_SEGMENTS_OF_A_LOG: Final = 0x100
_SEGMENT_BITS: Final = 24


def timeline_at(
    physical: Physical, store: Store, moment: datetime | None, oldest: int
) -> int:
    """Return the timeline that was in use at a moment; None: that is in use now.

    A restore begins a new one, whose history is archived when it comes into use
    (wal-enable); a moment before that is meant as it was then.
    """
    timeline = oldest
    while True:
        history = f"{physical.wal_prefix}{timeline + 1:08X}.history"
        found = next(iter(store.entries(history)), None)
        if found is None or (moment is not None and found.modified_at > moment):
            return timeline
        timeline += 1


def refuse_without_beginning(
    physical: Physical, store: Store, base_timeline: int, timeline: int
) -> None:
    """See that a recovery can go from a base backup's timeline on to a later one.

    Where the first segment of that is missing PostgreSQL takes the one of the same
    number that the timeline before went on with, which is what was left behind.

    Raises:
        BackupError: it cannot.
    """
    found = next(iter(store.entries(f"{physical.wal_prefix}{timeline:08X}.history")))
    try:
        data = store.read(found.key)
        text = gzip.decompress(data) if found.key.endswith(".gz") else data
    except (OSError, EOFError, zlib.error) as error:
        raise BackupError(
            f"{found.key} in {store.url} is corrupted: {error}"
        ) from error
    for number, segment in first_segments(text.decode(), timeline).items():
        key = f"{physical.wal_prefix}{segment[:16]}/{segment}"
        if number > base_timeline and not any(True for _ in store.entries(key)):
            raise BackupError(
                f"timeline {number} is not archived from its beginning ({segment}), so"
                " no time on it before its first base backup can be restored: give one"
                f" before {in_words(found.modified_at)}, when it came into use, or one"
                " after that base backup"
            )


def first_segments(history: str, timeline: int) -> dict[int, str]:
    """Return in which segment each timeline began, of the history of the last."""
    branches = _BRANCH.findall(history)
    children = [*(int(parent) for parent, _, _ in branches[1:]), timeline]
    return {
        child: f"{child:08X}{int(high, 16):08X}{int(low, 16) >> _SEGMENT_BITS:08X}"
        for child, (_, high, low) in zip(children, branches, strict=False)
    }


def gap_since(last: str, physical: Physical, store: Store, timeline: int) -> str:
    """Return the segment that a recovery ended for, though later ones are archived.

    Args:
        last: the segment that was replayed last, "" if none was.
    """
    archived = store.entries(f"{physical.wal_prefix}{timeline:08X}")
    return gap_after(last, (each.key.rpartition("/")[2] for each in archived))


def gap_after(last: str, names: Iterable[str]) -> str:
    """Return the first segment of WAL that is missing, "" if none is.

    Args:
        last: the segment that was replayed last, "" if none was.
        names: of what is archived, of the timeline that was replayed last.
    """
    numbers = {
        _number(found[0]): found[0] for each in names if (found := _SEGMENT.match(each))
    }
    later = [each for each in numbers if last and each > _number(last)]
    if not later or _number(last) + 1 in later:
        return ""
    log, segment = divmod(_number(last) + 1, _SEGMENTS_OF_A_LOG)
    return f"{numbers[later[0]][:8]}{log:08X}{segment:08X}"


def _number(segment: str) -> int:
    log, number = int(segment[8:16], 16), int(segment[16:24], 16)
    return log * _SEGMENTS_OF_A_LOG + number
