"""Makes a base backup of a running server, and removes those that need not stay.

It owns what has to be so before: the WAL is archived, and the server's files are on
this machine. It must not know barman.
"""

from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import asyncpg

from penstock.backup.physical import BaseBackup, Physical, Retention
from penstock.backup.sql import load_blocks
from penstock.backup.store import Store
from penstock.errors import BackupError, PenstockError
from penstock.postgres.archiver import read_archiver

# One that waits for longer waits for somebody: the base backup would wait with it, for
# it ends when its own WAL is archived.
MOST_LAG_SECONDS = 300.0


async def require_ready(connection: asyncpg.Connection, physical: Physical) -> None:
    """See that a base backup of this server, from here, can come to an end.

    Raises:
        BackupError: it cannot.
    """
    server = await connection.fetchrow(load_blocks("wal")["server"])
    assert server is not None
    refuse_unless_here(server["data_directory"] or "")
    archiver = await read_archiver(connection)
    if not archiver.is_on:
        raise BackupError(
            f"WAL is not archived to {physical.place}, and without it a base backup"
            " cannot be restored: first `penstock backup wal-enable`"
        )
    if archiver.command and archiver.command != physical.archive_command():
        raise BackupError(
            f"WAL is not archived to {physical.place} by the settings of this command,"
            f" but by archive_command = {archiver.command}: give the same store, name"
            " and endpoint, or run `penstock backup wal-enable` with these"
        )
    lag = archiver.lag_seconds
    if lag is not None and lag > MOST_LAG_SECONDS:
        raise BackupError(
            f"a segment of WAL waits to be archived for {lag:,.0f} s, and a base backup"
            " would wait with it: see `penstock backup wal-status` and the server's log"
        )


def refuse_unless_here(data_directory: str) -> None:
    """See that the server's files can be read.

    Raises:
        BackupError: they are another machine's, or somebody else's.
    """
    version = Path(data_directory, "PG_VERSION")
    try:
        version.read_bytes()
    except OSError as error:
        where = data_directory or "their directory"
        raise BackupError(
            f"barman reads PostgreSQL's files, and {where} cannot be read here"
            f" ({error.strerror}): run this on its machine, as root or as its"
            " user; for a container, in one that has its volume at that path"
        ) from error


def take(
    physical: Physical,
    store: Store,
    database_url: str,
    *,
    jobs: int,
    policy: Retention | None,
) -> tuple[BaseBackup, list[BaseBackup]]:
    """Make a base backup; return it, and those that were removed after it.

    To be called by who holds the store's lock: of one that is not finished nothing is
    left.

    Raises:
        BackupError: it was not made, or none could be removed.
        StoreError: the store is out of reach.
    """
    before = {base.id for base in physical.bases()}
    try:
        physical.take(database_url, jobs)
    except BaseException:
        with suppress(PenstockError):
            left = [base for base in physical.bases() if base.id not in before]
            _remove_begun(left, physical, store)
        raise
    after = physical.bases()
    made = [base for base in after if base.id not in before]
    if not made or not made[-1].is_complete:
        raise BackupError(f"no base backup has come to {physical.place}")
    _remove_begun(after, physical, store)  # by who was killed meanwhile
    removed = prune(physical, policy) if policy is not None else []
    return made[-1], removed


def _remove_begun(bases: list[BaseBackup], physical: Physical, store: Store) -> None:
    for base in bases:
        if not base.is_complete:
            begun = store.entries(f"{physical.base_prefix}{base.id}/")
            store.delete([entry.key for entry in begun])


def with_sizes(
    bases: list[BaseBackup], physical: Physical, store: Store
) -> list[BaseBackup]:
    """Return base backups with what each takes in the store. Raises StoreError."""
    sizes: dict[str, int] = defaultdict(int)
    for entry in store.entries(physical.base_prefix):
        name = entry.key.removeprefix(physical.base_prefix).partition("/")[0]
        sizes[name] += entry.size_bytes
    return [base._replace(size_bytes=sizes[base.id]) for base in bases]


def prune(physical: Physical, policy: Retention) -> list[BaseBackup]:
    """Remove base backups that need not stay, with their WAL; return which."""
    before = physical.bases()
    physical.remove(policy, is_dry_run=False)
    left = {base.id for base in physical.bases()}
    return [base for base in before if base.id not in left]
