"""Reads settings from a file, the environment and the command line, in one place.

A setting `ring_bytes` is `ring_bytes` in the table `[ring]` of the configuration file,
`PENSTOCK_RING_BYTES` in the environment and `--ring-bytes` on the command line; the
command line wins over the environment, and that over the file. All that is wrong is
told at once. It must not know what a setting is for.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from penstock.config.checks import combination_problems
from penstock.config.environment import (
    PREFIX,
    environment_name,
    service_manager,
    unknown_variables,
    variable,
)
from penstock.config.file import PLACES, ConfigFile, Written, read_config_file
from penstock.config.secret_files import fill_secrets
from penstock.config.values import (
    accepted_by,
    from_text,
    from_toml,
    table_from,
)
from penstock.errors import SettingsError
from penstock.settings import (
    Accepted,
    ColumnSettings,
    CopySettings,
    HttpSettings,
    ListenSettings,
    MaintenanceSettings,
    PartitionSettings,
    PeerLimits,
    ProcessSettings,
    RingSettings,
    SecuritySettings,
    Settings,
    SpoolSettings,
    TlsSettings,
    WireLimits,
)

__all__ = [
    "CONCERNS",
    "PREFIX",
    "Loaded",
    "all_settings",
    "data_dir",
    "database_url",
    "environment_name",
    "flag_name",
    "is_reloaded",
    "load",
    "load_settings",
    "needs_restart",
    "service_manager",
    "setting_value",
]

CONCERNS: dict[str, type] = {
    "listen": ListenSettings,
    "tls": TlsSettings,
    "security": SecuritySettings,
    "limits": PeerLimits,
    "http": HttpSettings,
    "wire": WireLimits,
    "ring": RingSettings,
    "spool": SpoolSettings,
    "copy": CopySettings,
    "partitions": PartitionSettings,
    "maintenance": MaintenanceSettings,
    "columns": ColumnSettings,
    "process": ProcessSettings,
}
# What a reload applies: whole concerns, and settings of others.
_RELOADED_CONCERNS = frozenset({"listen", "tls", "security", "limits"})
_RELOADED = frozenset(
    {"http_token", "http_token_file", "http_max_connections", "log_level"}
)
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, where each of them is from, and what else should be known."""

    settings: Settings
    origins: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def flag_name(setting: str) -> str:
    """Return the command line flag of a setting."""
    return "--" + setting.replace("_", "-")


def all_settings() -> Iterator[tuple[str, Field[Any], Accepted]]:
    """Yield every setting: its name, its field, what it accepts."""
    for concern in CONCERNS.values():
        for each in fields(concern):
            yield each.name, each, accepted_by(each)


def load(
    database_url: str,
    flags: Mapping[str, str | None],
    *,
    config_file: str | None = None,
    only: Collection[str] = tuple(CONCERNS),
) -> Loaded:
    """Build the settings; `flags` are those given on the command line, as text.

    Of concerns that are not among `only` the defaults are taken, and what is wrong with
    them is passed over: who replays an event need not be able to read TLS keys.

    Raises:
        SettingsError: something is not as it should be; the message has a line for
            each such thing: the flag, the variable or the line of the file, and what
            is accepted.
    """
    reader = _Reader(_opened(config_file), flags)
    concerns = {name: kind(**reader.values_of(kind)) for name, kind in CONCERNS.items()}
    settings = Settings(database_url=database_url, **concerns)
    # Else many of them would be told twice.
    if not reader.problems and len(concerns) == len(CONCERNS):
        reader.problems += combination_problems(settings, reader.where)
    if reader.problems:
        raise SettingsError("\n".join(reader.problems))
    return Loaded(settings, reader.origins, tuple(reader.warnings()))


def load_settings(
    database_url: str,
    flags: Mapping[str, str | None],
    *,
    config_file: str | None = None,
    only: Collection[str] = tuple(CONCERNS),
) -> Settings:
    """Build the settings. Raises as `load`."""
    return load(database_url, flags, config_file=config_file, only=only).settings


def setting_value(
    name: str, flag: str | None = None, *, config_file: str | None = None
) -> Any:
    """Return one setting's value, as it is given or by default.

    Raises:
        SettingsError: it is not what the setting accepts.
    """
    reader = _Reader(_opened(config_file), {name: flag})
    for concern in CONCERNS.values():
        for each in fields(concern):
            if each.name == name:
                reader.problems.clear()  # of others
                value = reader.value_of(each)
                if reader.problems:
                    raise SettingsError("\n".join(reader.problems))
                return each.default if value is None else value
    raise KeyError(name)


def database_url(flag: str | None, *, config_file: str | None = None) -> str | None:
    """Return the database's URL, if one is given."""
    return flag or variable("database_url") or _place("database_url", config_file)


