"""Two versions of Penstock side by side on one database.

It owns what a server says of itself to those who migrate, and what they make of it. A
server holds, on each writer's connection, a shared advisory lock whose key is the
schema version it knows and the number of its process. A migration that servers of
before could not work with is refused while one of them is connected; all others go on
beside them. The statements are in `sql/versions.sql`.
"""

from collections.abc import Sequence

import asyncpg

from penstock.errors import DatabaseUnavailableError
from penstock.sink.sql import Migration, load_blocks, load_migrations


async def join(connection: asyncpg.Connection, receiver: int) -> None:
    """Say, for as long as the connection lasts, which schema this server knows.

    Waits for a migration that is under way.

    Raises:
        DatabaseUnavailableError: a newer Penstock has made it one that we would break.
    """
    blocks = load_blocks("versions")
    known = load_migrations()[-1].version
    # What a migration we have waited for has done must be seen.
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(blocks["wait_for_migration"])
        await connection.execute(blocks["join"], known, receiver)
        await refuse_if_broken(connection)


async def refuse_if_broken(connection: asyncpg.Connection) -> None:
    """See that no newer Penstock has made the schema one that this one would break.

    Raises:
        DatabaseUnavailableError: one has.
    """
    known = load_migrations()[-1].version
    breaking = await connection.fetchval(
        load_blocks("versions")["breaking_version"], known
    )
    if breaking is not None:
        raise DatabaseUnavailableError(
            f"the database has schema version {breaking}, which a Penstock that knows"
            f" {known} does not work with; use the newer Penstock that migrated it"
        )


async def newer_version(connection: asyncpg.Connection) -> int | None:
    """Return the schema's version where a newer Penstock has made it, else None."""
    newest: int = await connection.fetchval(load_blocks("versions")["newest_version"])
    return newest if newest > load_migrations()[-1].version else None


async def refuse_to_break(
    connection: asyncpg.Connection, pending: Sequence[Migration]
) -> None:
    """See that no server is connected that the pending migrations would break.

    To be called with the lock of migrations: whoever connects meanwhile waits for it.

    Raises:
        DatabaseUnavailableError: there is one; the message says from where.
    """
    breaking = [each.version for each in pending if each.breaks_older]
    if not breaking:
        return
    older = load_blocks("versions")["older_servers"]
    found = await connection.fetchrow(older, breaking[-1])
    if found is not None and found["servers"]:
        is_one = found["servers"] == 1
        raise DatabaseUnavailableError(
            f"schema version {breaking[-1]} would break {found['servers']} older"
            f" Penstock server{'' if is_one else 's'} connected from"
            f" {found['addresses']}; stop {'it' if is_one else 'them'} first"
        )
