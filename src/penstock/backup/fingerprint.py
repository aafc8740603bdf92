"""What tells that a day's table has not changed, without reading its rows.

Owns the look at PostgreSQL's statistics and visibility map, what it proves, and how
long statistics lag behind. Must not know a store.

Rows are counted after their transaction has ended, so a count that is read before a
snapshot is taken holds none that the snapshot lacks: that is the one to be kept. A
count that is read after, when all sessions have told what they did, lacks none that the
snapshot holds: that is the one to be compared.
"""

import asyncio
from collections.abc import Collection

import asyncpg
import msgspec

from penstock.backup.manifest import Fingerprint
from penstock.backup.sql import load_blocks

# An idle session tells its counts within 10 s (PGSTAT_IDLE_INTERVAL), a busy one after
# its next transaction; the rest is for a busy machine.
LAG_SECONDS = 11.0
POLL_SECONDS = 0.1


async def read_fingerprints(
    connection: asyncpg.Connection, oids: Collection[int]
) -> dict[int, Fingerprint]:
    """Return what there is to see now of those tables that exist.

    Args:
        connection: one that is in no transaction.
    """
    blocks = load_blocks()
    rows = await connection.fetch(blocks["fingerprints"], list(oids))
    schema = await connection.fetchval(blocks["visibility_schema"])
    found = {row["oid"]: Fingerprint(**dict(row)) for row in rows}
    if schema is None:
        return found
    statement = blocks["frozen_pages"].replace("{schema}", schema)
    for oid, fingerprint in list(found.items()):
        try:
            pages = await connection.fetchval(statement, oid)
        except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
            continue  # dropped since; or not for us to see
        found[oid] = msgspec.structs.replace(fingerprint, frozen_pages=pages)
    return found


def is_exact(fingerprint: Fingerprint, block_bytes: int) -> bool:
    """Tell whether any change since would show at once, not only in the statistics.

    Whoever changes a row clears the mark of its page first, and all pages are marked.
    """
    return fingerprint.frozen_pages == fingerprint.size_bytes // block_bytes


async def await_counts(connection: asyncpg.Connection, holder_pid: int) -> None:
    """Wait until each session has told what it did before now, or must have.

    Args:
        connection: one that is in no transaction.
        holder_pid: of the session that holds the snapshot, which has nothing to tell.
    """
    statement = load_blocks()["may_hold_counts"]
    loop = asyncio.get_running_loop()
    give_up = loop.time() + LAG_SECONDS
    waited_for = set(await connection.fetch(statement, LAG_SECONDS, holder_pid))
    while waited_for and loop.time() < give_up:
        await asyncio.sleep(POLL_SECONDS)
        waited_for &= set(await connection.fetch(statement, LAG_SECONDS, holder_pid))
