"""The API answers as its own description says, whatever it is asked (schemathesis)."""

import urllib.request
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from benchmarks.fake_model import fake_model, sql
from penstock.embedded import EmbeddedPostgres
from penstock.http.openapi import description, own_paths
from tests.integration.conftest import (
    PATIENCE_SECONDS,
    Program,
    Sender,
    create_database,
    drop_database,
)

TOKEN = "a-token"
# Of each operation; all together have some 15 s.
EXAMPLES = 30


@pytest.fixture(scope="module")
def program(postgres: EmbeddedPostgres, template: str) -> Iterator[Program]:
    with fake_model() as model:
        model.decide = lambda request: sql("SELECT count(*) FROM logs")
        yield from _served(postgres, template, model.url)


def _served(
    postgres: EmbeddedPostgres, template: str, model_url: str
) -> Iterator[Program]:
    database = create_database(postgres, template)
    program = Program(
        (
            *("serve", "--database-url", database.url),
            *("--port", "0", "--http-port", "0"),
        ),
        {
            "PENSTOCK_HTTP_TOKEN": TOKEN,
            "ANTHROPIC_API_KEY": "a-key-of-nobody",
            "ANTHROPIC_BASE_URL": model_url,
        },
    )
    try:
        program.wait_ready()
        with Sender(program.port) as sender:
            sender.send(range(200), "c")
            sender.acks(1)
        _ask_once(program.http_port)
        yield program
    finally:
        program.end()
        drop_database(database)


def _ask_once(http_port: int) -> None:
    """Have the model's SDK imported, for longer than schemathesis waits."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{http_port}/api/ask",
        b'{"question": "q"}',
        {"Authorization": f"Bearer {TOKEN}"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answered:
        assert answered.status == 200


@schemathesis.serializer("application/x-ndjson", "application/msgpack")
def as_it_is(context: schemathesis.SerializationContext, value: object) -> bytes:
    return str(value).encode(errors="surrogatepass")


# What does not end is not for it: test_tail is about that.
SCHEMA = schemathesis.openapi.from_dict(description(own_paths())).exclude(
    path="/api/tail"
)


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_is_described(
    case: schemathesis.Case, program: Program
) -> None:
    case.call_and_validate(
        base_url=f"http://127.0.0.1:{program.http_port}",
        headers={"Authorization": f"Bearer {TOKEN}"},
        # That a filter, a time and a field are texts does not make every text one.
        excluded_checks=[positive_data_acceptance],
    )
