"""The search's SQL on a real PostgreSQL: it finds what it should, and never fails."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.embedded import EmbeddedPostgres
from penstock.search import regex, statements
from penstock.search.compile import Query
from penstock.search.filters import Filter, FilterError, Regex, walk
from penstock.search.language import parse
from penstock.search.literals import written_out
from penstock.search.pages import read_context, read_page
from penstock.search.times import Window
from penstock.sink.seal import MissingIndex, create_index
from penstock.sink.summaries import summarize
from tests.filter_strategies import ATTRIBUTE_PATHS, FILTERS
from tests.integration.conftest import Database, create_database, drop_database

NOON = datetime(2026, 11, 5, 12, tzinfo=UTC)
DAY = Window(datetime(2026, 11, 5, tzinfo=UTC), datetime(2026, 11, 6, tzinfo=UTC))

# What attributes may hold, to trip a cast.
HOSTILE = [
    {},
    {"a": None, "status": None},
    {"a": 500, "status": "500"},
    {"a": "abc", "status": 500.0},
    {"a": {"b": {"c": [1, {"d": "x"}]}}},
    {"a": [500, "500", None, [1]], "status": [500]},
    {"a": 10**300, "status": -(10**30)},
    {"a": True, "status": "true"},
    {"a": "1e400", "status": "1e"},
    {"a": "9" * 99, "status": "9" * 5000},
    {"a": "", "status": " 500"},
    {"a": "NaN", "status": "Infinity"},
    {"a.b": {"x y": 1}, "0": "zero", "-1": "minus", "any": "any", "level": 5},
    {"a": "%_\\", "status": '"quoted" \\ and\nline'},
]


class Asked:
    """A connection of the module's, asked from tests that have no loop."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.connection = self.run(asyncpg.connect(database.url))

    def run(self, work: Any) -> Any:
        return self._runner.run(work)

    def __call__(self, query: Query) -> list[Any]:
        rows = self.run(self.connection.fetch(query.sql, *query.params))
        return [tuple(row) for row in rows]

    def plan(self, query: Query) -> str:
        rows = self(Query(f"EXPLAIN {query.sql}", query.params))
        return "\n".join(line for (line,) in rows)

    def execute(self, sql: str, *values: Any) -> None:
        self.run(self.connection.execute(sql, *values))

    def close(self) -> None:
        self.run(self.connection.close())
        self._runner.close()


@pytest.fixture(scope="module")
def asked(postgres: EmbeddedPostgres, template: str) -> Iterator[Asked]:
    """A database that holds the rows of these tests."""
    database = create_database(postgres, template)
    asked = Asked(database)
    yield asked
    asked.close()
    drop_database(database)


def store(asked: Asked, rows: list[dict[str, Any]]) -> None:
    for number, row in enumerate(rows, start=1):
        asked.execute(
            "INSERT INTO logs (id, ts, tag, level, service, host, message, attributes)"
            " VALUES ($1, $2, $3, $4::text::log_level, $5, $6, $7, $8)",
            row.get("id", number),
            row.get("ts", NOON + timedelta(seconds=number)),
            row.get("tag", "app"),
            row.get("level"),
            row.get("service"),
            row.get("host"),
            row.get("message"),
            json.dumps(row.get("attributes", {})),
        )


@pytest.fixture(scope="module")
def hostile(asked: Asked) -> Asked:
    """Rows whose attributes would trip a cast that is not looked after."""
    store(
        asked,
        [
            {"id": 1000 + number, "attributes": each, "level": "WARN", "message": "a é"}
            for number, each in enumerate(HOSTILE)
        ]
        + [{"id": 2000, "ts": NOON, "message": None}],
    )
    return asked


def takes(filter: Filter) -> bool:
    try:
        for each in walk(filter):
            if isinstance(each, Regex):
                regex.check(each.pattern)
    except FilterError:
        return False
    return True


ON_ONE_DATABASE = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@ON_ONE_DATABASE
@given(filter=FILTERS.filter(takes))
def test_no_filter_fails_on_any_row_nor_does_its_sql_with_the_values_in_it(
    hostile: Asked, filter: Filter
) -> None:
    query = statements.page(filter, DAY, limit=9)

    assert hostile(query) == hostile(Query(written_out(query), ()))


@settings(parent=ON_ONE_DATABASE, max_examples=30)
@given(filter=FILTERS.filter(takes), path=ATTRIBUTE_PATHS)
def test_no_summary_fails_on_any_row(
    hostile: Asked, filter: Filter, path: tuple[str, ...]
) -> None:
    step = statements.step_for(DAY, 40)
    origin = statements.origin_for(DAY, UTC)
    hostile(statements.histogram(filter, DAY, step=step, origin=origin))
    hostile(statements.top(filter, DAY, path, limit=3))
    hostile(statements.count(filter, DAY))
    hostile(statements.fields(filter, DAY))


