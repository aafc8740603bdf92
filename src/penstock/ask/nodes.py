"""Reading pglast's nodes, whose types say of every field that it may be None.

It must not know what is allowed.
"""

from typing import Any


def is_a(node: object, *kinds: type[Any]) -> bool:
    """Tell a node's kind, and let the type checker go on knowing nothing of it."""
    return type(node) in kinds


def text_of(parts: Any) -> list[str]:
    """Return the strings of a name's parts."""
    return [each.sval for each in parts or () if hasattr(each, "sval")]
