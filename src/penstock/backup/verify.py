"""A backup that is restored to see that it can be: into a scratch PostgreSQL, in parts.

It owns what is compared, and the scratch PostgreSQL, of which nothing is left. It must
not touch a database of anybody's. A part's rows are there only until they are counted
and summed up, so it takes the room of the largest days, as many as are done at once.
"""

import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from penstock.backup.at_once import each_at_once
from penstock.backup.checksum import prepare
from penstock.backup.loading import Dumps, Place, load
from penstock.backup.manifest import DATABASE, Manifest, Part
from penstock.backup.restore_whole import (
    check_rows,
    restore_section,
    restore_small_tables,
)
from penstock.backup.target import begin, look, refusals_in_words
from penstock.embedded import EmbeddedPostgres
from penstock.errors import BackupError, EmbeddedPostgresError
from penstock.postgres.connection import connect
from penstock.sink.migrations import migrate

# Nobody needs what it holds, so nothing waits for the disk; and no table stays long
# enough to be vacuumed.
OF_A_SCRATCH_SERVER = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_wal_size": "'256MB'",
    "min_wal_size": "'80MB'",
}
# It writes nothing down that is needed; past this it is ended.
STOP_SECONDS = 5.0
AGAIN = "verify again, or name a larger place with --scratch-dir"
# In which the database part is restored, beside that of the days.
OTHER_DATABASE = "penstock_other"


class Checked(NamedTuple):
    """What came of restoring a part; `problem` is empty where it is as it should be."""

    part: Part
    seconds: float
    problem: str = ""


@contextmanager
def scratch_postgres(scratch_dir: Path | None) -> Iterator[str]:
    """Lend the URL of a PostgreSQL that is gone after the block.

    Args:
        scratch_dir: where its directory is made; by default that of the system.

    Raises:
        EmbeddedPostgresError: it cannot be started there.
    """
    try:
        home = Path(tempfile.mkdtemp(prefix="penstock-verify-", dir=scratch_dir))
    except OSError as error:
        raise EmbeddedPostgresError(
            f"{error.filename}: {error.strerror}; name another with --scratch-dir"
        ) from error
    server = EmbeddedPostgres(home / "data", holder="verify")
    try:
        _start(server)
        yield server.url
    finally:
        server.stop(STOP_SECONDS)
        shutil.rmtree(home, ignore_errors=True)


def _start(server: EmbeddedPostgres) -> None:
    try:
        server.start()
    except EmbeddedPostgresError as error:
        # Its advice is for a directory that is to stay.
        words = str(error).replace("--data-dir", "--scratch-dir")
        raise EmbeddedPostgresError(words) from error


async def verify(
    scratch_url: str,
    manifest: Manifest,
    dumps: Dumps,
    *,
    jobs: int,
    on_part: Callable[[Checked], None] = lambda checked: None,
) -> list[Checked]:
    """Restore each part and compare it with what the manifest says of it.

    Raises:
        StoreError: the store cannot be read.
        DatabaseUnavailableError: the scratch PostgreSQL has no room left.
    """
    checks: dict[str, Checked] = {}
    with refusals_in_words("the scratch PostgreSQL", AGAIN):
        await _make_ready(scratch_url)
        numbers = itertools.count(1)

        async def one(part: Part) -> None:
            began = time.monotonic()
            try:
                if part.table == DATABASE:
                    await _check_database(scratch_url, manifest, dumps, part)
                else:
                    table = f"scratch_{next(numbers)}"
                    await _check_day(scratch_url, dumps, part, table)
                problem = ""
            except BackupError as error:
                problem = str(error)
            checked = Checked(part, time.monotonic() - began, problem)
            checks[part.key] = checked
            on_part(checked)

        await each_at_once(manifest.parts, one, jobs)
    return [checks[part.key] for part in manifest.parts]


async def _make_ready(scratch_url: str) -> None:
    await migrate(scratch_url)
    connection = await connect(scratch_url)
    try:
        for name, value in OF_A_SCRATCH_SERVER.items():
            await connection.execute(f"ALTER SYSTEM SET {name} = {value}")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.execute(f"CREATE DATABASE {OTHER_DATABASE} TEMPLATE template0")
    finally:
        await connection.close()


async def _check_day(scratch_url: str, dumps: Dumps, part: Part, table: str) -> None:
    """Raise CorruptError where the part's rows are not those it was made of."""
    connection = await connect(scratch_url)
    try:
        await prepare(connection)
        transaction = connection.transaction()
        await transaction.start()
        # Unlogged, and rolled back: nothing but its own file is written.
        await connection.execute(f"CREATE UNLOGGED TABLE {table} (LIKE logs)")
        # Somebody may have given logs a column more.
        place = Place(table=table, is_frozen=True, is_widened=True)
        await load(connection, dumps, part, place)
        await check_rows(connection, table, dumps, part)
        await transaction.rollback()
    finally:
        await connection.close()


async def _check_database(
    scratch_url: str, manifest: Manifest, dumps: Dumps, part: Part
) -> None:
    """Raise BackupError where the schema or the small tables do not come back."""
    url = urlsplit(scratch_url)._replace(path=f"/{OTHER_DATABASE}").geturl()
    connection = await connect(url)
    try:
        target = await look(connection, url, manifest.id)
        await begin(connection, target, "all, to verify it")
        await target.make_roles(connection, manifest.roles)
        await restore_section(target, dumps, part, "pre-data")
        await target.find_logs(connection)
        await restore_small_tables(target, dumps, part, (), is_whole=True)
        await restore_section(target, dumps, part, "post-data")
        await connection.execute(target.block("forget_progress"))
        for table, rows in manifest.other_rows.items():
            found = await connection.fetchval(f"SELECT count(*) FROM {table}")
            # Of days none is restored with it, so none is sealed there.
            if found != rows and not table.endswith("penstock_day"):
                raise BackupError(
                    f"{dumps.store.url}/{part.key}: {table} came back with {found:,}"
                    f" rows, and the manifest says {rows:,}"
                )
    finally:
        await connection.close()
