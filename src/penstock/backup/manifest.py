"""What a backup says of itself: written last, so that without it there is no backup.

It owns the manifest's form, in JSON, and the names of objects in the store. It must not
read or write a store.

    backups/ID/manifest.json    what is in the backup ID
    parts/TABLE-ID.dump         a day's rows, dumped by the backup ID; later ones refer
                                to it
    parts/database-ID.dump      all else: the schema, the small tables
    lock.json                   who is changing the store now
"""

import hashlib
import re
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from penstock.errors import BackupError

FORMAT = 1
LOCK_KEY = "lock.json"
MANIFESTS = "backups/"
PARTS = "parts/"
MOST_NAME = 120
DATABASE = "database"  # the part that is no table of logs

_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}")


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """What tells that a day's table has not changed since, without reading it."""

    oid: int
    relfilenode: int
    size_bytes: int
    inserted_rows: int
    updated_rows: int
    deleted_rows: int
    # Since when rows are counted: a crash loses the counts, anybody may reset them.
    counted_since: str = ""
    # Pages that a change would have cleared at once; None where nobody may look.
    frozen_pages: int | None = None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """An object of the store, and what is in it."""

    key: str
    # logs_20261128, logs_default; as SQL has it, with its schema (archive.old_logs,
    # public."my day"), where it is in another than logs or has an odd name; "database"
    # for all else.
    table: str
    day: str | None = None  # 20261128, of a table that has its bounds and its name
    rows: int
    # Of the rows, whatever their order: SUM of hashtextextended(row::text, 0).
    checksum: str
    first_ts: datetime | None = None
    last_ts: datetime | None = None
    size_bytes: int
    sha256: str
    dumped_in: str  # the id of the backup that dumped it
    is_sealed: bool = False
    fingerprint: Fingerprint | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A backup."""

    format: int = FORMAT
    id: str
    created_at: datetime  # of the snapshot: what was committed before is in it
    duration_seconds: float
    penstock_version: str
    server_version: str
    pg_dump_version: str
    schema_version: int
    database: str
    # Whose days can be referred to: pg_control_system()'s, empty where it is not let.
    system_identifier: str
    database_oid: int
    # Tables beside logs, as SQL has them (public.rejected_event), and their rows.
    other_rows: dict[str, int]
    # Roles that rights are granted to, or that own something: made before a restore.
    roles: tuple[str, ...] = ()
    # PostgreSQL's extensions, by name.
    extensions: tuple[str, ...] = ()
    # Partitions of logs that are in the schema, and whose rows are in no part: dropped
    # while the backup was made, or another server's (foreign tables).
    left_out: tuple[str, ...] = ()
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Rows of logs, whichever backup dumped them."""
        return sum(part.rows for part in self.parts)

    @property
    def size_bytes(self) -> int:
        """All that a restore would read."""
        return sum(part.size_bytes for part in self.parts)

    @property
    def own_bytes(self) -> int:
        """What this backup itself has added to the store."""
        return sum(part.size_bytes for part in self.parts if part.dumped_in == self.id)


def new_id(now: datetime) -> str:
    """Return a name for a backup: its time, to 15 us, so that names are in its order.

    One backup at a time is made in a store, so no two have one name.
    """
    fraction = now.microsecond * 0x10000 // 1_000_000
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{fraction:04x}"


def is_id(text: str) -> bool:
    """Whether it can be a backup's name."""
    return _ID.fullmatch(text) is not None


def manifest_key(backup_id: str) -> str:
    """Return where the backup's manifest is."""
    return f"{MANIFESTS}{backup_id}/manifest.json"


def part_key(table: str, backup_id: str) -> str:
    """Return where a part is that the backup `backup_id` dumps."""
    # Anybody may give a partition any name: no slash of one makes a directory, and none
    # is longer than a file's name may be.
    name = quote(table, safe="")
    if len(name) > MOST_NAME:
        name = f"{name[:MOST_NAME]}.{hashlib.sha256(table.encode()).hexdigest()[:16]}"
    return f"{PARTS}{name}-{backup_id}.dump"


def encode(manifest: Manifest) -> bytes:
    """Return the manifest as indented JSON, which a person may read."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(data: bytes, where: str) -> Manifest:
    """Return the manifest that these bytes are.

    Raises:
        BackupError: they are none, or a later Penstock's.
    """
    try:
        head = msgspec.json.decode(data, type=_Head)
        if head.format > FORMAT:
            raise BackupError(
                f"{where} has format {head.format}, written by Penstock"
                f" {head.penstock_version}; this one reads up to {FORMAT}: upgrade it"
            )
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BackupError(f"{where} is no manifest of a backup: {error}") from error


class _Head(msgspec.Struct):
    format: int = 0
    penstock_version: str = "?"
