"""The guard: which SQL of a user's, or of a model's, may be run at all.

It takes a text and says that it is one SELECT over the views of `penstock_read`, made
of nothing but what is known to be harmless, or refuses it in a line. Everything is
allowed by being in a list; PostgreSQL's own parser reads the text (pglast). It is one
layer: a role that may do no more, a read-only transaction, time and size limits are the
others (`penstock.reader`), and what is allowed here may still be slow or large. It runs
nothing, and must not know a database.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pglast import ast
from pglast.parser import ParseError, parse_sql

from penstock.ask.allowed import EXPLAIN_OPTIONS, MAX_PLANNED_BYTES, VIEWS
from penstock.ask.bounds import check_text, syntax_error
from penstock.ask.nodes import is_a
from penstock.ask.queries import Queries
from penstock.ask.reasons import statement_name
from penstock.ask.refusal import Refused, shown

__all__ = ["VIEWS", "Guarded", "Refused", "check"]


@dataclass(frozen=True, slots=True)
class Guarded:
    """A statement that may be run.

    Args:
        sql: the statement as it was given, without `;` and what is around it.
        columns: the names of its result columns.
        relations: the views it reads.
        is_explain: whether it is EXPLAIN, which runs nothing.
    """

    sql: str
    columns: tuple[str, ...]
    relations: frozenset[str]
    is_explain: bool = False


def check(sql: str, *, relations: Mapping[str, Collection[str]] = VIEWS) -> Guarded:
    """Return the statement if it may be run with a session of `penstock.reader`'s.

    `relations` are the views that may be read, each with its columns in their order.

    Raises:
        Refused: it may not; the one line says what was refused and why.
    """
    check_text(sql)
    try:
        statements = parse_sql(sql)
    except ParseError as error:
        raise syntax_error(error) from error
    if not statements:
        raise Refused("there is no statement")
    if len(statements) > 1:
        raise Refused(
            f"there are {len(statements)} statements; one is run at a time, without ;"
        )
    (statement,) = statements
    node: Any = statement.stmt
    is_explain = is_a(node, ast.ExplainStmt)
    if is_explain:
        _check_explain(node)
        node = node.query
    if not is_a(node, ast.SelectStmt):
        name = statement_name(type(node).__name__)
        raise Refused(f"{name} is refused: only SELECT is run")
    queries = Queries(sql, relations)
    try:
        columns = queries.check(node, None)
    except RecursionError:
        raise Refused("the statement is nested too deeply") from None
    if queries.relations * len(sql) > MAX_PLANNED_BYTES:
        raise Refused(
            f"a statement of this length ({len(sql)}) may name"
            f" {MAX_PLANNED_BYTES // len(sql)} relations in FROM, and this names"
            f" {queries.relations}; shorten its lists"
        )
    if not columns:
        raise Refused("SELECT has no result columns")
    return Guarded(
        _statement_text(sql, statement),
        ("QUERY PLAN",) if is_explain else columns,
        frozenset(queries.read),
        is_explain,
    )


def _check_explain(node: Any) -> None:
    for option in node.options or ():
        name = option.defname
        if name == "analyze":
            raise Refused("EXPLAIN ANALYZE is refused: it runs the statement; leave it")
        if name not in EXPLAIN_OPTIONS:
            raise Refused(f"EXPLAIN's option {shown(name)} is refused")


def _statement_text(sql: str, statement: Any) -> str:
    start = statement.stmt_location
    end = start + statement.stmt_len if statement.stmt_len else len(sql)
    return sql[start:end].strip()
