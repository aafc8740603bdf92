"""The settings, from where they are given: flags, environment, file, defaults.

It owns which of them counts, and that all that is wrong is told at once. It must not
know what a setting is for.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import Field, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from penstock.config.checks import combination_problems
from penstock.config.concerns import CONCERNS, all_settings, flag_name
from penstock.config.environment import (
    environment_name,
    unknown_variables,
    variable,
)
from penstock.config.file import PLACES, ConfigFile, read_config_file, secrets_in
from penstock.config.secret_files import (
    FILE,
    fill_password,
    fill_secrets,
    read_secret,
)
from penstock.config.values import accepted_by, from_text, from_toml, table_from
from penstock.errors import SettingsError
from penstock.settings import Accepted, Settings

# The flag, and the variable, that name the configuration file.
CONFIG_FILE = "config"

DATABASE_URL = "database_url"
# Settings whose value is a URL, in which a file with the password may be named.
URLS = ("maintenance_database_url", "api_database_url", "ask_database_url")

# Those given on the command line, as text, by name; `config` is the file's.
Flags = Mapping[str, str | None]


class Origin(NamedTuple):
    """Where a setting was given: on the command line, in the environment, in a file."""

    kind: str  # flag, environment, file
    name: str  # what the flag, the variable or the file is called


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, and what was found beside them.

    `settings.database_url` is empty where none was given. `origins` has the places of
    the settings that were given, with the line of the file.
    """

    settings: Settings
    data_dir: Path | None
    file: str | None
    origins: Mapping[str, str]
    warnings: tuple[str, ...]


def load(flags: Flags) -> Configuration:
    """Read all settings, from wherever each is given; it can be done again.

    Raises:
        SettingsError: something is wrong; it has a line for each problem, which names
            the flag, the variable or the line of the file.
    """
    return _Loader(flags).load()


def load_settings(
    database_url: str, flags: Flags, concerns: Collection[str] | None = None
) -> Settings:
    """Read the settings, as `load`, of a server on the database at this URL.

    Args:
        concerns: all, or those that a command needs. What is wrong with the others is
            not its matter: it need not be let to the server's keys.
    """
    loader = _Loader(flags)
    loaded = loader.load() if concerns is None else loader.load_some(concerns)
    return replace(loaded.settings, database_url=database_url)


def setting_value(
    name: str, flag: str | None = None, config_file: str | None = None
) -> Any:
    """Return one setting's value, whatever is wrong with the others.

    Raises:
        SettingsError: it has a value that is not accepted, or the file is none.
    """
    for each_name, each, _ in all_settings():
        if each_name == name:
            return _Loader({name: flag, CONFIG_FILE: config_file}).one(each)
    raise KeyError(name)


def database_url(flag: str | None, config_file: str | None = None) -> str | None:
    """Return the database's URL, if one is given.

    Raises:
        SettingsError: the configuration file is wrong.
    """
    flags = {DATABASE_URL: flag or None, CONFIG_FILE: config_file}
    return _Loader(flags).database_url()


def data_dir(flag: str | None, config_file: str | None = None) -> Path | None:
    """Return the embedded PostgreSQL's data directory, if one is given.

    Raises:
        SettingsError: the flag is empty, which would mean the current directory, or
            the configuration file is wrong.
    """
    named = _Loader({"data_dir": flag, CONFIG_FILE: config_file}).place("data_dir")
    return Path(named) if named else None


def config_file_name(flags: Flags) -> str | None:
    """Return the configuration file's name, if one is given.

    Raises:
        SettingsError: the flag is empty.
    """
    flag = flags.get(CONFIG_FILE)
    if flag == "":
        raise SettingsError(f"{flag_name(CONFIG_FILE)} is empty; leave it out for none")
    return flag or variable(CONFIG_FILE) or None


