"""How backups are shown: a table for a person, an object a line for a program.

It owns the words for ages, durations and sizes of backups. It must not read a store.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
import msgspec

from penstock.backup.catalogue import PartObject, Unreadable, Verified
from penstock.backup.latest import is_ahead
from penstock.backup.manifest import Manifest
from penstock.cli.output import print_problem
from penstock.sink.maintenance_report import size_in_words

Command = TypeVar("Command", bound=Callable[..., Any])

LIST_COLUMNS = (
    *("backup", "age", "rows", "days", "size", "own size", "took"),
    *("database", "verified"),
)
PART_COLUMNS = ("part", "rows", "first", "last", "size", "dumped in", "object")


def output_option(command: Command) -> Command:
    """Add --output, as `output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="How it is written; json is one object a line.",
    )(command)


def list_row(
    manifest: Manifest, verified: Verified | None, now: datetime
) -> tuple[Any, ...]:
    """Return a backup as a row of LIST_COLUMNS."""
    days = [part for part in manifest.parts if part.day is not None]
    return (
        manifest.id,
        created_in_words(manifest, now, ago=""),
        f"{manifest.rows:,}",
        len(days),
        size_in_words(manifest.size_bytes),
        size_in_words(manifest.own_bytes),
        duration_in_words(manifest.duration_seconds),
        manifest.database,
        verified_in_words(verified, now),
    )


def as_json(manifest: Manifest, verified: Verified | None, **more: Any) -> str:
    """Return a backup as one line of JSON: its sums, and its manifest as it is."""
    record = {
        "id": manifest.id,
        "rows": manifest.rows,
        "size_bytes": manifest.size_bytes,
        "own_bytes": manifest.own_bytes,
        "verified": verified,
        **more,
        "manifest": manifest,
    }
    return msgspec.json.encode(record).decode()


def part_row(found: PartObject) -> tuple[Any, ...]:
    """Return a part as a row of PART_COLUMNS."""
    part = found.part
    return (
        part.table,
        f"{part.rows:,}" if part.day or part.rows else "",
        _time(part.first_ts),
        _time(part.last_ts),
        size_in_words(part.size_bytes),
        part.dumped_in,
        _object_in_words(found),
    )


def _object_in_words(found: PartObject) -> str:
    if found.found_bytes is None:
        return "MISSING"
    return f"WRONG SIZE: {found.found_bytes:,}" if found.problem else "there"


def _time(when: datetime | None) -> str:
    return "" if when is None else f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def print_unreadable(unreadable: Iterable[Unreadable]) -> None:
    """Say of each manifest that cannot be read why."""
    for each in unreadable:
        print_problem(each.reason)


def created_in_words(manifest: Manifest, now: datetime, ago: str = " ago") -> str:
    """Return how long ago it was made; of a wrong clock, how far ahead it is."""
    if is_ahead(manifest, now):
        return f"in {age_in_words(manifest.created_at - now)}"
    return age_in_words(now - manifest.created_at) + ago


def age_in_words(age: timedelta) -> str:
    """Return an age in its largest unit: 40 min, 5 h, 3 days."""
    minutes = max(int(age.total_seconds()), 0) // 60
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h" if hours < 48 else f"{hours // 24} days"


def duration_in_words(seconds: float) -> str:
    """Return how long something took: 2.5 s, 3 min 10 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def verified_in_words(verified: Verified | None, now: datetime) -> str:
    """Return what came of verifying a backup, and when."""
    if verified is None:
        return "no"
    came = "ok" if verified.ok else "DIFFERS"
    return f"{came}, {age_in_words(now - verified.at)} ago"
