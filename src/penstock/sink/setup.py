"""The roles, the logins and the database that a new PostgreSQL needs for Penstock.

It owns what is made, once, by a superuser or the master user of a managed PostgreSQL;
from there on their tables' owner does all (`roles.py`, `migrations.py`). To be done
again does no harm, and gives the logins the passwords of that time. A password goes to
the server as a verifier only, so that it stands in no log. The statements are in
`sql/setup.sql`.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import asyncpg

from penstock.errors import DatabaseUnavailableError, SettingsError
from penstock.postgres.connection import LOST_ERRORS, connect, without_password
from penstock.postgres.words import describe, unavailable
from penstock.sink.roles import (
    ASKER,
    OWNER,
    QUERY,
    READER,
    WRITER,
    needed_membership,
)
from penstock.sink.sql import load_blocks

# The logins of docs/production.md; of the owner the role is the login.
WRITER_LOGIN = "penstock"
READER_LOGIN = "log_reader"
# PostgreSQL's own: who may see what others run, and what waits to be archived. Not
# every managed PostgreSQL lets its master user give it; then less is seen.
MONITOR = "pg_monitor"
# PostgreSQL's own (scram_iterations).
_ITERATIONS = 4096
_SALT_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Passwords:
    """What the three log in with."""

    owner: str
    writer: str
    reader: str


async def set_up(database_url: str, database: str, passwords: Passwords) -> list[str]:
    """Make what is missing, set the passwords; return what was done, a line each.

    Raises:
        DatabaseUnavailableError: out of reach, or the login may not do it.
        SettingsError: a password has signs that no verifier is made of here.
    """
    verifiers = {
        OWNER: verifier(passwords.owner),
        WRITER_LOGIN: verifier(passwords.writer),
        READER_LOGIN: verifier(passwords.reader),
    }
    connection = await connect(database_url)
    try:
        return await _Setup(connection).run(database, verifiers)
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseUnavailableError(
            f"this login may not set up {without_password(database_url)}:"
            f" {describe(error)}; give that of a superuser, or of the master user"
        ) from error
    except LOST_ERRORS as error:
        raise unavailable(error, without_password(database_url)) from error
    finally:
        await connection.close()


def verifier(password: str) -> str:
    """Return what PostgreSQL stores of a password: RFC 5803, SCRAM-SHA-256.

    Raises:
        SettingsError: it is not of printable ASCII, of which SASLprep changes nothing.
    """
    if not password.isascii() or not password.isprintable():
        raise SettingsError(
            "a password of the database has other signs than those of ASCII: make one"
            " of letters and digits"
        )
    salt = secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    words = [base64.b64encode(each).decode() for each in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{words[0]}${words[1]}:{words[2]}"


class _Setup:
    """Makes it all over one connection."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._blocks = load_blocks("setup")
        self._done: list[str] = []
        self._taking = needed_membership(connection)

    async def run(self, database: str, verifiers: dict[str, str]) -> list[str]:
        await self._make_roles((WRITER, READER, ASKER, QUERY, *verifiers))
        for login, text in verifiers.items():
            quoted = await self._connection.fetchval(self._blocks["quoted_text"], text)
            await self._execute("log_in", role=login, verifier=quoted)
            self._done.append(f"set the password of {login}")
        for role, login in (
            (WRITER, WRITER_LOGIN),
            (READER, READER_LOGIN),
            (ASKER, READER_LOGIN),
        ):
            await self._add_member(role, login)
        await self._let_watch()
        await self._let_readers_ask()
        await self._make_database(database)
        return self._done

    async def _make_roles(self, names: Sequence[str]) -> None:
        found = await self._connection.fetch(self._blocks["roles"], list(names))
        existing = {row["rolname"] for row in found}
        making = load_blocks("roles")
        for name in names:
            if name in existing:
                continue
            block = making["create_query" if name == QUERY else "create"]
            await self._connection.execute(block.replace("{role}", name))
            self._done.append(f"made the role {name}")

    async def _add_member(self, role: str, login: str) -> None:
        is_member = self._blocks["is_member"]
        if not await self._connection.fetchval(is_member, login, role):
            await self._execute("add_member", role=role, login=login)
            self._done.append(f"made {login} a member of {role}")

    async def _let_watch(self) -> None:
        # Maintenance tells how far WAL is behind, the exporter of compose what runs:
        # somebody else's program, so not as who may drop the tables.
        with suppress(asyncpg.InsufficientPrivilegeError):
            for login in (OWNER, READER_LOGIN):
                await self._add_member(MONITOR, login)

    async def _let_readers_ask(self) -> None:
        making = load_blocks("roles")
        if not await self._connection.fetchval(making["may_take_query"], self._taking):
            await self._connection.execute(making["let_take_query"])
            self._done.append(f"let {READER} ask as {QUERY}")

    async def _make_database(self, database: str) -> None:
        if not await self._connection.fetchval(self._blocks["has_database"], database):
            wanted = self._blocks["take_owner"]
            if await self._connection.fetchval(wanted, OWNER, self._taking):
                await self._execute("grant_owner", role=OWNER)
            quoted = await self._connection.fetchval(self._blocks["quoted"], database)
            try:
                await self._execute("make_database", database=quoted, role=OWNER)
            except asyncpg.DuplicateDatabaseError:
                return  # somebody else has, at this moment
            self._done.append(f"made the database {database}")

    async def _execute(self, block: str, **values: str) -> None:
        statement = self._blocks[block]
        for name, value in values.items():
            statement = statement.replace(f"{{{name}}}", value)
        await self._connection.execute(statement)
