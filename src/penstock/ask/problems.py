"""What PostgreSQL says of a model's SQL, and how much of it the model is told.

It owns which errors other SQL could avoid. When a statement runs, an error may quote a
value of a row; the model is told the kind of the error, and no value.
"""

import re

from penstock.errors import PenstockError, QueryError, QueryTimeoutError

# Classes of SQLSTATE that are the statement's own fault (PostgreSQL documentation,
# appendix A): cardinality, data, syntax and names, what PostgreSQL cannot do, limits.
OF_THE_STATEMENT = ("21", "22", "42", "0A", "54")
# From the first quote to the last: a value may hold quotes itself.
_QUOTED = re.compile(r'".*"', re.DOTALL)


class MendableError(PenstockError):
    """SQL that cannot be run, where other SQL could; `for_model` tells a model why."""

    def __init__(self, text: str, for_model: str) -> None:
        super().__init__(text)
        self.for_model = for_model


def mendable_at_planning(error: PenstockError) -> MendableError | None:
    """Return what to tell the model of an error of EXPLAIN, which has read no row."""
    if isinstance(error, QueryTimeoutError):
        # Planning, the constants of a statement are computed.
        return MendableError(str(error), "PostgreSQL took too long to plan it")
    if isinstance(error, QueryError) and _is_of_the_statement(error):
        hint = f" Hint: {error.hint}" if error.hint else ""
        return MendableError(str(error), f"PostgreSQL: {error.reason}{hint}")
    return None


def mendable_at_running(error: PenstockError) -> MendableError | None:
    """Return what to tell the model of an error that may quote a row."""
    if not isinstance(error, QueryError) or not _is_of_the_statement(error):
        return None
    reason = _QUOTED.sub("(a value)", error.reason or "")
    return MendableError(
        str(error), f"PostgreSQL, with SQLSTATE {error.sqlstate}: {reason}"
    )


def _is_of_the_statement(error: QueryError) -> bool:
    return (error.sqlstate or "")[:2] in OF_THE_STATEMENT
