"""Which backup `latest` is: the newest of the database asked for, if that is known.

It owns the choice, and what a person should hear of it: that the store holds backups of
other databases, and that a backup is dated in the future. It must not guess: where the
database is not known, or has none, `latest` is the newest of all.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from penstock.backup.catalogue import (
    LATEST,
    Unreadable,
    find_backup,
    read_catalogue,
)
from penstock.backup.manifest import Manifest, is_id
from penstock.backup.sql import load_blocks
from penstock.backup.store import Store
from penstock.errors import BackupError
from penstock.postgres.connection import connect

# Clocks of machines that agree on the time are seconds apart.
AHEAD: Final = timedelta(minutes=5)
# Of so many other databases the newest backup is named.
MOST_NAMED: Final = 3


class DatabaseId(NamedTuple):
    """A database of a PostgreSQL, wherever that runs; made anew it is the same."""

    system_identifier: str
    name: str


class Latest(NamedTuple):
    """A backup, and what should be known of it; nothing where all is plain."""

    manifest: Manifest
    hint: str = ""  # there are others
    warning: str = ""  # it may not be the newest


def database_of(manifest: Manifest) -> DatabaseId:
    """Return of which database it is."""
    return DatabaseId(manifest.system_identifier, manifest.database)


async def read_database_id(url: str) -> DatabaseId | None:
    """Return which database this is, or None where the login may not know.

    Raises:
        DatabaseUnavailableError: it is out of reach.
    """
    blocks = load_blocks()
    connection = await connect(url)
    try:
        place = await connection.fetchrow(blocks["place"])
        assert place is not None
        if not place["may_identify"]:
            return None
        identifier = await connection.fetchval(blocks["system_identifier"])
        return DatabaseId(identifier, place["database"])
    finally:
        await connection.close()


def find_latest(store: Store, now: datetime, asked: DatabaseId | None = None) -> Latest:
    """Return the newest backup of the database that is asked for, else of all.

    Raises:
        BackupError: there is none, or a manifest that may be it cannot be read.
        StoreError: the store cannot be read.
    """
    newest = find_backup(store, LATEST)
    if database_of(newest) == asked and not is_ahead(newest, now):
        return Latest(newest)
    manifests, unreadable = read_catalogue(store)
    ours = [each for each in manifests if database_of(each) == asked]
    chosen = ours[0] if ours else newest
    if asked is not None:
        _refuse_to_guess(unreadable, after=ours[0].id if ours else "")
    same = [each for each in manifests if database_of(each) == database_of(chosen)]
    return Latest(
        chosen,
        hint="" if ours else _others(chosen, manifests, is_asked=asked is not None),
        warning=ahead_in_words(chosen, same, now),
    )


def _refuse_to_guess(unreadable: Iterable[Unreadable], *, after: str) -> None:
    """See that no manifest that cannot be read may be a newer one of the database."""
    for key, reason in sorted(unreadable, reverse=True):
        backup_id = key.split("/")[1]
        if is_id(backup_id) and backup_id > after:
            raise BackupError(
                f"{reason}; it may be the newest backup of this database: give the ID"
                " of the one that is meant"
            )


def is_ahead(manifest: Manifest, now: datetime) -> bool:
    """Whether a backup is dated in the future, so that a clock is or was wrong."""
    return manifest.created_at > now + AHEAD


def _others(
    chosen: Manifest, manifests: tuple[Manifest, ...], *, is_asked: bool
) -> str:
    """Return that the backup is one of several databases'; nothing if it is not."""
    newest: dict[DatabaseId, Manifest] = {}
    for each in manifests:  # the newest first
        newest.setdefault(database_of(each), each)
    newest.pop(database_of(chosen), None)
    if is_asked:
        said = f"the store has no backup of this database; {chosen.id} is of another"
    elif newest:
        said = f"the store has backups of several databases; {chosen.id} is the newest"
    else:
        return ""
    said += f", {_named(chosen)}"
    if not newest:
        return said
    others = [f"{each.id} of {_named(each)}" for each in newest.values()][:MOST_NAMED]
    return f"{said}. Give an ID for one of the others: {', '.join(others)}"


def _named(manifest: Manifest) -> str:
    number = manifest.system_identifier
    return f"{manifest.database} of the PostgreSQL {number or 'that is not known'}"


def ahead_in_words(chosen: Manifest, same: Iterable[Manifest], now: datetime) -> str:
    """Return that a backup is dated in the future; nothing if it is not.

    Args:
        same: the backups of its database, the newest first.
    """
    if not is_ahead(chosen, now):
        return ""
    before = next((each.id for each in same if not is_ahead(each, now)), "")
    other = f"; the newest that is not is {before}" if before else ""
    return (
        f"the backup {chosen.id} is dated in the future: here it is"
        f" {now.astimezone(UTC):%Y-%m-%d %H:%M}Z. A clock is or was wrong, and what was"
        f" made since may be newer{other}"
    )
