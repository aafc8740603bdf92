"""The configuration file: TOML, a table for each concern, three lists of tables.

It owns where in the file a setting stands. It must not know what a value means.
"""

import difflib
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from penstock.config.lines import Path as KeyPath
from penstock.config.lines import key_lines, line_of
from penstock.config.values import accepted_by
from penstock.errors import SettingsError
from penstock.reading import read_file

# A configuration is some kilobytes; what is larger is another file.
MAX_FILE_BYTES = 1024 * 1024
_AT_LINE = re.compile(r" \(at line (\d+), column (\d+)\)$")
# What tells where things are, and belongs to no concern.
PLACES = ("database_url", "database_url_file", "data_dir")


@dataclass(slots=True)
class ConfigFile:
    """What a file says: by setting, and what in it is not understood."""

    name: str
    values: dict[str, Any] = field(default_factory=dict, repr=False)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    lines: dict[KeyPath, int] = field(default_factory=dict, repr=False)
    # Where each setting stands, as a way through the tables.
    paths: dict[str, KeyPath] = field(default_factory=dict)

    def place(self, setting: str, *within: str | int) -> str:
        """Return the file and the line of a setting, or of what is within it."""
        line = line_of(self.lines, (*self.paths[setting], *within))
        return f"{self.name}:{line}"


def read_config_file(name: str, concerns: dict[str, type]) -> ConfigFile:
    """Read a file; what it holds that is no setting is told in its `problems`.

    Raises:
        SettingsError: it cannot be read, or is no TOML.
    """
    text = _read(name)
    try:
        tables = tomllib.loads(text)
    except RecursionError as error:
        raise SettingsError(f"{name}: not TOML: nested too deeply") from error
    except ValueError as error:  # tomllib's own error is one, and an endless number
        raise SettingsError(_not_toml(name, str(error))) from error
    found = ConfigFile(name, lines=key_lines(text))
    _Sorter(found, concerns).sort(tables)
    _warn_of_readers(found, concerns)
    return found


def _read(name: str) -> str:
    try:
        raw = read_file(name, max_bytes=MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise SettingsError(f"{name}: larger than a configuration file ever is")
        return raw.decode()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(
            f"the configuration file {name} cannot be read: {reason}"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name}: not TOML: not encoded in UTF-8") from error


def _not_toml(name: str, words: str) -> str:
    """Put tomllib's own words behind the line they are about."""
    found = _AT_LINE.search(words)
    if found is None:
        return f"{name}: not TOML: {words}"
    return f"{name}:{found[1]}: not TOML: {words[: found.start()]}, column {found[2]}"


class _Sorter:
    """Puts a file's values to the settings they are of."""

    def __init__(
        self,
        found: ConfigFile,
        concerns: dict[str, type],
    ) -> None:
        self._found = found
        self._concerns = concerns

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
        if isinstance(value, str) and value and "\0" not in value:
            self._take((name,), name, value)
        else:
            self._complain((name,), f"{name} is no text, or an empty one")

    def _take(self, path: KeyPath, name: str, value: Any) -> None:
        self._found.values[name] = value
        self._found.paths[name] = path

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
        line = line_of(self._found.lines, path)
        self._found.problems.append(f"{self._found.name}:{line}: {words}")


def lists_of(concerns: dict[str, type]) -> Iterator[tuple[str, Field[Any]]]:
    """Yield the settings that are lists of tables, and their concern."""
    for concern, kind in concerns.items():
        for each in fields(kind):
            if accepted_by(each).table is not None:
                yield concern, each


def _warn_of_readers(found: ConfigFile, concerns: dict[str, type]) -> None:
    """Say that everybody may read the file, if there is a secret in it.

    Its group may: that is how a service's own user is let to a file of root's.
    """
    try:
        mode = Path(found.name).stat().st_mode
    except OSError:  # it has been replaced since it was read
        return
    if mode & stat.S_IROTH and _has_secrets(found, concerns):
        found.warnings.append(
            f"{found.name} holds secrets and everybody on the machine may read it;"
            f" chmod o-r {found.name}"
        )


def _has_secrets(found: ConfigFile, concerns: dict[str, type]) -> bool:
    for kind in concerns.values():
        for each in fields(kind):
            accepted, value = accepted_by(each), found.values.get(each.name)
            if accepted.secret and value:
                return True
            if accepted.table is not None and isinstance(value, list):
                if any(secrets_in(table, accepted.table) for table in value):
                    return True
    return has_password(str(found.values.get("database_url", "")))


def secrets_in(given: Any, table: type) -> list[str]:
    """Return the names of the secrets that one table of a list gives."""
    if not isinstance(given, dict):
        return []
    return [
        each.name
        for each in fields(table)
        if accepted_by(each).secret and each.name in given
    ]


def has_password(database_url: str) -> bool:
    """Tell whether a database's URL has a password in it."""
    before, at, _ = database_url.partition("://")[2].rpartition("@")
    in_query = re.search(r"[?&]password=", database_url) is not None
    return in_query or bool(at and ":" in before)
