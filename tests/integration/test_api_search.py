"""GET /api/search, /api/histogram and /api/fields, against a real server."""

import asyncio
import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import asyncpg
import pytest

from penstock.embedded import EmbeddedPostgres
from tests.integration.conftest import (
    Database,
    Program,
    create_database,
    drop_database,
    wait_until,
)

TOKEN = "a-token"
SECONDS = 30.0
# Fixed times: the window is said in each search.
BEGIN = datetime(2026, 11, 1, 12, tzinfo=UTC)
END = BEGIN + timedelta(hours=1)
WINDOW = {"since": BEGIN.isoformat(), "until": END.isoformat()}
LEVELS = ("INFO", "INFO", "WARN", "ERROR", None)


class Served:
    """A server with some rows, which all tests of this module share."""

    def __init__(self, program: Program, database: Database) -> None:
        self.program = program
        self.database = database

    def ask(self, path: str, **parameters: object) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.program.http_port, timeout=SECONDS
        )
        try:
            connection.request(
                "GET",
                f"{path}?{urlencode(parameters)}",
                headers={"Authorization": f"Bearer {TOKEN}"},
            )
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def found(self, path: str, **parameters: object) -> dict[str, Any]:
        status, said = self.ask(path, **{**WINDOW, **parameters})
        assert status == 200, said
        return said

    def error(self, path: str, **parameters: object) -> str:
        status, said = self.ask(path, **parameters)
        assert status == 400, said
        return str(said["error"])


@pytest.fixture(scope="module")
def served(postgres: EmbeddedPostgres, template: str) -> Iterator[Served]:
    database = create_database(postgres, template)
    program = Program(
        (
            *("serve", "--database-url", database.url, "--api-max-sessions", "2"),
            *("--port", "0", "--http-port", "0"),
        ),
        {"PENSTOCK_HTTP_TOKEN": TOKEN},
    )
    try:
        made = Served(program.wait_ready(), database)
        fill(made)
        yield made
    finally:
        program.end()
        drop_database(database)


def fill(served: Served) -> None:
    """A row a second for a minute, from the window's begin, and ten of one time."""
    records = [
        {
            "date": (BEGIN + timedelta(seconds=min(n, 50))).isoformat(),
            "message": f"line {n}",
            "level": LEVELS[n % 5],
            "service": f"s{n % 3}",
            "user": {"id": n % 7, "big": "BIG"},
            "tags": ["a", n],
        }
        for n in range(60)
    ]
    # A number with more digits than a float has.
    body = json.dumps(records).replace('"BIG"', "12345678901234567890")
    connection = http.client.HTTPConnection("127.0.0.1", served.program.http_port)
    connection.request(
        "POST", "/api/ingest?tag=t", body, {"Authorization": f"Bearer {TOKEN}"}
    )
    assert connection.getresponse().status == 200
    connection.close()


def messages(said: dict[str, Any]) -> list[str]:
    return [row["message"] for row in said["rows"]]


def test_a_page_has_the_rows_that_the_filter_finds_newest_first(
    served: Served,
) -> None:
    said = served.found("/api/search", q="level:>=WARN service:s0")
    assert said["filter"] == "level:>=WARN service:s0"
    assert said["window"] == {
        "start": "2026-11-01T12:00:00Z",
        "end": "2026-11-01T13:00:00Z",
    }
    assert messages(said) == [f"line {n}" for n in (57, 48, 42, 33, 27, 18, 12, 3)]
    assert (said["next"], said["is_cut"]) == (None, False)
    row = said["rows"][-1]
    assert row == {
        "id": row["id"],
        "ts": "2026-11-01T12:00:03Z",
        "level": "ERROR",
        "service": "s0",
        "host": None,
        "tag": "t",
        "message": "line 3",
        "attributes": {
            "tags": ["a", 3],
            "user": {"id": 3, "big": 12345678901234567890},
        },
    }
    assert isinstance(row["id"], str), "more digits than a number in JavaScript"


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("limit", [7, 59, 60, 61])
def test_pages_are_all_rows_once_each_though_many_have_one_time(
    served: Served, order: str, limit: int
) -> None:
    whole = messages(served.found("/api/search", limit=1000, order=order))
    assert len(whole) == 60
    seen: list[str] = []
    cursor: dict[str, object] = {}
    for _ in range(61):
        said = served.found("/api/search", limit=limit, order=order, **cursor)
        seen += messages(said)
        if said["next"] is None:
            break
        cursor = {"cursor": said["next"]}
    assert seen == whole


def test_a_cursor_keeps_the_window_and_is_of_one_search(served: Served) -> None:
    said = served.found("/api/search", limit=10, q="line")
    cursor = said["next"]
    status, later = served.ask("/api/search", limit=10, q="line", cursor=cursor)
    assert status == 200
    assert later["window"] == said["window"], "not the last hour of now"
    assert messages(later)[0] == "line 49"
    other = served.error("/api/search", q="lines", cursor=cursor)
    assert other == "the cursor is of a search with another q or order"
    for wrong in ("", "x", "é", "A" * 54, cursor[:-2], cursor + "AAAA", "_" * 54):
        assert "cursor" in served.error("/api/search", q="line", cursor=wrong)


