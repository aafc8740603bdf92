"""The API answers as its own description says, whatever it is asked (schemathesis)."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from penstock.embedded import EmbeddedPostgres
from penstock.http.openapi import description, own_paths
from tests.integration.conftest import (
    Program,
    Sender,
    create_database,
    drop_database,
)

TOKEN = "a-token"
# Of each operation; all together have some 15 s.
EXAMPLES = 20


@pytest.fixture(scope="module")
def program(postgres: EmbeddedPostgres, template: str) -> Iterator[Program]:
    database = create_database(postgres, template)
    program = Program(
        (
            *("serve", "--database-url", database.url),
            *("--port", "0", "--http-port", "0"),
        ),
        {"PENSTOCK_HTTP_TOKEN": TOKEN},
    )
    try:
        program.wait_ready()
        with Sender(program.port) as sender:
            sender.send(range(200), "c")
            sender.acks(1)
        yield program
    finally:
        program.end()
        drop_database(database)


@schemathesis.serializer("application/x-ndjson", "application/msgpack")
def as_it_is(context: schemathesis.SerializationContext, value: object) -> bytes:
    return str(value).encode(errors="surrogatepass")


# What /api/tail answers does not end by itself; tests of its own hold it to its form.
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
