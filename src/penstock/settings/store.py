"""What can be set of the way into PostgreSQL: memory, spool, COPY, tables, columns."""

from dataclasses import dataclass

from penstock.settings.declared import MIB, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class RingSettings:
    """How much is held in memory between the senders and PostgreSQL."""

    ring_bytes: int = setting(
        64 * MIB,
        "Encoded rows held in memory, at most. Some seconds of full load, so a"
        " checkpoint is not felt; past it senders wait.",
        low=8 * MIB,  # a sender's quarter is eight parts (rows/stream.py)
        high=64 * 1024 * MIB,
    )
    ring_rows: int = setting(
        1_000_000,
        "Rows held in memory, at most: bounds the bookkeeping when rows are tiny.",
        low=10_000,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSettings:
    """What is kept on disk of messages whose senders ask for no ack."""

    spool_mode: str = setting(
        "overflow",
        "When such messages are written to disk: overflow when PostgreSQL is away and"
        " memory fills, and at a stop; always before they are stored, which halves the"
        " rate and survives a kill; off never.",
        choices=("overflow", "always", "off"),
    )
    spool_max_bytes: int = setting(
        1024 * MIB,
        "The spool on disk, at most; when it is full, senders wait. Rows are compressed"
        " there: a gigabyte is some eight million of 300 bytes, or two million if each"
        " came in a message of its own.",
        low=16 * MIB,
    )
    spool_dir: str = setting(
        "auto",
        "The directory of the spool, of one Penstock only. `auto` is in the data"
        " directory: `spool` for `penstock up`, `spool-24224`, by its port, for"
        " `penstock serve`.",
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
        "The largest transaction, in bytes of memory. Larger ones gain little and make"
        " acks wait longer. Whatever this says, the writers' transactions together are"
        " never more than a quarter of ring_bytes, and half of that of one connection.",
        low=64 * 1024,
        high=256 * MIB,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSettings:
    """Which days get a partition of their own.

    And for how long it is kept.
    """

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
    retention_max_age_days: int = setting(
        0,
        "Days of which every event is older than this many days are dropped, and such"
        " events in the default partition deleted; later ones that come as old as that"
        " as well. 0 keeps them for ever: nobody should lose logs by a default that"
        " was not read.",
        low=0,
        high=36_500,
    )
    retention_max_bytes: int = setting(
        0,
        "While all days together, with their indexes, are larger than this, the oldest"
        " is dropped; never today. 0 is no limit: we do not guess the disk's size.",
        low=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceSettings:
    """How the database is maintained."""

    maintenance_interval_seconds: int = setting(
        300,
        "The server looks after the database this often; of several servers one does."
        " Days and claims are made hours ahead, so minutes are soon enough. 0 leaves it"
        " to `penstock db maintain`.",
        low=0,
        high=86_400,
    )
    maintenance_database_url: str = setting(
        "",
        "The same database as its tables' owner, for maintenance by a server that logs"
        " in as less. Empty: the server's own login does it, if it may. It has no flag:"
        " a command line can be read by everybody on the machine.",
        secret=True,
        may_be_empty=True,
    )
    maintenance_database_url_file: str = setting(
        "",
        "The file that holds that URL, and a line end at most.",
        may_be_empty=True,
    )
    dedupe_window_seconds: int = setting(
        86_400,
        "A chunk that is sent again is recognised for at least this long. Senders that"
        " try again for longer than a day (Fluentd's own limit is three) need more;"
        " each chunk costs some 200 bytes for so long. Kept by periods of six hours.",
        low=21_600,
        high=366 * 86_400,
    )
    seal_after_hours: int = setting(
        6,
        "A day is closed, and sealed, this long after its end: vacuumed, frozen, and"
        " given the indexes below. Most late events have come by then; those that come"
        " later are stored all the same.",
        low=0,
        high=8_784,
    )
    seal_message_trgm: str = setting(
        "off",
        "Give closed days an index for words and parts of words in `message` (GIN,"
        " pg_trgm). A search reads a fraction of the day then. Off because it takes"
        " about 0.6 of the day's size and half a minute of a core a million rows.",
        choices=("off", "on"),
    )
    seal_attributes_gin: str = setting(
        "off",
        "Give closed days an index for `attributes @> ...` and jsonpath (GIN,"
        " jsonb_path_ops). Off because it takes about a third of the day's size, and is"
        " for those who ask by keys of their own.",
        choices=("off", "on"),
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
