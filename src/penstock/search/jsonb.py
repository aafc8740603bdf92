"""jsonb as PostgreSQL has it: what a path leads to, and the text it prints.

It owns both. Values are as msgspec decodes them, with Decimal for what is no whole
number. Sources: PostgreSQL documentation, 9.16, and 8.14 for the order of keys.
"""

import re
from decimal import Decimal
from typing import Any

from penstock.search.filters import Path, json_quoted

# What `#>` takes for the index of an array: strtol's grammar.
_INDEX = re.compile(r"[ \t\n\v\f\r]*[+-]?[0-9]{1,4000}")


class Missing:
    """There is no such value: JSON's null is one."""


MISSING = Missing()


def value_at(value: Any, keys: Path) -> Any:
    """Return the value that the keys lead to, as `#>` finds it, or MISSING."""
    for key in keys:
        if type(value) is dict:
            value = value.get(key, MISSING)
        elif type(value) is list and _INDEX.fullmatch(key):
            index = int(key)
            if not -len(value) <= index < len(value):
                return MISSING
            value = value[index]
        else:
            return MISSING
    return value


def jsonb_text(value: Any) -> str:
    """Return what PostgreSQL prints for a jsonb value."""
    kind = type(value)
    if kind is str:
        return json_quoted(value)
    if kind is dict:
        members = sorted(value.items(), key=_key_order)
        inside = (f"{json_quoted(key)}: {jsonb_text(each)}" for key, each in members)
        return f"{{{', '.join(inside)}}}"
    if kind is list:
        return f"[{', '.join(map(jsonb_text, value))}]"
    if kind is Decimal:
        # numeric keeps the digits behind the point, and has no zero below zero.
        return format(value if value else abs(value), "f")
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    return str(value)


def _key_order(member: tuple[str, Any]) -> tuple[int, bytes]:
    key = member[0].encode()
    return len(key), key
