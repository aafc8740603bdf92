"""How many workers there are, and what each has of what all of them may have.

It owns which settings are limits of the whole: they hold for all workers together, so
each gets a share. It must not know the machine: how many cores there are it is told.
"""

from collections.abc import Iterator
from dataclasses import fields, replace

from penstock.errors import SettingsError
from penstock.settings import Settings
from penstock.settings.declared import AUTO, Accepted

# For what one of our cores brings it, PostgreSQL needs about three: COPY, WAL, index.
CORES_A_WORKER = 4
# More by itself would surprise: each has some 50 MiB, two connections to PostgreSQL.
MOST_BY_ITSELF = 8

# Limits of the whole, by concern.
SHARED: dict[str, tuple[str, ...]] = {
    "ring": ("ring_bytes", "ring_rows"),
    "spool": ("spool_max_bytes",),
    "limits": ("max_connections", "max_connections_per_address", "max_partial_bytes"),
}
# Of these a part of one is none: rounded up, for connections do not spread evenly.
ROUNDED_UP = frozenset({"max_connections", "max_connections_per_address"})


def worker_count(settings: Settings, cores: float) -> int:
    """Return how many workers there are on a machine with so many cores."""
    asked = settings.process.workers
    if isinstance(asked, int):
        return asked
    assert asked == AUTO
    count = max(1, min(MOST_BY_ITSELF, int(cores / CORES_A_WORKER)))
    while count > 1 and any(_too_small(settings, count)):
        count -= 1
    return count


def share_problems(settings: Settings, workers: int) -> Iterator[tuple[str, str]]:
    """Yield the settings of which a share would be too small, and what is wrong."""
    for name, whole, least in _too_small(settings, workers):
        problem = (
            f"is {whole}, shared out among {workers} workers; each needs {least:,.0f}"
            " or more: raise it, or have fewer workers"
        )
        yield name, problem


def share_of(settings: Settings, workers: int) -> Settings:
    """Return the settings of one of so many workers.

    Raises:
        SettingsError: a share would be too small; it has a line for each.
    """
    problems = [" ".join(each) for each in share_problems(settings, workers)]
    if problems:
        raise SettingsError(*problems)
    parts = {}
    for concern, names in SHARED.items():
        whole = getattr(settings, concern)
        shares = {name: _share(whole, name, workers) for name in names}
        parts[concern] = replace(whole, **shares)
    return replace(settings, **parts)


def _too_small(settings: Settings, workers: int) -> Iterator[tuple[str, int, float]]:
    if workers == 1:
        return
    for concern, names in SHARED.items():
        whole = getattr(settings, concern)
        for each in fields(whole):
            accepted: Accepted = each.metadata["is"]
            if each.name not in names or accepted.low is None:
                continue
            if _share(whole, each.name, workers) < accepted.low:
                yield each.name, getattr(whole, each.name), accepted.low


def _share(whole: object, name: str, workers: int) -> int:
    value: int = getattr(whole, name)
    return -(-value // workers) if name in ROUNDED_UP else value // workers
