"""How many rows a table of logs has, and a sum by which two such tables are compared.

Owns what is counted and summed up, the same when a backup is made, restored or
verified. Must not know where the table is, nor in which snapshot it is looked at.
"""

from datetime import datetime
from typing import NamedTuple

import asyncpg

from penstock.backup.sql import load_blocks


class RowSum(NamedTuple):
    """What is in a table, whatever the order of its rows."""

    rows: int
    checksum: str
    first_ts: datetime | None
    last_ts: datetime | None


async def prepare(connection: asyncpg.Connection) -> None:
    """Make the session one in which a row's text is the same on any server.

    For the rest of the session; within a transaction, until that is rolled back.
    """
    await connection.execute(load_blocks()["same_text"])


async def sum_rows(connection: asyncpg.Connection, table: str) -> RowSum:
    """Return what is in a table, over a connection that `prepare` has made ready.

    Args:
        table: as SQL has it: quoted where need be, with its schema.
    """
    statement = load_blocks()["sum_rows"].replace("{table}", table)
    row = await connection.fetchrow(statement)
    assert row is not None
    return RowSum(*row)
