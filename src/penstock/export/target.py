"""Where an export goes: a stream, or a file that is whole when it has its name.

It owns the names beside a file: NAME.partial holds what is written so far, and
NAME.partial.state how far that is. Whatever is behind that in the partial file was
being written when the process ended, and is cut off before an export goes on.
"""

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from penstock.errors import PenstockError
from penstock.export.forms import Form
from penstock.export.parquet import Parquet
from penstock.export.progress import Progress, read_progress, write_progress
from penstock.search.statements import Key

Rows = Sequence[tuple[Any, ...]]


class Target(Protocol):
    """Takes rows, a page at a time; `progress` is what it has."""

    progress: Progress

    def write(self, rows: Rows, key: Key) -> None:
        """Take a page, the last row of which has this key."""
        ...

    def finish(self) -> None:
        """Say that there are no more."""
        ...

    def close(self) -> None:
        """Let go of what is open; what is not finished stays as it is."""
        ...


class Stream:
    """A stream that is not ours, such as stdout."""

    def __init__(self, stream: BinaryIO, form: Form, progress: Progress) -> None:
        self.progress = progress
        self._stream = stream
        self._form = form
        stream.write(form.head())

    def write(self, rows: Rows, key: Key) -> None:
        self._stream.write(self._form.page(rows))
        self._stream.flush()
        self.progress = self.progress.advanced(key, len(rows), 0)

    def finish(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        pass


class Names:
    """The names beside a file."""

    def __init__(self, path: Path) -> None:
        self.whole = path
        self.partial = path.with_name(path.name + ".partial")
        self.state = path.with_name(path.name + ".partial.state")

    def take(self, asked: Progress, *, resumes: bool, replaces: bool) -> Progress:
        """Return what to go on from: as it is on disk, or the beginning.

        Raises:
            PenstockError: there is something that is not to be lost, or that is
                another export.
        """
        if replaces:
            self._remove_partial()
        elif self.state.exists() and resumes:
            found = read_progress(self.state)
            if found.asked != asked.asked:
                different = [
                    name
                    for name, value in asked.asked.items()
                    if found.asked.get(name) != value
                ]
                raise PenstockError(
                    f"{self.partial} is of another export ({', '.join(different)}"
                    " differ); ask for the same, or begin anew with --force"
                )
            return found
        elif self.partial.exists() and not resumes:
            raise PenstockError(
                f"{self.partial} is there, of an export that was interrupted: --resume"
                " goes on with it, --force begins anew"
            )
        elif self.whole.exists():
            raise PenstockError(f"{self.whole} is there; --force replaces it")
        self._remove_partial()
        return asked

    def finish(self) -> None:
        """Give what is whole its name; it is on disk."""
        self.partial.replace(self.whole)
        self.state.unlink(missing_ok=True)
        directory = os.open(self.whole.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _remove_partial(self) -> None:
        self.state.unlink(missing_ok=True)
        if self.partial.is_dir():
            shutil.rmtree(self.partial)
        else:
            self.partial.unlink(missing_ok=True)


class File:
    """A file of a form that can be written on."""

    def __init__(self, names: Names, form: Form, progress: Progress) -> None:
        self.progress = progress
        self._names = names
        self._form = form
        is_there = names.state.exists()
        self._file: BinaryIO = names.partial.open("r+b" if is_there else "wb")
        try:
            if is_there:
                self._cut()
            else:
                self._file.write(form.head())
                self._note(None, 0)
        except BaseException:
            self.close()
            raise

    def write(self, rows: Rows, key: Key) -> None:
        self._file.write(self._form.page(rows))
        self._note(key, len(rows))

    def finish(self) -> None:
        self._file.close()
        self._names.finish()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a full disk has been told already
            self._file.close()

    def _cut(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        if size < self.progress.written:
            raise PenstockError(
                f"{self._names.partial} is shorter than it was; begin anew with --force"
            )
        self._file.truncate(self.progress.written)
        self._file.seek(self.progress.written)

    def _note(self, key: Key | None, rows: int) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        written = self._file.tell()
        if key is None:
            self.progress = replace(self.progress, written=written)
        else:
            self.progress = self.progress.advanced(key, rows, written)
        write_progress(self._names.state, self.progress)


class ParquetFile:
    """A Parquet file, of parts in a directory until it is whole."""

    def __init__(self, names: Names, parquet: Parquet, progress: Progress) -> None:
        self.progress = progress
        self._names = names
        self._parquet = parquet
        names.partial.mkdir(exist_ok=True)
        write_progress(names.state, progress)

    def write(self, rows: Rows, key: Key) -> None:
        number = self.progress.written + 1
        self._parquet.write_part(self._part(number), rows)
        self.progress = self.progress.advanced(key, len(rows), number)
        write_progress(self._names.state, self.progress)

    def finish(self) -> None:
        whole = self._names.partial / "whole"
        parts = (self._part(n + 1) for n in range(self.progress.written))
        self._parquet.put_together(parts, whole)
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        whole.replace(self._names.whole)
        shutil.rmtree(self._names.partial)
        self._names.state.unlink(missing_ok=True)

    def close(self) -> None:
        pass

    def _part(self, number: int) -> Path:
        return self._names.partial / f"{number:06}.parquet"
