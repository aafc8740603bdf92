"""Fluent Bit's `http` output, with the configuration of docs/api.md."""

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.penstock_process import Penstock, wait_until
from tests.clients.agents import Agent
from tests.docs.doc_blocks import parse_blocks
from tests.docs.setups import PAGE

API_PAGE = PAGE.with_name("api.md").read_text()
(CONFIGURATION,) = [each.text for each in parse_blocks(API_PAGE) if each.tag == "yaml"]
LINES = 100
SENT_SECONDS = 60.0
FORMATS = ["json_lines", "json", "json_stream", "msgpack"]
DATES = ["iso8601", "double", "epoch", "epoch_ms", "java_sql_timestamp"]


@pytest.fixture(scope="module")
def token() -> str:
    return secrets.token_hex(16)


@pytest.fixture(scope="module")
def penstock(
    token: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Penstock]:
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


def placed(penstock: Penstock, token: str, format: str, date: str, tail: str) -> str:
    """The page's configuration, with this server's port and token."""
    text = CONFIGURATION.replace("8000", str(penstock.http_port))
    text = text.replace("THE-TOKEN", token)
    text = re.sub(r"format: json_lines", f"format: {format}", text)
    text = re.sub(r"json_date_format: \w+", f"json_date_format: {date}", text)
    return text + tail


@pytest.mark.parametrize(
    ("format", "date"),
    [(FORMATS[0], each) for each in DATES] + [(each, DATES[0]) for each in FORMATS[1:]],
)
def test_what_the_page_configures_is_stored_in_each_format(
    penstock: Penstock,
    token: str,
    fluent_bit: Agent,
    tag: str,
    format: str,
    date: str,
) -> None:
    fluent_bit.write(LINES)
    fluent_bit.start(placed(penstock, token, format, date, ""), tag=tag)
    try:
        wait_until(lambda: penstock.count(tag) >= LINES, "all rows", SENT_SECONDS)
    except AssertionError as error:
        pytest.fail(f"{error}\n{fluent_bit.output()}\n{penstock.stderr()}")
    rows = penstock.rows(tag)
    assert sorted(row.attributes["n"] for row in rows) == list(range(LINES))
    assert all(row.message.startswith("line ") for row in rows)
    assert not any("date" in row.attributes for row in rows)
    ages = [
        abs(Path(fluent_bit.lines).stat().st_mtime - row.microseconds / 1e6)
        for row in rows
    ]
    assert max(ages) < SENT_SECONDS, "the event's time"


def test_what_is_not_taken_is_sent_again_until_it_is(
    penstock: Penstock, token: str, fluent_bit: Agent, tag: str
) -> None:
    """The server is away, and comes back: Fluent Bit has its answer and goes on."""
    assert penstock.stop() == 0
    fluent_bit.write(LINES)
    fluent_bit.start(placed(penstock, token, FORMATS[0], DATES[0], ""), tag=tag)
    wait_until(
        lambda: "no upstream" in fluent_bit.output() or "retry" in fluent_bit.output(),
        "it tries",
        SENT_SECONDS,
    )
    penstock.start("--http-token-file", str(penstock.home / "token"))
    wait_until(lambda: penstock.count(tag) >= LINES, "all rows", SENT_SECONDS)
    assert sorted(r.attributes["n"] for r in penstock.rows(tag)) == list(range(LINES))
