"""Brings a database to the schema this version of Penstock knows.

It owns the order of migrations and the record of those applied. Forward only,
all pending ones in one transaction under one lock. The statements are in
`sql/migrations/`.
"""

import logging
from datetime import datetime
from typing import NamedTuple

import asyncpg

from penstock.errors import DatabaseUnavailableError, NotOwnerError
from penstock.postgres.connection import LOST_ERRORS, connect, without_password
from penstock.postgres.words import describe, unavailable
from penstock.sink.roles import grant_again
from penstock.sink.sql import Migration, load_blocks, load_migrations
from penstock.sink.versions import refuse_if_broken, refuse_to_break

logger = logging.getLogger(__name__)


class MigrationStatus(NamedTuple):
    """A migration and when it was applied, None if it is pending."""

    version: int
    name: str
    applied_at: datetime | None


async def migrate(database_url: str) -> list[Migration]:
    """Apply what is pending; return it. Where nothing is, any login may call this.

    Raises:
        NotOwnerError: something is pending, and the login may not apply it.
        DatabaseUnavailableError: out of reach, newer than this Penstock can work with,
            half restored, used by an older one that would break, or it refuses a
            statement (rights, mostly).
            Nothing is applied then.
    """
    blocks = load_blocks("migrations")
    connection = await connect(database_url)
    try:
        if await connection.fetchval(blocks["is_half_restored"]):
            raise DatabaseUnavailableError(
                "a restore of a backup into this database has begun and not ended: give"
                " its command again, or make the database anew"
            )
        # Even to say IF NOT EXISTS takes the right to create.
        if await connection.fetchval(blocks["has_schema_table"]) and not (
            await _pending(connection)
        ):
            return []
        async with connection.transaction():
            await connection.execute(blocks["lock"])
            await connection.execute(blocks["create_schema_table"])
            pending = await _pending(connection)
            await refuse_to_break(connection, pending)
            for migration in pending:
                await _apply(connection, migration)
            if pending:
                await grant_again(connection)
            return pending
    except asyncpg.InsufficientPrivilegeError as error:
        raise NotOwnerError(
            f"the schema is not up to date, and this login may not change it:"
            f" {describe(error)}; run `penstock db migrate` as the owner of its tables"
        ) from error
    except LOST_ERRORS as error:
        raise DatabaseUnavailableError(
            f"the schema cannot be brought up to date: {describe(error)}"
        ) from error
    finally:
        await connection.close()


async def migration_status(database_url: str) -> list[MigrationStatus]:
    """Return every migration known here or there, oldest first; changes nothing.

    Raises:
        DatabaseUnavailableError: out of reach, or it does not let us look.
    """
    blocks = load_blocks("migrations")
    connection = await connect(database_url)
    try:
        applied: dict[int, MigrationStatus] = {}
        if await connection.fetchval(blocks["has_schema_table"]):
            for row in await connection.fetch(blocks["applied"]):
                status = MigrationStatus(*row)
                applied[status.version] = status
    except LOST_ERRORS as error:
        raise unavailable(error, without_password(database_url)) from error
    finally:
        await connection.close()
    known = {
        each.version: MigrationStatus(each.version, each.name, None)
        for each in load_migrations()
    }
    return [status for _, status in sorted((known | applied).items())]


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    record = load_blocks("migrations")["record"]
    await connection.execute(migration.statements)
    await connection.execute(record, migration.version, migration.name)
    if migration.breaks_older:
        record_breaking = load_blocks("versions")["record_breaking"]
        await connection.execute(record_breaking, migration.version)


async def _pending(connection: asyncpg.Connection) -> list[Migration]:
    """Return what is to be applied; nothing where a newer Penstock has been here.

    So an older one starts again on what it can work with: an upgrade may be undone, and
    a server that ends beside newer ones comes back.
    """
    rows = await connection.fetch(load_blocks("migrations")["applied"])
    applied = {row["version"] for row in rows}
    known = load_migrations()
    pending = [each for each in known if each.version not in applied]
    newest = max(applied, default=0)
    if newest <= known[-1].version:
        return pending
    if pending:  # not its successor but another Penstock
        raise DatabaseUnavailableError(
            f"the database has schema version {newest}, and not {pending[0].version},"
            " which this Penstock knows; use the Penstock that migrated it"
        )
    await refuse_if_broken(connection)
    logger.warning(
        "the database has schema version %d, this Penstock knows %d and works with it;"
        " go on to the newer Penstock when you can",
        newest,
        known[-1].version,
    )
    return []
