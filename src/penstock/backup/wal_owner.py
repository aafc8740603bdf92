"""Whose WAL is in the archive: so that no other PostgreSQL's is mixed with it.

It owns the marker beside the WAL and what is allowed by it. It must not change a
server. Of two servers with one history, as a base backup and its restored copy have,
the one on the later timeline goes on; the other is refused.
"""

from datetime import UTC, datetime

import asyncpg
import msgspec

from penstock.backup.physical import Physical
from penstock.backup.sql import load_blocks
from penstock.backup.store import Store
from penstock.errors import AbsentError, BackupError, TakenError

_TIMELINE_DIGITS = 8


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The PostgreSQL whose WAL it is."""

    system_identifier: str
    data_directory: str
    since: datetime


async def claim(
    connection: asyncpg.Connection, physical: Physical, store: Store, marker: str
) -> None:
    """Make the archive this server's, or see that it is.

    Raises:
        BackupError: it is another server's, or a copy of this one has gone on there.
        StoreError: the store cannot be read or written.
    """
    blocks = load_blocks("wal")
    server = await connection.fetchrow(blocks["server"])
    assert server is not None
    if server["in_recovery"]:
        raise BackupError(
            "this PostgreSQL is in recovery, a standby or not restored yet: WAL is"
            " archived from the one that is written to"
        )
    current = await connection.fetchval(blocks["current_wal"])
    owner = Owner(
        system_identifier=server["system_identifier"],
        data_directory=server["data_directory"] or "",
        since=datetime.now(UTC),
    )
    found = read_owner(store, marker)
    if found is None:
        physical.refuse_wal_from(1)
        try:
            store.create(marker, msgspec.json.encode(owner))
            return
        except TakenError:
            found = read_owner(store, marker)
    if found is None or found.system_identifier != owner.system_identifier:
        of = "" if found is None else f" (of {found.data_directory})"
        raise BackupError(
            f"{physical.place} holds the WAL of another PostgreSQL{of}: give this one a"
            " name of its own with --backup-wal-server"
        )
    _refuse_later(physical, store, current)


def read_owner(store: Store, marker: str) -> Owner | None:
    """Return whose WAL it is; None where nobody has said."""
    try:
        return msgspec.json.decode(store.read(marker), type=Owner)
    except AbsentError:
        return None
    except msgspec.MsgspecError as error:
        raise BackupError(f"{marker} in {store.url} is not ours: {error}") from error


def _refuse_later(physical: Physical, store: Store, current: str) -> None:
    """See that what this server is going to archive is not there already."""
    timeline = current[:_TIMELINE_DIGITS]
    physical.refuse_wal_from(int(timeline, 16) + 1)
    names = (
        entry.key.rpartition("/")[2][: len(current)]
        for entry in store.entries(f"{physical.wal_prefix}{timeline}")
    )
    latest = max(names, default="")
    if latest >= current:
        raise BackupError(
            f"{physical.place} holds WAL up to {latest}, and this PostgreSQL is at"
            f" {current}: a copy of it has gone on there. Give this one a name of its"
            " own with --backup-wal-server"
        )
