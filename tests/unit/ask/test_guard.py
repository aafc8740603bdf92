"""What the guard lets pass, what it refuses, and what its line says."""

import subprocess
import sys

import pytest
from pglast import ast

from penstock.ask import bounds
from penstock.ask.guard import VIEWS, Guarded, Refused, check
from penstock.ask.refusal import MAX_LINE_CHARACTERS
from penstock.errors import PenstockError
from tests.attack_corpus import attack_classes, ordinary_queries

CLASSES = attack_classes()


def refusal(sql: str) -> str:
    """Return the line that a statement is refused with."""
    with pytest.raises(Refused) as refused:
        check(sql)
    return str(refused.value)


def test_the_corpus_is_as_large_as_was_promised() -> None:
    attacks = [sql for each in CLASSES for sql in each.refused]
    attacks += [each.sql for group in CLASSES for each in group.contained]
    assert len(set(attacks)) == len(attacks) >= 250
    queries = ordinary_queries()
    assert len(set(queries)) == len(queries) >= 120
    assert all(each.why for each in CLASSES)


@pytest.mark.parametrize("group", CLASSES, ids=lambda group: group.name)
def test_each_attack_is_refused_in_a_line_or_contained(group) -> None:
    for sql in group.refused:
        line = refusal(sql)
        assert line.isprintable(), sql
        assert 10 < len(line) <= MAX_LINE_CHARACTERS + 3, (sql, line)
    for contained in group.contained:
        check(contained.sql)
        assert contained.by


@pytest.mark.parametrize("sql", ordinary_queries())
def test_an_ordinary_query_passes(sql: str) -> None:
    guarded = check(sql)
    assert guarded.columns
    assert guarded.relations <= set(VIEWS)


def test_a_refusal_is_an_error_of_ours_with_exit_code_1() -> None:
    with pytest.raises(PenstockError) as refused:
        check("DROP TABLE logs")
    assert refused.value.exit_code == 1


def test_what_passes_is_one_statement_without_its_end() -> None:
    assert check(" SELECT id, ts FROM logs ;  -- the end") == Guarded(
        "SELECT id, ts FROM logs", ("id", "ts"), frozenset({"logs"})
    )
    assert check("/* é */ SELECT '서울;' ; /* é */").sql == "SELECT '서울;'"
    assert check("SELECT 1 -- é").sql == "SELECT 1 -- é"


def test_explain_is_told_apart() -> None:
    guarded = check("EXPLAIN SELECT id FROM rejected_event")
    assert guarded.is_explain
    assert guarded.columns == ("QUERY PLAN",)
    assert guarded.relations == {"rejected_event"}


def test_other_views_can_be_named_by_the_caller() -> None:
    views = {"other": ("a", "b")}
    assert check("SELECT * FROM other", relations=views).columns == ("a", "b")
    with pytest.raises(Refused, match="logs may not be read: there are other"):
        check("SELECT * FROM logs", relations=views)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT * FROM public.logs", "write logs alone"),
        ("SELECT * FROM pg_class", "the catalog is not read"),
        ("SELECT * FROM orders", "there are logs, rejected_event"),
        ("SELECT status FROM logs", "attributes->>'status'"),
        ("SELECT l.user FROM logs l", "attributes->>'user'"),
        ("SELECT attributes.user.id FROM logs", "attributes->'user'->>'id'"),
        ("SELECT logs.attributes.id FROM logs", "logs.attributes->>'id'"),
        ('SELECT 1 FROM logs WHERE service = "web"', "single quotes: 'web'"),
        ("SELECT logs.id FROM logs l", "nothing in FROM is called logs; there are l"),
        ("SELECT x.a FROM (SELECT 1 AS b) x", "no column a of x; there are b"),
        ("SELECT l FROM logs l", "write l.*, or to_jsonb(l)"),
        ("SELECT ctid FROM logs", "no system columns"),
        ("SELECT ifnull(service, '') FROM logs", "write coalesce(...)"),
        ("SELECT median(id) FROM logs", "percentile_cont(0.5)"),
        ("SELECT logs()", "FROM logs, without brackets"),
        ("SELECT pg_sleep(1)", "it waits"),
        ("SELECT query_to_xml('', true, true, '')", "runs a text as SQL"),
        ("SELECT f(1)", "f() is refused"),
        ("SELECT public.lower('a')", "only what PostgreSQL itself has"),
        ("SELECT 'x'::regclass", "outside the views"),
        ("SELECT 'ERROR'::log_level", "level >= 'WARN'"),
        ("SELECT '2026-01-01'::datetime", "timestamptz"),
        ("SELECT * FROM logs TABLESAMPLE SYSTEM (1)", "random() < 0.01"),
        ("SELECT * FROM jsonb_to_recordset('[]')", "AS t(a text, b int)"),
        ("SELECT $1", "write the value"),
        ("DELETE FROM logs", "DELETE is refused: only SELECT is run"),
        ("SELECT * INTO t FROM logs", "it makes a table"),
        ("SELECT * FROM logs FOR UPDATE", "lock rows"),
        ("EXPLAIN ANALYZE SELECT 1", "it runs the statement"),
        ("SELECT 1; SELECT 2", "there are 2 statements"),
        ("", "there is no statement"),
        ("-- nothing", "there is no statement"),
        ("SELEC 1", 'at 1: syntax error at or near "SELEC"'),
        ("SELECT '", "at 8: unterminated quoted string"),
        ("\\d logs", "psql"),
        ("SELECT 1\0", "NUL"),
        ("SELECT '\ud800'", "lone surrogate"),
    ],
)
def test_a_refusal_says_what_and_what_to_write_instead(sql: str, says: str) -> None:
    assert says in refusal(sql)


