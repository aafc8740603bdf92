"""Connections to PostgreSQL: how they are opened and what they are told at the start.

It owns the session settings that the promises rest on. It must not retry: who
calls knows how long to wait.
"""

import asyncio
import os
import re
import socket
from collections.abc import Coroutine, Mapping
from typing import Any
from urllib.parse import unquote

import asyncpg

from penstock.errors import DatabaseUnavailableError
from penstock.postgres.words import unavailable

# PostgreSQL answers in milliseconds or is not there; the rest is for slow networks.
CONNECT_TIMEOUT_SECONDS = 10.0
# What CI runs; older ones lack things the schema uses, newer ones are unknown.
OLDEST_MAJOR = 15
# A machine that vanishes says no goodbye. Asked after 30 s of silence, and again each
# 10 s, it is given up after a minute, where Linux would begin to ask after two hours.
KEEPALIVE_SECONDS = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}

# A person's settings for their own sessions are not ours.
NO_LIMITS: Mapping[str, str] = {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "0",
}

# For what is said on a connection that is lost to end with its own error.
OWN_ERROR_SECONDS = 0.1

# A cancel is answered at once; what is behind a slow network may be closed for nothing.
SETTLE_SECONDS = 2.0

# What asyncpg raises when a server is not there, refuses us, or goes away.
CONNECTION_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ValueError,  # a URL that is none
)

# What ends work on a connection that was open: PostgreSQL's own word, or its silence. A
# transaction that ends on a lost connection says only that (InterfaceError), and a
# statement on one that is being lost that another is under way (InternalClientError).
LOST_ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

# How an OSError's number stands in asyncio's texts, which join those of all addresses.
ERRNO = re.compile(r"\[Errno (\d+)\]")


class KeptAlive(asyncpg.Connection):
    """A connection that notices when the other machine is gone.

    `stream` is what asyncpg writes to.
    """

    def __init__(
        self, protocol: Any, transport: asyncio.WriteTransport, *rest: Any
    ) -> None:
        super().__init__(protocol, transport, *rest)
        self.stream = transport
        _keep_alive(transport.get_extra_info("socket"))


async def connect(
    database_url: str,
    *,
    limits: Mapping[str, str] = NO_LIMITS,
    timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
) -> asyncpg.Connection:
    """Open a connection whose COMMIT means what an ack promises.

    `limits` are settings of the session, of those that end what takes too long. The
    server has `timeout_seconds` for all that it says first.

    Raises:
        DatabaseUnavailableError: nobody answers there, or we are refused, or the
            server is too old.
    """
    try:
        connection: asyncpg.Connection = await asyncpg.connect(
            database_url,
            connection_class=KeptAlive,
            timeout=timeout_seconds,
            server_settings={
                "application_name": "penstock",
                # An ack means committed (design, promise 1), whatever the server's
                # own default.
                "synchronous_commit": "on",
                "timezone": "UTC",
                # Were this machine to vanish within a transaction, its claims would
                # hold up resends to another Penstock for two hours by default.
                "tcp_keepalives_idle": str(KEEPALIVE_SECONDS["TCP_KEEPIDLE"]),
                "tcp_keepalives_interval": str(KEEPALIVE_SECONDS["TCP_KEEPINTVL"]),
                "tcp_keepalives_count": str(KEEPALIVE_SECONDS["TCP_KEEPCNT"]),
                **NO_LIMITS,
                **limits,
            },
        )
    except CONNECTION_ERRORS as error:
        where = without_password(database_url)
        raise unavailable(_in_words(error, timeout_seconds), where) from error
    major = connection.get_server_version().major
    if major < OLDEST_MAJOR:
        await connection.close()
        raise DatabaseUnavailableError(
            f"{without_password(database_url)} is PostgreSQL {major};"
            f" Penstock needs {OLDEST_MAJOR} or newer"
        )
    encoding = connection.get_settings().server_encoding
    if encoding != "UTF8":
        await connection.close()
        raise DatabaseUnavailableError(
            f"{without_password(database_url)} is encoded in {encoding}, which cannot"
            " hold every log line; make another with ENCODING 'UTF8' TEMPLATE template0"
        )
    return connection


