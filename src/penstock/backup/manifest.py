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
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote

import msgspec

from penstock.backup.store import check_key
from penstock.errors import BackupError, StoreError

FORMAT = 1
LOCK_KEY = "lock.json"
MANIFESTS = "backups/"
PARTS = "parts/"
MOST_NAME = 120
DATABASE = "database"  # the part that is no table of logs

_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}")
# As PostgreSQL's format('%I.%I') writes a table; or one of ours, by its name alone.
_NAME = r'(?:[a-z_][a-z0-9_]*|"(?:[^"]|"")+")'
_TABLE = re.compile(rf"[a-z_][a-z0-9_]*|{_NAME}\.{_NAME}")

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


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
    rows: Count
    # Of the rows, whatever their order: SUM of hashtextextended(row::text, 0).
    checksum: str
    first_ts: Moment | None = None
    last_ts: Moment | None = None
    size_bytes: Count
    sha256: str
    dumped_in: str  # the id of the backup that dumped it
    is_sealed: bool = False
    fingerprint: Fingerprint | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A backup."""

    format: int = FORMAT
    id: str
    created_at: Moment  # of the snapshot: what was committed before is in it
    duration_seconds: float
    penstock_version: str
    server_version: str
    pg_dump_version: Annotated[str, msgspec.Meta(pattern=r"^\d+")]
    schema_version: int
    database: str
    # Whose days can be referred to: pg_control_system()'s, empty where it is not let.
    system_identifier: str
    database_oid: int
    # Tables beside logs, as SQL has them (public.rejected_event), and their rows.
    other_rows: dict[str, Count]
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

    Its names come to stand in statements and in the names of objects, and whoever can
    write to the store may have written it.

    Raises:
        BackupError: they are none, a later Penstock's, or one that we never write.
    """
    try:
        head = msgspec.json.decode(data, type=_Head)
        if head.format > FORMAT:
            raise BackupError(
                f"{where} has format {head.format}, written by Penstock"
                f" {head.penstock_version}; this one reads up to {FORMAT}: upgrade it"
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BackupError(f"{where} is no manifest of a backup: {error}") from error
    if (odd := next(_oddities(manifest), None)) is not None:
        raise BackupError(f"{where} is no manifest that Penstock has written: {odd}")
    return manifest


def _oddities(manifest: Manifest) -> Iterator[str]:
    if not is_id(manifest.id):
        yield f"id {manifest.id!r}"
    for part in manifest.parts:
        if not _is_key(part.key):
            yield f"the key {part.key!r} of a part"
        if not _TABLE.fullmatch(part.table):
            yield f"a part of table {part.table!r}"
        if part.day is not None and not _is_day(part.day, part.table):
            yield f"{part.table} as day {part.day!r}"
    for table in manifest.other_rows:
        if not _TABLE.fullmatch(table):
            yield f"table {table!r}"


def _is_key(key: str) -> bool:
    try:
        check_key(key)
    except StoreError:
        return False
    return key.startswith(PARTS)


def _is_day(day: str, table: str) -> bool:
    try:
        return f"logs_{datetime.strptime(day, '%Y%m%d'):%Y%m%d}" == table
    except ValueError:
        return False


class _Head(msgspec.Struct):
    format: int = 0
    penstock_version: str = "?"