class _Loader:
    """Reads the settings once."""

    def __init__(self, flags: Flags) -> None:
        self._flags = flags
        self._origins: dict[str, Origin] = {}
        self._problems: list[str] = []
        self._warnings: list[str] = []
        name = config_file_name(flags)
        self._file = (
            ConfigFile("") if name is None else read_config_file(name, CONCERNS)
        )

    def load(self) -> Configuration:
        """Return all settings, which go together."""
        return self._load(CONCERNS, self._combination_problems)

    def load_some(self, concerns: Collection[str]) -> Configuration:
        """Return the settings of these concerns, and the defaults of the others."""
        return self._load(concerns, lambda _: ())

    def _combination_problems(self, settings: Settings) -> Iterable[str]:
        return combination_problems(
            settings,
            self._where,
            lambda name: name in self._origins,
            self._warnings.append,
        )

    def _load(
        self, names: Collection[str], check: Callable[[Settings], Iterable[str]]
    ) -> Configuration:
        self._problems += self._file.problems
        data_dir, url = self._place("data_dir"), self._database_url()
        concerns = {name: self._concern(CONCERNS[name]) for name in names}
        settings = Settings(database_url=url or "", **concerns)
        self._problems += check(settings)
        if self._problems:
            raise SettingsError(*self._in_order())
        return Configuration(
            settings=settings,
            data_dir=Path(data_dir) if data_dir else None,
            file=self._file.name or None,
            origins=self._shown_origins(),
            warnings=(*self._file.warnings, *_strange_variables(), *self._warnings),
        )

    def _in_order(self) -> list[str]:
        """Return the problems, each once, those of the file by their lines."""
        return sorted(dict.fromkeys(self._problems), key=self._line)

    def _line(self, problem: str) -> int:
        name, number = f"{self._file.name}:", ""
        if self._file.name and problem.startswith(name):
            number = problem.removeprefix(name).partition(":")[0]
        return int(number) if number.isdecimal() else 0

    def one(self, each: Field[Any]) -> Any:
        """Return the value of one setting."""
        value = self._given(each).get(each.name, each.default)
        if self._problems:
            raise SettingsError(*self._problems)
        return value

    def place(self, name: str) -> str | None:
        """Return where something is; a file with mistakes may mean another place."""
        return self._unless_wrong(self._place(name))

    def database_url(self) -> str | None:
        """Return where the database is, as `place`."""
        return self._unless_wrong(self._database_url())

    def _unless_wrong(self, found: str | None) -> str | None:
        if problems := (*self._file.problems, *self._problems):
            raise SettingsError(*problems)
        return found

    def _database_url(self) -> str | None:
        """Return the URL, given or in a file; a flag goes over both."""
        url, complain = self._place(DATABASE_URL), self._problems.append
        is_flag = url and self._origins[DATABASE_URL].kind == "flag"
        name = DATABASE_URL + FILE
        file = None if is_flag else self._place(name)
        if url and file:
            complain(
                f"{self._where(name)}: {DATABASE_URL} is given too; only one of them"
                " may be"
            )
            return url
        if file:
            url = read_secret(file, self._where(name), complain)
        if not url:
            return None
        place = self._where(name if file else DATABASE_URL)
        return fill_password(url, place, complain)

    def _place(self, name: str) -> str | None:
        flag = self._flags.get(name)
        if flag == "":
            self._problems.append(f"{flag_name(name)} is empty; leave it out for none")
        if flag:
            self._origins[name] = Origin("flag", flag_name(name))
            return flag
        if text := variable(name):
            self._origins[name] = Origin("environment", environment_name(name))
            return text
        if name in self._file.values:
            self._origins[name] = Origin("file", self._file.name)
            return str(self._file.values[name])
        return None

    def _concern(self, kind: type) -> Any:
        values: dict[str, Any] = {}
        for each in fields(kind):
            values |= self._given(each)
        fill_secrets(kind, values, self._where, self._problems.append)
        for name in URLS:
            if url := values.get(name):
                by = name if name in self._origins else name + FILE
                place = self._where(by)
                values[name] = fill_password(url, place, self._problems.append)
        return kind(**values)

    def _given(self, each: Field[Any]) -> dict[str, Any]:
        """Return a setting's value by its name; nothing if it is not given."""
        name, accepted = each.name, accepted_by(each)
        try:
            value = self._read(each, accepted)
        except SettingsError as error:
            self._problems += error.problems
            return {}
        if name not in self._origins:
            return {}
        if accepted.table is None:
            return {name: value}
        return {name: self._tables(name, accepted.table, value)}

    def _read(self, each: Field[Any], accepted: Accepted) -> Any:
        name = each.name
        flag = self._flags.get(name)
        if flag is not None and accepted.secret:
            # Everybody on the machine can read a command line.
            raise SettingsError(
                f"{flag_name(name)}: a secret has no flag; use"
                f" {flag_name(name + FILE)} or {environment_name(name)}"
            )
        if flag is not None:
            self._origins[name] = Origin("flag", flag_name(name))
            return from_text(flag, each, flag_name(name))
        text = variable(name)
        # Compose files set variables to nothing; that is not a value.
        if text or (text is not None and accepted.is_guard):
            self._origins[name] = Origin("environment", environment_name(name))
            return from_text(text, each, environment_name(name))
        if name in self._file.values:
            self._origins[name] = Origin("file", self._file.name)
            return from_toml(self._file.values[name], each, self._where(name))
        return None

    def _tables(self, name: str, table: type, given: list[Any]) -> tuple[Any, ...]:
        made = []
        for number, one in enumerate(given):

            def where(*within: str | int, number: int = number) -> str:
                return self._where(name, number, *within)

            if self._origins[name].kind == "flag":
                for secret in secrets_in(one, table):
                    self._problems.append(
                        f"{where(secret)}: a secret may not stand on the command line;"
                        f" use {secret}{FILE}"
                    )
            values = table_from(one, table, where, self._problems.append)
            fill_secrets(table, values, where, self._problems.append)
            made.append(table(**values))
        return tuple(made)

    def _where(self, name: str, *within: str | int) -> str:
        """Return what the place of a setting is called, or of what is within it."""
        rest = "".join(
            f"[{each}]" if isinstance(each, int) else f".{each}" for each in within
        )
        origin = self._origins.get(name)
        if origin is None:
            return name + rest
        if origin.kind == "file":
            return f"{self._file.place(name, *within)}: {name}{rest}"
        return origin.name + rest

    def _shown_origins(self) -> dict[str, str]:
        shown = {name: self._shown_origin(name) for name in self._origins}
        # A secret that stands in a file of its own is given where that file is named.
        for name, _, accepted in all_settings():
            file = shown.get(name + FILE)
            if accepted.secret and file and name not in shown:
                shown[name] = file
        if file := shown.get(DATABASE_URL + FILE):
            shown.setdefault(DATABASE_URL, file)
        return shown

    def _shown_origin(self, name: str) -> str:
        origin = self._origins[name]
        return self._file.place(name) if origin.kind == "file" else origin.name


def _strange_variables() -> list[str]:
    known = [*(name for name, _, _ in all_settings()), *PLACES, CONFIG_FILE]
    return [
        f"{name} is set, and no setting is called so"
        for name in unknown_variables(known)
    ]
