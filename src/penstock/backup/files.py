"""Backups in a directory: each object is a file, whole when it has its name.

It owns every call into the file system below one directory. It must not know S3, or
what a backup is. What is being written is `.NAME.RANDOM.partial` beside its place; that
and `.lock` are nobody's objects. Files are 0600 and directories 0700: they are logs.
"""

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import secrets
import time
from collections.abc import Callable, Collection, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from penstock.backup.store import Entry, Source, Stored, check_key
from penstock.errors import AbsentError, CorruptError, StoreError, TakenError

# Large enough that a call costs nothing beside the hash of what it moves.
PIECE_BYTES: Final = 1024 * 1024
_FILE_MODE: Final = 0o600
_DIRECTORY_MODE: Final = 0o700
_PARTIAL: Final = ".partial"
_LOCK_NAME: Final = ".lock"
# Between making a directory and a file in it, another's `delete` may remove it.
_DIRECTORY_TRIES: Final = 5


class FileStore:
    """A directory of the machine's, or one that is mounted."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def url(self) -> str:
        return self._root.as_uri()

    def put(
        self,
        key: str,
        source: Source,
        *,
        expected_bytes: int = 0,
        on_bytes: Callable[[int], None] = lambda size: None,
    ) -> Stored:
        path = self._path(key)
        digest, size = hashlib.sha256(), 0
        with _explained(f"{path} cannot be written"):
            partial, file = self._new_partial(path)
        try:
            with file:
                while piece := source.read(PIECE_BYTES):
                    digest.update(piece)
                    size += len(piece)
                    with _explained(f"{path} cannot be written"):
                        _write(file, piece)
                    on_bytes(len(piece))
                with _explained(f"{path} cannot be written"):
                    os.fsync(file.fileno())
            with _explained(f"{path} cannot be written"):
                partial.replace(path)
                _sync_directory(path.parent)
        except BaseException:
            self._remove_partial(partial)
            raise
        return Stored(size, digest.hexdigest())

    def create(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with self._written(path, data) as partial, self._alone():
            # Not os.link, which some file systems have not; renaming replaces.
            if path.exists():
                raise TakenError(f"{path} is there already")
            partial.replace(path)

    def replace(self, key: str, data: bytes, *, expected: bytes) -> None:
        path = self._path(key)
        with self._written(path, data) as partial, self._alone():
            try:
                found = path.read_bytes()
            except FileNotFoundError:
                raise TakenError(f"{path} is there no more") from None
            if found != expected:
                raise TakenError(f"{path} has been written by somebody else")
            partial.replace(path)

    def age_seconds(self, key: str) -> float:
        path = self._path(key)
        with _explained(f"{path} cannot be read"):
            stored_at = path.stat().st_mtime
            # A file server's clock is its own: a new file tells what it is there.
            partial, file = self._new_partial(path)
            try:
                with file:
                    return os.fstat(file.fileno()).st_mtime - stored_at
            finally:
                self._remove_partial(partial)

    def read(self, key: str) -> bytes:
        path = self._path(key)
        with _explained(f"{path} cannot be read"):
            return path.read_bytes()

    def open(self, key: str, *, size_bytes: int, sha256: str) -> Generator[bytes]:
        path = self._path(key)
        digest, size = hashlib.sha256(), 0
        with _explained(f"{path} cannot be read"):
            file = path.open("rb", buffering=0)
        with file:
            self._check_size(path, os.fstat(file.fileno()).st_size, size_bytes)
            while True:
                with _explained(f"{path} cannot be read"):
                    piece = file.read(PIECE_BYTES)
                if not piece:
                    break
                digest.update(piece)
                size += len(piece)
                yield piece
        self._check_size(path, size, size_bytes)
        if digest.hexdigest() != sha256:
            raise CorruptError(
                f"{path} is corrupted: its bytes are not those that were stored"
                f" (SHA-256 {digest.hexdigest()[:16]}..., not {sha256[:16]}...)"
            )

    def entries(self, prefix: str) -> Iterator[Entry]:
        above = self._root / prefix.rpartition("/")[0]
        found = []
        with _explained(f"{above} cannot be read"):
            if not self._root.exists():  # the first thing stored makes it
                raise StoreError(
                    f"there is no directory {self._root}, so no backup: is its disk"
                    " mounted, is it written so? penstock backup create makes it"
                )
            for path, stat in _files(above):
                key = path.relative_to(self._root).as_posix()
                if key.startswith(prefix) and not path.name.startswith("."):
                    modified_at = datetime.fromtimestamp(stat.st_mtime, UTC)
                    found.append(Entry(key, stat.st_size, modified_at))
        # As S3 does: by the bytes of the names.
        yield from sorted(found, key=lambda each: each.key.encode())

    def delete(self, keys: Collection[str]) -> None:
        for key in keys:
            path = self._path(key)
            with _explained(f"{path} cannot be removed"):
                path.unlink(missing_ok=True)
            if path.parent != self._root:
                with contextlib.suppress(OSError):  # others are in it
                    path.parent.rmdir()

    def unfinished(self, *, older_than_seconds: float) -> Iterator[str]:
        for path in self._old_partials(older_than_seconds):
            name = path.name.removeprefix(".").removesuffix(_PARTIAL).rpartition(".")[0]
            yield path.with_name(name).relative_to(self._root).as_posix()

    def abandon(self, *, older_than_seconds: float) -> int:
        old = list(self._old_partials(older_than_seconds))
        for path in old:
            with _explained(f"{path} cannot be removed"):
                path.unlink(missing_ok=True)
        return len(old)

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._root / key

    def _old_partials(self, older_than_seconds: float) -> Iterator[Path]:
        before = time.time() - older_than_seconds
        with _explained(f"{self._root} cannot be read"):
            for path, stat in _files(self._root):
                if path.name.endswith(_PARTIAL) and stat.st_mtime <= before:
                    yield path

    def _new_partial(self, path: Path) -> tuple[Path, io.FileIO]:
        name = f".{path.name}.{secrets.token_hex(4)}{_PARTIAL}"
        partial = path.with_name(name)
        for tries_left in reversed(range(_DIRECTORY_TRIES)):
            try:
                _make_directories(path.parent)
                fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
                return partial, io.FileIO(fd, "wb")
            except FileNotFoundError as error:
                if not tries_left:
                    raise StoreError(
                        f"{path} cannot be written: there is no directory"
                        f" {path.parent}, and none can be made there; is its disk"
                        " mounted?"
                    ) from error
        raise AssertionError("the last try returns or raises")

    def _remove_partial(self, partial: Path) -> None:
        with contextlib.suppress(OSError):  # `abandon` has it some day
            partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _written(self, path: Path, data: bytes) -> Iterator[Path]:
        """Write a small file beside its place; what the block leaves is removed."""
        with _explained(f"{path} cannot be written"):
            partial, file = self._new_partial(path)
            try:
                with file:
                    _write(file, data)
                    os.fsync(file.fileno())
                yield partial
                _sync_directory(path.parent)
            finally:
                self._remove_partial(partial)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one, of all processes, who looks and then writes."""
        fd = os.open(self._root / _LOCK_NAME, os.O_RDWR | os.O_CREAT, _FILE_MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _check_size(self, path: Path, found: int, expected: int) -> None:
        if found != expected:
            raise CorruptError(
                f"{path} is corrupted: it has {found:,} bytes, and {expected:,} were"
                " stored"
            )


def _files(above: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files below a directory that are there still when they are looked at.

    A directory may be a link to another disk's.

    Raises:
        OSError: a directory cannot be read; one that is missing is none.
    """
    try:
        found = list(os.scandir(above))
    except FileNotFoundError:
        return
    for entry in found:
        if entry.is_dir():
            yield from _files(Path(entry.path))
        elif entry.is_file():
            with contextlib.suppress(FileNotFoundError):
                yield Path(entry.path), entry.stat()


def _write(file: io.FileIO, data: bytes) -> None:
    """Write all of it; nothing is kept back for `close`, which could fail too."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _make_directories(path: Path) -> None:
    if path.is_dir():
        return
    _make_directories(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=_DIRECTORY_MODE)
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _explained(failed: str) -> Iterator[None]:
    """Turn the system's errors into ours, in one line that says how to mend it."""
    try:
        yield
    except FileNotFoundError as error:
        raise AbsentError(f"{failed}: it is not there") from error
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "; make room there, or remove backups: penstock backup prune"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = f"; let {_who()} read and write there"
        else:
            advice = ""
        raise StoreError(f"{failed}: {reason}{advice}") from error


def _who() -> str:
    return f"user id {os.geteuid()}"
