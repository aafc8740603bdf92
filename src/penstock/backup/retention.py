"""Which backups stay, and which objects nothing refers to any more.

It owns both rules and computes only: from manifests and names to what may go. It must
not know a store, a clock or a setting.

The days, weeks and months are UTC's, and they are counted where there are backups: who
makes none for a month has all the dailies still. Of each database the rules are applied
to its own backups, so that two that share a store do not take each other's days.
"""

import re
from collections.abc import Callable, Collection, Iterable
from datetime import UTC
from typing import Final, NamedTuple

from penstock.backup.catalogue import verified_key
from penstock.backup.manifest import MANIFESTS, PARTS, Manifest, is_id, manifest_key

NEWEST: Final = "the newest"

# Whatever the table's name is: `part_key` writes odd ones with % and cuts long ones.
_PART: Final = re.compile(rf"{PARTS}[^/]+-(?P<id>\d{{8}}T[^/-]+-[^/-]+)\.dump")

_Database = tuple[str, int, str]


class Rules(NamedTuple):
    """Of how many days, weeks and months the last backup stays."""

    daily: int
    weekly: int
    monthly: int


class Decision(NamedTuple):
    """A backup, and why it stays; without a reason it goes."""

    manifest: Manifest
    reasons: tuple[str, ...]


def decide(manifests: Iterable[Manifest], rules: Rules) -> list[Decision]:
    """Return of each backup whether it stays, the newest first."""
    newest_first = sorted(manifests, key=lambda m: (m.created_at, m.id), reverse=True)
    of_database: dict[_Database, list[Manifest]] = {}
    for each in newest_first:
        of_database.setdefault(_database_of(each), []).append(each)
    reasons: dict[str, list[str]] = {each.id: [] for each in newest_first}
    for ours in of_database.values():
        reasons[ours[0].id].append(NEWEST)
        for count, period in (
            (rules.daily, _day),
            (rules.weekly, _week),
            (rules.monthly, _month),
        ):
            for backup_id, reason in _last_of_each(ours, count, period):
                reasons[backup_id].append(reason)
    return [Decision(each, tuple(reasons[each.id])) for each in newest_first]


def _database_of(manifest: Manifest) -> _Database:
    return manifest.system_identifier, manifest.database_oid, manifest.database


def _last_of_each(
    newest_first: list[Manifest], count: int, period: Callable[[Manifest], str]
) -> list[tuple[str, str]]:
    last: dict[str, str] = {}
    for each in newest_first:
        last.setdefault(period(each), each.id)
    return [(backup_id, f"last of {name}") for name, backup_id in last.items()][:count]


def _day(manifest: Manifest) -> str:
    return f"{manifest.created_at.astimezone(UTC):%Y-%m-%d}"


def _week(manifest: Manifest) -> str:
    year, week, _ = manifest.created_at.astimezone(UTC).isocalendar()
    return f"{year}-W{week:02}"


def _month(manifest: Manifest) -> str:
    return f"{manifest.created_at.astimezone(UTC):%Y-%m}"


def parts_to_remove(going: Iterable[Manifest], staying: Iterable[Manifest]) -> set[str]:
    """Return the parts of backups that go which none that stays refers to."""
    return _parts_of(going) - _parts_of(staying)


def leftovers(keys: Collection[str], manifests: Collection[Manifest]) -> set[str]:
    """Return the parts, and the notes on backups, that belong to none of these.

    Args:
        keys: of objects, all of them old enough not to be of a backup in the making.
        manifests: all that there are.
    """
    known = _parts_of(manifests)
    for each in manifests:
        known |= {manifest_key(each.id), verified_key(each.id)}
    return {key for key in keys if key not in known and _is_ours(key)}


def _is_ours(key: str) -> bool:
    """Whether Penstock names objects so: what somebody else has put there stays."""
    if part := _PART.fullmatch(key):
        return is_id(part["id"])
    backup_id = key.removeprefix(MANIFESTS).partition("/")[0]
    return is_id(backup_id) and key == verified_key(backup_id)


def _parts_of(manifests: Iterable[Manifest]) -> set[str]:
    return {part.key for each in manifests for part in each.parts}
