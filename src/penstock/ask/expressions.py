"""The guard's walk through expressions: each node has a rule, and no rule is a refusal.

It owns what a call, an operator, a cast and a name may be. What stands in FROM, and
whole queries, are `queries`' part.
"""

from collections.abc import Callable
from typing import Any

from pglast import ast

from penstock.ask.allowed import (
    BUILT_IN_SCHEMA,
    FUNCTIONS,
    OPERATORS,
    ROW_COLUMNS,
    TEXT_SEARCH_CONFIGURATIONS,
    TEXT_SEARCH_CONFIGURED,
    TYPES,
    VALUE_FUNCTIONS,
)
from penstock.ask.names import no_such_column
from penstock.ask.nodes import is_a, text_of
from penstock.ask.reasons import function_reason, type_reason
from penstock.ask.refusal import Refused, shown
from penstock.ask.scopes import Item, Scope, has_surely
from penstock.ask.sizes import check_call_sizes, check_containment, check_type_sizes

QueryCheck = Callable[[Any, Scope], tuple[str, ...]]

# Nodes that mean nothing but what they hold; all of their fields are walked.
_PLAIN: frozenset[type[Any]] = frozenset(
    (
        ast.A_ArrayExpr,
        ast.A_Indices,
        ast.BoolExpr,
        ast.BooleanTest,
        ast.CaseExpr,
        ast.CaseWhen,
        ast.CoalesceExpr,
        ast.GroupingFunc,
        ast.GroupingSet,
        ast.JsonAggConstructor,
        ast.JsonArgument,
        ast.JsonArrayAgg,
        ast.JsonArrayConstructor,
        ast.JsonArrayQueryConstructor,
        ast.JsonBehavior,
        ast.JsonFormat,
        ast.JsonFuncExpr,
        ast.JsonIsPredicate,
        ast.JsonKeyValue,
        ast.JsonObjectAgg,
        ast.JsonObjectConstructor,
        ast.JsonOutput,
        ast.JsonParseExpr,
        ast.JsonReturning,
        ast.JsonScalarExpr,
        ast.JsonSerializeExpr,
        ast.JsonValueExpr,
        ast.MinMaxExpr,
        ast.NamedArgExpr,
        ast.NullTest,
        ast.RowExpr,
        ast.WindowDef,
    )
)
_REFUSED: dict[type[Any], str] = {
    ast.CurrentOfExpr: "WHERE CURRENT OF is of cursors, and there are none",
    ast.MergeSupportFunc: "merge_action() is of MERGE, which writes",
    ast.ParamRef: "parameters ($1) have no value here; write the value itself",
    ast.SetToDefault: "DEFAULT is of INSERT and UPDATE, which write",
    ast.XmlExpr: "XML is left out; jsonb is what attributes are",
    ast.XmlSerialize: "XML is left out; jsonb is what attributes are",
}


