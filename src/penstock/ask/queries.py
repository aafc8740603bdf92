"""The guard's walk through queries: what stands in WITH, in FROM, and each clause.

It owns relations and the columns that each query gives to the one around it. What an
expression may hold is `expressions`' part.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pglast import ast

from penstock.ask.allowed import (
    MAX_RELATIONS,
    NEEDS_COLUMN_LIST,
    ROW_COLUMNS,
    TEXT_ARRAYS,
    VIEWS_SCHEMA,
)
from penstock.ask.expressions import Expressions
from penstock.ask.nodes import is_a, text_of
from penstock.ask.output_names import output_name
from penstock.ask.reasons import relation_reason, statement_name
from penstock.ask.refusal import Refused, shown
from penstock.ask.scopes import Guess, Item, Scope, Source, With, joined, renamed

Columns = tuple[str, ...]
# A WITH RECURSIVE query that is not known yet.
_PENDING = With((), -1)


class Queries:
    """Checks one statement; `read` are the views that it reads.

    `relations` is how often it, and what it repeats, names a view or function in FROM.
    """

    def __init__(self, source: str, views: Mapping[str, Collection[str]]) -> None:
        self.read: set[str] = set()
        self._views = views
        self.relations = 0
        self._expressions = Expressions(source, self.check)

    def check(
        self,
        select: Any,
        parent: Scope | None,
        told: Callable[[Columns], None] | None = None,
    ) -> Columns:
        """Refuse a query that may not be run; return the names of its columns.

        `told` gets the columns of a UNION's first part before the second is looked at,
        which may be about them (WITH RECURSIVE).
        """
        if not is_a(select, ast.SelectStmt):
            name = statement_name(type(select).__name__)
            raise Refused(f"{name} is refused: it changes data, and logs are only read")
        if select.intoClause is not None:
            raise Refused("SELECT INTO is refused: it makes a table")
        if select.lockingClause:
            raise Refused("FOR UPDATE and FOR SHARE are refused: they lock rows")
        scope = Scope(parent, self._withs(select.withClause, parent))
        if select.op.name != "SETOP_NONE":
            columns = self.check(select.larg, scope)
            if told is not None:
                told(columns)
            self.check(select.rarg, scope)
            self._check_sorting(select.sortClause, scope, columns)
        elif select.valuesLists:
            for row in select.valuesLists:
                self._expressions.check(row, scope)
            width = len(select.valuesLists[0])
            columns = tuple(f"column{number}" for number in range(1, width + 1))
            self._check_sorting(select.sortClause, scope, columns)
        else:
            columns = self._check_simple(select, scope)
        self._expressions.check(select.limitCount, scope)
        self._expressions.check(select.limitOffset, scope)
        return columns

    def _check_simple(self, select: Any, scope: Scope) -> Columns:
        sources: list[Source] = []
        for node in select.fromClause or ():
            source = self._source(node, scope, sources)
            sources.append(source)
        for source in sources:
            scope.add(source)
        columns: list[str] = []
        for target in select.targetList or ():
            columns += self._target(target, scope)
        for part in (select.whereClause, select.havingClause, select.windowClause):
            self._expressions.check(part, scope)
        self._check_sorting(select.groupClause, scope, columns)
        self._check_sorting(select.distinctClause, scope, columns)
        self._check_sorting(select.sortClause, scope, columns)
        return tuple(columns)

    def _target(self, target: Any, scope: Scope) -> Sequence[str]:
        """Check one thing of the SELECT list; return the columns that it gives."""
        if not is_a(target, ast.ResTarget) or target.indirection:
            raise Refused("a result column is an expression with a name")
        value = target.val
        if is_a(value, ast.ColumnRef):
            columns = self._expressions.check_column(value, scope)
            if is_a(value.fields[-1], ast.A_Star):
                return columns
            if columns and scope.parent is None:
                # asyncpg cannot read it: a row's columns have codecs of ours.
                row = shown(value.fields[-1].sval)
                raise Refused(
                    f"{row} is a whole row: write {row}.*, or to_jsonb({row})"
                )
        else:
            self._expressions.check(value, scope)
        if is_a(value, ast.A_Indirection) and is_a(value.indirection[-1], ast.A_Star):
            return self._expressions.row_columns(value.arg, scope)
        return [target.name or output_name(value)]

    def _check_sorting(
        self, clause: Any, scope: Scope, columns: Collection[str]
    ) -> None:
        """Check ORDER BY, GROUP BY, DISTINCT ON, where a name may be a result's.

        PostgreSQL: SELECT, "an input-column name or the name of an output column".
        """
        for each in clause or ():
            node = each
            if is_a(node, ast.SortBy) and not node.useOp:
                node = node.node
            if is_a(node, ast.GroupingSet):
                self._check_sorting(node.content, scope, columns)
            elif is_a(node, ast.RowExpr):
                self._check_sorting(node.args, scope, columns)
            elif not _is_name_in(node, columns):
                self._expressions.check(node, scope)

    # --- WITH

    def _withs(self, clause: Any, parent: Scope | None) -> Mapping[str, With]:
        """Check the WITH queries; return what their names mean in the query below."""
        withs: dict[str, With] = {}
        if clause is None:
            return withs
        names = [each.ctename for each in clause.ctes]
        if len(set(names)) < len(names):
            raise Refused("WITH has a name twice")
        if clause.recursive:
            # Each may mention each, whatever comes first.
            withs.update(dict.fromkeys(names, _PENDING))
        for each in clause.ctes:
            self._check_with(each, Scope(parent, withs), withs, clause.recursive)
        return withs

    def _check_with(
        self, node: Any, scope: Scope, withs: dict[str, With], is_recursive: bool
    ) -> None:
        names = tuple(text_of(node.aliascolnames))

        def told(columns: Columns) -> None:
            withs[node.ctename] = With(renamed(columns, names))

        before = self.relations
        columns = self.check(node.ctequery, scope, told if is_recursive else None)
        columns = renamed(columns, names)
        if (search := node.search_clause) is not None:
            columns += (search.search_seq_column,)
        if (cycle := node.cycle_clause) is not None:
            columns += (cycle.cycle_mark_column, cycle.cycle_path_column)
            self._expressions.check(cycle.cycle_mark_value, scope)
            self._expressions.check(cycle.cycle_mark_default, scope)
        # What is not materialized is planned anew at each mention.
        is_inlined = node.ctematerialized.name == "CTEMaterializeNever"
        weight = self.relations - before if is_inlined else 1
        withs[node.ctename] = With(columns, max(weight, 1))

    # --- FROM

    def _source(self, node: Any, scope: Scope, left: Sequence[Source]) -> Source:
        """Check one thing in FROM; `left` is what LATERAL may see."""
        match node:
            case ast.RangeVar():
                return self._relation(node, scope)
            case ast.RangeSubselect():
                around = scope.seeing(left if node.lateral else ())
                columns = self.check(node.subquery, around)
                return _aliased(node.alias, None, columns)
            case ast.RangeFunction():
                return self._function(node, scope.seeing(left))
            case ast.JoinExpr():
                return self._join(node, scope, left)
            case ast.RangeTableSample():
                raise Refused(
                    "TABLESAMPLE is refused: a view has no samples; write"
                    " WHERE random() < 0.01"
                )
            case ast.RangeTableFunc():
                raise Refused("XMLTABLE is refused: XML is left out")
            case ast.JsonTable():
                raise Refused(
                    "JSON_TABLE is refused; write jsonb_to_recordset(...) AS t(a text),"
                    " or jsonb_path_query(...)"
                )
        raise Refused(f"{type(node).__name__} is nothing that FROM may hold")

    def _count(self, relations: int) -> None:
        self.relations += relations
        if self.relations > MAX_RELATIONS:
            raise Refused(
                f"the statement has more than {MAX_RELATIONS} relations in FROM"
            )

    def _relation(self, node: Any, scope: Scope) -> Source:
        schema, name = node.schemaname, node.relname
        found = scope.find_with(name) if schema is None else None
        if found is not None:
            if found is _PENDING:
                raise Refused(
                    f"{shown(name)} is used before its WITH query is known; write that"
                    " one first, and what is recursive behind UNION"
                )
            self._count(found.relations)
            return _aliased(node.alias, name, found.columns)
        self._count(1)
        views = ", ".join(self._views)
        is_of_schema = schema is None or schema == VIEWS_SCHEMA
        if node.catalogname is not None or not is_of_schema or name not in self._views:
            full = ".".join(filter(None, (node.catalogname, schema, name)))
            reason = relation_reason(schema, name, views)
            raise Refused(f"{shown(full)} may not be read: {reason}")
        self.read.add(name)
        source = _aliased(node.alias, name, tuple(self._views[name]), view=name)
        (item,) = source.items
        return Source((replace(item, is_stored=True),), source.columns)

    def _function(self, node: Any, scope: Scope) -> Source:
        self._count(1)
        columns: list[str] = []
        calls = node.functions
        is_row = len(calls) == 1 and not node.ordinality
        for call, column_list in calls:
            if not is_a(call, ast.FuncCall):
                raise Refused("FROM holds views, queries and functions; write SELECT")
            self._expressions.check(call, scope)
            defined = column_list or node.coldeflist
            added = self._function_columns(call, defined, node.alias, len(calls))
            is_row = is_row and (len(added) > 1 or bool(defined))
            columns += added
        if node.ordinality:
            columns.append("ordinality")
        source = _aliased(node.alias, calls[0][0].funcname[-1].sval, tuple(columns))
        (item,) = source.items
        return Source((replace(item, is_row=is_row),), source.columns)

    def _function_columns(
        self, call: Any, defined: Any, alias: Any, calls: int
    ) -> Sequence[str]:
        name = call.funcname[-1].sval
        if defined:
            for each in defined:
                self._check_column_definition(each)
            return [each.colname for each in defined]
        if name in NEEDS_COLUMN_LIST:
            raise Refused(f"{name}() needs its columns: AS t(a text, b int)")
        if name in ROW_COLUMNS:
            return ROW_COLUMNS[name]
        count = len(call.args or ()) if name == "unnest" else 1
        if count == calls == 1 and alias is not None:
            name = alias.aliasname
        is_guess = call.funcname[-1].sval == "unnest" and not all(
            _has_no_rows(each) for each in call.args or ()
        )
        return [Guess(name) if is_guess else name] * count

    def _check_column_definition(self, node: Any) -> None:
        self._expressions.check_type(node.typeName)
        for name in ("raw_default", "constraints", "fdwoptions"):
            if getattr(node, name):
                raise Refused("a column in AS t(...) has a name and a type, no more")
        if node.collClause is not None:
            self._expressions.check(node.collClause, Scope())

    def _join(self, node: Any, scope: Scope, left: Sequence[Source]) -> Source:
        first = self._source(node.larg, scope, left)
        second = self._source(node.rarg, scope, (*left, first))
        using = text_of(node.usingClause)
        if node.isNatural:
            using = [each for each in first.columns if each in second.columns]
        if node.quals is not None:
            self._expressions.check(node.quals, scope.seeing((first, second)))
        columns = joined(first, second, using)
        if node.alias is not None:
            return _aliased(node.alias, None, columns)
        items = (*first.items, *second.items)
        if node.join_using_alias is not None:
            items += (Item(node.join_using_alias.aliasname, tuple(using)),)
        return Source(items, columns)


def _aliased(
    alias: Any, name: str | None, columns: Columns, view: str | None = None
) -> Source:
    """Return a source under its alias, if it has one, or under its own name."""
    if alias is not None:
        columns = renamed(columns, text_of(alias.colnames))
        name, view = alias.aliasname, None
    return Source((Item(name, columns, view),), columns)


def _has_no_rows(node: Any) -> bool:
    """Tell whether an array is certain to be none of rows."""
    if is_a(node, ast.FuncCall):
        return node.funcname[-1].sval in TEXT_ARRAYS
    if is_a(node, ast.A_ArrayExpr):
        return all(is_a(each, ast.A_Const, ast.TypeCast) for each in node.elements)
    # No type of rows may be named; but unnest(tsvector) has columns of its own.
    return is_a(node, ast.TypeCast) and bool(node.typeName.arrayBounds)


def _is_name_in(node: Any, columns: Collection[str]) -> bool:
    """Tell whether a node is a bare name of a result column."""
    if not is_a(node, ast.ColumnRef) or len(node.fields) != 1:
        return False
    (field,) = node.fields
    return is_a(field, ast.String) and field.sval in columns
