"""Errors of PostgreSQL and of the way to it, put into one line for a person.

It must not decide what to do about an error.
"""

from penstock.errors import DatabaseUnavailableError


def unavailable(error: BaseException, where: str) -> DatabaseUnavailableError:
    """Return the one line for a person whose database cannot be reached."""
    return DatabaseUnavailableError(
        f"cannot use the database {where}: {describe(error)}"
    )


def describe(error: BaseException) -> str:
    """Return an error's message on one line, or its name if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
