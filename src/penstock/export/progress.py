"""How far an export is, in a file beside what it has written so far.

It owns that file. What it says is there is there, whatever happened to the process or
the machine: it is written after the rows are on disk, and replaced in one step.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import orjson

from penstock.errors import PenstockError
from penstock.search.statements import Key
from penstock.search.times import Window

VERSION = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """What was asked for, and what of it is written.

    Args:
        asked: what somebody typed, which has to be the same to go on.
        written: bytes of a file, or parts of one.
    """

    asked: Mapping[str, str]
    window: Window
    key: Key | None = None
    rows: int = 0
    written: int = 0

    def advanced(self, key: Key, rows: int, written: int) -> "Progress":
        """Return it with so many more rows."""
        return replace(self, key=key, rows=self.rows + rows, written=written)


def write_progress(path: Path, progress: Progress) -> None:
    """Replace the file, so that there is the old one or the new one."""
    key = progress.key
    content = {
        "version": VERSION,
        "asked": dict(progress.asked),
        "start": progress.window.start.isoformat(),
        "end": progress.window.end.isoformat(),
        "key": None if key is None else [key.ts.isoformat(), key.id],
        "rows": progress.rows,
        "written": progress.written,
    }
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def read_progress(path: Path) -> Progress:
    """Return what the file says.

    Raises:
        PenstockError: it is none of ours, or of another version.
        OSError: it cannot be read.
    """
    try:
        content = orjson.loads(path.read_bytes())
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']}")
        key = content["key"]
        return Progress(
            content["asked"],
            Window(
                datetime.fromisoformat(content["start"]),
                datetime.fromisoformat(content["end"]),
            ),
            None if key is None else Key(datetime.fromisoformat(key[0]), key[1]),
            content["rows"],
            content["written"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise PenstockError(
            f"{path} does not say how far the export was; begin anew with --force"
        ) from error
