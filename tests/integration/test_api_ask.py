"""POST /api/ask, against a real server and a model's API on this machine."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import fake_model
from benchmarks.fake_model import FakeModel, sql
from penstock.embedded import EmbeddedPostgres, url_as
from penstock.sink.roles import make_roles
from tests.integration.ask_parts import KEY, SECRET, seed
from tests.integration.conftest import (
    Database,
    Program,
    Start,
    create_database,
    drop_database,
    run_async,
)

TOKEN = "a-token"
COUNT = (
    "SELECT service, count(*) AS n, avg(id) AS mean FROM logs WHERE id < 1000"
    " GROUP BY 1 ORDER BY 1"
)


class Served:
    """A server that has been asked nothing yet."""

    def __init__(self, program: Program, logs: Database, model: FakeModel) -> None:
        self.program = program
        self.logs = logs
        self.model = model

    def ask(self, token: str = TOKEN, **body: Any) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.program.http_port, timeout=30
        )
        try:
            connection.request(
                "POST",
                "/api/ask",
                json.dumps(body),
                {"Authorization": f"Bearer {token}"},
            )
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres, template: str) -> Iterator[Served]:
    logs = create_database(postgres, template)
    seed(logs)
    with fake_model.fake_model() as model:
        program = Program(
            (
                *("serve", "--database-url", logs.url),
                *("--port", "0", "--http-port", "0"),
            ),
            {
                "PENSTOCK_HTTP_TOKEN": TOKEN,
                "ANTHROPIC_API_KEY": KEY,
                "ANTHROPIC_BASE_URL": model.url,
            },
        )
        try:
            program.wait_ready()
            yield Served(program, logs, model)
            assert KEY not in program.stderr + program.stdout
        finally:
            program.end()
            drop_database(logs)


@pytest.fixture
def served(shared: Served) -> Served:
    shared.model.will()
    return shared


def test_sql_is_proposed_first_and_runs_when_it_is_told_to(served: Served) -> None:
    served.model.will(
        sql(COUNT, "서비스별 개수", assumptions=["전체"], since="2026-01-01T00:00:00Z")
    )
    status, told = served.ask(question="서비스별로?", time_zone="Asia/Seoul")
    assert status == 200, told
    conversation = told.pop("conversation")
    assert told == {
        "kind": "sql",
        "reading": "서비스별 개수",
        "sql": COUNT,
        "assumptions": ["전체"],
        "since": "2026-01-01T00:00:00Z",
        "until": "",
        "time_zone": "Asia/Seoul",
        "repairs": 0,
        "cost_usd": 0.00015,
        "result": None,
    }
    status, told = served.ask(conversation=conversation, run=True)
    assert status == 200, told
    assert told["result"] == {
        "columns": ["service", "n", "mean"],
        "types": ["text", "int8", "numeric"],
        "rows": [["checkout", 25, 26], ["search", 25, 25]],
        "is_cut": False,
    }
    assert len(served.model.requests) == 1


def test_a_follow_up_goes_on_with_the_conversation(served: Served) -> None:
    served.model.will(sql(COUNT), sql(COUNT))
    _, first = served.ask(question="one", run=True)
    status, second = served.ask(
        question="two", run=True, conversation=first["conversation"]
    )
    assert status == 200
    assert second["result"]["rows"]
    assert "one" in served.model.requests[1].turns[0]
    assert SECRET not in str([request.body for request in served.model.requests])


def test_sql_that_fails_as_it_runs_is_mended(served: Served) -> None:
    served.model.will(sql("SELECT sum(message::int) FROM logs"), sql(COUNT))
    status, told = served.ask(question="q", run=True)
    assert (status, told["repairs"]) == (200, 1)
    assert told["result"]["rows"]


@pytest.mark.parametrize(
    ("reply", "status", "words"),
    [
        (sql("SELECT pg_sleep(9) FROM logs"), 422, "pg_sleep"),
        (fake_model.REFUSAL, 502, "refuses"),
        (fake_model.OVERLOADED, 503, "overloaded"),
        (fake_model.WRONG_KEY, 503, "key"),
    ],
)
def test_each_failure_has_its_status_and_one_line(
    served: Served, reply: fake_model.Reply, status: int, words: str
) -> None:
    served.model.will(*[reply] * 3)
    given, told = served.ask(question="q")
    assert given == status
    assert list(told) == ["error"]
    assert words in told["error"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "say a question"),
        ({"question": 1}, 400, "question has to be a text"),
        ({"question": "q", "run": "yes"}, 400, "true or false"),
        ({"question": "q", "sql": "x"}, 400, "no such field"),
        ({"question": "q", "time_zone": "Nowhere"}, 400, "time_zone"),
        ({"question": "q", "conversation": "none"}, 404, "conversation"),
        ({"question": " "}, 400, "no question"),
        ({"question": "q" * 5000}, 400, "characters"),
        ({"question": "q", "token": "wrong"}, 401, ""),
    ],
)
def test_what_is_not_understood_costs_nothing(
    served: Served, body: dict[str, Any], status: int, words: str
) -> None:
    given, told = served.ask(**body)
    assert given == status
    assert words in told["error"]
    assert not served.model.requests


def test_a_replica_is_read_and_what_a_question_cost_is_written_elsewhere(
    served: Served, start: Start
) -> None:
    """By a login that can write nothing, as nobody can on a replica."""
    readers = served.logs
    readers.administer("CREATE ROLE replica LOGIN")
    readers.administer("ALTER ROLE replica SET default_transaction_read_only = on")
    try:
        run_async(make_roles(readers.url, askers=["replica"]))
        program = start(
            *("serve", "--database-url", readers.url),
            PENSTOCK_API_DATABASE_URL=url_as(readers.url, "replica"),
            PENSTOCK_ASK_DATABASE_URL=readers.url,
            PENSTOCK_HTTP_TOKEN=TOKEN,
            ANTHROPIC_API_KEY=KEY,
            ANTHROPIC_BASE_URL=served.model.url,
        ).wait_ready()
        served.model.will(sql(COUNT, "by service", since="2026-01-01T00:00:00Z"))
        status, told = Served(program, readers, served.model).ask(question="which?")
        assert status == 200, told
        asked = "SELECT count(*) FROM penstock_question WHERE question = 'which?'"
        assert readers.fetch(asked) == [(1,)]
    finally:
        program.stop()
        readers.administer("DROP OWNED BY replica")
        readers.administer("DROP ROLE replica")
