"""The configuration file: TOML, a table for each concern, three lists of tables.

It owns where in the file a setting stands. It must not know what a value means.
"""

import difflib
import stat
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from penstock.config.lines import Path as KeyPath
from penstock.config.lines import key_lines, line_of
from penstock.config.values import accepted_by
from penstock.errors import SettingsError

# A configuration is some kilobytes; what is larger is another file.
MAX_FILE_BYTES = 1024 * 1024
# What tells where things are, and belongs to no concern.
PLACES = ("database_url", "data_dir")


@dataclass(frozen=True, slots=True)
class Written:
    """A value as it stands in the file, and what to call its place."""

    value: Any
    source: str
    line: int


@dataclass(slots=True)
class ConfigFile:
    """What a file says: by setting, and what in it is not understood."""

    name: str
    values: dict[str, Written] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_config_file(name: str, concerns: dict[str, type]) -> ConfigFile:
    """Read a file; what it holds that is no setting is told in its `problems`.

    Raises:
        SettingsError: it cannot be read, or is no TOML.
    """
    text = _read(name)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{name}: not TOML: {error}") from error
    found = ConfigFile(name)
    _Sorter(found, concerns, key_lines(text)).sort(tables)
    _warn_of_readers(found, concerns)
    return found


def _read(name: str) -> str:
    path = Path(name)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SettingsError(f"{name}: larger than a configuration file ever is")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(
            f"the configuration file {name} cannot be read: {reason}"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name}: not TOML: not encoded in UTF-8") from error


class _Sorter:
    """Puts a file's values to the settings they are of."""

    def __init__(
        self,
        found: ConfigFile,
        concerns: dict[str, type],
        lines: dict[KeyPath, int],
    ) -> None:
        self._found = found
        self._concerns = concerns
        self._lines = lines

    def sort(self, tables: dict[str, Any]) -> None:
        """Take each key of the file's top."""
        lists = {each.name: concern for concern, each in lists_of(self._concerns)}
        for name, value in tables.items():
            if name in PLACES:
                self._place(name, value)
            elif name in lists:
                self._take((name,), name, value)
            elif name in self._concerns and isinstance(value, dict):
                self._sort_concern(name, value)
            elif name in self._concerns:
                self._complain((name,), f"{name} is a table: write [{name}]")
            else:
                self._unknown((name,), (*self._concerns, *lists, *PLACES))

    def _sort_concern(self, concern: str, values: dict[str, Any]) -> None:
        known = {each.name: each for each in fields(self._concerns[concern])}
        for name, value in values.items():
            path = (concern, name)
            if name not in known:
                self._unknown(path, known)
            elif accepted_by(known[name]).table is not None:
                self._complain(path, f"{name} stands at the top: write [[{name}]]")
            else:
                self._take(path, name, value)

    def _place(self, name: str, value: Any) -> None:
        if isinstance(value, str) and value:
            self._take((name,), name, value)
        else:
            self._complain((name,), f"{name} is no text")

    def _take(self, path: KeyPath, name: str, value: Any) -> None:
        line = line_of(self._lines, path)
        self._found.values[name] = Written(
            value, f"{self._found.name}:{line}: {name}", line
        )

    def _unknown(self, path: KeyPath, known: Iterable[str]) -> None:
        name = str(path[-1])
        at_home = {
            each.name: f"[{concern}]"
            for concern, kind in self._concerns.items()
            for each in fields(kind)
            if accepted_by(each).table is None
        }
        if name in at_home:
            hint = f"; it stands in {at_home[name]}"
        elif near := difflib.get_close_matches(name, [*known, *at_home], n=1):
            hint = f"; is {near[0]} meant?"
        else:
            hint = "; `penstock config reference` has all"
        where = f" in [{path[0]}]" if len(path) > 1 else ""
        self._complain(path, f"{name} is no setting{where}{hint}")

    def _complain(self, path: KeyPath, words: str) -> None:
        line = line_of(self._lines, path)
        self._found.problems.append(f"{self._found.name}:{line}: {words}")


def lists_of(concerns: dict[str, type]) -> Iterator[tuple[str, Field[Any]]]:
    """Yield the settings that are lists of tables, and their concern."""
    for concern, kind in concerns.items():
        for each in fields(kind):
            if accepted_by(each).table is not None:
                yield concern, each


def _warn_of_readers(found: ConfigFile, concerns: dict[str, type]) -> None:
    """Say that others may read the file, if there is a secret in it."""
    is_open = Path(found.name).stat().st_mode & stat.S_IROTH
    if is_open and _secrets_in(found, concerns):
        found.warnings.append(
            f"{found.name} holds secrets and everybody on the machine may read it;"
            f" chmod o-r {found.name}"
        )


def _secrets_in(found: ConfigFile, concerns: dict[str, type]) -> bool:
    url = found.values.get("database_url")
    if url is not None and urlsplit(str(url.value)).password:
        return True
    return any(
        _holds_secret(each, found.values[each.name].value)
        for kind in concerns.values()
        for each in fields(kind)
        if each.name in found.values
    )


def _holds_secret(each: Field[Any], value: Any) -> bool:
    accepted = accepted_by(each)
    if accepted.table is None:
        return accepted.secret
    secrets = {name.name for name in fields(accepted.table) if accepted_by(name).secret}
    tables = value if isinstance(value, list) else []
    return any(secrets & table.keys() for table in tables if isinstance(table, dict))