@settings(parent=ON_ONE_DATABASE)
@given(
    pattern=st.text(
        alphabet="ab[](){}*+?|^$\\-.:dwsDWSbBnxi0123,é/", max_size=14
    ).filter(lambda it: takes(Regex(("message",), it)))
)
def test_no_pattern_that_is_taken_fails(hostile: Asked, pattern: str) -> None:
    hostile(statements.page(Regex(("message",), pattern), DAY, limit=3))


# --- what filters find, by hand

ROWS: list[dict[str, Any]] = [
    {
        "id": 1,
        "level": "ERROR",
        "service": "checkout",
        "host": "web-1",
        "message": "Connection refused by 10.0.0.7:5432",
        "attributes": {"status": 500, "http": {"method": "GET", "path": "/api/users"}},
    },
    {
        "id": 2,
        "level": "INFO",
        "service": "checkout",
        "message": 'said "hi" for 100% of C:\\temp 😀',
        "attributes": {"status": "500", "duration_ms": 12.5, "ok": True},
    },
    {
        "id": 3,
        "level": "WARN",
        "service": "web_app",
        "message": "연결 거부 timeout",
        "attributes": {"status": 200, "duration_ms": "1500", "tags": ["a", "b"]},
    },
    {
        "id": 4,
        "level": None,
        "service": None,
        "message": None,
        "tag": "kube.x",
        "attributes": {"a.b": {"c": 1}, "duration_ms": "fast", "user": None},
    },
    {
        "id": 5,
        "level": "FATAL",
        "service": "webXapp",
        "message": "one_two " + "x" * 20_000,
        "attributes": {"status": 500.0, "service": "inner", "q": 'say "hi"\n'},
    },
]
FOUND = {
    "": [1, 2, 3, 4, 5],
    "connection": [1],
    "CONNECTION refused": [1],
    '"connection refused"': [1],
    "refused connection": [1],
    '"refused connection"': [],
    "connection OR timeout": [1, 3],
    "-connection": [2, 3, 4, 5],
    "NOT (connection OR timeout)": [2, 4, 5],
    "(connection OR timeout) level:error": [1],
    "connection OR timeout level:error": [1],
    "100%": [2],
    "1%0": [],
    "one_two": [5],
    "one.two": [],
    "oneXtwo": [],
    r'"said \"hi\""': [2],
    r"C:\temp": [2],
    "😀": [2],
    "거부": [3],
    "x" * 2_000: [5],
    "con*fused": [1],
    "con*fus": [1],
    "fused*con": [],
    "10.0.0.7:5432": [1],
    "/api/users": [],
    "any:/api/users": [1],
    'any:"say \\"hi\\""': [5],
    "any:inner": [5],
    "any:WEB-1": [1],
    "any:kube": [4],
    r"/\d+\.\d+:5432$/": [1],
    "/^connection/": [],
    "/^connection/i": [1],
    "service:checkout": [1, 2],
    "service:Checkout": [],
    "-service:checkout": [3, 4, 5],
    "service:!=checkout": [3, 5],
    "service:*": [1, 2, 3, 5],
    "-service:*": [4],
    "service:web*": [3, 5],
    "service:web_*": [3],
    "service:/^web.app$/": [3, 5],
    "service:(checkout OR web_app)": [1, 2, 3],
    "service:>=web": [3, 5],
    "attributes.service:inner": [5],
    "level:error": [1],
    "level:err": [1],
    "level:>=WARN": [1, 3, 5],
    "level:<warning": [2],
    "level:!=error": [2, 3, 5],
    "level:/^(WARN|FATAL)$/": [3, 5],
    "level:50": [1],
    "status:500": [1, 2, 5],
    "status:500.0": [1, 5],
    "status:5e2": [1, 5],
    "status:!=500": [3],
    "-status:500": [3, 4],
    "status:>400": [1, 2, 5],
    "status:<=200": [3],
    "status:5*": [1, 2, 5],
    "duration_ms:>12": [2, 3],
    "duration_ms:>f": [4],
    "duration_ms:*": [2, 3, 4],
    "ok:true": [2],
    "user:*": [],
    "user:null": [4],
    "http.method:GET": [1],
    "http.path:/api/users": [1],
    "http.path:/^.api/": [1],
    '"a.b".c:1': [4],
    "tags.1:b": [3],
    "tags.-1:b": [3],
    "tags:b": [],
    "tags:*": [3],
    "tag:kube.*": [4],
    "message:timeout": [3],
    "message:*": [1, 2, 3, 5],
    'message:="연결 거부 timeout"': [3],
    "id:>3": [4, 5],
    "ts:>=2026-11-05T12:00:04": [4, 5],
}


