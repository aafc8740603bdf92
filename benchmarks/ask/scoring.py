"""When two results are the same.

The names of columns do not matter, nor their order; the order of rows only where the
question asks for one. Numbers are the same within a hundredth, as people round them,
and moments within a millisecond, whatever zone they are written in. Pure.
"""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import permutations
from typing import Any

TOLERANCE = 0.011  # two ways of rounding to two places
RELATIVE = 1e-4
# Of more columns only their own order is tried.
MAX_PERMUTED = 6

Rows = Sequence[Sequence[Any]]


def same_rows(given: Rows, wanted: Rows, *, is_ordered: bool) -> bool:
    """Tell whether a result is the one that is wanted."""
    if len(given) != len(wanted):
        return False
    if not wanted:
        return True
    width = len(wanted[0])
    if len(given[0]) != width:
        return False
    left = [[plain(value) for value in row] for row in given]
    right = [[plain(value) for value in row] for row in wanted]
    orders = permutations(range(width)) if width <= MAX_PERMUTED else [range(width)]
    return any(
        _same([[row[at] for at in order] for row in left], right, is_ordered)
        for order in orders
    )


def plain(value: Any) -> Any:
    """Return a value as it is compared: numbers as floats, moments in UTC."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float | Decimal):
        return float(value)
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware.astimezone(UTC).isoformat(timespec="milliseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return str(getattr(value, "contents", value))


def _same(left: list[list[Any]], right: list[list[Any]], is_ordered: bool) -> bool:
    if not is_ordered:
        left, right = sorted(left, key=_key), sorted(right, key=_key)
    return all(
        _equal(a, b)
        for row, other in zip(left, right, strict=True)
        for a, b in zip(row, other, strict=True)
    )


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=TOLERANCE)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, float) != isinstance(b, float):
        return _number(a) == _number(b) is not None
    return bool(a == b)


def _number(value: Any) -> float | None:
    """Return the number that a text is: `attributes->>'status'` is one as text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _key(row: list[Any]) -> list[tuple[str, str]]:
    """Return what sorts rows alike that are the same."""
    return [
        ("n", f"{value:020.1f}") if isinstance(value, float) else ("t", str(value))
        for value in row
    ]
