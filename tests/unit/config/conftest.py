"""A configuration file, and an environment that has nothing of ours."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from penstock import config
from penstock.errors import SettingsError

Problems = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the environment of whoever runs the tests out of them."""
    for name in [name for name in os.environ if name.startswith(config.PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration file, as `penstock.toml` in the current directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "penstock.toml"
    path.write_text("")
    path.chmod(0o600)
    return path


@pytest.fixture
def load(file: Path) -> Callable[..., config.Configuration]:
    """Read a text as the configuration file, with these flags."""

    def read(text: str, flags: Mapping[str, str] | None = None) -> config.Configuration:
        file.write_text(text)
        return config.load({"config": "penstock.toml", **(flags or {})})

    return read


@pytest.fixture
def problems(load: Callable[..., config.Configuration]) -> Problems:
    """Read a text as the configuration file; return what is wrong with it."""

    def read(text: str, flags: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            load(text, flags)
        assert str(caught.value).splitlines() == list(caught.value.problems)
        return list(caught.value.problems)

    return read