def test_foreign_names_cannot_break_the_line() -> None:
    for sql in (
        'SELECT "a\n\x1b[31m' + "b" * 500 + '" FROM logs',
        "SELECT 1 '\x1b[31m" + "b" * 5_000 + "'",
        "REFRESH MA\ufeffT",
    ):
        line = refusal(sql)
        assert line.isprintable()
        assert len(line) <= MAX_LINE_CHARACTERS + 3


# --- what another version of the parser may bring

# What `queries` reads of each node by name: a field that is not here is not looked at.
FIELDS = {
    ast.SelectStmt: """
        distinctClause intoClause targetList fromClause whereClause groupClause
        groupDistinct havingClause windowClause valuesLists sortClause limitOffset
        limitCount limitOption lockingClause withClause op all larg rarg
    """,
    ast.WithClause: "ctes recursive location",
    ast.CommonTableExpr: """
        ctename aliascolnames ctematerialized ctequery search_clause cycle_clause
        location cterecursive cterefcount ctecolnames ctecoltypes ctecoltypmods
        ctecolcollations
    """,
    ast.CTESearchClause: """
        search_col_list search_breadth_first search_seq_column location
    """,
    ast.CTECycleClause: """
        cycle_col_list cycle_mark_column cycle_mark_value cycle_mark_default
        cycle_path_column location cycle_mark_type cycle_mark_typmod
        cycle_mark_collation cycle_mark_neop
    """,
    ast.RangeVar: "catalogname schemaname relname inh relpersistence alias location",
    ast.RangeSubselect: "lateral subquery alias",
    ast.RangeFunction: "lateral ordinality is_rowsfrom functions alias coldeflist",
    ast.JoinExpr: """
        jointype isNatural larg rarg usingClause join_using_alias quals alias rtindex
    """,
    ast.Alias: "aliasname colnames",
    ast.ResTarget: "name indirection val location",
    ast.ColumnRef: "fields location",
    ast.A_Indirection: "arg indirection",
    ast.TypeName: "names typeOid setof pct_type typmods typemod arrayBounds location",
    ast.ColumnDef: """
        colname typeName compression inhcount is_local is_not_null is_from_type storage
        storage_name raw_default cooked_default identity identitySequence generated
        collClause collOid constraints fdwoptions location
    """,
    ast.ExplainStmt: "query options",
}


@pytest.mark.parametrize("node", FIELDS, ids=lambda node: node.__name__)
def test_no_field_of_a_query_is_one_that_nobody_looks_at(node) -> None:
    assert set(node.__slots__) <= set(FIELDS[node].split())


# --- what the parser must not see

