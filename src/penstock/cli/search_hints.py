"""What `penstock search` says of fields that were asked for and are not there.

It owns these lines, and looks into the database only where it has one to say.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from penstock.cli.search_request import Request
from penstock.errors import QueryError
from penstock.reader import Session
from penstock.search import statements
from penstock.search.filters import Path, attribute_keys, column_of, path_of_keys
from penstock.search.spelling import spell_path
from penstock.search.statements import PAGE_COLUMNS

# Names that are offered for one: more are no help.
NEAR_NAMES = 3


async def hints_of_fields(
    session: Session, request: Request, rows: Sequence[Sequence[Any]]
) -> list[str]:
    """Return a line for each field of --fields that no row here has.

    Args:
        rows: those that are shown, each with id and ts before the fields.
    """
    absent = [
        path
        for place, path in enumerate(request.fields or (), start=2)
        if column_of(path) is None and all(row[place] is None for row in rows)
    ]
    if not absent or not rows:
        return []
    try:
        found = await session.fetch(*statements.fields(request.filter, request.window))
    except QueryError:  # the rows are there: it is not for a hint to fail
        keys: set[Path] = set()
    else:
        keys = {tuple(row[0]) for row in found.rows}
    names = {spell_path(path_of_keys(each)) for each in keys} | set(PAGE_COLUMNS)
    return [
        _hint(spell_path(path), names)
        for path in absent
        if attribute_keys(path) not in keys  # else other rows have it
    ]


def _hint(name: str, names: Iterable[str]) -> str:
    by_lower = {each.lower(): each for each in sorted(names)}
    near = difflib.get_close_matches(name.lower(), by_lower, NEAR_NAMES)
    # `path` may be meant for `http.path`.
    near += [each for each in by_lower if each.endswith(f".{name.lower()}")]
    offered = [by_lower[each] for each in dict.fromkeys(near)][:NEAR_NAMES]
    meant = f"; is {' or '.join(offered)} meant?" if offered else ""
    return f"no row here has the field {name}{meant}"
