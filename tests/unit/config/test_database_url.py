"""The database's URL: from where it is given, and its password from a file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock import config
from penstock.errors import SettingsError
from tests.unit.config.conftest import Problems

Load = Callable[..., config.Configuration]
URL = "postgresql://penstock@db.example/logs"
WITH_PASSWORD = "postgresql://penstock:hush@db.example/logs"


@pytest.fixture
def url_file(tmp_path: Path) -> Path:
    path = tmp_path / "url"
    path.write_text(f"{WITH_PASSWORD}\n")
    return path


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("hush\n")
    return path


def test_a_file_holds_the_url(
    load: Load, url_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(f"database_url_file = '{url_file}'")
    assert loaded.settings.database_url == WITH_PASSWORD
    assert loaded.origins["database_url"] == "penstock.toml:1"
    monkeypatch.setenv("PENSTOCK_DATABASE_URL_FILE", str(url_file))
    assert config.database_url(None) == WITH_PASSWORD
    assert load("").settings.database_url == WITH_PASSWORD
    assert load("").warnings == ()


def test_a_flag_goes_over_the_file(
    url_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_DATABASE_URL_FILE", str(url_file))
    assert config.database_url("postgresql://other/logs") == "postgresql://other/logs"
    url_file.unlink()  # nor is it read
    assert config.database_url("postgresql://other/logs") == "postgresql://other/logs"


def test_the_url_and_its_file_at_once_are_an_error(
    problems: Problems, url_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"database_url = '{URL}'\ndatabase_url_file = '{url_file}'"
    said = "database_url is given too; only one of them may be"
    assert problems(text) == [f"penstock.toml:2: database_url_file: {said}"]
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", URL)
    monkeypatch.setenv("PENSTOCK_DATABASE_URL_FILE", str(url_file))
    assert problems("") == [f"PENSTOCK_DATABASE_URL_FILE: {said}"]
    with pytest.raises(SettingsError, match=said):
        config.database_url(None)


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "cannot be read"), ("\n", "is empty"), ("a\nb\n", "more than one line")],
)
def test_a_file_that_holds_no_url_is_an_error(
    problems: Problems, tmp_path: Path, content: str | None, told: str
) -> None:
    if content is not None:
        (tmp_path / "url").write_text(content)
    (problem,) = problems("database_url_file = 'url'")
    assert problem.startswith("penstock.toml:1: database_url_file: url")
    assert told in problem


@pytest.mark.parametrize(
    ("url", "filled"),
    [
        (f"{URL}?password_file=FILE", WITH_PASSWORD),
        (
            f"{URL}?sslmode=require&password_file=FILE",
            f"{WITH_PASSWORD}?sslmode=require",
        ),
        (
            f"{URL}?password_file=FILE&sslmode=require",
            f"{WITH_PASSWORD}?sslmode=require",
        ),
        ("postgresql://h/d?password_file=FILE", "postgresql://h/d?password=hush"),
        (
            "postgresql://me@a,b:5433/d?password_file=FILE",
            "postgresql://me:hush@a,b:5433/d",
        ),
        (URL, URL),
    ],
)
def test_the_password_of_a_url_may_stand_in_a_file(
    password_file: Path, url: str, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = url.replace("FILE", str(password_file))
    assert config.database_url(given) == filled
    assert config.with_password(given, "--to-database-url") == filled
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", given)
    assert config.database_url(None) == filled


def test_the_password_of_a_file_may_have_any_signs(password_file: Path) -> None:
    password_file.write_text("a/b@c:d?e%f g\n")
    given = f"{URL}?password_file={password_file}"
    quoted = "a%2Fb%40c%3Ad%3Fe%25f%20g"
    assert config.database_url(given) == WITH_PASSWORD.replace("hush", quoted)


def test_the_other_urls_have_it_too(load: Load, password_file: Path) -> None:
    url = f"{URL}?password_file={password_file}"
    loaded = load(
        f"[maintenance]\nmaintenance_database_url = '{url}'\n"
        f"[api]\napi_database_url = '{url}'\n[ask]\nask_database_url = '{url}'"
    ).settings
    assert loaded.maintenance.maintenance_database_url == WITH_PASSWORD
    assert loaded.api.api_database_url == WITH_PASSWORD
    assert loaded.ask.ask_database_url == WITH_PASSWORD


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"{URL}?password_file=gone", "gone cannot be read: no such file"),
        (f"{URL}?password_file=", "names no file"),
        (f"{WITH_PASSWORD}?password_file=password", "a password besides"),
        (f"{URL}?password=hush&password_file=password", "a password besides"),
        (f"{URL}?password_file=password&password_file=x", "a password besides"),
    ],
)
def test_a_password_file_of_no_use_is_told_by_its_place(
    problems: Problems, password_file: Path, url: str, told: str
) -> None:
    assert password_file.exists()
    (problem,) = problems(f"database_url = '{url}'")
    assert problem.startswith("penstock.toml:1: database_url: password_file")
    assert told in problem
    assert "hush" not in problem
    (problem,) = problems(f"[maintenance]\nmaintenance_database_url = '{url}'")
    assert problem.startswith("penstock.toml:2: maintenance_database_url: ")


def test_an_empty_file_is_no_key_for_questions_and_no_error(
    load: Load, tmp_path: Path
) -> None:
    (tmp_path / "key").touch()
    assert load("[ask]\nask_api_key_file = 'key'").settings.ask.ask_api_key == ""