DEEP = {
    "brackets": lambda n: "SELECT " + "(" * n + "1" + ")" * n,
    "queries": lambda n: "SELECT " + "(SELECT " * n + "1" + ")" * n,
    "from": lambda n: "SELECT 1 FROM " + "(SELECT 1 FROM " * n + "logs" + ") x" * n,
    "with": lambda n: "WITH a AS (" * n + "SELECT 1" + ") SELECT 1" * n,
    "arrays": lambda n: "SELECT " + "ARRAY[" * n + "1" + "]" * n,
    "calls": lambda n: "SELECT " + "abs(" * n + "1" + ")" * n,
    "cases": lambda n: "SELECT " + "CASE WHEN true THEN " * n + "1" + " END" * n,
    "sums": lambda n: "SELECT " + "1 + " * n + "1",
    "signs": lambda n: "SELECT " + "- " * n + "id FROM logs",
    "nots": lambda n: "SELECT " + "NOT " * n + "true",
    "casts": lambda n: "SELECT 1" + "::int" * n,
    "zones": lambda n: "SELECT now()" + " AT TIME ZONE 'UTC'" * n,
    "locals": lambda n: "SELECT now()" + " AT LOCAL" * n,
    "unions": lambda n: "SELECT 1" + " UNION SELECT 1" * n,
    "joins": lambda n: "SELECT 1 FROM logs" + " CROSS JOIN logs" * n,
    "nulls": lambda n: "SELECT 1" + " ISNULL" * n,
    "collations": lambda n: "SELECT tag" + ' COLLATE "C"' * n + " FROM logs",
    "wide": lambda n: "SELECT " + "id," * n + "id FROM logs",
    "steps": lambda n: "SELECT tag" + "[1]" * n + " FROM logs",
    "dots": lambda n: "SELECT a" + ".a" * n,
    "ands": lambda n: "SELECT true" + " AND true" * n,
}


@pytest.mark.parametrize("kind", DEEP)
def test_a_megabyte_is_refused_before_it_is_parsed(kind: str) -> None:
    assert "bytes, and one may have" in refusal(DEEP[kind](1_000_000))


# In a thread whose stack is that of macOS's threads. What passes or is refused ends
# here with a line; a parser that recursed too deep ends the process.
ON_A_SMALL_STACK = """
import sys, threading
from penstock.ask.guard import Refused, check
from tests.unit.ask.test_guard import DEEP

def run():
    for kind, make in DEEP.items():
        for count in (10, 50, 60, 100, 250, 590, 700, 2_000, 10_000):
            try:
                check(make(count))
            except Refused:
                pass
    print("done")

threading.stack_size(512 * 1024)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


def test_no_depth_ends_the_process() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ON_A_SMALL_STACK],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr


def test_letters_are_fewer_than_what_makes_the_parser_slow() -> None:
    assert "not ASCII may have 16384" in refusal("SELECT " + "'é'," * 4_000 + "1")
    check("SELECT " + "'한국'," * 1_500 + "1")


def test_a_long_list_of_values_passes() -> None:
    ids = ", ".join(str(10**15 + number) for number in range(3_000))
    check(f"SELECT message FROM logs WHERE id IN ({ids})")
    rows = ", ".join(f"({number}, 'x')" for number in range(1_000))
    check(f"SELECT * FROM (VALUES {rows}) AS t(n, name)")
    words = " OR ".join(f"message ILIKE '%{number}%'" for number in range(300))
    check(f"SELECT id FROM logs WHERE {words}")


def test_a_long_statement_names_few_relations() -> None:
    """Each partition gets a copy of its conditions."""
    ids = ", ".join(str(10**15 + number) for number in range(3_000))
    check(f"SELECT a.id FROM logs a, logs b WHERE a.id IN ({ids})")
    assert "may name 3 relations in FROM, and this names 5" in refusal(
        f"SELECT a.id FROM logs a, logs b, logs c, logs d, logs e WHERE a.id IN ({ids})"
    )


def test_the_bounds_are_the_ones_that_are_written_down() -> None:
    deep = bounds.MAX_BRACKET_DEPTH
    check(DEEP["brackets"](deep))
    assert "nested more than" in refusal(DEEP["brackets"](deep + 1))
    assert "operators and keywords" in refusal(DEEP["sums"](bounds.MAX_NESTING_TOKENS))