@pytest.fixture(scope="module")
def known(postgres: EmbeddedPostgres, template: str) -> Iterator[Asked]:
    """A database with the five rows."""
    database = create_database(postgres, template)
    asked = Asked(database)
    store(asked, ROWS)
    yield asked
    asked.close()
    drop_database(database)


@pytest.mark.parametrize("text", FOUND)
def test_a_filter_finds_what_it_says(known: Asked, text: str) -> None:
    rows = known(statements.page(parse(text), DAY, limit=9, order="oldest"))

    assert [row[0] for row in rows] == FOUND[text]


def test_top_counts_values_and_what_has_none(known: Asked) -> None:
    rows = known(statements.top(parse(""), DAY, ("status",), limit=2))

    assert rows == [("500", 2, 5, 4), ("200", 1, 5, 4)]


def test_a_histogram_counts_by_level_and_shows_empty_bins(known: Asked) -> None:
    window = Window(NOON, NOON + timedelta(seconds=8))
    step, origin = timedelta(seconds=2), NOON

    query = statements.histogram(parse(""), window, step=step, origin=origin)
    bins = statements.filled(known(query), window, step=step, origin=origin)

    assert [each.counts for each in bins] == [
        {"ERROR": 1},
        {"INFO": 1, "WARN": 1},
        {"": 1, "FATAL": 1},
        {},
    ]
    assert bins[1].start == NOON + step


def test_fields_are_the_keys_with_their_types(known: Asked) -> None:
    rows = known(statements.fields(parse("service:checkout"), DAY))

    assert [(".".join(path), kind, count) for path, kind, count in rows] == [
        ("duration_ms", "number", 1),
        ("http", "object", 1),
        ("http.method", "string", 1),
        ("http.path", "string", 1),
        ("ok", "boolean", 1),
        ("status", "number", 1),
        ("status", "string", 1),
    ]


# --- what PostgreSQL makes of it

ROWS_A_DAY = 40_000
SEALED, OPEN = NOON.date() - timedelta(days=1), NOON.date()
MINUTE = Window(NOON, NOON + timedelta(minutes=1))
YESTERDAY = Window(DAY.start - timedelta(days=1), DAY.start)


@pytest.fixture(scope="module")
def planned(postgres: EmbeddedPostgres, template: str) -> Iterator[Asked]:
    """Two days of rows, the first of them sealed with both indexes."""
    database = create_database(postgres, template)
    asked = Asked(database)
    for day in (SEALED, OPEN):
        asked.execute("SELECT penstock_make_day($1)", day)
        asked.execute(
            "INSERT INTO logs (id, ts, tag, level, message, attributes)"
            " SELECT n, $1::timestamptz + n * interval '2 s', 'app', 'INFO',"
            "  'request ' || md5(n::text) || ' done in some time or other',"
            "  jsonb_build_object('request_id', md5(n::text), 'status', 200)"
            " FROM generate_series(1, $2::int) AS n",
            datetime(day.year, day.month, day.day, tzinfo=UTC),
            ROWS_A_DAY,
        )
    asked.run(sealed(asked.connection, f"logs_{SEALED:%Y%m%d}"))
    asked.execute("ANALYZE")
    yield asked
    asked.close()
    drop_database(database)


async def sealed(connection: asyncpg.Connection, partition: str) -> None:
    for kind in ("message_trgm", "attributes_gin"):
        index = MissingIndex(f"{partition}_{kind}", partition, f"create_{kind}")
        await create_index(connection, index)


def test_a_window_reads_its_day_and_by_the_brin(planned: Asked) -> None:
    plan = planned.plan(statements.page(parse("level:info"), MINUTE, limit=100))

    assert "logs_20261105" in plan
    assert "logs_20261104" not in plan
    assert "Bitmap Index Scan on logs_20261105_ts_idx" in plan


def test_a_page_after_a_key_reads_by_the_brin_too(planned: Asked) -> None:
    key = statements.Key(NOON + timedelta(seconds=30), 5)
    window = Window(NOON, DAY.end)

    older = planned.plan(statements.page(parse(""), window, limit=9, after=key))

    assert "Bitmap Index Scan on logs_20261105_ts_idx" in older


def test_a_histogram_of_a_day_reads_that_day(planned: Asked) -> None:
    query = statements.histogram(
        parse(""), DAY, step=timedelta(hours=1), origin=DAY.start
    )

    assert "logs_20261104" not in planned.plan(query)


