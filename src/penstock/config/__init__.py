"""Reads settings from the environment and the command line, in one place.

The only reader of the environment. A setting `ring_bytes` is `--ring-bytes` on the
command line and `PENSTOCK_RING_BYTES` in the environment; the command line wins.
It must not know what a setting is for.
"""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

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

PREFIX = "PENSTOCK_"
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
_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def environment_name(setting: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + setting.upper()


def flag_name(setting: str) -> str:
    """Return the command line flag of a setting."""
    return "--" + setting.replace("_", "-")


def all_settings() -> Iterator[tuple[str, Field[Any], Accepted]]:
    """Yield every setting: its name, its field, what it accepts."""
    for concern in CONCERNS.values():
        for each in fields(concern):
            yield each.name, each, each.metadata["is"]


def load_settings(database_url: str, flags: Mapping[str, str | None]) -> Settings:
    """Build the settings; `flags` are those given on the command line, as text.

    Raises:
        SettingsError: a value is not what the setting accepts; the message names the
            flag or the variable and the accepted values.
    """
    concerns = {
        name: concern(**dict(_given(concern, flags)))
        for name, concern in CONCERNS.items()
    }
    return Settings(database_url=database_url, **concerns)


def setting_value(name: str, flag: str | None = None) -> Any:
    """Return one setting's value: the flag, else the environment, else the default."""
    for concern in CONCERNS.values():
        for each in fields(concern):
            if each.name == name:
                return dict(_given(concern, {name: flag})).get(name, each.default)
    raise KeyError(name)


def database_url(flag: str | None) -> str | None:
    """Return the database's URL, if one is given."""
    return flag or os.environ.get(PREFIX + "DATABASE_URL") or None


def data_dir(flag: str | None) -> Path | None:
    """Return the embedded PostgreSQL's data directory, if one is given.

    Raises:
        SettingsError: the flag is empty, which would mean the current directory.
    """
    if flag == "":
        raise SettingsError("--data-dir is empty; leave it out for the default")
    named = flag or os.environ.get(PREFIX + "DATA_DIR")
    return Path(named) if named else None


def service_manager() -> tuple[str | None, float | None]:
    """Return the socket of systemd, and how long its watchdog waits for us, if any.

    These are systemd's variables (sd_notify(3), sd_watchdog_enabled(3)), no settings.
    """
    address = os.environ.get("NOTIFY_SOCKET") or None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    is_for_us = os.environ.get("WATCHDOG_PID") in (None, "", str(os.getpid()))
    if not is_for_us or not microseconds.isdecimal() or not int(microseconds):
        return address, None
    return address, int(microseconds) / 1_000_000


def _given(concern: type, flags: Mapping[str, str | None]) -> Iterator[tuple[str, Any]]:
    for each in fields(concern):
        text, source = flags.get(each.name), flag_name(each.name)
        if text is None:
            source = environment_name(each.name)
            # Compose files set variables to nothing; that is not a value.
            text = os.environ.get(source) or None
            # Kubernetes sets PENSTOCK_PORT=tcp://10.0.0.1:24224 in every pod beside a
            # service called penstock; that is not meant for us.
            if text is not None and text.startswith(("tcp://", "udp://")):
                continue
        if text is not None:
            accepted: Accepted = each.metadata["is"]
            value = _parse(text, each.default, source, accepted)
            accepted.check(source, value)
            yield each.name, value


def _parse(text: str, default: Any, source: str, accepted: Accepted) -> Any:
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, str):
        # An empty address is every interface to asyncio: too much to say by accident.
        if not text and not accepted.choices:
            raise SettingsError(f"{source} is empty; leave it out for {default}")
        return text
    number, factor = text.strip().replace("_", ""), 1
    for unit, unit_factor in _UNITS.items():
        if source.lower().endswith("bytes") and number.endswith(unit):
            number, factor = number.removesuffix(unit).strip(), unit_factor
    try:
        value = type(default)(number) * factor
        if not math.isfinite(value):
            raise ValueError(number)
        return value
    except ValueError as error:
        kind = "a number" if isinstance(default, float) else "a whole number"
        raise SettingsError(
            f"{source} is {text!r}, not {kind}; accepted: {accepted.in_words()}"
        ) from error
