"""Which errors of asyncpg mean what: the one place that translates them.

It owns the rule by SQLSTATE class (PostgreSQL documentation, appendix A). It must
not decide what to do about an error; the error's type says that.
"""

import asyncpg

from penstock.errors import (
    DatabaseUnavailableError,
    PermanentSinkError,
    SinkError,
    TransientSinkError,
)

# Data exception, integrity constraint violation.
DATA_CLASSES = ("22", "23")


def classify(error: BaseException) -> SinkError:
    """Return the error that says whether the batch may pass when tried again."""
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or ""
        text = f"PostgreSQL refused a batch, SQLSTATE {sqlstate}"
        if sqlstate.startswith(DATA_CLASSES):
            return PermanentSinkError(text)
        return TransientSinkError(text)
    return TransientSinkError(f"the connection failed: {describe(error)}")


def unavailable(error: BaseException, where: str) -> DatabaseUnavailableError:
    """Return the one line for a person whose database cannot be reached."""
    return DatabaseUnavailableError(
        f"cannot use the database {where}: {describe(error)}"
    )


def describe(error: BaseException) -> str:
    """Return an error's message on one line, or its name if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
