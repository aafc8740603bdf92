"""Has what is written archived now, and waits until it is.

It owns that wait, and why it may be in vain: in the archiver's own words, which only
the server's log has. It must not change a setting.
"""

import asyncio
import os
import re
import time
from pathlib import Path
from typing import Final

import asyncpg

from penstock.backup.sql import load_blocks
from penstock.errors import BackupError
from penstock.postgres.archiver import Archiver, read_archiver

# PostgreSQL tries a segment three times a second apart, then a minute later again.
_FAILURES: Final = 3
_LIMIT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_LOG_TAIL_BYTES: Final = 8192
_NAME_LENGTH: Final = 24
# A line of barman's, as it stands in the log of the server that ran it.
OF_BARMAN: Final = re.compile(
    r"\[\d+\] (?:ERROR|CRITICAL): (?:Barman cloud [\w ]+ exception: )?(.+)"
)


async def archive_segment(connection: asyncpg.Connection, log: Path | None) -> str:
    """End the current segment of WAL, wait until it is archived, and return its name.

    Args:
        log: the server's, where it is known.

    Raises:
        BackupError: it is not archived, and why.
    """
    blocks = load_blocks("wal")
    log_begin = _size(log)
    before = await read_archiver(connection)
    await connection.fetchval(blocks["mark"])
    segment: str = await connection.fetchval(blocks["switch"])
    give_up = time.monotonic() + _LIMIT_SECONDS
    now = before
    while not _has(now, segment):
        is_late = time.monotonic() > give_up
        if is_late or now.failed_count - before.failed_count >= _FAILURES:
            why = await _why(connection, log, log_begin)
            raise BackupError(f"{segment} is not archived: {why}")
        await asyncio.sleep(_POLL_SECONDS)
        last, now = now, await read_archiver(connection)
        if now.archived_count > last.archived_count:  # those that waited come first
            give_up = time.monotonic() + _LIMIT_SECONDS
    return segment


def _has(archiver: Archiver, segment: str) -> bool:
    # What is archived besides: a timeline's history, where a base backup began.
    last = (archiver.last_archived_wal or "")[:_NAME_LENGTH]
    return len(last) == _NAME_LENGTH and last >= segment


async def _why(connection: asyncpg.Connection, log: Path | None, log_begin: int) -> str:
    """Return what the archiver says, from the server's log where that can be read."""
    try:
        if log is not None:
            said = _read_from(log, log_begin)
        else:
            said = await connection.fetchval(load_blocks("wal")["log"]) or ""
    except (OSError, asyncpg.PostgresError):
        said = ""
    return complaint_in(said) or "its complaint is in the server's log"


def _size(log: Path | None) -> int:
    return log.stat().st_size if log is not None and log.exists() else 0


def _read_from(log: Path, begin: int) -> str:
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        # A log that was trimmed meanwhile is shorter than it was.
        file.seek(max(begin if begin <= size else 0, size - _LOG_TAIL_BYTES))
        return file.read().decode(errors="replace")


def complaint_in(log: str) -> str:
    """Return the last complaint of an archive_command in a log, empty if none is."""
    lines = log.splitlines()
    failures = [n for n, line in enumerate(lines) if "archive command failed" in line]
    if not failures:
        return ""
    own = [
        line for line in lines[: failures[-1]] if line.strip() and "LOG:" not in line
    ]
    said = own[-1] if own else lines[failures[-1]]
    found = OF_BARMAN.search(said)
    return " ".join((found[1] if found else said).split())
