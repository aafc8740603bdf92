"""The spool's directory: its lock, its files by name, and what it takes to keep them.

Below `spool.py`. It owns every call into the file system but the reading of records:

    spool.lock                       flock: who has it may touch the others
    0000000000000001-<mark>.spool    a segment: records, see spool_format.py
    0000000000000001-<mark>.damaged  the same file, if there is damage in it
    cursor                           up to where all is done

Files are 0600, the directory is made 0700: log lines are private. It must not know
what is in a segment. Its errors are OSErrors, but for the lock.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from penstock.errors import UnavailableError
from penstock.sink.spool_format import MARK_BYTES

LOCK_NAME: Final = "spool.lock"
_FILE_MODE: Final = 0o600
_DIRECTORY_MODE: Final = 0o700
_DAMAGED_SUFFIX: Final = ".damaged"
_SEGMENT_NAME: Final = re.compile(
    rf"(?P<number>\d{{16}})-(?P<mark>[0-9a-f]{{{2 * MARK_BYTES}}})\.spool"
)


class Cursor(NamedTuple):
    """All segments before `segment` are done, and of it what is before `offset`."""

    segment: int
    offset: int


class SpoolFiles:
    """One spool directory, as seen by the process that has its lock."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock_fd: int | None = None
        self._marks: dict[int, bytes] = {}

    def open(self) -> None:
        """Make the directory if it is missing, and take its lock.

        Raises:
            UnavailableError: another process has it.
            OSError: no access.
        """
        if not self.directory.is_dir():
            self.directory.mkdir(mode=_DIRECTORY_MODE, parents=True)
            _sync_directory(self.directory.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        fd = os.open(self.directory / LOCK_NAME, flags, _FILE_MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise UnavailableError(
                f"another Penstock uses the spool in {self.directory}; give each"
                " process a directory of its own"
            ) from error
        self._lock_fd = fd

    def remove_directory(self) -> None:
        """Remove the directory if there is nothing in it to be kept; its lock is ours.

        Raises:
            OSError: there is, or it cannot be.
        """
        (self.directory / "cursor").unlink(missing_ok=True)
        (self.directory / LOCK_NAME).unlink(missing_ok=True)
        self.directory.rmdir()

    def close(self) -> None:
        """Let the lock go."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def path(self, number: int) -> Path:
        """Name a segment's file, so that names sort as numbers do."""
        mark = self._marks[number].hex()
        return self.directory / f"{number:016d}-{mark}.spool"

    def marks(self) -> dict[int, bytes]:
        """Return the numbers and marks of the segments that there are, oldest first."""
        paths = self.directory.iterdir()
        names = (_SEGMENT_NAME.fullmatch(path.name) for path in paths)
        found = ((int(name["number"]), name["mark"]) for name in names if name)
        self._marks = {number: bytes.fromhex(mark) for number, mark in sorted(found)}
        return self._marks.copy()

    def create(self, number: int, mark: bytes) -> int:
        """Make a segment's file, its name safe on disk; return its descriptor."""
        self._marks[number] = mark
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        fd = os.open(self.path(number), flags, _FILE_MODE)
        try:
            _sync_directory(self.directory)
        except OSError:
            os.close(fd)
            self.remove(number)
            raise
        return fd

    @contextlib.contextmanager
    def reader(self, number: int) -> Iterator[Callable[[int, int], bytes]]:
        """Open a segment's file; give a function of size and offset that reads."""
        fd = os.open(self.path(number), os.O_RDONLY | os.O_NOFOLLOW)
        try:
            yield lambda size_bytes, offset: os.pread(fd, size_bytes, offset)
        finally:
            os.close(fd)

    def size_bytes(self, number: int) -> int:
        """Return the size of a segment's file."""
        return self.path(number).stat().st_size

    def cut(self, number: int, size_bytes: int) -> None:
        """Cut a segment's file to `size_bytes`, safe on disk."""
        with self.path(number).open("r+b") as file:
            file.truncate(size_bytes)
            os.fsync(file.fileno())

    def remove(self, number: int) -> None:
        """Delete a segment's file; nobody minds if it comes back after a crash."""
        self.path(number).unlink(missing_ok=True)

    def set_aside(self, number: int) -> Path:
        """Give a segment's file a second name that stays when it is removed."""
        kept = self.path(number).with_suffix(_DAMAGED_SUFFIX)
        if not kept.exists():
            try:
                # A link, not a copy: a disk that is full or failing can still do it.
                os.link(self.path(number), kept)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP):
                    raise
                shutil.copy(self.path(number), kept)  # no links on this file system
            _sync_directory(self.directory)
        return kept

    def read_cursor(self) -> Cursor:
        """Return what was written last, or the very beginning if that is not there."""
        try:
            text, _, crc = (self.directory / "cursor").read_bytes().rpartition(b" ")
            if int(crc, 16) == zlib.crc32(text):
                return Cursor(*map(int, text.split()))
        except (FileNotFoundError, ValueError, TypeError):
            pass
        return Cursor(0, 0)

    def write_cursor(self, cursor: Cursor, *, is_synced: bool = False) -> None:
        """Note up to where all is done, whole or not at all.

        Not fsynced in the daily run: an old cursor replays what is claimed already.
        """
        text = b"%d %d" % cursor
        new = self.directory / "cursor.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        fd = os.open(new, flags, _FILE_MODE)
        try:
            write_all(fd, b"%b %08x" % (text, zlib.crc32(text)))
            if is_synced:
                os.fsync(fd)
        finally:
            os.close(fd)
        new.replace(self.directory / "cursor")
        if is_synced:
            _sync_directory(self.directory)


def is_locked(directory: Path) -> bool:
    """Tell whether a process has the spool in this directory now."""
    try:
        fd = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:  # none has ever had, or it is not ours to know
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def write_all(fd: int, data: bytes) -> None:
    """Write all of it: a disk that fills up takes a part first, and then refuses."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
