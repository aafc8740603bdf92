"""PostgreSQL's errors about a statement, in a line for whoever has written it.

It owns the words. What it says of a lost connection is `postgres.words`' matter.
"""

import asyncpg

from penstock.errors import (
    PenstockError,
    QueryCancelledError,
    QueryError,
    QueryTimeoutError,
)
from penstock.postgres.words import describe, unavailable
from penstock.settings import ReadLimits

# PostgreSQL documentation, appendix A.
LOCK_NOT_AVAILABLE = "55P03"
QUERY_CANCELED = "57014"
CONFIGURATION_LIMIT = "53400"


def timed_out(sql: str, seconds: float, setting: str) -> QueryTimeoutError:
    """Return what is said of a statement that took too long."""
    reason = f"it took longer than {setting} ({seconds:g} s)"
    return QueryTimeoutError(
        f"the statement was ended: {reason}; ask for a shorter range of ts, or raise"
        " that setting",
        sql=sql,
        reason=reason,
        sqlstate=QUERY_CANCELED,
    )


def cancelled(sql: str) -> QueryCancelledError:
    """Return what is said of a statement that somebody has ended."""
    return QueryCancelledError(
        "the statement was cancelled", sql=sql, sqlstate=QUERY_CANCELED
    )


def in_words(
    error: BaseException, sql: str, where: str, limits: ReadLimits
) -> PenstockError:
    """Return what a person is told of an error of asyncpg or of the way there."""
    if isinstance(error, asyncpg.PostgresError) and not _is_loss(error):
        return _refused(error, sql, limits)
    if isinstance(error, asyncpg.InterfaceError | ValueError) and not isinstance(
        error, OSError
    ):
        reason = describe(error)
        return QueryError(f"the statement failed: {reason}", sql=sql, reason=reason)
    return unavailable(error, where)


def _is_loss(error: asyncpg.PostgresError) -> bool:
    state = error.sqlstate or ""
    return state.startswith(("08", "57P", "25P03"))


def _refused(error: asyncpg.PostgresError, sql: str, limits: ReadLimits) -> QueryError:
    if error.sqlstate == LOCK_NOT_AVAILABLE:
        reason = (
            "a table is locked for longer than lock_timeout_seconds"
            f" ({limits.lock_timeout_seconds:g} s)"
        )
        return QueryTimeoutError(
            f"the statement was ended: {reason}; try again",
            sql=sql,
            reason=reason,
            sqlstate=error.sqlstate,
        )
    message = " ".join(str(error.message or describe(error)).split())
    detail = " ".join(str(error.detail or "").split())
    hint = " ".join(str(error.hint or "").split())
    if error.sqlstate == CONFIGURATION_LIMIT:
        hint = hint or "ask for a shorter range of ts, or sort and group less"
    line = f"the statement failed: {message}"
    if detail:
        line += f" ({detail.rstrip('.')})"
    if hint:
        line += f"; {hint[0].lower()}{hint[1:].rstrip('.')}"
    position = str(error.position or "")
    return QueryError(
        line,
        sql=sql,
        reason=message,
        sqlstate=error.sqlstate,
        hint=hint or None,
        position=int(position) if position.isdecimal() else None,
    )
