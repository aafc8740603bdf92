"""Where a backup is restored to: what is there already, and how far a restore came.

It owns the table penstock_restore, by which a restore that was interrupted goes on, and
the words for what PostgreSQL refuses. It must not read a dump.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import asyncpg

from penstock.backup.archive import quoted
from penstock.backup.sql import load_blocks
from penstock.errors import BackupError, DatabaseUnavailableError
from penstock.postgres.connection import LOST_ERRORS, connect, without_password
from penstock.postgres.words import describe, unavailable
from penstock.sink.roles import QUERY

# The step by which a restore into an empty database begins; its name says what was
# asked for, so that another one does not go on with it.
BEGUN = "begun: "
GO_ON = "the same command goes on where this one has ended"
# A setting that this server does not know is one of a newer pg_restore's.
_SET = re.compile(r"^SET (\w+) = .*;$", re.MULTILINE)


@dataclass(slots=True)
class Target:
    """A database, looked at once; `steps` are those done by runs before, by name.

    Attributes:
        schema: of our tables, or where they are to be.
        own_schema: of penstock_restore.
        has_logs: our tables are there, and it was not this backup's restore that has
            made them.
    """

    url: str
    backup_id: str
    schema: str
    own_schema: str
    has_logs: bool
    is_superuser: bool
    may_make_roles: bool
    login: str
    settings: frozenset[str]
    steps: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The database as it may be shown."""
        return without_password(self.url)

    def block(self, name: str, **values: str) -> str:
        """Return a statement of restore.sql for this database."""
        statement = load_blocks("restore")[name]
        values["schema"] = quoted(self.schema)
        values["own"] = quoted(self.own_schema)
        for key, value in values.items():
            statement = statement.replace(f"{{{key}}}", value)
        return statement

    def table(self, name: str) -> str:
        """Return a table as SQL has it: of our schema, unless it names another."""
        is_plain = "." not in name and not name.startswith('"')
        return f"{quoted(self.schema)}.{name}" if is_plain else name

    def known(self, statements: str) -> str:
        """Return the statements without settings that this server has not."""
        return _SET.sub(
            lambda found: found[0] if found[1] in self.settings else "", statements
        )

    async def note(
        self, connection: asyncpg.Connection, step: str, done: int = 0
    ) -> None:
        """Write down, in the transaction that does it, that a step is done."""
        await connection.execute(self.block("note"), self.backup_id, step, done)

    async def find_logs(self, connection: asyncpg.Connection) -> None:
        """Look up the schema of our tables, which a restore has just made.

        Raises:
            BackupError: they are not there.
        """
        home = await connection.fetchval(self.block("home_of_logs"))
        if home is None:
            raise BackupError(f"the backup {self.backup_id} has no table logs")
        self.schema = home

    async def make_roles(
        self, connection: asyncpg.Connection, roles: Sequence[str]
    ) -> None:
        """Make those roles that are missing, so that what they may can be granted.

        Raises:
            BackupError: the login may not.
        """
        rows = await connection.fetch(self.block("missing_roles"), list(roles))
        statements = [
            f"CREATE ROLE {quoted(row['name'])} NOLOGIN"
            + (" NOINHERIT" if row["name"] == QUERY else "")
            for row in rows
        ]
        if statements and not self.may_make_roles:
            raise BackupError(
                f"the backup needs roles that {self.login} may not make; have somebody"
                f" run, who may (CREATEROLE): {'; '.join(statements)}"
            )
        for statement in statements:
            await connection.execute(statement)


async def look(connection: asyncpg.Connection, url: str, backup_id: str) -> Target:
    """Return what is there; the session then keeps other restores out.

    Raises:
        BackupError: a restore is under way there, or somebody else's tables are there.
    """
    blocks = load_blocks("restore")
    if not await connection.fetchval(blocks["one_at_a_time"]):
        raise BackupError(
            f"another restore into {without_password(url)} is under way; wait for it"
        )
    place = await connection.fetchrow(blocks["place"])
    assert place is not None
    schema = place["home"] or place["schema"]
    if schema is None:
        raise BackupError(
            f"there is no schema in the search_path of {without_password(url)}:"
            " CREATE SCHEMA public"
        )
    target = Target(
        url=url,
        backup_id=backup_id,
        schema=schema,
        own_schema=schema,
        has_logs=place["home"] is not None,
        is_superuser=place["is_superuser"],
        may_make_roles=place["may_make_roles"],
        login=place["login"],
        settings=frozenset(
            row["name"] for row in await connection.fetch(blocks["known_settings"])
        ),
    )
    await _read_progress(connection, target)
    if not target.has_logs and not target.steps and place["tables"]:
        raise BackupError(
            f"{target.name} holds tables that are not Penstock's"
            f" ({', '.join(place['tables'][:3])}"
            f"{' ...' if len(place['tables']) > 3 else ''}):"
            " name a database that is empty, or one with Penstock's tables"
        )
    return target


