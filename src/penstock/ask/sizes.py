"""Constants that make a value or a series of a size that nobody reads.

What a statement makes of rows is bounded by its time, and by the row and byte caps;
this is for what one call makes of nothing, which the planner may compute before any of
these counts. It owns these checks, and must not know names' meanings beyond them.
"""

import re
from typing import Any

from pglast import ast

from penstock.ask.allowed import (
    CONTAINMENT,
    KEEPING_SMALL,
    MAX_FILL_CHARACTERS,
    MAX_SERIES_ROWS,
    MAX_SOUGHT_CHARACTERS,
    MAX_WRITTEN_ELEMENTS,
    RANGES,
    SEARCHING,
)
from penstock.ask.nodes import is_a, text_of
from penstock.ask.refusal import Refused
from penstock.ask.scopes import Scope

# They try each character of the one for each of the other.
_OF_CHARACTERS = frozenset(("btrim", "ltrim", "rtrim", "translate"))
_FILLING = frozenset(("repeat", "lpad", "rpad"))
# %10s, %-10s, %2$10s: the width; %*s takes it from an argument.
_FORMAT_WIDTH = re.compile(r"%(?:\d+\$)?-?(\*|\d+)")
_PADDED_TYPES = frozenset(("bpchar", "bit"))


def check_call_sizes(node: Any, name: str, scope: Scope) -> None:
    """Refuse a call whose constants alone ask for too much."""
    arguments = [
        each.arg if is_a(each, ast.NamedArgExpr) else each for each in node.args or ()
    ]
    if name in SEARCHING and len(arguments) > SEARCHING[name]:
        _check_sought(name, arguments[SEARCHING[name]], scope)
    elif name in _FILLING and len(arguments) > 1:
        _check_fill(name, arguments[1])
    elif name == "format" and arguments:
        _check_format(arguments[0])
    elif name == "generate_series" and len(arguments) > 1:
        _check_series(arguments)


def check_containment(node: Any, scope: Scope) -> None:
    """Refuse a comparison of all elements with all, where both sides may have many."""
    if node.name[-1].sval in CONTAINMENT and not (
        _is_small(node.lexpr, scope) or _is_small(node.rexpr, scope)
    ):
        raise Refused(
            f"one side of {node.name[-1].sval} has to be written out, or a column of a"
            " view: both may be of any size"
        )


def _is_small(node: Any, scope: Scope) -> bool:
    if is_a(node, ast.TypeCast):
        return _is_small(node.arg, scope)
    if is_a(node, ast.A_Const, ast.SQLValueFunction):
        return True
    if is_a(node, ast.A_ArrayExpr):
        return len(node.elements or ()) <= MAX_WRITTEN_ELEMENTS and all(
            _is_small(each, scope) for each in node.elements or ()
        )
    if is_a(node, ast.ColumnRef):
        return scope.is_stored(text_of(node.fields))
    if is_a(node, ast.FuncCall):
        name = node.funcname[-1].sval
        return name in RANGES or (
            name in KEEPING_SMALL
            and all(_is_small(each, scope) for each in node.args or ())
        )
    if is_a(node, ast.CoalesceExpr):
        return all(_is_small(each, scope) for each in node.args)
    if is_a(node, ast.A_Expr):  # attributes->'tags'
        return all(
            each is None or _is_small(each, scope) for each in (node.lexpr, node.rexpr)
        )
    return is_a(node, ast.A_Indirection) and _is_small(node.arg, scope)


def check_type_sizes(node: Any, name: str) -> None:
    """Refuse a type whose modifier makes every value large."""
    for each in node.typmods or ():
        if not is_a(each, ast.A_Const):
            raise Refused("a type's modifier has to be a number: numeric(10, 2)")
        size = whole_number(each)
        if name in _PADDED_TYPES and (size or 0) > MAX_FILL_CHARACTERS:
            raise Refused(
                f"{name}({size}) is refused: it fills values up; at most"
                f" {MAX_FILL_CHARACTERS}"
            )


def whole_number(node: Any) -> int | None:
    """Return a constant's whole number, signed, with a cast or without."""
    if is_a(node, ast.TypeCast):
        return whole_number(node.arg)
    if is_a(node, ast.A_Expr) and node.lexpr is None:
        number = whole_number(node.rexpr)
        if number is None or node.name[-1].sval not in ("-", "+"):
            return None
        return -number if node.name[-1].sval == "-" else number
    if not is_a(node, ast.A_Const) or node.isnull:
        return None
    # A number beyond int4 is a Float; a text in quotes may be a number too.
    for field in ("ival", "fval", "sval"):
        if hasattr(node.val, field):
            return _read(getattr(node.val, field))
    return None


def _read(text: str | int) -> int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(min(max(number, -1e18), 1e18)) if number == number else None


def _check_fill(name: str, length: Any) -> None:
    number = whole_number(length)
    if number is None:
        if _is_constant(length):
            raise Refused(
                f"{name}()'s length has to be a plain number, or come from a column"
            )
    elif number > MAX_FILL_CHARACTERS:
        raise Refused(f"{name}() makes at most {MAX_FILL_CHARACTERS} characters here")


def _check_sought(name: str, sought: Any, scope: Scope) -> None:
    """Refuse what is looked for in a text, if it may be long."""
    if is_a(sought, ast.TypeCast):
        return _check_sought(name, sought.arg, scope)
    if is_a(sought, ast.A_Const):
        if len(getattr(sought.val, "sval", "") or "") <= MAX_SOUGHT_CHARACTERS:
            return None
    elif name not in _OF_CHARACTERS and _is_small(sought, scope):
        return None
    raise Refused(
        f"what {name}() looks for has to be a text in quotes, of at most"
        f" {MAX_SOUGHT_CHARACTERS} characters, or a column of a view"
    )


def _check_format(text: Any) -> None:
    value = text.val if is_a(text, ast.A_Const) and not text.isnull else None
    if value is None or not is_a(value, ast.String):
        raise Refused("format()'s first argument has to be a text in quotes")
    for width in _FORMAT_WIDTH.findall(value.sval):
        if width == "*" or len(width) > 4:
            raise Refused(
                f"a width in format() is a number below {MAX_FILL_CHARACTERS}"
            )


def _check_series(arguments: list[Any]) -> None:
    first, last = whole_number(arguments[0]), whole_number(arguments[1])
    step = whole_number(arguments[2]) if len(arguments) > 2 else 1
    if first is None or last is None or not step:
        return
    if abs(last - first) // abs(step) > MAX_SERIES_ROWS:
        raise Refused(f"generate_series() makes at most {MAX_SERIES_ROWS} rows here")


def _is_constant(node: Any) -> bool:
    """Tell whether an expression depends on no column and on no query."""
    if isinstance(node, tuple):
        return all(map(_is_constant, node))
    if is_a(node, ast.ColumnRef, ast.SubLink):
        return False
    if is_a(node, ast.FuncCall) and node.agg_star:
        return False
    if not isinstance(node, ast.Node):
        return True
    return all(_is_constant(getattr(node, name)) for name in node)