async def unless_lost(
    connection: asyncpg.Connection, work: Coroutine[Any, Any, object]
) -> None:
    """Do the connection's work, or raise when the connection is lost meanwhile.

    A COPY of asyncpg (0.31) waits for ever when the connection goes while the server
    does not read: connection_lost does not wake who waits to write on.

    Raises:
        asyncpg.ConnectionDoesNotExistError: the connection is lost.
        Whatever the work raises.
    """
    task: asyncio.Future[object] = asyncio.ensure_future(work)
    lost: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def on_lost(_: object) -> None:
        if not lost.done():
            lost.set_result(None)

    connection.add_termination_listener(on_lost)
    try:
        await asyncio.wait({task, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():  # it may have an error of its own, in the next turn
            await asyncio.wait({task}, timeout=OWN_ERROR_SECONDS)
        if not task.done():
            raise asyncpg.ConnectionDoesNotExistError("lost during COPY")
        task.result()
    finally:
        if not connection.is_closed():
            connection.remove_termination_listener(on_lost)
        lost.cancel()
        task.cancel()
        # What it says of a connection that is gone is not what is wrong.
        [ended] = await asyncio.gather(task, return_exceptions=True)
        is_given_up = isinstance(ended, BaseException) and not isinstance(
            ended, asyncpg.PostgresError
        )
        if is_given_up and not connection.is_closed():
            await _settle(connection)


async def _settle(connection: asyncpg.Connection) -> None:
    """Wait for the answer to asyncpg's cancel of a COPY that we gave up.

    There is none where the server had refused the COPY already; whatever comes next on
    the connection, its close too, would wait for ever (asyncpg 0.32).
    """
    try:
        await asyncio.wait_for(connection.execute("SELECT"), SETTLE_SECONDS)
    except TimeoutError:
        connection.terminate()
    except LOST_ERRORS:
        pass  # mostly that its transaction is aborted, which is an answer


def _keep_alive(link: socket.socket | None) -> None:
    if link is None or link.family == socket.AF_UNIX:
        return
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE_SECONDS.items():
        if hasattr(socket, name):  # macOS calls the first one otherwise
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _in_words(error: BaseException, timeout_seconds: float) -> BaseException:
    """Return what says the same without the number of the system's error."""
    if isinstance(error, TimeoutError) and not str(error):
        return TimeoutError(f"no answer within {timeout_seconds:g} s")
    if not isinstance(error, OSError):
        return error
    numbers = [int(number) for number in ERRNO.findall(str(error))]
    if numbers:  # each once, in the order they came
        return OSError(", ".join(dict.fromkeys(map(os.strerror, numbers))).lower())
    return OSError(error.strerror or str(error))


def without_password(database_url: str) -> str:
    """Return the URL as it may be shown: without its passwords.

    By hand, since a password that should have been percent-encoded and was not, as one
    in base64, ends the host for urllib. libpq's parameters have two, `password` and
    that of the client's key, `sslpassword` (PostgreSQL documentation, section 34.1.2);
    their names may be percent-encoded. What is no URL is not shown at all.
    """
    scheme, is_url, rest = database_url.partition("://")
    if not is_url:
        return "(not a URL)"
    login, _, place = rest.rpartition("@")
    user = login.partition(":")[0]
    place, _, query = place.partition("?")
    shown = "&".join(pair for pair in query.split("&") if not _is_password(pair))
    return "".join(
        (f"{scheme}://", f"{user}@" if user else "", place, "?" if shown else "", shown)
    )


def _is_password(pair: str) -> bool:
    return unquote(pair.partition("=")[0]).strip().lower().endswith("password")
