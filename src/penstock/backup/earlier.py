"""What an earlier backup has dumped, to be referred to.

Owns which backup that is: the newest of the same database of the same cluster. Must not
judge whether a table has changed since.
"""

from collections.abc import Callable

from penstock.backup.catalogue import objects_of
from penstock.backup.contents import Contents
from penstock.backup.manifest import MANIFESTS, Manifest, Part, decode
from penstock.backup.store import Store
from penstock.errors import AbsentError, BackupError


def earlier_parts(
    store: Store, contents: Contents, say: Callable[[str], None]
) -> dict[str, Part]:
    """Return the parts of the newest earlier backup that are there, by their table.

    Args:
        say: is told what cannot be used, and so is dumped again.

    Raises:
        StoreError: the store cannot be read.
    """
    found = _newest(store, contents, say)
    if found is None:
        return {}
    parts = {}
    for part, there in ((each.part, each) for each in objects_of(store, found)):
        if there.problem:
            say(f"{there.problem}, though the backup {found.id} needs it")
        else:
            parts[part.table] = part
    return parts


def _newest(
    store: Store, contents: Contents, say: Callable[[str], None]
) -> Manifest | None:
    keys = [
        entry.key
        for entry in store.entries(MANIFESTS)
        if entry.key.endswith("/manifest.json")
    ]
    for key in sorted(keys, reverse=True):  # an id begins with its time
        try:
            manifest = decode(store.read(key), f"{store.url}/{key}")
        except AbsentError:
            continue
        except BackupError as error:
            say(str(error))
            continue
        if (manifest.system_identifier, manifest.database_oid) == (
            contents.system_identifier,
            contents.database_oid,
        ):
            return manifest
    return None
