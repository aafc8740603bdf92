"""What can be set: frozen values by concern, with their defaults, ranges and reasons.

A leaf: it imports nothing of Penstock but the errors, and reads no environment.
`config` fills these from the configuration file, the environment and the command
line; each part of the program receives only its own. The reference page
`docs/settings.md` is generated from these fields, so a field's help text is its
documentation.
"""

from dataclasses import dataclass, field

from penstock.settings.asking import AskSettings
from penstock.settings.backup import BackupSettings
from penstock.settings.declared import Accepted, check_settings, is_reloaded
from penstock.settings.process import (
    ApiSettings,
    HttpSettings,
    IngestSettings,
    ProcessSettings,
)
from penstock.settings.reading import ReadLimits
from penstock.settings.receive import (
    Listener,
    ListenSettings,
    NetworkRule,
    PeerLimits,
    SecuritySettings,
    TlsSettings,
    User,
    WireLimits,
)
from penstock.settings.store import (
    ColumnSettings,
    CopySettings,
    MaintenanceSettings,
    PartitionSettings,
    RingSettings,
    SpoolSettings,
)

__all__ = [
    "Accepted",
    "ApiSettings",
    "AskSettings",
    "BackupSettings",
    "ColumnSettings",
    "CopySettings",
    "HttpSettings",
    "IngestSettings",
    "ListenSettings",
    "Listener",
    "MaintenanceSettings",
    "NetworkRule",
    "PartitionSettings",
    "PeerLimits",
    "ProcessSettings",
    "ReadLimits",
    "RingSettings",
    "SecuritySettings",
    "Settings",
    "SpoolSettings",
    "TlsSettings",
    "User",
    "WireLimits",
    "check_settings",
    "is_reloaded",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of them, as `app.py` hands them out."""

    # With a password in it, perhaps.
    database_url: str = field(repr=False)
    listen: ListenSettings = field(default_factory=ListenSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    security: SecuritySettings = field(default_factory=SecuritySettings)
    limits: PeerLimits = field(default_factory=PeerLimits)
    http: HttpSettings = field(default_factory=HttpSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    ingest: IngestSettings = field(default_factory=IngestSettings)
    wire: WireLimits = field(default_factory=WireLimits)
    ring: RingSettings = field(default_factory=RingSettings)
    spool: SpoolSettings = field(default_factory=SpoolSettings)
    copy: CopySettings = field(default_factory=CopySettings)
    partitions: PartitionSettings = field(default_factory=PartitionSettings)
    maintenance: MaintenanceSettings = field(default_factory=MaintenanceSettings)
    columns: ColumnSettings = field(default_factory=ColumnSettings)
    reading: ReadLimits = field(default_factory=ReadLimits)
    process: ProcessSettings = field(default_factory=ProcessSettings)
    ask: AskSettings = field(default_factory=AskSettings)
    backup: BackupSettings = field(default_factory=BackupSettings)
