"""What a reload applies, and what waits for a restart."""

from dataclasses import replace
from typing import Any

import pytest

from penstock import config
from penstock.settings import Settings, is_reloaded

APPLIED_CONCERNS = {"listen", "tls", "security", "limits"}
APPLIED = {"log_level", "http_max_connections"}
APPLIED |= {
    f"{each}_token{end}"
    for each in ("http", "metrics", "read", "ingest")
    for end in ("", "_file")
}
EVERY = [
    (concern, name, each.default)
    for concern, kind in config.CONCERNS.items()
    for name, each, _ in config.all_settings()
    if hasattr(kind, name)
]


def other(default: Any) -> Any:
    if isinstance(default, tuple):
        return (*default, "other")
    return f"{default}!" if isinstance(default, str) else default + 1


@pytest.mark.parametrize(("concern", "name", "default"), EVERY)
def test_a_change_is_applied_or_named(concern: str, name: str, default: Any) -> None:
    old = Settings(database_url="")
    values = replace(getattr(old, concern), **{name: other(default)})
    new = replace(old, **{concern: values})
    is_applied = concern in APPLIED_CONCERNS or name in APPLIED
    assert config.needs_restart(old, new) == (() if is_applied else (name,))
    field = next(
        each for each_name, each, _ in config.all_settings() if each_name == name
    )
    assert is_reloaded(config.CONCERNS[concern], field) == is_applied


def test_another_database_needs_a_restart_and_no_change_needs_none() -> None:
    old = Settings(database_url="postgresql://a/b")
    assert config.needs_restart(old, replace(old)) == ()
    new = replace(old, database_url="postgresql://c/d")
    assert config.needs_restart(old, new) == ("database_url",)
