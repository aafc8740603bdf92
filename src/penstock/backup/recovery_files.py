"""The files that make a server recover to a moment, and those that end it.

It owns what is written into a restored PGDATA, and what a server's log says of its
recovery. It must not start a server.
"""

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from penstock.backup.target_time import in_words
from penstock.backup.wal_segment import OF_BARMAN
from penstock.errors import BackupError

_AUTO_CONF: Final = "postgresql.auto.conf"
_SIGNAL: Final = "recovery.signal"
# Of the server that was backed up: where it archived to is not ours to write to.
_LEFT_OUT: Final = re.compile(
    r"\s*(archive_\w+|restore_command|recovery_\w+|primary_\w+|hot_standby)\s*=",
    re.IGNORECASE,
)
_BEGIN: Final = "# penstock: recovery, from here on\n"
_END_OF_WAL: Final = "recovery ended before configured recovery target was reached"
_GIVEN_UP: Final = re.compile(
    r'could not restore file "(\S+)" from archive: child process exited with exit code'
)
_NO_MORE: Final = "does not exist"
_LAST_COMMIT: Final = re.compile(
    r"last completed transaction was at log time (\S+ \S+)"
)
_STOPPED: Final = re.compile(
    r"recovery stopping (?:before|after) \w+ of transaction \d+, time (\S+ \S+)"
)
_RESTORED: Final = re.compile(r'restored log file "(\w{24})" from archive')


class Goal(NamedTuple):
    """Where a recovery goes to."""

    moment: datetime | None  # None: to the end of what is archived
    # None: that of its base backup.
    timeline: int | None = None


def begin_recovery(pgdata: Path, restore_command: str, goal: Goal) -> None:
    """Have the server that starts there recover to a moment, and then take writes.

    Raises:
        BackupError: what was restored is no PGDATA, or cannot be written.
    """
    settings = {
        "restore_command": restore_command,
        "recovery_target_action": "promote",
        "recovery_target_timeline": str(goal.timeline or "current"),
        # Nothing of a try is to go where the lost server's WAL is.
        "archive_mode": "off",
        # A standby that can be read wants as many connections as its primary had.
        "hot_standby": "off",
    }
    if goal.moment is not None:
        settings["recovery_target_time"] = in_words(goal.moment).replace("Z", "+00")
    try:
        kept = _without_recovery(pgdata)
        lines = [f"{name} = {_quoted(value)}\n" for name, value in settings.items()]
        _write(pgdata / _AUTO_CONF, kept + _BEGIN + "".join(lines))
        (pgdata / "standby.signal").unlink(missing_ok=True)
        _write(pgdata / _SIGNAL, "")
    except OSError as error:
        raise BackupError(f"{pgdata} is not what was backed up: {error}") from error


def end_recovery(pgdata: Path) -> None:
    """Leave a server as it was before anybody recovered it. It must not run.

    Raises:
        BackupError: the file cannot be written.
    """
    try:
        _write(pgdata / _AUTO_CONF, _without_recovery(pgdata))
    except OSError as error:
        raise BackupError(f"{pgdata} cannot be changed: {error}") from error


def reached_end_of_wal(log: str) -> bool:
    """Whether a recovery has ended because the archive did, before its moment."""
    return _END_OF_WAL in log


def last_commit(log: str) -> datetime | None:
    """Return when the last transaction was committed that was brought back."""
    found = [*_LAST_COMMIT.findall(log)]
    return _moment(found[-1]) if found else None


def stopped_at(log: str) -> datetime | None:
    """Return when the first transaction was committed that was not brought back."""
    found = [*_STOPPED.findall(log)]
    return _moment(found[-1]) if found else None


def replayed_segments(log: str) -> int:
    """Return how many segments came from the archive."""
    return len(_RESTORED.findall(log))


def last_segment(log: str) -> str:
    """Return the segment that came from the archive last, "" if none did."""
    return max(_RESTORED.findall(log), key=lambda name: str(name[8:]), default="")


def why_not_fetched(log: str) -> str:
    """Return why a segment could not be had, empty if that is not what it failed by."""
    given_up = _GIVEN_UP.findall(log)
    if not given_up:
        return ""
    said = [each for each in OF_BARMAN.findall(log) if _NO_MORE not in each]
    return f"{given_up[-1]}: {' '.join(said[-1].split())}" if said else ""


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except ValueError:  # a zone by its name, in another server's log
        return None


def _without_recovery(pgdata: Path) -> str:
    path = pgdata / _AUTO_CONF
    text = path.read_text(errors="surrogateescape") if path.exists() else ""
    before = text.partition(_BEGIN)[0]
    return "".join(
        line for line in before.splitlines(keepends=True) if not _LEFT_OUT.match(line)
    )


def _write(path: Path, text: str) -> None:
    status = path.parent.stat()
    with path.open("w", errors="surrogateescape") as file:
        file.write(text)
    path.chmod(0o600)
    os.chown(path, status.st_uid, status.st_gid)


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
