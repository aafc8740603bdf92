"""Removing backups by the rules: what would go, and how it goes.

It owns the order. Manifests go first, for a backup without one does not exist; then the
parts that no other manifest refers to; then what nobody ever finished. Killed anywhere,
it has hurt no backup that stays, and the next prune finds the rest as leftovers. It
must not decide which backups stay.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from penstock.backup.catalogue import read_catalogue, verified_key
from penstock.backup.manifest import MANIFESTS, PARTS, Manifest, manifest_key
from penstock.backup.retention import (
    Decision,
    Rules,
    decide,
    leftovers,
    parts_to_remove,
)
from penstock.backup.store import Store
from penstock.errors import BackupError

# What a backup in the making has stored has no manifest yet. A day's dump that takes as
# long as a day is behind for good.
LEFTOVER_SECONDS: Final = 24 * 3600.0
# S3 takes so many names in a request; between two we look whether the lock is ours.
_BATCH: Final = 1000


class Plan(NamedTuple):
    """What stays and what goes; sizes by key."""

    decisions: tuple[Decision, ...]
    parts: dict[str, int]
    leftovers: dict[str, int]
    unfinished: tuple[str, ...]

    @property
    def staying(self) -> list[Manifest]:
        """Return the backups that stay, the newest first."""
        return [each.manifest for each in self.decisions if each.reasons]

    @property
    def going(self) -> list[Manifest]:
        """Return the backups that go, the newest first."""
        return [each.manifest for each in self.decisions if not each.reasons]

    @property
    def freed_bytes(self) -> int:
        """Return how much room there is more when it is carried out."""
        return sum(self.parts.values()) + sum(self.leftovers.values())


def plan_prune(store: Store, rules: Rules, now: datetime) -> Plan:
    """Return what a prune would do; it changes nothing.

    Raises:
        BackupError: a manifest cannot be read, and parts that it may refer to would go.
        StoreError: the store cannot be read.
    """
    manifests, unreadable = read_catalogue(store)
    if unreadable:
        more = f", and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        raise BackupError(
            f"nothing is removed, for a manifest that cannot be read may refer to any"
            f" part: {unreadable[0].reason}{more}; remove {unreadable[0].key} if that"
            " backup is of no use"
        )
    if not manifests:
        # Whoever has lost the manifests has the parts still.
        return Plan((), {}, {}, ())
    decisions = decide(manifests, rules)
    going = [each.manifest for each in decisions if not each.reasons]
    staying = [each.manifest for each in decisions if each.reasons]
    assert staying
    sizes = {each.key: each.size_bytes for each in store.entries(PARTS)}
    parts = parts_to_remove(going, staying)
    old = dict(_older_than(store, now - timedelta(seconds=LEFTOVER_SECONDS)))
    found = leftovers(old, manifests)
    return Plan(
        tuple(decisions),
        {key: sizes[key] for key in sorted(parts & sizes.keys())},
        {key: old[key] for key in sorted(found)},
        tuple(store.unfinished(older_than_seconds=LEFTOVER_SECONDS)),
    )


def _older_than(store: Store, before: datetime) -> Iterator[tuple[str, int]]:
    for prefix in (MANIFESTS, PARTS):
        for each in store.entries(prefix):
            if each.modified_at < before:
                yield each.key, each.size_bytes


def carry_out(
    store: Store, plan: Plan, check_lock: Callable[[], None] = lambda: None
) -> None:
    """Do what was planned; under the lock, since before it was planned.

    Args:
        check_lock: raises when the lock is ours no more; called before each removal.

    Raises:
        StoreError: something could not be removed; the next prune does it.
    """
    for keys in _in_order(plan):
        for begin in range(0, len(keys), _BATCH):
            check_lock()
            store.delete(keys[begin : begin + _BATCH])
    if plan.unfinished:
        check_lock()
        store.abandon(older_than_seconds=LEFTOVER_SECONDS)


def _in_order(plan: Plan) -> Iterator[Sequence[str]]:
    yield [manifest_key(each.id) for each in plan.going]
    yield [verified_key(each.id) for each in plan.going]
    yield list(plan.parts)
    yield list(plan.leftovers)