@pytest.mark.parametrize(
    ("filter", "index"),
    [
        ("c4ca4238a0b923820dcc509a6f75849b", "message_trgm"),
        ("C4CA4238a0b92382*other", "message_trgm"),
        ("/c4ca4238a0b9.*time/", "message_trgm"),
        ("/C4CA4238a0b9.*time/i", "message_trgm"),
        ("request_id:c4ca4238a0b923820dcc509a6f75849b", "attributes_gin"),
        ("status:500", "attributes_gin"),
    ],
)
def test_a_sealed_day_is_read_by_its_index(
    planned: Asked, filter: str, index: str
) -> None:
    query = statements.page(parse(filter), YESTERDAY, limit=100)

    assert f"Bitmap Index Scan on logs_20261104_{index}" in planned.plan(query)


# --- pages


@dataclass
class Answer:
    rows: list[tuple[Any, ...]]
    is_cut: bool = False


@dataclass
class Looking:
    """A session that counts what it is asked."""

    connection: asyncpg.Connection
    queries: int = 0

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> Answer:
        self.queries += 1
        return Answer([tuple(row) for row in await self.connection.fetch(sql, *params)])


def read_all(
    asked: Asked, text: str, window: Window, limit: int, order: statements.Order
) -> list[int]:
    """Read page after page; return the ids."""
    ids: list[int] = []
    after = None
    while True:
        page = asked.run(
            read_page(
                Looking(asked.connection),
                parse(text),
                window,
                limit=limit,
                after=after,
                order=order,
            )
        )
        ids += [row[0] for row in page.rows]
        if page.next is None:
            return ids
        assert len(page.rows) == limit
        after = page.next


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("limit", [3, 70, 1000])
def test_pages_in_slices_are_what_one_query_finds(
    planned: Asked, order: statements.Order, limit: int
) -> None:
    window = Window(
        DAY.start - timedelta(minutes=113), DAY.start + timedelta(seconds=33)
    )
    text = "request_id:/[02468]$/"
    whole = planned(statements.page(parse(text), window, limit=9_999, order=order))

    assert len(whole) > 50
    assert read_all(planned, text, window, limit, order) == [row[0] for row in whole]


def test_rows_of_one_time_are_paged_by_their_ids(known: Asked) -> None:
    store(known, [{"id": n, "ts": NOON, "message": "same"} for n in range(50, 60)])

    newest = read_all(known, "same", DAY, 3, "newest")

    assert newest == list(range(59, 49, -1))
    assert read_all(known, "same", DAY, 3, "oldest") == newest[::-1]


def test_a_full_page_looks_at_a_part_of_the_window(planned: Asked) -> None:
    session = Looking(planned.connection)
    window = Window(NOON - timedelta(days=1), NOON)

    page = planned.run(read_page(session, parse(""), window, limit=100))

    assert len(page.rows) == 100
    assert page.rows[0][1] == NOON - timedelta(seconds=2)
    assert session.queries <= 5


def test_an_empty_window_is_looked_at_in_few_slices(planned: Asked) -> None:
    session = Looking(planned.connection)

    page = planned.run(read_page(session, parse("nowhere"), DAY, limit=100))

    assert page.rows == []
    assert page.next is None
    assert session.queries <= 7


def test_the_context_of_a_row_is_of_its_source(known: Asked) -> None:
    store(
        known,
        [
            {"id": 70 + n, "ts": NOON + timedelta(minutes=n), "host": "ab"[n % 2]}
            for n in range(8)
        ],
    )
    source = statements.Source("app", None, "a")
    key = statements.Key(NOON + timedelta(minutes=4), 74)

    before, behind = known.run(
        read_context(Looking(known.connection), source, DAY, key, limit=1)
    )

    assert [row[0] for row in before] == [72]
    assert [row[0] for row in behind] == [76]


# --- rows that have just come


async def test_what_has_just_come_is_summarized_for_searches(
    database: Database,
) -> None:
    now = datetime.now(UTC)
    connection = await asyncpg.connect(database.url)
    await connection.execute("SELECT penstock_make_day($1)", now.date())
    await connection.execute(
        "INSERT INTO logs (id, ts, tag, message, attributes)"
        " SELECT n, $1::timestamptz, 'app', repeat('x', 1000), '{}'"
        " FROM generate_series(1, 2000) AS n",
        now,
    )

    made = await summarize(connection)
    again = await summarize(connection)

    await connection.close()
    assert made == 2  # of 128 pages each, and the first is made with the index
    assert again == 0


async def test_a_login_that_is_not_the_owner_makes_no_summaries(
    login: Database,
) -> None:
    connection = await asyncpg.connect(login.url)
    await connection.execute("SELECT penstock_make_day($1)", datetime.now(UTC).date())

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await summarize(connection)
    await connection.close()
