"""What can be set: frozen values by concern, with their defaults, ranges and reasons.

A leaf: it imports nothing of Penstock but the errors, and reads no environment.
`config.py` fills these from the environment and the command line; each part of
the program receives only its own. The reference page `docs/settings.md` is
generated from these fields, so a field's help text is its documentation.
"""

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from penstock.errors import SettingsError

MIB = 1024 * 1024


class Accepted(NamedTuple):
    """What a setting does and which values it takes."""

    help_text: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def in_words(self) -> str:
        """Return the accepted values as a person would say them."""
        if self.choices:
            return ", ".join(self.choices)
        if self.low is not None and self.high is not None:
            return f"{self.low:,} to {self.high:,}"
        return f"{self.low:,} or more" if self.low is not None else "any"

    def check(self, name: str, value: Any) -> None:
        """Raise SettingsError, with name and range, if `value` is not taken."""
        wrong = (
            (self.low is not None and value < self.low)
            or (self.high is not None and value > self.high)
            or (bool(self.choices) and value not in self.choices)
        )
        if wrong:
            raise SettingsError(f"{name} is {value}; accepted: {self.in_words()}")


def setting(default: Any, help_text: str, **accepted: Any) -> Any:
    """Declare a dataclass field as a setting."""
    return field(default=default, metadata={"is": Accepted(help_text, **accepted)})


def check_settings(settings: Any) -> None:
    """Raise SettingsError if a field of the dataclass `settings` is out of range."""
    for each in fields(settings):
        accepted: Accepted = each.metadata["is"]
        accepted.check(each.name, getattr(settings, each.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenSettings:
    """Where the forward protocol is spoken."""

    host: str = setting(
        "127.0.0.1",
        "Address to listen on for the forward protocol. Loopback unless said"
        " otherwise, because nothing asks a sender who it is yet.",
    )
    port: int = setting(
        24224,
        "Port to listen on; 24224 is the forward protocol's own. 0 takes a free one.",
        low=0,
        high=65535,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """Where metrics and health are served."""

    http_host: str = setting(
        "127.0.0.1", "Address to listen on for /metrics, /health and /ready."
    )
    http_port: int = setting(
        8000,
        "Port for /metrics, /health and /ready. 0 takes a free one.",
        low=0,
        high=65535,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WireLimits:
    """How much one message may be."""

    max_frame_bytes: int = setting(
        64 * MIB,
        "The largest message taken from a sender. Fluentd sends up to 8 MiB from a"
        " memory buffer and 256 MiB from a file buffer, Fluent Bit about 2 MiB; each"
        " connection may hold one such message in memory.",
        low=64 * 1024,
        high=1024 * MIB,
    )
    max_decompressed_bytes: int = setting(
        256 * MIB,
        "What the entries of one message may inflate to. Fluentd's own limit is the"
        " same; a message past it is kept in rejected_event, not stored as rows.",
        low=64 * 1024,
        high=4096 * MIB,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RingSettings:
    """How much is held in memory between the senders and PostgreSQL."""

    ring_bytes: int = setting(
        64 * MIB,
        "Encoded rows held in memory, at most. Some seconds of full load, so a"
        " checkpoint is not felt; past it senders wait.",
        low=4 * MIB,
        high=64 * 1024 * MIB,
    )
    ring_rows: int = setting(
        1_000_000,
        "Rows held in memory, at most: bounds the bookkeeping when rows are tiny.",
        low=10_000,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySettings:
    """How rows are written."""

    writers: int = setting(
        2,
        "Database connections that COPY. Two overlap Penstock's encoding with"
        " PostgreSQL's work; more help only where PostgreSQL has more cores.",
        low=1,
        high=32,
    )
    batch_bytes: int = setting(
        8 * MIB,
        "The largest transaction, in bytes of rows. Larger ones gain no speed and"
        " make acks wait longer.",
        low=64 * 1024,
        high=256 * MIB,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSettings:
    """Which days get a partition of their own."""

    partition_past_days: int = setting(
        30,
        "Events older than this many days go to the default partition.",
        low=0,
        high=36_500,
    )
    partition_ahead_days: int = setting(
        1,
        "Events further ahead than this many days go to the default partition; a"
        " sender's clock may be wrong.",
        low=0,
        high=366,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSettings:
    """Which keys of a record fill which column; the first that fits is taken.

    A dot leads into a nested map: `kubernetes.host`. A key that fills a column
    leaves `attributes`.
    """

    level_keys: tuple[str, ...] = setting(
        (
            "level",
            "severity",
            "levelname",
            "log.level",
            "loglevel",
            "log_level",
            "lvl",
            "severity_text",
            "PRIORITY",
            "priority",
        ),
        "Keys of the level: names, syslog severities 0 to 7, pino and bunyan 10 to 60.",
    )
    service_keys: tuple[str, ...] = setting(
        (
            "service",
            "service.name",
            "service_name",
            "app",
            "application",
            "kubernetes.labels.app.kubernetes.io/name",
            "kubernetes.labels.app",
            "kubernetes.container_name",
            "container_name",
            "SYSLOG_IDENTIFIER",
            "ident",
        ),
        "Keys of the service.",
    )
    host_keys: tuple[str, ...] = setting(
        (
            "host",
            "hostname",
            "host.name",
            "kubernetes.host",
            "_HOSTNAME",
        ),
        "Keys of the host.",
    )
    message_keys: tuple[str, ...] = setting(
        ("message", "msg", "log", "MESSAGE", "@message", "short_message"),
        "Keys of the message.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """How the process behaves."""

    shutdown_timeout_seconds: float = setting(
        30.0,
        "How long a stop may take to commit what is in memory. Kubernetes and"
        " systemd kill after 30 and 90 seconds.",
        low=0.0,
        high=3600.0,
    )
    log_format: str = setting(
        "auto",
        "Our own log lines: human on a terminal and json elsewhere, or always one.",
        choices=("auto", "human", "json"),
    )
    log_level: str = setting(
        "info",
        "The least of our own log lines that is written.",
        choices=("debug", "info", "warning", "error"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of them, as `app.py` hands them out."""

    database_url: str
    listen: ListenSettings = field(default_factory=ListenSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    wire: WireLimits = field(default_factory=WireLimits)
    ring: RingSettings = field(default_factory=RingSettings)
    copy: CopySettings = field(default_factory=CopySettings)
    partitions: PartitionSettings = field(default_factory=PartitionSettings)
    columns: ColumnSettings = field(default_factory=ColumnSettings)
    process: ProcessSettings = field(default_factory=ProcessSettings)
