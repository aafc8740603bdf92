"""Several spools as one: a process's own, and those that others have left behind.

Each worker has a spool: the first one the spool's directory itself, worker 3 the
directory `worker-3` in it. When there are fewer workers than before, the first one
takes over what the others have left: it is read before its own, and not written to.

It owns which directories these are, and the order in which they are read. As with
`Spool`, its methods block and are never called at the same time.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from penstock.sink.spool import Spool
from penstock.sink.spool_files import is_locked
from penstock.sink.spool_format import SpooledPart
from penstock.sink.spool_segment import Position

_OF_WORKER: Final = re.compile(r"worker-([1-9]\d{0,8})")


def directory_of(spool_dir: Path, worker: int) -> Path:
    """Return the directory of a worker's spool."""
    return spool_dir / f"worker-{worker}" if worker else spool_dir


def left_behind(spool_dir: Path, workers: int) -> list[Path]:
    """Return the directories of spools of which no worker is the owner any more."""
    return [path for number, path in _of_workers(spool_dir) if number >= workers]


def any_in_use(spool_dir: Path) -> bool:
    """Tell whether a process has one of the spools, be it of the first worker."""
    paths = [spool_dir, *(path for _, path in _of_workers(spool_dir))]
    return any(is_locked(path) for path in paths)


def _of_workers(spool_dir: Path) -> list[tuple[int, Path]]:
    try:
        paths = [each for each in spool_dir.iterdir() if each.is_dir()]
    except OSError:  # there is none yet
        return []
    named = ((_OF_WORKER.fullmatch(path.name), path) for path in paths)
    return sorted((int(name[1]), path) for name, path in named if name)


class Spools:
    """A spool, and others that are only read, until all of them is done."""

    def __init__(self, own: Spool, others: Sequence[Spool]) -> None:
        self.max_bytes = own.max_bytes
        self._own = own
        # In the order of reading; places in it are part of a position, so they stay.
        self._all = (*others, own)
        self._removed: set[int] = set()

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all segments."""
        return sum(each.size_bytes for each in self._all)

    @property
    def pending_events(self) -> int:
        """Count the events of the parts that are not done."""
        return sum(each.pending_events for each in self._all)

    @property
    def damaged_events(self) -> int:
        """Count those that were pending and turned out to be damaged."""
        return sum(each.damaged_events for each in self._all)

    @property
    def is_empty(self) -> bool:
        """Tell whether all parts are done."""
        return all(each.is_empty for each in self._all)

    def open(self) -> None:
        """Take all directories.

        Raises:
            UnavailableError: as from `Spool`, of any of them.
        """
        opened: list[Spool] = []
        try:
            for each in self._all:
                each.open()
                opened.append(each)
        except BaseException:
            for each in opened:
                each.close()
            raise
        self._remove_done()

    def append(self, parts: Sequence[SpooledPart]) -> None:
        """Take the parts, as `Spool` does, beside what others have left.

        Raises:
            SpoolError: as from `Spool`.
        """
        left_bytes = self.size_bytes - self._own.size_bytes
        self._own.max_bytes = max(0, self.max_bytes - left_bytes)
        self._own.append(parts)

    def read(
        self, after: Position | None, max_bytes: int
    ) -> list[tuple[Position, SpooledPart]]:
        """Return the oldest parts behind `after`, as `Spool` does, of one of them.

        Raises:
            SpoolError: the disk fails.
        """
        first = 0 if after is None else after.spool
        for number in range(first, len(self._all)):
            if number in self._removed:
                continue
            behind = after if number == first else None
            found = self._all[number].read(behind, max_bytes)
            if found:
                return [(at._replace(spool=number), part) for at, part in found]
        return []

    def done(self, positions: Iterable[Position]) -> None:
        """Note that these parts are committed; never fails, for that is so."""
        of_spool: dict[int, list[Position]] = {}
        for position in positions:
            of_spool.setdefault(position.spool, []).append(position)
        for number, its_own in of_spool.items():
            self._all[number].done(its_own)
        self._remove_done()

    def close(self) -> None:
        """Let the directories go; what is not done waits there."""
        for number, each in enumerate(self._all):
            if number not in self._removed:
                each.close()

    def _remove_done(self) -> None:
        for number, each in enumerate(self._all):
            is_left = each is not self._own and number not in self._removed
            if is_left and each.is_empty:
                each.remove_directory()
                self._removed.add(number)


def make_spool(
    spool_dir: Path, *, worker: int, workers: int, max_bytes: int
) -> Spool | Spools:
    """Return the spool of one of so many workers; the first one's has what is left."""
    own = Spool(directory_of(spool_dir, worker), max_bytes=max_bytes)
    left = [] if worker else left_behind(spool_dir, workers)
    return Spools(own, [Spool(path, max_bytes=0) for path in left]) if left else own