def data_dir(flag: str | None, *, config_file: str | None = None) -> Path | None:
    """Return the embedded PostgreSQL's data directory, if one is given.

    Raises:
        SettingsError: the flag is empty, which would mean the current directory.
    """
    if flag == "":
        raise SettingsError("--data-dir is empty; leave it out for the default")
    named = flag or variable("data_dir") or _place("data_dir", config_file)
    return Path(named) if named else None


def is_reloaded(setting: str) -> bool:
    """Tell whether a reload applies a setting; otherwise a restart does."""
    return setting in _RELOADED or any(
        each.name == setting
        for concern in _RELOADED_CONCERNS
        for each in fields(CONCERNS[concern])
    )


def needs_restart(old: Settings, new: Settings) -> tuple[str, ...]:
    """Name the settings that differ and are not applied by a reload."""
    return tuple(
        each.name
        for concern, kind in CONCERNS.items()
        for each in fields(kind)
        if not is_reloaded(each.name)
        and getattr(getattr(old, concern), each.name)
        != getattr(getattr(new, concern), each.name)
    )


def _opened(config_file: str | None) -> ConfigFile | None:
    name = config_file or variable("config")
    return None if name is None else read_config_file(name, CONCERNS)


def _place(name: str, config_file: str | None) -> str | None:
    opened = _opened(config_file)
    written = None if opened is None else opened.values.get(name)
    return None if written is None else str(written.value)


class _Reader:
    """One reading of all the places where settings are given."""

    def __init__(
        self, opened: ConfigFile | None, flags: Mapping[str, str | None]
    ) -> None:
        self._file = opened
        self._flags = flags
        self.problems: list[str] = [] if opened is None else list(opened.problems)
        self.origins: dict[str, str] = {}
        self._sources: dict[str, str] = {}

    def values_of(self, kind: type) -> dict[str, Any]:
        """Return the given values of a concern; those that are wrong are left out."""
        values: dict[str, Any] = {}
        for each in fields(kind):
            value = self.value_of(each)
            if value is not None:
                values[each.name] = value
        if any(accepted_by(each).secret for each in fields(kind)):
            secrets: list[str] = []
            fill_secrets(kind, values, "", secrets.append)
            for text in secrets:
                name = text.partition(" ")[0].rstrip(":")
                self.problems.append(self.where(name) + text.removeprefix(name))
        return values

    def value_of(self, each: Field[Any]) -> Any:
        """Return a setting's value; None, and a problem, if it is none."""
        try:
            return self._read(each)
        except SettingsError as error:
            self.problems.append(str(error))
            return None

    def where(self, setting: str) -> str:
        """Return what the place is called that a setting is given in."""
        return self._sources.get(setting, setting)

    def warnings(self) -> Iterator[str]:
        """Yield what is no mistake for certain."""
        if self._file is not None:
            yield from self._file.warnings
        known = [name for name, _, _ in all_settings()]
        for name in unknown_variables([*known, *PLACES, "config"]):
            yield f"{name} is in the environment and no setting"

    def _read(self, each: Field[Any]) -> Any:
        name, accepted = each.name, accepted_by(each)
        text, source = self._flags.get(name), flag_name(name)
        if text is None or accepted.secret:  # which has no flag
            text, source = variable(name), environment_name(name)
        if text is not None:
            self._note(name, source, source)
            value = from_text(text, each, source)
        elif (written := self._written(name)) is not None:
            assert self._file is not None
            self._note(name, written.source, f"{self._file.name}:{written.line}")
            source = written.source
            value = from_toml(written.value, each, source)
        else:
            self.origins[name] = DEFAULT
            return None
        return value if accepted.table is None else self._tables(value, each, source)

    def _tables(
        self, tables: list[dict[str, Any]], each: Field[Any], source: str
    ) -> tuple[Any, ...]:
        kind = accepted_by(each).table
        assert kind is not None
        made = []
        for number, table in enumerate(tables):
            where = f"{source}[{number}]"
            if source.startswith("--"):
                self._refuse_secrets(kind, table, where)
            values = table_from(table, kind, where, self.problems.append)
            fill_secrets(kind, values, f"{where}.", self.problems.append)
            made.append(kind(**values))
        return tuple(made)

    def _refuse_secrets(self, kind: type, table: dict[str, Any], where: str) -> None:
        for each in fields(kind):
            if accepted_by(each).secret and each.name in table:
                self.problems.append(
                    f"{where}.{each.name} is a secret, and everybody on the machine can"
                    f" read a command line; use {each.name}_file"
                )

    def _written(self, name: str) -> Written | None:
        return None if self._file is None else self._file.values.get(name)

    def _note(self, name: str, source: str, origin: str) -> None:
        self._sources[name] = source
        self.origins[name] = origin
