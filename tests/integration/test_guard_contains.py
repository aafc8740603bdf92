"""What passes the guard changes nothing and reads nothing but the views, in a database
where everything else would let it (canary.py)."""

from collections.abc import Iterator
from dataclasses import replace

import asyncpg
import pytest

from penstock.ask import allowed
from penstock.ask.guard import Refused, check
from penstock.embedded import EmbeddedPostgres
from penstock.errors import QueryError
from penstock.reader import Rows, open_session
from penstock.settings import ReadLimits
from tests.attack_corpus import attack_classes, ordinary_queries
from tests.integration.canary import SECRET, Canary, canary_in
from tests.integration.conftest import create_database, drop_database, run_async

CLASSES = attack_classes()
LIMITS = ReadLimits(max_rows=1_000, max_bytes=4 * 1024 * 1024)
# What a contained statement gets here; a reader's session has some more.
BRIEFLY_MILLISECONDS = 150


@pytest.fixture(scope="module")
def canary(postgres: EmbeddedPostgres, template: str) -> Iterator[Canary]:
    """The database that all of these tests are in: none may change it."""
    database = create_database(postgres, template)
    with canary_in(database) as made:
        yield made
    drop_database(database)


def test_the_traps_work_where_there_is_no_guard(canary: Canary) -> None:
    """Else the tests below would show nothing."""
    before = canary.state()
    for sql in (
        "SELECT l.leak_row FROM logs l LIMIT 1",
        "SELECT secret FROM secrets LIMIT 1",
        "SELECT (e).leak_text FROM string_to_table('x', ',') AS e(leak_text)",
        "SELECT message ### tag FROM logs LIMIT 1",
    ):
        ((value,),) = canary.run(sql).rows
        assert value == SECRET, sql
    assert canary.state() != before
    canary.admin("TRUNCATE touched")
    assert canary.state() == before


def test_an_ordinary_query_runs_and_has_the_columns_that_were_said(
    canary: Canary,
) -> None:
    before = canary.state()
    for sql in ordinary_queries():
        guarded = check(sql)
        answer = canary.run(guarded.sql)
        assert answer.error is None, (sql, answer.error)
        assert answer.columns == guarded.columns, sql
        assert SECRET not in repr(answer.rows), sql
    assert canary.state() == before


def test_what_passes_of_the_attacks_ends_and_changes_nothing(canary: Canary) -> None:
    before = canary.state()
    for group in CLASSES:
        for attack in group.contained:
            guarded = check(attack.sql)
            answer = canary.run(guarded.sql, milliseconds=BRIEFLY_MILLISECONDS)
            assert SECRET not in repr(answer.rows), attack
            assert answer.error is None or isinstance(
                answer.error,
                asyncpg.QueryCanceledError
                | asyncpg.DataError
                | asyncpg.ProgramLimitExceededError,
            ), (attack, answer.error)
    assert canary.state() == before


async def _answers(url: str, statements: list[str], limits: ReadLimits) -> list[Rows]:
    """Run statements as `penstock sql` does; of those that fail, nothing."""
    answers = []
    async with open_session(url, limits, is_embedded=False) as session:
        for sql in statements:
            try:
                answers.append(await session.fetch(check(sql).sql))
            except QueryError as error:
                assert SECRET not in str(error)
                assert str(error).isprintable()
    return answers


def test_a_reading_session_ends_what_passes_within_its_limits(canary: Canary) -> None:
    attacks = [each.sql for group in CLASSES for each in group.contained]
    limits = replace(LIMITS, statement_timeout_seconds=BRIEFLY_MILLISECONDS / 1000)
    answers = run_async(_answers(canary.url, attacks, limits))
    assert all(len(each.rows) <= limits.max_rows for each in answers)
    assert SECRET not in repr(answers)
    assert canary.state() == canary.at_first


def test_a_reading_session_answers_each_ordinary_query(canary: Canary) -> None:
    queries = ordinary_queries()
    answers = run_async(_answers(canary.url, queries, LIMITS))
    assert [tuple(each.columns) for each in answers] == [
        check(sql).columns for sql in queries
    ]
    assert not any(each.is_cut for each in answers)


OVERLOADS = """
SELECT proname, pg_proc.oid::regprocedure::text AS signature, prosecdef,
       lanname AS language, provolatile::text AS volatility, prosrc AS source,
       ARRAY(SELECT a::regtype::text FROM unnest(proargtypes) AS a) AS arguments
FROM pg_proc JOIN pg_language ON pg_language.oid = prolang
WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY ($1::text[])
"""
# Whose result is another at each call, or counts the calls, and which do no more.
VOLATILE = {
    "array_sample", "array_shuffle", "clock_timestamp", "gen_random_uuid", "random",
    "random_normal", "timeofday", "uuidv4", "uuidv7",
}  # fmt: skip
# Types whose values are looked up by name, or that are not for calls.
LOOKED_UP = {
    "cstring", "internal", "refcursor", "regclass", "regcollation", "regdictionary",
    "regnamespace", "regoper", "regoperator", "regproc", "regprocedure", "regrole",
    "regtype",
}  # fmt: skip


def test_each_overload_of_an_allowed_function_only_computes(canary: Canary) -> None:
    found = canary.admin(OVERLOADS, list(allowed.FUNCTIONS))
    names = {each["proname"] for each in found}
    assert len(names) > 300
    for each in found:
        signature = each["signature"]
        assert each["language"] in ("internal", "sql"), signature
        assert not each["prosecdef"], signature
        assert not LOOKED_UP & set(each["arguments"]), signature
        assert each["volatility"] != "v" or each["proname"] in VOLATILE, signature
        if "regconfig" in each["arguments"]:
            assert each["proname"] in allowed.TEXT_SEARCH_CONFIGURED, signature
        # The body of one in SQL is one expression, of what is itself built in.
        if each["language"] == "sql":
            assert " from " not in each["source"].lower(), signature


def test_the_allowed_operators_and_types_are_postgresqls_own(canary: Canary) -> None:
    operators = canary.admin(
        "SELECT DISTINCT oprname FROM pg_operator"
        " WHERE oprnamespace = 'pg_catalog'::regnamespace"
    )
    assert {each["oprname"] for each in operators} >= allowed.OPERATORS
    types = canary.admin(
        "SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace"
        " AND typtype IN ('b', 'r', 'm') AND typcategory <> 'A'"
    )
    assert {each["typname"] for each in types} >= allowed.TYPES


def test_the_views_have_the_columns_that_the_guard_knows(canary: Canary) -> None:
    for view, columns in allowed.VIEWS.items():
        found = canary.run(f"SELECT * FROM {allowed.VIEWS_SCHEMA}.{view} LIMIT 0")
        assert found.columns == columns


def test_each_refused_attack_is_one_for_what_it_does_not_for_its_spelling(
    canary: Canary,
) -> None:
    """So many of them run where there is no guard, and so many others of them fail."""
    before = canary.state()
    ran = 0
    for group in CLASSES:
        if group.name not in ("attribute notation", "relations", "names in WITH"):
            continue
        for sql in group.refused:
            with pytest.raises(Refused):
                check(sql)
            ran += canary.run(sql, milliseconds=BRIEFLY_MILLISECONDS).error is None
    assert ran > 20
    canary.admin("TRUNCATE touched")
    assert canary.state() == before
