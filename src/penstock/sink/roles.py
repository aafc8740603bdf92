"""The roles by which a right is no more than what its holder needs.

It owns their names, what is granted to each, and how a session of ours gives up what it
does not need. `penstock_writer` is what ingest runs as: it can neither read nor change
stored logs. `penstock_reader` is for people, `penstock_query` for what they or a model
ask through Penstock. The tables have an owner, whose name does not matter; where that
would be a superuser it is made `penstock_owner`. The statements are in `sql/roles.sql`,
with what contains what.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

from penstock.errors import DatabaseUnavailableError, PenstockError
from penstock.postgres.connection import LOST_ERRORS, connect, without_password
from penstock.postgres.words import describe, unavailable
from penstock.sink.sql import load_blocks
from penstock.sink.versions import newer_version

logger = logging.getLogger(__name__)

OWNER = "penstock_owner"
WRITER = "penstock_writer"
READER = "penstock_reader"
QUERY = "penstock_query"
# Who may ask questions, which cost money: it writes them down (0009_questions.sql).
ASKER = "penstock_asker"
# What is said beside NOLOGIN when somebody else makes the role.
MAKING = {QUERY: f" NOINHERIT ROLE {READER}"}
# Of what everybody may, so many are named: a database may have thousands.
MOST_NAMED = 5
# From here on a member of a role need not be one who may take it (SET ROLE).
SET_OPTION_MAJOR = 16


@dataclass(slots=True)
class RolesReport:
    """What was done, and what somebody else should do."""

    done: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


async def make_roles(
    database_url: str,
    *,
    writers: Sequence[str] = (),
    readers: Sequence[str] = (),
    askers: Sequence[str] = (),
    is_ours: bool = False,
) -> RolesReport:
    """Make the roles where they are missing and grant each what it needs, no more.

    To be done again does no harm. `writers`, `readers` and `askers` are logins that
    become members of a role, askers of the readers' too. Of a cluster that is ours the
    roles are logins themselves.

    Raises:
        DatabaseUnavailableError: out of reach, or not migrated.
        PenstockError: the login may not do it; the message says who may.
    """
    connection = await connect(database_url)
    try:
        async with connection.transaction(isolation="read_committed"):
            making = _Making(connection, is_ours=is_ours)
            await making.run(database_url, writers, readers, askers)
        await making.hand_over()
        return making.report
    except asyncpg.InsufficientPrivilegeError as error:
        raise PenstockError(f"the roles cannot be made: {describe(error)}") from error
    except LOST_ERRORS as error:
        raise unavailable(error, without_password(database_url)) from error
    finally:
        await connection.close()


async def grant_again(connection: asyncpg.Connection) -> None:
    """After a migration, grant what it has made, if the roles are used here.

    To be called by the owner, within the migration's transaction.
    """
    blocks = load_blocks("roles")
    if not await connection.fetchval(blocks["is_granted"]):
        return
    place = await connection.fetchrow(blocks["place"])
    assert place is not None
    for role, block in (
        (WRITER, "grant_to_writer"),
        (READER, "grant_to_reader"),
        (QUERY, "grant_to_query"),
        (ASKER, "grant_to_asker"),
    ):
        if await connection.fetch(blocks["existing"], [role]):
            await connection.execute(blocks[block].format(schema=place["schema"]))


async def take_writer_role(connection: asyncpg.Connection) -> bool:
    """Give up all rights but the writer's, for the rest of the session, where possible.

    Returns whether it was: the login is a member of the role, or a superuser, and the
    database has been set up for it.
    """
    needed = needed_membership(connection)
    taken = await connection.fetchval(load_blocks("roles")["take_writer"], needed)
    return taken is not None


def needed_membership(connection: asyncpg.Connection) -> str:
    """Return what pg_has_role is to be asked about who may take a role."""
    major = connection.get_server_version().major
    return "SET" if major >= SET_OPTION_MAJOR else "MEMBER"


async def let_reader_read(database_url: str) -> None:
    """In a cluster of our own, let `penstock_reader` log in and ask what is there.

    Of a database that is not migrated nothing is done.

    Raises:
        DatabaseUnavailableError: out of reach.
    """
    blocks = load_blocks("roles")
    connection = await connect(database_url)
    try:
        is_readable = await connection.fetchval(blocks["is_readable"])
        is_migrated = await connection.fetchrow(blocks["place"]) is not None
    except LOST_ERRORS as error:
        raise unavailable(error, without_password(database_url)) from error
    finally:
        await connection.close()
    if is_migrated and not is_readable:
        await make_roles(database_url, is_ours=True)


class _Making:
    """The roles being made, over one connection."""

    def __init__(self, connection: asyncpg.Connection, *, is_ours: bool) -> None:
        self.report = RolesReport()
        self._connection = connection
        self._is_ours = is_ours
        self._blocks = load_blocks("roles")
        self._hands_over = False

    async def run(
        self,
        database_url: str,
        writers: Sequence[str],
        readers: Sequence[str],
        askers: Sequence[str],
    ) -> None:
        """Do all that is done in one transaction."""
        await self._execute("one_at_a_time")
        place = await self._connection.fetchrow(self._blocks["place"])
        if place is None:
            raise DatabaseUnavailableError(
                f"the schema in {without_password(database_url)} is not up to date;"
                " run `penstock db migrate`"
            )
        if not place["may_grant"]:
            raise PenstockError(
                f"only {place['owner']}, who owns the tables, may grant rights on them;"
                f" run `penstock db roles` as {place['owner']}"
            )
        self._hands_over = place["is_superuser"] and (
            place["superuser_owns"] or place["owner"] == OWNER
        )
        await self._make(place, makes_asker=self._is_ours or bool(askers))
        newer = await newer_version(self._connection)
        if newer is None:
            await self._grant(place["schema"])
        else:  # what we would take back, its servers may need
            self.report.advice.append(
                f"the schema is a newer Penstock's (version {newer}), so rights on its"
                " tables stay as they are; `penstock db roles` of that one grants them"
            )
        await self._revoke_from_public(place)
        members = {WRITER: writers, READER: [*readers, *askers], ASKER: askers}
        for role, logins in members.items():
            for login in logins:
                await self._add_member(role, login)
                if role == READER and place["is_superuser"]:
                    await self._limit_temp_files(login, place["database"])
        for role, block in ((WRITER, "excess"), (QUERY, "excess_of_query")):
            await self._tell_excess(role, block)

    async def _grant(self, schema: str) -> None:
        await self._execute("grant_to_writer", schema=schema)
        await self._execute("grant_to_reader", schema=schema)
        await self._let_reader_query()
        if await self._connection.fetch(self._blocks["existing"], [ASKER]):
            await self._execute("grant_to_asker", schema=schema)
        self.report.done.append(
            f"granted {WRITER} what storing needs, {READER} what reading needs"
        )

    async def hand_over(self) -> None:
        """Let no superuser own what runs with its owner's rights."""
        if not self._hands_over:
            return
        await self._execute("limit_waiting")
        tables = await self._connection.fetch(self._blocks["to_hand_over"])
        try:
            for table in tables:
                await self._execute("hand_over", table=table["name"])
            await self._execute("hand_over_rest")
        except asyncpg.LockNotAvailableError:
            self.report.advice.append(
                f"somebody uses the tables for long, so they could not be given to"
                f" {OWNER}; run `penstock db roles` again"
            )

    async def _make(self, place: asyncpg.Record, *, makes_asker: bool) -> None:
        """Make the roles that are missing, or say how."""
        roles = [WRITER, READER, QUERY]
        roles += [ASKER] if makes_asker else []
        roles += [OWNER] if self._hands_over else []
        rows = await self._connection.fetch(self._blocks["existing"], roles)
        missing = [role for role in roles if role not in {row["name"] for row in rows}]
        if missing and not place["may_make_roles"]:
            statements = " ".join(
                f"CREATE ROLE {role} NOLOGIN{MAKING.get(role, '')};" for role in missing
            )
            raise PenstockError(
                f"{place['login']} may not make roles; have somebody run, who may"
                f" (CREATEROLE): {statements} Then run `penstock db roles` again"
            )
        for role in missing:
            block = "create_query" if role == QUERY else "create"
            await self._execute(block, role=role)
            self.report.done.append(f"made the role {role}")
        if WRITER in missing and not place["is_superuser"]:
            # So that a server which logs in as the owner can give up its rights.
            await self._add_member(WRITER, place["login"])
        if self._is_ours:
            for role in (WRITER, READER, ASKER):
                await self._execute("let_log_in", role=role)
            await self._execute("limit_reader")
        if self._hands_over:
            await self._execute("grant_to_owner", schema=place["schema"])

    async def _let_reader_query(self) -> None:
        """Let whoever is a reader ask as one who reaches the views only."""
        await self._execute("grant_to_query")
        needed = needed_membership(self._connection)
        if await self._connection.fetchval(self._blocks["may_take_query"], needed):
            return
        try:
            async with self._connection.transaction():
                await self._execute("let_take_query")
        except asyncpg.InsufficientPrivilegeError:
            self.report.advice.append(
                f"readers cannot use `penstock sql` yet; have somebody run, who may"
                f" grant {QUERY}: {self._blocks['let_take_query']}"
            )

    async def _limit_temp_files(self, login: str, database: str) -> None:
        quoted = await self._connection.fetchval(self._blocks["quoted"], login)
        await self._execute("limit_temp_files", login=quoted, database=database)

    async def _tell_excess(self, role: str, block: str) -> None:
        excess = await self._connection.fetch(self._blocks[block])
        if not excess:
            return
        named = [row["excess"] for row in excess[:MOST_NAMED]]
        if more := len(excess) - len(named):
            named.append(f"and {more} more")
        self.report.advice.append(
            f"{role} has more than that, through PUBLIC or as a member of another"
            f" role: {', '.join(named)}"
        )

    async def _add_member(self, role: str, login: str) -> None:
        found = await self._connection.fetch(self._blocks["existing"], [login])
        if not found:
            raise PenstockError(f"there is no role {login} to be a member of {role}")
        quoted = await self._connection.fetchval(self._blocks["quoted"], login)
        await self._execute("grant_membership", role=role, login=quoted)
        self.report.done.append(f"made {login} a member of {role}")

    async def _revoke_from_public(self, place: asyncpg.Record) -> None:
        """Take from everybody what lets the writer make tables."""
        rights = (
            ("revoke_create", place["all_may_create"], place["owns_schema"]),
            ("revoke_temp", place["all_may_use_temp"], place["owns_database"]),
        )
        for block, is_given, is_owner in rights:
            values = {"schema": place["schema"], "database": place["database"]}
            statement = self._blocks[block].format(**values)
            if is_given and is_owner:
                await self._connection.execute(statement)
                self.report.done.append(statement)
            elif is_given:
                self.report.advice.append(
                    f"everybody may make tables, {WRITER} too; have the owner of the"
                    f" database run: {statement}"
                )

    async def _execute(self, block: str, **values: str) -> None:
        statement = self._blocks[block]
        for name, value in values.items():
            statement = statement.replace(f"{{{name}}}", value)
        await self._connection.execute(statement)
