"""The name that PostgreSQL gives a result column that has no AS.

parse_target.c, FigureColname. It must not decide what is allowed.
"""

from collections.abc import Callable
from typing import Any

from pglast import ast

from penstock.ask.allowed import VALUE_FUNCTIONS
from penstock.ask.nodes import text_of

NAMELESS = "?column?"

# A name and how much it is worth: that of a cast gives way to a better one.
Figured = tuple[str | None, int]
_WEAK, _STRONG = 1, 2
_NOTHING: Figured = (None, 0)


def output_name(node: Any) -> str:
    """Return the name of a result column that is this expression."""
    return _figured(node)[0] or NAMELESS


def _figured(node: Any) -> Figured:
    kind = type(node)
    if kind in _FIXED:
        return _FIXED[kind], _STRONG
    return _RULES[kind](node) if kind in _RULES else _NOTHING


def _last(parts: Any) -> Figured:
    names = text_of(parts)
    return (names[-1], _STRONG) if names else _NOTHING


def _of_steps(node: Any) -> Figured:
    return _last(node.indirection) if text_of(node.indirection) else _figured(node.arg)


def _of_cast(node: Any) -> Figured:
    name, worth = _figured(node.arg)
    return (name, worth) if worth > _WEAK else (node.typeName.names[-1].sval, _WEAK)


def _of_case(node: Any) -> Figured:
    name, worth = _figured(node.defresult)
    return (name, worth) if worth > _WEAK else ("case", _WEAK)


def _of_operation(node: Any) -> Figured:
    return ("nullif", _STRONG) if node.kind.name == "AEXPR_NULLIF" else _NOTHING


def _of_sublink(node: Any) -> Figured:
    kind = node.subLinkType.name
    if kind == "EXISTS_SUBLINK":
        return "exists", _STRONG
    if kind == "ARRAY_SUBLINK":
        return "array", _STRONG
    if kind != "EXPR_SUBLINK":
        return _NOTHING
    select = node.subselect
    while select.larg is not None:
        select = select.larg
    if not select.targetList:
        return "column1", _STRONG  # VALUES
    target = select.targetList[0]
    return (target.name, _STRONG) if target.name else _figured(target.val)


_FIXED: dict[type[Any], str] = {
    ast.A_ArrayExpr: "array",
    ast.CoalesceExpr: "coalesce",
    ast.GroupingFunc: "grouping",
    ast.JsonArrayAgg: "json_arrayagg",
    ast.JsonArrayConstructor: "json_array",
    ast.JsonArrayQueryConstructor: "json_array",
    ast.JsonObjectAgg: "json_objectagg",
    ast.JsonObjectConstructor: "json_object",
    ast.JsonParseExpr: "json",
    ast.JsonScalarExpr: "json_scalar",
    ast.JsonSerializeExpr: "json_serialize",
    ast.RowExpr: "row",
}
_RULES: dict[type[Any], Callable[[Any], Figured]] = {
    ast.A_Expr: _of_operation,
    ast.A_Indirection: _of_steps,
    ast.CaseExpr: _of_case,
    ast.CollateClause: lambda node: _figured(node.arg),
    ast.ColumnRef: lambda node: _last(node.fields),
    ast.FuncCall: lambda node: _last(node.funcname),
    ast.JsonFuncExpr: lambda node: (node.op.name.removesuffix("_OP").lower(), _STRONG),
    ast.MinMaxExpr: lambda node: (node.op.name.removeprefix("IS_").lower(), _STRONG),
    ast.SQLValueFunction: lambda node: (VALUE_FUNCTIONS.get(node.op.name), _STRONG),
    ast.SubLink: _of_sublink,
    ast.TypeCast: _of_cast,
}
