"""The backup that a command is told to take: by its id, or `latest`.

It owns how it is said that `latest` may be another than was meant. Which one that is,
is `penstock.backup.latest`'s.
"""

from datetime import UTC, datetime

from penstock.backup.catalogue import LATEST, find_backup
from penstock.backup.latest import DatabaseId, find_latest
from penstock.backup.manifest import Manifest
from penstock.backup.store import Store
from penstock.cli.output import print_problem


def chosen_backup(
    store: Store,
    backup_id: str,
    asked: DatabaseId | None = None,
    *,
    quiet: bool = False,
) -> Manifest:
    """Return the backup of this id, or for `latest` the newest, as `find_latest`.

    Args:
        quiet: say nothing of other databases, which is as it was the last time.

    Raises:
        BackupError: there is none, or its manifest cannot be read.
        StoreError: the store cannot be read.
    """
    if backup_id != LATEST:
        return find_backup(store, backup_id)
    latest = find_latest(store, datetime.now(UTC), asked)
    if latest.hint and not quiet:
        print_problem(latest.hint)
    if latest.warning:
        print_problem(latest.warning)
    return latest.manifest