class Expressions:
    """Checks expressions; `check_query` is asked about each query within them."""

    def __init__(self, source: str, check_query: QueryCheck) -> None:
        self._source = source
        self._check_query = check_query

    def check(self, node: Any, scope: Scope) -> None:
        """Refuse an expression that may not stand in a statement.

        `node` is one of pglast's, a tuple of them, or a plain value of a field.
        """
        if isinstance(node, tuple):
            for each in node:
                self.check(each, scope)
            return
        if not isinstance(node, ast.Node):
            return
        kind = type(node)
        if kind in _PLAIN:
            self._check_fields(node, scope)
        elif kind in _RULES:
            _RULES[kind](self, node, scope)
        else:
            reason = _REFUSED.get(kind, f"{kind.__name__} may not be in a statement")
            raise Refused(reason)

    def _check_fields(self, node: Any, scope: Scope, but: str = "") -> None:
        for name in node:
            if name != but:
                self.check(getattr(node, name), scope)

    def _check_operation(self, node: Any, scope: Scope) -> None:
        # BETWEEN has its word for a name, not an operator's.
        if "BETWEEN" not in node.kind.name:
            self._check_operator(node.name)
            check_containment(node, scope)
        self._check_fields(node, scope, but="name")

    def _check_sublink(self, node: Any, scope: Scope) -> None:
        if node.operName:
            self._check_operator(node.operName)
        self._check_fields(node, scope, but="operName")

    def _check_sorted(self, node: Any, scope: Scope) -> None:
        if node.useOp:
            self._check_operator(node.useOp)
        self._check_fields(node, scope, but="useOp")

    def _check_cast(self, node: Any, scope: Scope) -> None:
        self.check_type(node.typeName)
        self._check_fields(node, scope, but="typeName")

    def _check_collation(self, node: Any, scope: Scope) -> None:
        built_in_name(node.collname, "the collation")
        self._check_fields(node, scope, but="collname")

    def _check_value_function(self, node: Any) -> None:
        if node.op.name not in VALUE_FUNCTIONS:
            word = node.op.name.removeprefix("SVFOP_").lower()
            raise Refused(f"{word} is refused: {function_reason(word)}")

    def check_query(self, node: Any, scope: Scope) -> None:
        """Check a query within an expression."""
        self._check_query(node, scope)

    def check_column(self, node: Any, scope: Scope) -> tuple[str, ...]:
        """Refuse a name that is no column; return the columns of a whole row.

        A name that PostgreSQL does not find as a column it takes for a function.
        """
        names = text_of(node.fields)
        if is_a(node.fields[-1], ast.A_Star):
            if not names:
                return tuple(scope.columns)
            return self._item(node, [*names, "*"], scope).columns
        if len(names) > 1:
            if not self._item(node, names, scope).has(names[-1]):
                raise no_such_column(node, names, scope, self._source)
            return ()
        if scope.has_column(names[0]):
            return ()
        item = scope.find_item(names[0])
        if item is None:
            raise no_such_column(node, names, scope, self._source)
        return item.columns if item.is_row else ()

    def _item(self, node: Any, names: list[str], scope: Scope) -> Item:
        """Return what all but the last of a name's parts stand for."""
        *schema, owner, _ = names
        item = scope.find_item(owner, *schema) if len(schema) < 2 else None
        if item is None:
            raise no_such_column(node, names, scope, self._source)
        return item

    def row_columns(self, node: Any, scope: Scope) -> tuple[str, ...]:
        """Return the columns of what stands before `.name` or `.*`, in brackets."""
        if is_a(node, ast.ColumnRef):
            return self.check_column(node, scope)
        self.check(node, scope)
        if is_a(node, ast.FuncCall):
            columns = ROW_COLUMNS.get(node.funcname[-1].sval, ())
            return columns if len(columns) > 1 else ()
        return ()

    def _check_steps(self, node: Any, scope: Scope) -> None:
        """Check `(row).column`, `array[1]`, `attributes['key']`."""
        first, *others = node.indirection
        if is_a(first, ast.String, ast.A_Star):
            columns = self.row_columns(node.arg, scope)
            wanted = "*" if is_a(first, ast.A_Star) else first.sval
            if not columns or (wanted != "*" and not has_surely(columns, wanted)):
                raise Refused(
                    f"(...).{shown(wanted)} is refused: what is before the dot has no"
                    " such column, and a function would be called"
                )
        else:
            self.check(node.arg, scope)
            self.check(first, scope)
        for step in others:
            if not is_a(step, ast.A_Indices):
                raise Refused("(...).a.b is refused: a column of the views is no row")
            self.check(step, scope)

    def _check_call(self, node: Any, scope: Scope) -> None:
        name = built_in_name(node.funcname, "the function")
        if name not in FUNCTIONS:
            if name in ("logs", "rejected_event"):
                raise Refused(f"{name} is a view: write FROM {name}, without brackets")
            raise Refused(f"{shown(name)}() is refused: {function_reason(name)}")
        check_call_sizes(node, name, scope)
        _check_configuration(node, name)
        self._check_fields(node, scope, but="funcname")

    def _check_operator(self, parts: Any) -> None:
        name = built_in_name(parts, "the operator")
        if name not in OPERATORS:
            raise Refused(f"the operator {shown(name)} is none that may be used")

    def check_type(self, node: Any) -> None:
        """Refuse a type that may not be named."""
        if node.pct_type or node.setof:
            raise Refused("%TYPE and SETOF are refused: write the type's name")
        name = built_in_name(node.names, "the type")
        if name not in TYPES:
            raise Refused(f"the type {shown(name)} is refused: {type_reason(name)}")
        check_type_sizes(node, name)


def built_in_name(parts: Any, what: str) -> str:
    """Return the name of something of pg_catalog's; refuse another schema."""
    *schema, name = (each.sval for each in parts)
    if schema and schema != [BUILT_IN_SCHEMA]:
        raise Refused(
            f"{what} {shown('.'.join((*schema, name)))} is refused: only what"
            f" PostgreSQL itself has may be used, of the schema {BUILT_IN_SCHEMA}"
        )
    return str(name)


def _check_configuration(node: Any, name: str) -> None:
    arguments: Any = node.args or ()
    if len(arguments) < TEXT_SEARCH_CONFIGURED.get(name, len(arguments) + 1):
        return
    first = arguments[0]
    value = first.val if is_a(first, ast.A_Const) and not first.isnull else None
    if getattr(value, "sval", None) not in TEXT_SEARCH_CONFIGURATIONS:
        raise Refused(
            f"{name}()'s first argument has to be a configuration of PostgreSQL's own:"
            " 'simple', 'english'"
        )


_RULES: dict[type[Any], Callable[[Expressions, Any, Scope], object]] = {
    ast.A_Const: lambda self, node, scope: None,
    ast.A_Expr: Expressions._check_operation,
    ast.A_Indirection: Expressions._check_steps,
    ast.CollateClause: Expressions._check_collation,
    ast.ColumnRef: Expressions.check_column,
    ast.FuncCall: Expressions._check_call,
    ast.SelectStmt: Expressions.check_query,
    ast.SortBy: Expressions._check_sorted,
    ast.SQLValueFunction: lambda self, node, scope: self._check_value_function(node),
    ast.SubLink: Expressions._check_sublink,
    ast.TypeCast: Expressions._check_cast,
    ast.TypeName: lambda self, node, scope: self.check_type(node),
}