def test_the_fields_are_those_that_are_asked_for(served: Served) -> None:
    said = served.found(
        "/api/search",
        q='message:"line 9"',
        fields="ts,message,user.id,user.big,tags.1,tags.-1,nothing,user.id.x,user",
    )
    (row,) = said["rows"]
    assert row == {
        "ts": "2026-11-01T12:00:09Z",
        "message": "line 9",
        "user.id": 2,
        "user.big": 12345678901234567890,
        "tags.1": 9,
        "tags.-1": 9,
        "nothing": None,
        "user.id.x": None,
        "user": {"id": 2, "big": 12345678901234567890},
    }


@pytest.mark.parametrize(
    ("path", "parameters", "error"),
    [
        ("/api/search", {"q": "level:("}, "q: at "),
        ("/api/search", {"q": "\0"}, "q: at 1: U+0000"),
        ("/api/search", {"since": "soon"}, "'soon' is no time; times are"),
        ("/api/search", {"since": "1h", "last": "1h"}, "since and last both say"),
        ("/api/search", {"until": "2h", "since": "1h"}, "ends before it begins"),
        ("/api/search", {"tz": "Mars/Olympus"}, "tz has to be the name of a time"),
        ("/api/search", {"tz": "../../etc/passwd"}, "tz has to be the name"),
        ("/api/search", {"limit": "0"}, "limit has to be a whole number, 1 to 1,000"),
        ("/api/search", {"limit": "1e2"}, "limit has to be a whole number"),
        ("/api/search", {"limit": "9" * 5000}, "limit has to be a whole number"),
        ("/api/search", {"order": "best"}, "order has to be newest or oldest"),
        ("/api/search", {"fields": "a b"}, "fields"),
        ("/api/search", {"query": "x"}, "no such parameter: 'query'; there are"),
        ("/api/fields", {"field": "a:b"}, "field"),
        ("/api/histogram", {"bins": "0"}, "bins has to be a whole number"),
        ("/api/histogram", {"since": "0001-01-01", "tz": "Asia/Seoul"}, "year"),
    ],
)
def test_what_is_not_understood_is_told_in_a_line(
    served: Served, path: str, parameters: dict[str, object], error: str
) -> None:
    said = served.error(path, **parameters)
    assert error in said
    assert "\n" not in said
    assert "--" not in said


def test_a_histogram_has_all_bins_and_all_rows(served: Served) -> None:
    said = served.found("/api/histogram", bins=60)
    assert said["step_seconds"] == 120
    assert len(said["bins"]) == 30
    assert said["bins"][0] == {
        "start": "2026-11-01T12:00:00Z",
        "count": 60,
        "levels": {"INFO": 24, "WARN": 12, "ERROR": 12, "none": 12},
    }
    assert all(each["count"] == 0 for each in said["bins"][1:])
    fine = served.found("/api/histogram", until="2026-11-01T12:01:00Z", bins=61)
    assert [each["count"] for each in fine["bins"]] == [1] * 50 + [10] + [0] * 9
    # As far as a window can be.
    far = {"since": "0001-01-02", "until": "9999-12-30", "bins": 1000}
    assert sum(b["count"] for b in served.found("/api/histogram", **far)["bins"]) == 60


def test_fields_and_their_values_are_counted(served: Served) -> None:
    said = served.found("/api/fields")
    assert said["distinct"] == 5
    assert {each["field"]: each["types"] for each in said["fields"]} == {
        "attributes.level": {"null": 12},
        "user": {"object": 60},
        "user.id": {"number": 60},
        "user.big": {"number": 60},
        "tags": {"array": 60},
    }
    said = served.found("/api/fields", field="service", q="level:ERROR", limit=2)
    assert said["values"] == [
        {"value": "s0", "count": 4},
        {"value": "s1", "count": 4},
    ]
    assert (said["distinct"], said["total"]) == (3, 12)
    nothing = served.found("/api/fields", field="service", q="nowhere")
    assert (nothing["values"], nothing["total"]) == ([], 0)


def test_a_search_is_ended_on_the_server_when_its_client_goes(served: Served) -> None:
    """A session that waits for a lock is one that does not end by itself."""
    database = served.database

    def busy() -> int:
        return int(
            database.value(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = $1"
                " AND application_name = 'penstock reader'",
                database.name,
            )
        )

    async def ask_and_go() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", served.program.http_port)
        writer.write(
            b"GET /api/search?last=1h HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\n"
        )
        await asyncio.to_thread(wait_until, busy, "it runs")
        writer.close()
        await writer.wait_closed()

    with locked(database):
        asyncio.run(asyncio.wait_for(ask_and_go(), SECONDS))
        before = time.monotonic()
        wait_until(lambda: not busy(), "it is ended")
        assert time.monotonic() - before < 2.5, "not by lock_timeout, which is 3 s"


def test_when_all_sessions_are_busy_it_is_told_when_to_come_again(
    served: Served,
) -> None:
    with locked(served.database), ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(served.ask, "/api/search", last="1h") for _ in range(6)]
        answers = [each.result() for each in asked]
    busy = [said for status, said in answers if status == 503]
    assert any("all 2 reading sessions are busy" in said["error"] for said in busy)
    locked_out = [said["error"] for status, said in answers if status == 504]
    assert all("lock_timeout_seconds" in each for each in locked_out)
    assert served.ask("/api/search")[0] == 200, "and they are there again"


@contextlib.contextmanager
def locked(database: Database) -> Iterator[None]:
    """Let nobody read `logs` during the block."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(database.url))
        lock = "BEGIN; LOCK TABLE logs IN ACCESS EXCLUSIVE MODE"
        runner.run(connection.execute(lock))
        try:
            yield
        finally:
            runner.run(connection.close())
