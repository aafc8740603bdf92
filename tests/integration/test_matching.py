"""A filter holds in Python for the very rows that its SQL finds in PostgreSQL."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from penstock.embedded import EmbeddedPostgres
from penstock.rows.decoding import row_starts, stored_rows
from penstock.search import statements
from penstock.search.cases import CASES_QUERY, cases_of
from penstock.search.compile import Query
from penstock.search.filters import (
    Anywhere,
    Field,
    Filter,
    Not,
    Regex,
    Text,
    wildcard_literal,
)
from penstock.search.language import parse
from penstock.search.matching import Matcher
from penstock.search.times import Window
from tests.filter_strategies import COMPARISON, FILTERS
from tests.integration.conftest import (
    batch_of,
    create_database,
    drop_database,
    run_async,
    store_in,
)
from tests.integration.test_search import Asked, takes

NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)
EVER = Window(NOW - timedelta(days=2), NOW + timedelta(days=2))
WORDS = (
    *("a", "b", "B", "ab", "AbC", "500", "007", "1e3", "-2.5E-3", "true", "null", ""),
    *(
        "é",
        "É",
        "ß",
        "İ",
        "K",
        "\u017f",
        "Ω",
        "ς",
        "😀",
        "한글",
        '"',
        "\\",
        "%",
        "_",
        "*",
    ),
    *("\n", "\t", "\x0b", "\x7f", ".", " ", "status", "error", "level", "x y", ", "),
)
KEYS = ("a", "b", "status", "any", "0", "-1", "a.b", "level", "x y", "é", "tag", "K")
NUMBERS = (0, -0.0, 500, 500.0, 1.5, 1e3, 1e16, 1.5e-7, -2.5e-3, 2**64 - 1, -(2**63))


def made_up(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(10 if depth < 3 else 7)
    if kind < 3:
        return "".join(rng.choices(WORDS, k=rng.randrange(4)))
    if kind < 5:
        return rng.choice(NUMBERS)
    if kind < 7:
        return rng.choice((None, True, False))
    if kind < 8:
        return [made_up(rng, depth + 1) for _ in range(rng.randrange(3))]
    return made_up_record(rng, depth + 1)


def made_up_record(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    keys = rng.sample(KEYS, k=rng.randrange(4))
    return {key: made_up(rng, depth) for key in keys}


def made_up_event(rng: random.Random, number: int) -> tuple[Any, dict[str, Any]]:
    record = made_up_record(rng)
    for column in ("message", "service", "host"):
        if rng.random() < 0.7:
            record[column] = "".join(rng.choices(WORDS, k=rng.randrange(6)))
    if rng.random() < 0.7:
        record["level"] = rng.choice(("debug", "INFO", "warning", "err", "fatal"))
    return int(NOW.timestamp()) + number, record


class Known:
    """Rows, in the database and as tuples."""

    def __init__(self, asked: Asked, data: list[bytes]) -> None:
        self.asked = asked
        self.data = data
        self.rows = [row for each in data for row in stored_rows(each)]
        self.cases = cases_of(asked(Query(CASES_QUERY, ())))

    def matcher(self, filter: Filter) -> Matcher:
        return Matcher(filter, self.cases)


@pytest.fixture(scope="module")
def known(postgres: EmbeddedPostgres, template: str) -> Iterator[Known]:
    database = create_database(postgres, template)
    rng = random.Random(6)
    data = []
    for number, tag in enumerate(("app", "kube.é", "%_\\")):
        entries = b"".join(
            msgpack.packb(made_up_event(rng, 100 * number + n)) for n in range(100)
        )
        batch = batch_of(entries, tag=tag, now_seconds=NOW.timestamp() + number)
        run_async(store_in(database, batch, NOW.timestamp()))
        data += [each.encoded.data for each in batch.segments]
    asked = Asked(database)
    yield Known(asked, data)
    asked.close()
    drop_database(database)


# --- filters of what is there

PIECES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map("".join)
NON_EMPTY = PIECES.filter(bool)
PATHS = st.one_of(
    st.sampled_from([("tag",), ("service",), ("host",), ("message",)]),
    st.lists(st.sampled_from(KEYS), min_size=1, max_size=3).map(
        lambda keys: ("attributes", *keys)
    ),
)
PATTERNS = st.lists(
    st.sampled_from(
        (
            *("a", "B", "k", "[a-c]", "[^b]", r"\d", r"\w", r"\s", "é", "İ", "K", "s"),
            *(r"\b", r"\B", "^", "$", ".", "(ab|É)", "ω", "x?", "b*", "[K-\u017f]"),
            *("😀", "\u017f"),
        )
    ),
    min_size=1,
    max_size=4,
).map("".join)
NEAR: st.SearchStrategy[Filter] = st.one_of(
    st.builds(Text, NON_EMPTY),
    st.builds(Anywhere, NON_EMPTY),
    st.builds(Field, PATHS, COMPARISON, PIECES),
    st.builds(
        lambda path, parts: Field(path, "like", "*".join(map(wildcard_literal, parts))),
        PATHS,
        st.lists(st.one_of(st.just(""), PIECES), min_size=2, max_size=3),
    ),
    st.builds(Field, PATHS, st.just("exists"), st.just("")),
    st.builds(
        lambda path, mark, pattern: Regex(path, mark + pattern),
        PATHS,
        st.sampled_from(["", "(?i)"]),
        PATTERNS,
    ),
)
ANY = st.one_of(NEAR, NEAR.map(Not), FILTERS).filter(takes)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(filter=ANY)
@example(filter=Text("k"))
@example(filter=Text("i̇"))
@example(filter=Regex(("message",), "(?i)k"))
def test_python_and_sql_find_the_same_rows(known: Known, filter: Filter) -> None:
    query = statements.page(filter, EVER, limit=1_000, order="oldest")
    stored = {row[0] for row in known.asked(query)}
    matcher = known.matcher(filter)

    found = {row.id for row in known.rows if matcher.holds(row)}

    assert found == stored
    for data in known.data:
        if not matcher.may_hold(data.lower()):
            assert not any(row.id in stored for row in stored_rows(data))
        numbers = set(matcher.candidates(data.lower(), row_starts(data)))
        for number, row in enumerate(stored_rows(data)):
            assert number in numbers or row.id not in stored


def test_what_is_nowhere_is_not_looked_for_in_each_row(known: Known) -> None:
    for text in ("nowhere", "service:nowhere", "level:trace", "nokey:1", "any:nowhere"):
        matcher = known.matcher(parse(text))

        assert not any(matcher.may_hold(data.lower()) for data in known.data), text


def test_a_tuple_is_decoded_to_what_postgresql_stored(known: Known) -> None:
    sql = (
        "SELECT id, ts, level::text, service, host, tag, message FROM logs ORDER BY id"
    )
    stored = known.asked(Query(sql, ()))

    texts = ("level", "service", "host", "tag", "message")
    found = [(row.id, row.ts, *map(row.text, texts)) for row in known.rows]
    assert found == stored
