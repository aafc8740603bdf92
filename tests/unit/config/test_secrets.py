"""Secrets: where they may come from, and that nothing is never taken for one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock import config
from penstock.errors import SettingsError
from tests.unit.config.conftest import Problems

Load = Callable[..., config.Configuration]
USER = "[security]\nempty_shared_key = 'on'\n[[users]]\nname = 'web'\n"


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"hush", "hush"),
        (b"hush\n", "hush"),
        (b"hush\r\n", "hush"),
        (b"hush\r", "hush\r"),
        (b" hush ", " hush "),
        (b"h\xffsh", "h\udcffsh"),
    ],
)
def test_a_file_holds_a_secret_and_one_line_end(
    load: Load, tmp_path: Path, content: bytes, secret: str
) -> None:
    (tmp_path / "key").write_bytes(content)
    text = "[security]\nshared_key_file = 'key'"
    assert load(text).settings.security.shared_key == secret
    text = f"{USER}password_file = 'key'\n[[networks]]\ncidr = '::1'\nusers = ['web']"
    assert load(text).settings.security.users[0].password == secret
    text = "[[networks]]\ncidr = '::1'\nshared_key_file = 'key'"
    assert load(text).settings.security.networks[0].shared_key == secret


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "key is empty"),
        (b"\n", "key is empty"),
        (b"\r\n", "key is empty"),
        (b" \n", "key is empty"),
        (b"\n\n", "key is empty"),
        (b"a\nb\n", "more than one line"),
        (b"a\0b", "more than one line"),
        (b"x" * 4097, "longer than 4096 bytes"),
        (None, "cannot be read: no such file or directory"),
    ],
)
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[security]\nshared_key_file = 'key'", 2),
        ("[http]\nhttp_token_file = 'key'", 2),
        ("[http]\nread_token_file = 'key'", 2),
        (f"{USER}password_file = 'key'", 5),
        ("[[networks]]\ncidr = '::1'\nshared_key_file = 'key'", 3),
    ],
)
def test_a_file_that_holds_no_secret_is_an_error_and_never_no_secret(
    problems: Problems,
    tmp_path: Path,
    content: bytes | None,
    told: str,
    text: str,
    line: int,
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    (problem,) = problems(text)
    assert problem.startswith(f"penstock.toml:{line}: ")
    assert told in problem


def test_a_file_that_is_a_directory_or_no_name_is_an_error(problems: Problems) -> None:
    (problem,) = problems("[security]\nshared_key_file = '.'")
    assert "is a directory" in problem
    (problem,) = problems('[security]\nshared_key_file = "a\\u0000b"')
    assert "cannot be read" in problem


@pytest.mark.parametrize(
    "text",
    [
        "[security]\nshared_key = 'a'\nshared_key_file = 'key'",
        "[http]\nhttp_token = 'a'\nhttp_token_file = 'key'",
        "[http]\nmetrics_token = 'a'\nmetrics_token_file = 'key'",
        f"{USER}password = 'a'\npassword_file = 'key'",
        "[[networks]]\ncidr = '::1'\nshared_key = 'a'\nshared_key_file = 'key'",
    ],
)
def test_a_secret_is_given_once(problems: Problems, tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text("hush")
    (problem,) = problems(text)
    assert "is given too" in problem
    assert "hush" not in problem


def test_a_secret_and_its_file_from_different_places_are_two_as_well(
    problems: Problems, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("hush")
    monkeypatch.setenv("PENSTOCK_SHARED_KEY", "hush")
    (problem,) = problems("", {"shared_key_file": "key"})
    assert (
        problem == "--shared-key-file: shared_key is given too; only one of them may be"
    )


@pytest.mark.parametrize("name", ["shared_key", "http_token", "ingest_token"])
def test_a_secret_has_no_flag(problems: Problems, name: str) -> None:
    (problem,) = problems("", {name: "hush"})
    assert "a secret has no flag" in problem
    assert "hush" not in problem


def test_a_list_of_tables_in_a_flag_has_no_secret(problems: Problems) -> None:
    (problem,) = problems(
        "[security]\nempty_shared_key = 'on'",
        {"users": "[{name = 'web', password = 'hush'}]"},
    )
    assert problem.startswith("--users[0].password: a secret may not stand on")
    (problem,) = problems("", {"networks": "[{cidr = '::1', shared_key = 'hush'}]"})
    assert problem.startswith("--networks[0].shared_key: a secret may not stand on")


def test_a_flag_may_name_a_secrets_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hush\n")
    flags = {"networks": "[{cidr = '::1', shared_key_file = 'key'}]"}
    assert load("", flags).settings.security.networks[0].shared_key == "hush"


@pytest.mark.parametrize(
    "name",
    [
        "shared_key",
        "shared_key_file",
        "http_token",
        "http_token_file",
        "metrics_token",
        "read_token_file",
        "ingest_token",
        "tls_client_ca_file",
        "tls_client_names",
        "users",
        "networks",
        "other_networks",
    ],
)
def test_a_variable_that_is_set_to_nothing_opens_nothing(
    load: Load, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = config.environment_name(name)
    for text in ("", " "):
        monkeypatch.setenv(variable, text)
        with pytest.raises(SettingsError, match=f"^{variable} is empty"):
            load("")


@pytest.mark.parametrize(
    "text",
    [
        "[security]\nshared_key = ''",
        "[security]\nshared_key_file = ''",
        "[http]\nhttp_token = ''",
        "[tls]\ntls_client_ca_file = ''",
        f"{USER}password = ''",
        "[[networks]]\ncidr = '::1'\nshared_key = ''",
    ],
)
def test_an_empty_text_in_the_file_opens_nothing(problems: Problems, text: str) -> None:
    assert any("is empty; leave it out" in each for each in problems(text))


def test_a_key_that_looks_like_what_kubernetes_sets_is_a_key(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_SHARED_KEY", "tcp://10.0.0.1:24224")
    assert load("").settings.security.shared_key == "tcp://10.0.0.1:24224"


@pytest.mark.parametrize(
    "text",
    [
        "[security]\nshared_key = 8888",
        "[security]\nshared_key = ['8888']",
        "[http]\nhttp_token = 8888.0",
        f"{USER}password = 8888",
        "[[networks]]\ncidr = '::1'\nshared_key = {a = '8888'}",
        "users = ['8888']",
    ],
)
def test_no_words_about_a_secret_hold_it(problems: Problems, text: str) -> None:
    assert "8888" not in "".join(problems(text))


def test_no_words_about_a_variable_of_tables_hold_its_secrets(
    problems: Problems, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in (
        "[{name='a', password='hush'",
        "hush",
        "[]\nhush = 1",
        "[{a.b='hush'}]",
    ):
        monkeypatch.setenv("PENSTOCK_USERS", text)
        found = problems("[security]\nempty_shared_key = 'on'")
        assert all(
            each.startswith(("PENSTOCK_USERS", "penstock.toml:2")) for each in found
        )
        assert "hush" not in "".join(found)


def test_what_show_has_in_the_place_of_a_secret_is_none(problems: Problems) -> None:
    (problem,) = problems("[security]\nshared_key = '***'")
    assert "stands for a secret" in problem
