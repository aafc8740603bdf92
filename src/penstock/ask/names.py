"""The guard's line about a name that is no column, with what to write instead.

Nothing here decides.
"""

from collections.abc import Sequence
from typing import Any

from penstock.ask.refusal import Refused, shown
from penstock.ask.scopes import Item, Scope

SYSTEM_COLUMNS = frozenset(("tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"))
# So many names are told, so that the line stays one.
_TOLD = 12


def no_such_column(node: Any, names: list[str], scope: Scope, source: str) -> Refused:
    """Return the refusal of a name, by its parts, that nothing in its scope has.

    `source` is the statement, of which the node says a place.
    """
    full, name = shown(".".join(names)), shown(names[-1])
    if names[-1] in SYSTEM_COLUMNS:
        return Refused(f"{full} is refused: a view has no system columns")
    owner = scope.find_item(names[-2]) if len(names) > 1 else None
    if owner is not None and names[-1] in owner.columns:
        return Refused(
            f"{full} may not be a column: write {name} alone, or AS x({name})"
        )
    path = _as_path(names, scope)
    if path is not None:
        return Refused(f"{full} is no name: a key is read with {path}")
    if len(names) > 1 and owner is None:
        seen = [item.name for item in scope.visible() if item.name is not None]
        return Refused(
            f"{full} is no name: nothing in FROM is called"
            f" {shown('.'.join(names[:-1]))}{_there_are(seen)}"
        )
    if owner is None and source[node.location : node.location + 1] == '"':
        return Refused(
            f"there is no column \"{name}\"; text is written in single quotes: '{name}'"
        )
    of = f" of {shown(names[-2])}" if owner is not None else ""
    columns = _columns([owner] if owner is not None else scope.visible())
    if "attributes" in columns:
        there = f"; a record's other fields are attributes->>'{name}'"
    else:
        there = _there_are(columns)
    return Refused(f"there is no column {name}{of}{there}")


def _as_path(names: Sequence[str], scope: Scope) -> str | None:
    """Return `attributes.a.b` as it is written; None if it begins with no column."""
    if len(names) < 2 or names[-1] == "*":
        return None
    start = 0
    if not scope.has_column(names[0]):
        owner = scope.find_item(names[0])
        if owner is None or not owner.has(names[1]) or len(names) < 3:
            return None
        start = 1
    *keys, last = names[start + 1 :]
    path = "->".join([".".join(names[: start + 1]), *(f"'{key}'" for key in keys)])
    return f"{shown(path)}->>'{shown(last)}'"


def _columns(items: Sequence[Item]) -> list[str]:
    return list(dict.fromkeys(column for item in items for column in item.columns))


def _there_are(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f"; there are {', '.join(shown(name) for name in names[:_TOLD])}"
