"""Which errors of asyncpg mean what: the one place that translates them.

It owns the rule by SQLSTATE class (PostgreSQL documentation, appendix A). It must
not decide what to do about an error; the error's type says that.
"""

import asyncpg

from penstock.errors import (
    PermanentSinkError,
    SinkError,
    TransientSinkError,
    UnknownSinkError,
)
from penstock.postgres.words import describe

# What a row holds is refused: data exception (encodings too), integrity constraint
# violation, WITH CHECK OPTION violation, program limit exceeded (a jsonb too large),
# and what a trigger raises unless it says otherwise.
DATA_CLASSES = ("22", "23", "44", "54", "P0001")
CHECK_VIOLATION = "23514"
# No row is at fault: it passes, or somebody mends it, and senders wait till then.
# Connection, read-only transaction, rollback, resources, an object in use, a lock,
# operator, system error, configuration, internal error, authorization, statement names,
# catalog. All others may be a trigger's: what it says itself, or a table, a column or a
# function that it names and that is not there (42), for one record or for all.
PASSING_CLASSES = (
    *("08", "25", "40", "53", "55006", "55P", "57", "58", "F0", "XX"),
    *("28", "26", "3D"),
)


def classify(error: BaseException) -> SinkError:
    """Return the error that says whether the batch may pass when tried again."""
    if not isinstance(error, asyncpg.PostgresError):
        return TransientSinkError(f"the connection failed: {describe(error)}")
    sqlstate = error.sqlstate or ""
    text = f"PostgreSQL refused a batch, SQLSTATE {sqlstate}"
    if sqlstate.startswith(DATA_CLASSES) and not is_of_partitions(error):
        return PermanentSinkError(text)
    if not sqlstate or sqlstate.startswith(PASSING_CLASSES):
        return TransientSinkError(text)
    return UnknownSinkError(text)


def is_of_partitions(error: asyncpg.PostgresError) -> bool:
    """Tell whether a row had no partition, or was past the bounds of its own.

    One was attached or detached after the statement had begun; the next one sees it.
    A trigger that raises the same error names no table.
    """
    is_unnamed = error.sqlstate == CHECK_VIOLATION and not error.constraint_name
    return is_unnamed and bool(error.table_name)


def reason_of(error: asyncpg.PostgresError) -> str:
    """Return why a row was refused, without a word of what it holds."""
    return f"refused: {error.constraint_name or type(error).__name__}"