async def _read_progress(connection: asyncpg.Connection, target: Target) -> None:
    if not await connection.fetchval(target.block("has_progress")):
        return
    for row in await connection.fetch(target.block("progress")):
        if row["backup"] == target.backup_id:
            target.steps[row["step"]] = row["done"]
            target.has_logs &= not row["step"].startswith(BEGUN)
        elif row["step"].startswith(BEGUN):
            raise BackupError(
                f"a restore of backup {row['backup']} into {target.name} has begun and"
                " not ended: give its command again, or make the database anew"
            )


@contextmanager
def refusals_in_words(target: Target | str, then: str = GO_ON) -> Iterator[None]:
    """Turn what PostgreSQL raises into one line of ours.

    Args:
        then: what to do when PostgreSQL is there again, or has room.

    Raises:
        DatabaseUnavailableError: it is out of reach, or has no room.
        BackupError: it refuses a statement.
    """
    where = target if isinstance(target, str) else target.name
    try:
        yield
    except asyncpg.InsufficientResourcesError as error:
        raise DatabaseUnavailableError(
            f"{where} has no room left: {describe(error)}; make room, then {then}"
        ) from error
    except asyncpg.InterfaceError as error:
        # It says which call of ours has met a connection that is gone.
        raise DatabaseUnavailableError(
            f"the connection to {where} is lost: its server has ended, of a full disk"
            f" perhaps, as its log says; when it is back, {then}"
        ) from error
    except (
        asyncpg.PostgresConnectionError,
        asyncpg.OperatorInterventionError,
        OSError,
    ) as error:
        lost = unavailable(error, where)
        raise DatabaseUnavailableError(f"{lost}; {then}") from error
    except LOST_ERRORS as error:
        raise BackupError(f"{where} refuses it: {describe(error)}") from error


async def begin(connection: asyncpg.Connection, target: Target, scope: str) -> None:
    """Make what remembers how far a restore into an empty database is.

    Args:
        scope: what is asked for.

    Raises:
        BackupError: something else was asked for before.
    """
    begun = next((step for step in target.steps if step.startswith(BEGUN)), None)
    if begun not in (None, BEGUN + scope):
        raise BackupError(
            f"a restore of {begun.removeprefix(BEGUN)} into {target.name} has begun and"
            " not ended: give its command again, or make the database anew"
        )
    async with connection.transaction():
        await connection.execute(target.block("make_progress"))
        if begun is None:
            await target.note(connection, BEGUN + scope)


async def forget_nothing(connection: asyncpg.Connection, target: Target) -> None:
    """Take away what remembers how far a restore is, where it has done nothing."""
    with contextlib.suppress(*LOST_ERRORS):
        rows = await connection.fetch(target.block("progress"))
        if all(row["step"].startswith(BEGUN) for row in rows):
            await connection.execute(target.block("forget_progress"))


async def open_alone(target: Target, step: str) -> asyncpg.Connection:
    """Open a session for a step, which nobody else does meanwhile.

    Of a run that was killed, a transaction may be at its end when this one begins.

    Raises:
        DatabaseUnavailableError: the database is out of reach.
    """
    connection = await connect(target.url)
    try:
        name = f"{target.backup_id} {step}"
        await connection.execute(target.block("wait_for_the_same"), name)
        return connection
    except BaseException:
        await connection.close()
        raise


async def open_step(target: Target, step: str) -> tuple[asyncpg.Connection, int | None]:
    """Open a session as `open_alone`, with what is written down of the step.

    Returns None with it where the step is not done.

    Raises:
        DatabaseUnavailableError: the database is out of reach.
    """
    connection = await open_alone(target, step)
    try:
        return connection, await connection.fetchval(
            target.block("noted"), target.backup_id, step
        )
    except BaseException:
        await connection.close()
        raise
