"""What is written can be read: the reference, and the settings that hold."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from penstock import config
from penstock.cli.config import command
from penstock.config.writing import reference, toml_value
from penstock.settings import Settings
from tests.unit.config.conftest import Problems

SHORT = st.text(max_size=20)

Load = Callable[..., config.Configuration]
SECRETS = """\
database_url = "postgresql://me:hush-1@db/logs?password=hush-2"
[security]
shared_key = "hush-3"
[http]
http_token = "hush-4"
metrics_token = "hush-7"
read_token = "hush-8"
ingest_token = "hush-9"
[[users]]
name = "web"
password = "hush-5"
[[networks]]
cidr = "::1"
shared_key = "hush-6"
[ring]
ring_rows = 20_000
"""


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_reference_changes_nothing(load: Load) -> None:
    assert load(reference()).settings == Settings(database_url="")


def test_the_reference_has_the_defaults_of_all_settings(load: Load) -> None:
    """With the # away, but before what shows a place, a secret or a list's tables."""
    head, _, lists = reference().partition("[process]")
    process = lists.partition("# More places")[0]
    text = re.sub(
        r"^#(\w+ = .*(?<!# none))$", r"\1", head + "[process]" + process, flags=re.M
    )
    text = re.sub(r"^(database_url(_file)?|data_dir) = .*\n", "", text, flags=re.M)
    loaded = load(text)
    assert loaded.settings == Settings(database_url="")
    named = set(re.findall(r"^#?(\w+) = ", reference(), flags=re.M))
    lists_of_tables = set(re.findall(r"^#\[\[(\w+)\]\]", reference(), flags=re.M))
    assert {name for name, _, _ in config.all_settings()} <= named | lists_of_tables


def test_the_reference_explains_each_setting_and_its_range() -> None:
    words = " ".join(reference().replace("\n# ", " ").split())
    for name, _, accepted in config.all_settings():
        assert " ".join(accepted.help_text.split()) in words, name
        if accepted.choices or (accepted.low is not None and not accepted.table):
            assert f"Accepted: {accepted.in_words()}." in words, name


def test_the_examples_of_the_reference_are_settings(load: Load, file: Path) -> None:
    # Each `#[[` begins an example that holds until the next blank line.
    examples = re.findall(r"^#\[\[.*?(?=\n\n|\Z)", reference(), flags=re.M | re.S)
    assert len(examples) == 3
    text = "\n".join(re.sub(r"^#", "", example, flags=re.M) for example in examples)
    key = file.parent / "key"
    key.write_text("hush")
    text = re.sub(r'(_file = )".*"', rf'\1"{key}"', text).replace('tls = "on"', "")
    settings = load(f"[security]\nshared_key_file = 'key'\n{text}").settings
    assert len(settings.listen.listeners) == 2
    assert settings.security.networks[0].users == ("web",)


def test_the_reference_says_what_needs_a_restart() -> None:
    parts = re.split(r"\n\n", reference())
    restart = {
        found[1]
        for part in parts
        if "(restart)" in part and (found := re.search(r"^#(\w+) = ", part, re.M))
    }
    assert {"ring_bytes", "max_frame_bytes"} <= restart
    assert not restart & {"host", "shared_key", "max_connections", "log_level"}


def test_show_has_no_secret(file: Path) -> None:
    file.write_text(SECRETS)
    for form in ("toml", "json"):
        shown = run("show", "--config", "penstock.toml", "-o", form)
        assert "hush" not in shown
        assert shown.count('"***"') == 7
        assert "postgresql://me@db/logs" in shown


def test_show_names_the_place_of_each_setting(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("[ring]\nring_rows = 20_000\n")
    monkeypatch.setenv("PENSTOCK_PORT", "1")
    given = ("--config", "penstock.toml", "--http-port", "2")
    shown = run("show", *given)
    assert "ring_rows = 20000  # penstock.toml:2\n" in shown
    assert "port = 1  # PENSTOCK_PORT\n" in shown
    assert "http_port = 2  # --http-port\n" in shown
    assert "writers = 2  # default\n" in shown
    as_json = orjson.loads(run("show", *given, "-o", "json"))
    assert as_json["ring_rows"] == {"value": 20000, "origin": "penstock.toml:2"}
    assert as_json["listeners"] == {"value": [], "origin": "default"}
    assert set(as_json) == {name for name, _, _ in config.all_settings()}


def test_show_of_what_is_changed_shows_nothing_else(file: Path) -> None:
    assert run("show", "--changed") == ""
    file.write_text("[ring]\nring_rows = 20_000\nring_bytes = '64MiB'\n")
    shown = run("show", "--changed", "--config", "penstock.toml")
    assert shown == "[ring]\nring_rows = 20000  # penstock.toml:2\n"


def test_what_show_says_is_toml_of_the_same_settings(file: Path) -> None:
    file.write_text(SECRETS)
    shown = tomllib.loads(run("show", "--config", "penstock.toml"))
    assert shown["ring"]["ring_rows"] == 20_000
    assert shown["users"] == [{"name": "web", "password": "***", "password_file": ""}]


def test_check_says_good_or_all_that_is_wrong(
    file: Path, problems: Problems, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("check", "--config", "penstock.toml") == "penstock.toml: good\n"
    assert run("check") == "the settings: good\n"
    monkeypatch.setenv("PENSTOCK_PROT", "1")
    result = CliRunner().invoke(command, ["check"])
    assert result.exit_code == 0
    assert result.stderr.startswith("penstock: warning: PENSTOCK_PROT is set")


@given(SHORT | st.integers() | st.booleans() | st.lists(SHORT, max_size=5))
def test_what_is_written_is_read_as_it_was(value: Any) -> None:
    assert tomllib.loads(f"key = {toml_value(value)}")["key"] == value
