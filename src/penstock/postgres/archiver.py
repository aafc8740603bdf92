"""How a PostgreSQL server's archiver does: what it has archived, and what waits for it.

It owns when archiving is on and when it is behind. It must not change a setting.
"""

from typing import NamedTuple

import asyncpg

from penstock.postgres.blocks import read_blocks

# Commands that archive nothing: the embedded server's, PostgreSQL's word for none, and
# those that its documentation names (19.5.3).
NO_COMMANDS = ("", "(disabled)", "true", "/bin/true", ":", "/usr/bin/true")
_SEGMENT_NAME_LENGTH = 24


class Archiver(NamedTuple):
    """What the server says of its archiver; times are seconds of the epoch."""

    mode: str
    command: str
    library: str
    segment_bytes: int
    written_bytes: int | None  # None: it is a standby, or in recovery
    now_seconds: float
    archived_count: int
    last_archived_wal: str | None
    last_archived_seconds: float | None
    failed_count: int
    last_failed_wal: str | None
    last_failed_seconds: float | None
    # None: the login may not look (pg_monitor may).
    ready_files: int | None
    oldest_ready_seconds: float | None

    @property
    def is_on(self) -> bool:
        """Whether what is written is archived, as far as settings say."""
        return self.mode != "off" and bool(
            self.library or self.command not in NO_COMMANDS
        )

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt that is known of has failed."""
        failed = self.last_failed_seconds
        return failed is not None and failed > (self.last_archived_seconds or 0.0)

    @property
    def archived_age_seconds(self) -> float | None:
        """How long ago the last segment was archived; None: none was."""
        if self.last_archived_seconds is None:
            return None
        return max(self.now_seconds - self.last_archived_seconds, 0.0)

    @property
    def unarchived_bytes(self) -> int | None:
        """WAL that would be lost with the disk; None where it cannot be known."""
        name = (self.last_archived_wal or "")[:_SEGMENT_NAME_LENGTH]
        if self.written_bytes is None or len(name) < _SEGMENT_NAME_LENGTH:
            return None
        try:
            high, low = int(name[8:16], 16), int(name[16:], 16)
        except ValueError:  # a timeline's history
            return None
        end = (high << 32) + (low + 1) * self.segment_bytes
        return max(self.written_bytes - end, 0)

    @property
    def lag_seconds(self) -> float | None:
        """How long what waits has waited; 0.0: nothing waits; None: nobody knows.

        The current segment is none that waits. Where .ready files cannot be seen, it is
        by how much has been written since: an idle server archives nothing for hours.
        """
        if self.ready_files is not None:
            if not self.ready_files or self.oldest_ready_seconds is None:
                return 0.0
            return max(self.now_seconds - self.oldest_ready_seconds, 0.0)
        behind = self.unarchived_bytes
        if behind is None:
            return None
        return (
            (self.archived_age_seconds or 0.0) if behind > self.segment_bytes else 0.0
        )


async def read_archiver(connection: asyncpg.Connection) -> Archiver:
    """Ask the server how its archiver does. Raises what asyncpg raises."""
    blocks = read_blocks("penstock.postgres.sql", "archiver")
    told = await connection.fetchrow(blocks["archiver"])
    assert told is not None  # pg_stat_archiver has one row always
    try:
        ready = await connection.fetchrow(blocks["ready"])
    except asyncpg.InsufficientPrivilegeError:
        ready = None
    return Archiver(
        **dict(told),
        ready_files=ready["files"] if ready is not None else None,
        oldest_ready_seconds=ready["oldest_seconds"] if ready is not None else None,
    )
