"""What a round of maintenance has done, would do, or could not do.

It owns the words for it. A thing that cannot be done now is noted and the round goes
on: one table that somebody locks is no reason to leave the others.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import asyncpg

from penstock.postgres.archiver import Archiver
from penstock.postgres.words import describe

# Connection and shutdown (PostgreSQL documentation, appendix A): the rest of the round
# would meet them too.
ENDING_CLASSES = ("08", "57P")


class Deed(Enum):
    """What is done to a table: in the past, and as it would be."""

    MADE = ("made", "make")
    DROPPED = ("dropped", "drop")
    DELETED = ("deleted", "delete")
    SEALED = ("sealed", "seal")
    INDEXED = ("indexed", "index")


class Entry(NamedTuple):
    """One thing that was done."""

    deed: Deed
    what: str
    size_bytes: int | None = None
    rows: int = 0

    def in_words(self, *, done: bool) -> str:
        """Return it as one line, `made logs_20261124` or `make logs_20261124`."""
        past, infinitive = self.deed.value
        size = "" if self.size_bytes is None else f", {size_in_words(self.size_bytes)}"
        return f"{past if done else infinitive} {self.what}{size}"


@dataclass(slots=True, kw_only=True)
class MaintenanceReport:
    """What a round came to."""

    is_dry_run: bool = False
    # Another process maintains this database now; nothing was done.
    was_skipped: bool = False
    # There is more to be done than the round was to do.
    is_unfinished: bool = False
    entries: list[Entry] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    default_rows: int = 0
    # None: nobody has looked.
    archiver: Archiver | None = None

    def lines(self) -> list[str]:
        """Return what was done, or would be, a line for each thing."""
        if self.was_skipped:
            return ["another process maintains this database now"]
        before = "would " if self.is_dry_run else ""
        lines = [
            before + entry.in_words(done=not self.is_dry_run) for entry in self.entries
        ]
        return lines or ([] if self.failures else ["nothing to do"])

    async def attempt(
        self,
        connection: asyncpg.Connection,
        entry: Entry,
        work: Callable[..., Awaitable[object]],
        *arguments: object,
    ) -> bool:
        """Do one thing over the connection and note it, or why not; return whether.

        Raises:
            asyncpg.PostgresError: the connection is lost, the server ends.
        """
        if not self.is_dry_run:
            try:
                await work(connection, *arguments)
            except asyncpg.PostgresError as error:
                self.note_failure(connection, error, entry.in_words(done=False))
                return False
        self.entries.append(entry)
        return True

    def note_failure(
        self, connection: asyncpg.Connection, error: asyncpg.PostgresError, what: str
    ) -> None:
        """Note what could not be done, unless nothing can be done any more."""
        ends = (error.sqlstate or "").startswith(ENDING_CLASSES)
        if ends or connection.is_closed():
            raise error
        reason = describe(error)
        if isinstance(error, asyncpg.LockNotAvailableError):
            reason = "somebody holds a lock on it; the next round tries again"
        self.failures.append(f"could not {what}: {reason}")


def size_in_words(size_bytes: int) -> str:
    """Return a size as a person would say it: 1.2 GiB."""
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"
