"""The `http` outputs of Fluent Bit and Fluentd, with what docs/api.md configures."""

import re
import secrets
from collections.abc import Iterator

import pytest

from tests.acceptance.penstock_process import Penstock, wait_until
from tests.clients.agents import Agent, FluentBit
from tests.docs.doc_blocks import parse_blocks
from tests.docs.setups import PAGE

pytestmark = pytest.mark.timeout(300)

BLOCKS = parse_blocks(PAGE.with_name("api.md").read_text())
(FLUENT_BIT,) = [each.text for each in BLOCKS if each.tag == "yaml"]
(FLUENTD,) = [each.text for each in BLOCKS if each.tag == "text"]
LINES = 100
SENT_SECONDS = 60.0
DATES = ["iso8601", "double", "epoch", "epoch_ms", "java_sql_timestamp"]
FORMATS = ["json", "json_stream", "msgpack"]


@pytest.fixture(scope="module")
def token() -> str:
    return secrets.token_hex(16)


@pytest.fixture(scope="module")
def penstock(token: str) -> Iterator[Penstock]:
    penstock = Penstock()
    file = penstock.home / "token"
    file.write_text(token)
    file.chmod(0o600)
    try:
        penstock.start("--http-token-file", str(file))
        yield penstock
        assert penstock.stop() == 0, penstock.stderr()
    finally:
        penstock.remove()


def placed(agent: Agent, penstock: Penstock, token: str, output: str, date: str) -> str:
    """The page's configuration, with this server's port and token."""
    text = FLUENT_BIT if isinstance(agent, FluentBit) else FLUENTD
    text = text.replace("8000", str(penstock.http_port))
    text = text.replace("THE-TOKEN", token)
    text = text.replace("format: json_lines", f"format: {output}")
    return re.sub(r"json_date_format: \w+", f"json_date_format: {date}", text)


def expect_rows(penstock: Penstock, agent: Agent, tag: str) -> None:
    """Wait until each line is a row of its own time, and none is twice."""
    try:
        wait_until(
            lambda: penstock.count(tag) >= LINES or not agent.is_running(),
            f"{LINES} rows",
            SENT_SECONDS,
        )
    except AssertionError as error:
        pytest.fail(f"{error}\n{agent.output()}\n{penstock.stderr()}")
    rows = penstock.rows(tag)
    assert sorted(row.attributes["n"] for row in rows) == list(range(LINES)), (
        agent.output()
    )
    written_seconds = agent.lines.stat().st_mtime
    for row in rows:
        assert row.message == f"line {row.attributes['n']}"
        assert "date" not in row.attributes
        assert abs(row.ts / 1e6 - written_seconds) < SENT_SECONDS


def test_what_the_page_configures_is_stored(
    penstock: Penstock, token: str, agent: Agent, tag: str
) -> None:
    agent.write(LINES)
    agent.start(placed(agent, penstock, token, "json_lines", "iso8601"), tag=tag)
    expect_rows(penstock, agent, tag)


@pytest.mark.parametrize(
    ("output", "date"),
    [("json_lines", each) for each in DATES[1:]]
    + [(each, "double") for each in FORMATS],
)
def test_each_format_of_fluent_bit_is_stored(
    penstock: Penstock,
    token: str,
    fluent_bit: Agent,
    tag: str,
    output: str,
    date: str,
) -> None:
    fluent_bit.write(LINES)
    fluent_bit.start(placed(fluent_bit, penstock, token, output, date), tag=tag)
    expect_rows(penstock, fluent_bit, tag)


def test_while_the_server_is_away_they_try_again(
    penstock: Penstock, token: str, agent: Agent, tag: str
) -> None:
    assert penstock.stop() == 0
    agent.write(LINES)
    agent.start(placed(agent, penstock, token, "json_lines", "iso8601"), tag=tag)
    wait_until(
        lambda: re.search("retry|no upstream|connection", agent.output()),
        "it has tried",
        SENT_SECONDS,
    )
    penstock.start("--http-token-file", str(penstock.home / "token"))
    expect_rows(penstock, agent, tag)
