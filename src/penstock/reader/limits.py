"""What a reading session is told at its start.

It owns which of PostgreSQL's settings bound a statement, and those that what the guard
has read would mean something else without. It must not connect.
"""

from penstock.settings import ReadLimits

SCHEMA = "penstock_read"
# Of a session that has stopped within a transaction: whoever asked is gone.
IDLE_SECONDS = 60.0


def session_settings(limits: ReadLimits) -> dict[str, str]:
    """Return the settings that hold from the login on, whatever a role's own are."""
    return {
        "application_name": "penstock reader",
        "statement_timeout": milliseconds(limits.statement_timeout_seconds),
        "lock_timeout": milliseconds(limits.lock_timeout_seconds),
        "idle_in_transaction_session_timeout": milliseconds(IDLE_SECONDS),
        "work_mem": kilobytes(limits.work_mem_bytes),
        # The role can write nothing; this says so earlier.
        "default_transaction_read_only": "on",
        # No name of anybody else's means anything. A temporary table is looked for
        # first of all unless pg_temp is named (PostgreSQL documentation, search_path).
        "search_path": f"{SCHEMA}, pg_catalog, pg_temp",
        # As the guard's parser has read the statement.
        "standard_conforming_strings": "on",
        "transform_null_equals": "off",
        # As decoding.py reads the values, and texts come out alike everywhere.
        "datestyle": "ISO, MDY",
        "intervalstyle": "postgres",
        "bytea_output": "hex",
        # Plans over many days look dear enough to be compiled, which takes longer than
        # the first page does.
        "jit": "off",
    }


def milliseconds(seconds: float) -> str:
    """Return a time as PostgreSQL takes it; 0 would be none at all."""
    return f"{max(1, round(seconds * 1000))}ms"


def kilobytes(size_bytes: int) -> str:
    """Return a size as PostgreSQL takes it."""
    return f"{size_bytes // 1024}kB"
