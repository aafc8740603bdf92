"""A query with its values written into it, to be shown and copied.

It owns literals. It must not be used to run anything: what runs has parameters.
"""

import re
from datetime import datetime
from decimal import Decimal
from typing import Any

from penstock.search.compile import Query

_PLACE = re.compile(r"\$([0-9]+)(::[a-z][a-z0-9]*(?:\[\])?)?")
# Where a literal has that type as it stands.
_OWN = ("::text", "::bigint", "::int", "::numeric", "::float8")


def written_out(query: Query) -> str:
    """Return the query's SQL with its values in it, for a person."""

    def literal(place: re.Match[str]) -> str:
        return _literal(query.params[int(place[1]) - 1], place[2] or "")

    return _PLACE.sub(literal, query.sql)


def _literal(value: Any, cast: str) -> str:
    if isinstance(value, int | float | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    if isinstance(value, list):
        return f"ARRAY[{', '.join(_quoted(each) for each in value)}]::text[]"
    if isinstance(value, datetime):
        return f"timestamptz '{value.isoformat(sep=' ')}'"
    return _quoted(value) + ("" if cast in _OWN else cast)


def _quoted(text: str) -> str:
    # standard_conforming_strings is on since PostgreSQL 9.1: a backslash is itself.
    return "'" + text.replace("'", "''") + "'"
