"""Statements by chance, sound ones and bad ones mixed: whatever passes the guard
changes nothing, reads nothing but the views, has the columns said, and ends."""

from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.ask.guard import Refused, check
from penstock.embedded import EmbeddedPostgres
from tests.integration.canary import SECRET, Canary, canary_in
from tests.integration.conftest import create_database, drop_database
from tests.integration.sql_writer import SqlWriter

# Ten seconds of two busy cores.
EXAMPLES = 500


@pytest.fixture(scope="module")
def canary(postgres: EmbeddedPostgres, template: str) -> Iterator[Canary]:
    """A database that no example may change."""
    database = create_database(postgres, template)
    with canary_in(database) as made:
        yield made
    drop_database(database)


became: Counter[str] = Counter()


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(random=st.randoms(use_true_random=False))
def test_what_passes_changes_nothing_and_reads_only_the_views(
    canary: Canary, random: Random
) -> None:
    sql = SqlWriter(random).statement()
    try:
        guarded = check(sql)
    except Refused as refused:
        became["refused"] += 1
        assert str(refused).isprintable()
        return
    answer = canary.run(guarded.sql, milliseconds=1_000, rows=100)
    became["failed" if answer.error else "ran"] += 1
    if answer.error is None:
        assert answer.columns == guarded.columns, sql
    assert SECRET not in repr(answer.rows), sql
    assert canary.is_untouched(), sql


def test_enough_of_them_passed_and_nothing_at_all_has_changed(canary: Canary) -> None:
    total = sum(became.values())
    assert became["ran"] > total / 5
    assert became["refused"] > total / 5
    assert canary.state() == canary.at_first
