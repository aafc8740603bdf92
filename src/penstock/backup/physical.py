"""The port to physical backups: base backups, and the WAL that brings one forward.

It owns the words of that, and which base backup a moment is restored from. It must not
know barman, nor PostgreSQL's settings. All of it blocks.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple, Protocol

# botocore's words for an S3 that does not answer, whatever program says them.
UNREACHED: Final = re.compile(
    "Could not connect to|Can't connect to|timeout on endpoint|Connection was closed"
)


class BaseBackup(NamedTuple):
    """A copy of a whole cluster, and the WAL without which it is none."""

    id: str
    began_at: datetime
    ended_at: datetime | None  # None: it was not finished, and cannot be restored
    timeline: int
    first_wal: str
    last_wal: str
    server_major: int
    system_identifier: str
    segment_bytes: int
    problem: str = ""
    tablespaces: tuple[str, ...] = ()
    size_bytes: int | None = None  # in the store, where somebody has looked

    @property
    def is_complete(self) -> bool:
        """Whether it can be restored."""
        return self.ended_at is not None and not self.problem


class Retention(NamedTuple):
    """Which base backups stay: the last so many, or what reaches back so many days."""

    keep: int | None = None
    keep_days: int | None = None


class Physical(Protocol):
    """What can be done with the base backups and the WAL of one PostgreSQL."""

    @property
    def place(self) -> str:
        """Where they are, as a person reads it."""
        ...

    @property
    def wal_prefix(self) -> str:
        """What the names of all WAL begin with, within the store."""
        ...

    @property
    def base_prefix(self) -> str:
        """What the names of all base backups' files begin with, within the store."""
        ...

    @property
    def archive_program(self) -> str:
        """The program that the server runs to archive."""
        ...

    def archive_command(self) -> str:
        """Return PostgreSQL's archive_command: it never ends with more than 125."""
        ...

    def archive_test(self) -> str:
        """Return a shell command that says whether the store can be reached."""
        ...

    def archive_one(self, path: str) -> str:
        """Return a shell command that archives a file of pg_wal."""
        ...

    def restore_command(self, base: BaseBackup, spool: Path | None) -> str:
        """Return PostgreSQL's restore_command: 1 means there is no more, only that.

        Args:
            spool: a directory of the server's for what is fetched ahead.
        """
        ...

    def refuse_wal_from(self, timeline: int) -> None:
        """See that no WAL is archived from this timeline on.

        Raises:
            BackupError: there is some.
            StoreError: it cannot be known.
        """
        ...

    def bases(self) -> list[BaseBackup]:
        """Return all base backups, oldest first. Raises StoreError."""
        ...

    def take(self, database_url: str, jobs: int) -> None:
        """Make a base backup of the server, whose files are on this machine.

        Raises:
            BackupError: it cannot be made, or was not finished.
        """
        ...

    def remove(self, policy: Retention, *, is_dry_run: bool) -> None:
        """Remove base backups that need not stay, and WAL that no other needs.

        Raises:
            BackupError: some could not be removed.
        """
        ...

    def restore(self, base: BaseBackup, directory: Path) -> None:
        """Bring a base backup's files into a directory that is empty or not there.

        Its tablespaces go beside it (`tablespace_beside`), never to where they were.

        Raises:
            BackupError: they cannot be had, or not written.
        """
        ...


def tablespace_beside(directory: Path, tablespace: str) -> Path:
    """Return where a tablespace is restored to: where it was, it may be in use."""
    return directory.with_name(f"{directory.name}.{tablespace}")


def base_before(
    bases: Sequence[BaseBackup], moment: datetime | None, timeline: int
) -> BaseBackup | None:
    """Return the last base backup from which a moment on a timeline is reached.

    It ended before that moment, on this timeline or on one that this began on.
    """
    fit = [
        base
        for base in bases
        if base.ended_at is not None
        and base.is_complete
        and base.timeline <= timeline
        and (moment is None or base.ended_at <= moment)
    ]
    return max(fit, key=lambda base: (base.timeline, base.began_at), default=None)
