"""All backups that a store holds, by their manifests, and what verifying them gave.

It owns how they are found. A directory without a manifest is no backup; a manifest that
cannot be read is told with the reason, and never left out in silence: whoever removes
parts must know that it may refer to them. It must not decide which backups stay.
"""

import io
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from penstock.backup.manifest import (
    MANIFESTS,
    PARTS,
    Manifest,
    Part,
    decode,
    is_id,
    manifest_key,
)
from penstock.backup.store import Store
from penstock.errors import AbsentError, BackupError, PenstockError, StoreError

LATEST: Final = "latest"

# A manifest of a year of days is some 200 KB and a round trip: so many at once read a
# year of them from S3 in seconds.
_READERS: Final = 8
# One that the store refuses is told and the others are listed; where it refuses so many
# it is the store that is away, and each would be waited for.
_MOST_REFUSED: Final = 3
_KEY: Final = re.compile(rf"{MANIFESTS}(?P<id>[^/]+)/manifest\.json")


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What came of verifying a backup: an object beside its manifest."""

    at: datetime
    ok: bool
    # The parts that came back otherwise, each with what was wrong.
    problems: tuple[str, ...] = ()


class Unreadable(NamedTuple):
    """A manifest that is there and says nothing to us."""

    key: str
    reason: str


class Catalogue(NamedTuple):
    """The backups of a store, the newest first."""

    manifests: tuple[Manifest, ...]
    unreadable: tuple[Unreadable, ...] = ()


def verified_key(backup_id: str) -> str:
    """Return where it is written what came of verifying the backup."""
    return f"{MANIFESTS}{backup_id}/verified.json"


def read_catalogue(store: Store) -> Catalogue:
    """Return all backups.

    Raises:
        StoreError: the store cannot be read.
    """
    keys = _manifest_keys(store)
    with ThreadPoolExecutor(_READERS) as threads:
        read = list(threads.map(lambda key: _read_one(store, key), keys))
    refused = [each.error for each in read if isinstance(each.error, StoreError)]
    if len(refused) >= min(_MOST_REFUSED, len(keys)) > 0:
        raise refused[0]
    manifests = [each.manifest for each in read if each.manifest is not None]
    return Catalogue(
        tuple(sorted(manifests, key=lambda each: (each.created_at, each.id)))[::-1],
        tuple(
            Unreadable(key, str(each.error))
            for key, each in zip(keys, read, strict=True)
            if each.error is not None
        ),
    )


class _Read(NamedTuple):
    """What came of reading a manifest; neither: it has just been removed."""

    manifest: Manifest | None = None
    error: PenstockError | None = None


def _read_one(store: Store, key: str) -> _Read:
    try:
        return _Read(_read_manifest(store, key))
    except AbsentError:
        return _Read()
    except (BackupError, StoreError) as error:
        return _Read(error=error)


def _read_manifest(store: Store, key: str) -> Manifest:
    where = f"{store.url}/{key}"
    manifest = decode(store.read(key), where)
    if manifest_key(manifest.id) != key:
        raise BackupError(f"{where} is the manifest of another backup, {manifest.id}")
    return manifest


def _manifest_keys(store: Store) -> list[str]:
    return [each.key for each in store.entries(MANIFESTS) if _KEY.fullmatch(each.key)]


def find_backup(store: Store, backup_id: str) -> Manifest:
    """Return the backup of this id, or the newest for `latest`.

    Raises:
        BackupError: there is none, or its manifest cannot be read.
        StoreError: the store cannot be read.
    """
    if backup_id == LATEST:
        # An id begins with its time. What somebody else has put there has none.
        keys = sorted(k for k in _manifest_keys(store) if is_id(k.split("/")[1]))
        if not keys:
            raise BackupError(
                f"there is no backup in {store.url}; penstock backup create makes one"
            )
        return _read_manifest(store, keys[-1])
    if not is_id(backup_id):
        raise BackupError(
            f"{backup_id!r} is no backup's id, such as 20261128T021500Z-1a2b;"
            " penstock backup list shows those there are"
        )
    try:
        return _read_manifest(store, manifest_key(backup_id))
    except AbsentError as error:
        raise BackupError(
            f"there is no backup {backup_id} in {store.url}; penstock backup list"
            " shows those there are"
        ) from error


def note_verified(store: Store, backup_id: str, verified: Verified) -> None:
    """Write down what came of verifying a backup, for who lists them.

    Raises:
        StoreError: it cannot be written.
    """
    store.put(verified_key(backup_id), io.BytesIO(msgspec.json.encode(verified)))


def read_verified(store: Store) -> dict[str, Verified]:
    """Return by id what came of verifying; a note that is none is as if not there.

    Raises:
        StoreError: the store cannot be read.
    """
    keys = {
        verified_key(found): found
        for each in store.entries(MANIFESTS)
        if is_id(found := each.key.split("/")[1]) and each.key == verified_key(found)
    }
    with ThreadPoolExecutor(_READERS) as threads:
        notes = threads.map(lambda key: _read_note(store, key), keys)
        return {
            found: note
            for found, note in zip(keys.values(), notes, strict=True)
            if note is not None
        }


def _read_note(store: Store, key: str) -> Verified | None:
    try:
        return msgspec.json.decode(store.read(key), type=Verified)
    except (AbsentError, msgspec.MsgspecError):
        return None


class PartObject(NamedTuple):
    """A part, and the size of its object; None where there is none."""

    part: Part
    found_bytes: int | None

    @property
    def problem(self) -> str:
        """Return what is wrong with it by its size; nothing if it is as it should."""
        if self.found_bytes is None:
            return f"{self.part.key} is not there"
        if self.found_bytes != self.part.size_bytes:
            return (
                f"{self.part.key} has {self.found_bytes:,} bytes, and"
                f" {self.part.size_bytes:,} were stored"
            )
        return ""


def objects_of(store: Store, manifest: Manifest) -> Iterator[PartObject]:
    """Yield each part with what is there of it.

    Raises:
        StoreError: the store cannot be read.
    """
    sizes = {each.key: each.size_bytes for each in store.entries(PARTS)}
    for part in manifest.parts:
        yield PartObject(part, sizes.get(part.key))
