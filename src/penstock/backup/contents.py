"""What is in a database that is to be backed up, as one snapshot shows it.

Owns the look at the catalog: which tables hold the rows of logs, what else there is,
and whether the login may read it all. Must not read a row of logs, nor lock it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg

from penstock.backup.manifest import DATABASE
from penstock.backup.snapshot import Snapshot
from penstock.backup.sql import load_blocks
from penstock.errors import DatabaseUnavailableError
from penstock.postgres.connection import without_password

DAY_SECONDS = 86_400
# A name of which nobody asks what it is; any other has its schema, and quotes.
_PLAIN = re.compile(rf"(?!{DATABASE}$)[a-z_][a-z0-9_]*")
FOREIGN = "f"  # pg_class.relkind
# Of what cannot be read so many are named.
MOST_NAMED = 3

_DAY = re.compile(r"logs_\d{8}")


class LogsTable(NamedTuple):
    """A table that holds rows of logs."""

    oid: int
    table: str  # as a manifest has it
    in_sql: str
    day: str | None
    is_sealed: bool
    size_bytes: int  # without indexes


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a manifest says of a database, and what is to be dumped."""

    database: str
    database_oid: int
    system_identifier: str
    server_version: str
    schema_version: int
    logs_in_sql: str
    tables: tuple[LogsTable, ...]
    foreign: tuple[str, ...]
    # Beside logs: by oid, as SQL has them.
    others: dict[int, str]
    roles: tuple[str, ...]
    extensions: tuple[str, ...]
    # Whether PostgreSQL counts changes of rows (track_counts).
    counts_changes: bool
    block_bytes: int

    @property
    def oids(self) -> list[int]:
        """All tables that are to be dumped."""
        return [*(table.oid for table in self.tables), *self.others]


async def read_contents(snapshot: Snapshot) -> Contents:
    """Return what is there.

    Raises:
        DatabaseUnavailableError: the schema is not there, or the login may not read
            all that a backup holds.
    """
    blocks = load_blocks()
    where = without_password(snapshot.database_url)
    async with snapshot.session() as connection:
        place = await connection.fetchrow(blocks["place"])
        assert place is not None
        if place["logs"] is None or place["schema_table"] is None:
            raise DatabaseUnavailableError(
                f"{where} has no schema of Penstock's, so there is nothing to back up;"
                " name another database, or run `penstock db migrate`"
            )
        await _require_rights(connection, place["login"], where)
        tables, foreign = await _logs_tables(connection, place["day_table"] is not None)
        others = await connection.fetch(blocks["other_tables"])
        identifier = ""
        if place["may_identify"]:
            identifier = await connection.fetchval(blocks["system_identifier"])
        return Contents(
            database=place["database"],
            database_oid=place["database_oid"],
            system_identifier=identifier,
            server_version=connection.get_settings().server_version.split()[0],
            schema_version=await connection.fetchval(blocks["schema_version"]),
            logs_in_sql=place["logs_in_sql"],
            tables=tables,
            foreign=foreign,
            others={row["oid"]: row["in_sql"] for row in others},
            roles=await _names(connection, "roles"),
            extensions=await _names(connection, "extensions"),
            counts_changes=place["counts_changes"],
            block_bytes=place["block_bytes"],
        )


async def count_others(snapshot: Snapshot, contents: Contents) -> dict[str, int]:
    """Return how many rows each table beside logs has."""
    block = load_blocks()["count_rows"]
    async with snapshot.session() as connection:
        return {
            name: await connection.fetchval(block.replace("{table}", name))
            for name in contents.others.values()
        }


async def are_some_gone(connection: asyncpg.Connection, oids: Sequence[int]) -> bool:
    """Whether a table has been dropped that was there.

    Args:
        connection: one that is in no transaction.
    """
    gone: bool = await connection.fetchval(load_blocks()["gone"], oids)
    return gone


async def require_unlocked(connection: asyncpg.Connection, oids: Sequence[int]) -> None:
    """Ask whether a table can be read.

    Args:
        connection: one that is in no transaction.

    Raises:
        DatabaseUnavailableError: somebody keeps readers out of one.
    """
    locked = await connection.fetchrow(load_blocks()["locked"], oids)
    if locked is not None:
        raise DatabaseUnavailableError(
            f"{locked['name']} is locked by somebody who keeps readers out (pid"
            f" {locked['pid']}; ALTER TABLE, VACUUM FULL or LOCK); make the backup"
            " when that is done"
        )


async def is_replaced(connection: asyncpg.Connection, table: LogsTable) -> bool:
    """Whether another table has its name: what was read by it may be that one's.

    Args:
        connection: one that is in no transaction.
    """
    statement = load_blocks()["replaced"]
    replaced: bool = await connection.fetchval(statement, table.in_sql, table.oid)
    return replaced


async def _logs_tables(
    connection: asyncpg.Connection, has_sealed: bool
) -> tuple[tuple[LogsTable, ...], tuple[str, ...]]:
    """Return the tables with rows of logs, and those of other servers."""
    blocks = load_blocks()
    sealed = set()
    if has_sealed:  # before the third migration none was
        sealed = {row["partition"] for row in await connection.fetch(blocks["sealed"])}
    tables, foreign = [], []
    for row in await connection.fetch(blocks["days"]):
        is_plain = row["is_beside_logs"] and _PLAIN.fullmatch(row["name"])
        name = row["name"] if is_plain else row["in_sql"]
        if row["kind"] == FOREIGN:
            foreign.append(name)
            continue
        tables.append(
            LogsTable(
                row["oid"],
                name,
                row["in_sql"],
                day_of(name, row["start_seconds"], row["end_seconds"]),
                row["oid"] in sealed,
                row["size_bytes"],
            )
        )
    return tuple(tables), tuple(foreign)


def day_of(
    name: str, start_seconds: float | None, end_seconds: float | None
) -> str | None:
    """Return the day that a table is the partition of: by its bounds and its name."""
    if not _DAY.fullmatch(name):
        return None
    if start_seconds is None or end_seconds != start_seconds + DAY_SECONDS:
        return None
    day = f"{datetime.fromtimestamp(start_seconds, UTC):%Y%m%d}"
    return day if name == f"logs_{day}" else None


async def _require_rights(
    connection: asyncpg.Connection, login: str, where: str
) -> None:
    hidden = [row["name"] for row in await connection.fetch(load_blocks()["hidden"])]
    if not hidden:
        return
    named = ", ".join(hidden[:MOST_NAMED])
    if len(hidden) > MOST_NAMED:
        named += f" and {len(hidden) - MOST_NAMED} more"
    quoted = await connection.fetchval("SELECT quote_ident($1)", login)
    raise DatabaseUnavailableError(
        f"{login} may not read {named} in {where}, and a backup holds all; make it as"
        f" the owner, or have a superuser run: GRANT pg_read_all_data TO {quoted}"
        " (`penstock db roles --reader` lets one read logs, which is not enough)"
    )


async def _names(connection: asyncpg.Connection, block: str) -> tuple[str, ...]:
    rows = await connection.fetch(load_blocks()[block])
    return tuple(row["name"] for row in rows)
