"""What can be set of the process: its HTTP side, its stop, its own log lines."""

from dataclasses import dataclass
from typing import Any

from penstock.settings.declared import AUTO, KIB, MIB, setting

# Each has a number of 4,096 in the database, connections, and an answer to give
# whenever /metrics is asked for.
MOST_WORKERS = 64


def _narrow_token(help_text: str) -> Any:
    return setting(
        "",
        help_text,
        secret=True,
        is_guard=True,
        is_reloaded=True,
        may_be_empty=True,
    )


def _token_file(of: str) -> Any:
    return setting(
        "",
        f"The file that holds the {of}, and a line end at most.",
        is_guard=True,
        is_reloaded=True,
        may_be_empty=True,
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
    http_token: str = setting(
        "",
        "Whoever asks for anything but /health has to know it, as `Authorization:"
        " Bearer`, or the narrower one below that opens what is asked for. One of them"
        " is needed to listen on more than loopback. It has no flag: a command line"
        " can be read by everybody on the machine.",
        secret=True,
        is_guard=True,
        is_reloaded=True,
        may_be_empty=True,
    )
    http_token_file: str = setting(
        "",
        "The file that holds the token, and a line end at most.",
        is_guard=True,
        is_reloaded=True,
        may_be_empty=True,
    )
    metrics_token: str = _narrow_token(
        "Reads /metrics, and /ready, and no log: for Prometheus. Once any token is"
        " set, what none opens is closed."
    )
    metrics_token_file: str = _token_file("metrics_token")
    read_token: str = _narrow_token(
        "Reads logs by /api: search, histogram, fields, tail, ask, and nothing else."
        " A question to ask costs what the model costs."
    )
    read_token_file: str = _token_file("read_token")
    ingest_token: str = _narrow_token(
        "Sends logs to /api/ingest, and reads none: for an agent that speaks HTTP."
    )
    ingest_token_file: str = _token_file("ingest_token")
    http_max_connections: int = setting(
        256,
        "Connections to the HTTP side, at most: probes and a Prometheus need a few.",
        low=1,
        high=100_000,
        is_reloaded=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """How the HTTP API reads."""

    api_max_sessions: int = setting(
        4,
        "Searches by HTTP that run at once, each on a connection to PostgreSQL of its"
        " own; others wait for two seconds and are told to come again. PostgreSQL's"
        " cores are for the writers first.",
        low=1,
        high=1_000,
    )
    api_database_url: str = setting(
        "",
        "The same database as a member of penstock_reader, for searches by HTTP at a"
        " server that logs in as somebody who may not read. Empty: the server's own"
        " login reads, if it may. It has no flag: a command line can be read by"
        " everybody on the machine.",
        secret=True,
        may_be_empty=True,
    )
    api_database_url_file: str = setting(
        "",
        "The file that holds that URL, and a line end at most.",
        may_be_empty=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """How much a request to /api/ingest may be, and how long it waits."""

    ingest_max_body_bytes: int = setting(
        8 * MIB,
        "The largest body of a request to /api/ingest, as it is sent. Fluent Bit's"
        " chunks have about 2 MiB.",
        low=64 * KIB,
        high=64 * MIB,
    )
    ingest_max_inflated_bytes: int = setting(
        32 * MIB,
        "What such a body may inflate to. To be read it takes up to six times as much"
        " memory for a moment, one at a time.",
        low=64 * KIB,
        high=256 * MIB,
    )
    ingest_max_waiting_bytes: int = setting(
        64 * MIB,
        "All such bodies together that are on their way to COMMIT; past it a request is"
        " answered with 503 and told when to come again.",
        low=64 * KIB,
        high=4096 * MIB,
    )
    ingest_commit_seconds: float = setting(
        30.0,
        "How long such a request waits for COMMIT; then it is answered with 503, and"
        " may be sent again. Fluent Bit waits for 60 s.",
        low=0.1,
        high=600.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """How the process behaves."""

    workers: int | str = setting(
        AUTO,
        "Processes that receive and store, each with an event loop, a ring, writers and"
        " a spool of its own; a parent looks after them where it is more than one. The"
        " limits of the whole are shared out among them. auto: one for each four cores,"
        " 8 at most, as PostgreSQL needs about three for what one of ours brings it.",
        low=1,
        high=MOST_WORKERS,
        is_number_or_auto=True,
    )
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
        is_reloaded=True,
    )
