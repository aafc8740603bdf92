"""Backups as a history of nights makes them: manifests, and the parts they refer to."""

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from penstock.backup.manifest import Manifest, Part, encode, manifest_key, part_key
from penstock.backup.store import Store

BODY = b"abc"
NIGHT = datetime(2025, 11, 30, 2, 15, tzinfo=UTC)


def backup_id(at: datetime, number: int = 0) -> str:
    """Return the id of a backup at this time."""
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{number:04x}"


def part(
    table: str, dumped_in: str, size_bytes: int = len(BODY), sha256: str = ""
) -> Part:
    """Return a part that this backup has dumped."""
    day = table.removeprefix("logs_")
    return Part(
        key=part_key(table, dumped_in),
        table=table,
        day=day if day.isdigit() else None,
        rows=10,
        checksum="0",
        size_bytes=len(BODY),
        sha256="",
        dumped_in=dumped_in,
        is_sealed=True,
    )


def manifest(
    at: datetime,
    parts: Iterable[Part],
    number: int = 0,
    system_identifier: str = "7000000000000000001",
    own_id: str = "",
) -> Manifest:
    """Return the manifest of a backup at this time."""
    return Manifest(
        id=own_id or backup_id(at, number),
        created_at=at,
        duration_seconds=61.5,
        penstock_version="0.1.0",
        server_version="18.6",
        pg_dump_version="18.6",
        schema_version=9,
        database="penstock",
        system_identifier=system_identifier,
        database_oid=16384,
        other_rows={"rejected_event": 0},
        parts=tuple(parts),
    )


def nights(
    count: int, first: datetime = NIGHT, *, has_open_parts: bool = True
) -> list[Manifest]:
    """Return the backups of so many nights: each day is dumped open, then sealed.

    Args:
        has_open_parts: without them it is two objects a night, and not four.
    """
    made: list[Manifest] = []
    sealed: dict[str, Part] = {}
    for number in range(count):
        at = first + timedelta(days=number)
        own = backup_id(at)
        yesterday = f"logs_{at - timedelta(days=1):%Y%m%d}"
        sealed[yesterday] = part(yesterday, own)
        own_parts = [part("database", own), part(f"logs_{at:%Y%m%d}", own)]
        open_parts = own_parts if has_open_parts else []
        made.append(manifest(at, [*sealed.values(), *open_parts]))
    return made


def put_all(store: Store, history: Iterable[Manifest]) -> None:
    """Store backups, each with the parts that it has dumped itself."""
    made = list(history)
    bodies = {
        each.key: BODY for one in made for each in one.parts if each.dumped_in == one.id
    }
    bodies |= {manifest_key(each.id): encode(each) for each in made}
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda k: store.put(k, io.BytesIO(bodies[k])), bodies))


def keys_of(store: Store) -> set[str]:
    """Return the names of all objects but the lock."""
    return {each.key for each in store.entries("")} - {"lock.json"}


def needed_by(manifests: Iterable[Manifest]) -> set[str]:
    """Return the names of all objects that these backups are made of."""
    made = list(manifests)
    return {manifest_key(each.id) for each in made} | {
        each.key for one in made for each in one.parts
    }
