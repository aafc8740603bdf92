"""Connections to PostgreSQL: how they are opened and what they are told at the start.

It owns the session settings that the promises rest on. It must not retry: who
calls knows how long to wait.
"""

from urllib.parse import urlsplit

import asyncpg

from penstock.errors import DatabaseUnavailableError
from penstock.sink.classify import unavailable

# PostgreSQL answers in milliseconds or is not there; the rest is for slow networks.
CONNECT_TIMEOUT_SECONDS = 10.0
# What CI runs; older ones lack things the schema uses, newer ones are unknown.
OLDEST_MAJOR = 15

# What asyncpg raises when a server is not there, refuses us, or goes away.
CONNECTION_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ValueError,  # a URL that is none
)


async def connect(database_url: str) -> asyncpg.Connection:
    """Open a connection whose COMMIT means what an ack promises.

    Raises:
        DatabaseUnavailableError: nobody answers there, or we are refused, or the
            server is too old.
    """
    try:
        connection: asyncpg.Connection = await asyncpg.connect(
            database_url,
            timeout=CONNECT_TIMEOUT_SECONDS,
            server_settings={
                "application_name": "penstock",
                # An ack means committed (design, promise 1), whatever the server's
                # own default.
                "synchronous_commit": "on",
                "timezone": "UTC",
                # A person's settings for their own sessions are not ours.
                "statement_timeout": "0",
                "idle_in_transaction_session_timeout": "0",
            },
        )
    except CONNECTION_ERRORS as error:
        raise unavailable(error, without_password(database_url)) from error
    major = connection.get_server_version().major
    if major < OLDEST_MAJOR:
        await connection.close()
        raise DatabaseUnavailableError(
            f"{without_password(database_url)} is PostgreSQL {major};"
            f" Penstock needs {OLDEST_MAJOR} or newer"
        )
    return connection


def without_password(database_url: str) -> str:
    """Return the URL as it may be shown: without its password."""
    try:
        parts = urlsplit(database_url)
        has_password = bool(parts.password)
    except ValueError:
        return "(not a URL)"
    if not has_password and "password=" not in parts.query:
        return database_url
    host = parts.netloc.rpartition("@")[2]
    query = "&".join(
        pair for pair in parts.query.split("&") if not pair.startswith("password=")
    )
    user = f"{parts.username}@" if parts.username else ""
    return parts._replace(netloc=f"{user}{host}", query=query).geturl()
