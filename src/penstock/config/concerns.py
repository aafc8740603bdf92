"""Which settings there are: each dataclass of settings, under its table's name.

It owns that list, and what follows from it alone. It must not read a setting.
"""

from collections.abc import Iterator
from dataclasses import Field, fields
from typing import Any

from penstock.config.values import accepted_by
from penstock.settings import (
    Accepted,
    ApiSettings,
    AskSettings,
    BackupSettings,
    ColumnSettings,
    CopySettings,
    HttpSettings,
    IngestSettings,
    ListenSettings,
    MaintenanceSettings,
    PartitionSettings,
    PeerLimits,
    ProcessSettings,
    ReadLimits,
    RingSettings,
    SecuritySettings,
    Settings,
    SpoolSettings,
    TlsSettings,
    WireLimits,
    is_reloaded,
)

CONCERNS: dict[str, type] = {
    "listen": ListenSettings,
    "tls": TlsSettings,
    "security": SecuritySettings,
    "limits": PeerLimits,
    "http": HttpSettings,
    "api": ApiSettings,
    "ingest": IngestSettings,
    "wire": WireLimits,
    "ring": RingSettings,
    "spool": SpoolSettings,
    "copy": CopySettings,
    "partitions": PartitionSettings,
    "maintenance": MaintenanceSettings,
    "columns": ColumnSettings,
    "reading": ReadLimits,
    "process": ProcessSettings,
    "ask": AskSettings,
    "backup": BackupSettings,
}


def flag_name(setting: str) -> str:
    """Return the command line flag of a setting."""
    return "--" + setting.replace("_", "-")


def all_settings() -> Iterator[tuple[str, Field[Any], Accepted]]:
    """Yield every setting: its name, its field, what it accepts."""
    for concern in CONCERNS.values():
        for each in fields(concern):
            yield each.name, each, accepted_by(each)


def needs_restart(old: Settings, new: Settings) -> tuple[str, ...]:
    """Return the settings that differ and that a reload does not apply."""
    changed = [
        each.name
        for name, concern in CONCERNS.items()
        for each in fields(concern)
        if not is_reloaded(concern, each)
        and getattr(getattr(old, name), each.name)
        != getattr(getattr(new, name), each.name)
    ]
    if old.database_url != new.database_url:
        changed.insert(0, "database_url")
    return tuple(changed)
