"""A database's URL as it may be shown holds no password, however it is given."""

import pytest

from penstock.postgres.connection import without_password

PLAIN = "postgresql://penstock@db.example/logs?sslmode=require"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://penstock:hunter2@db.example/logs?sslmode=require",
        "postgresql://penstock@db.example/logs?password=hunter2&sslmode=require",
        "postgresql://penstock@db.example/logs?sslmode=require&sslpassword=hunter2",
        "postgresql://penstock@db.example/logs?%70assword=hunter2&sslmode=require",
        "postgresql://penstock@db.example/logs?PASSWORD=hunter2&sslmode=require",
        "postgresql://penstock:hunter2/x@db.example/logs?sslmode=require",
        "postgresql://penstock:hunter2?x#y@db.example/logs?sslmode=require",
        "postgresql://penstock:hunter2@@db.example/logs?sslmode=require",
    ],
)
def test_no_password_is_shown(url: str) -> None:
    assert without_password(url) == PLAIN


@pytest.mark.parametrize("url", [PLAIN, "postgresql:///logs", "postgresql://[::1]/x"])
def test_what_holds_none_is_shown_as_it_is(url: str) -> None:
    assert without_password(url) == url


@pytest.mark.parametrize("text", ["host=db password=hunter2", "hunter2", ""])
def test_what_is_no_url_is_not_shown(text: str) -> None:
    assert without_password(text) == "(not a URL)"
