"""Makes a backup: all parts of one snapshot, and the manifest when they are stored.

Owns the order of it, and that what fails or is stopped leaves nothing in the store.
How a part is made is `parts.py`'s.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg

from penstock import __version__
from penstock.backup.contents import (
    Contents,
    count_others,
    read_contents,
)
from penstock.backup.dump import compression
from penstock.backup.earlier import earlier_parts
from penstock.backup.fingerprint import read_fingerprints
from penstock.backup.lock import StoreLock, store_lock
from penstock.backup.manifest import Manifest, Part, encode, manifest_key, new_id
from penstock.backup.parts import FAILURES, Means, Parts, Watch
from penstock.backup.programs import find_programs
from penstock.backup.snapshot import Snapshot, hold_snapshot, open_connection
from penstock.backup.sql import load_blocks
from penstock.backup.store import Store
from penstock.backup.threads import in_thread
from penstock.errors import BackupError, DatabaseUnavailableError, PenstockError
from penstock.postgres.connection import LOST_ERRORS, without_password
from penstock.postgres.words import unavailable
from penstock.settings import BackupSettings

# Each part that is dumped holds a thread; the rest is for what is asked meanwhile.
SPARE_THREADS = 4
# Who drops tables all the time is not waited for.
MOST_BEGINNINGS = 3


class _ChangedError(BackupError):
    """A table has gone that the part of the database was to hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be backed up, and how.

    Args:
        is_full: refer to no earlier backup.
    """

    database_url: str
    settings: BackupSettings
    is_full: bool = False


async def create(request: Request, store: Store, watch: Watch) -> Manifest:
    """Make a backup and return what it says of itself, which is in the store then.

    Whoever cancels it finds nothing of it there, but has to wait for that.

    Raises:
        DatabaseUnavailableError: out of reach, lost, not migrated, or not for the login
            to read.
        LockedError: somebody else is changing the store.
        StoreError: the store cannot be read or written.
        BackupError: pg_dump is too old, or fails.
    """
    try:
        async with open_connection(request.database_url) as now:
            return await _create(request, store, watch, now)
    except LOST_ERRORS as error:
        where = without_password(request.database_url)
        raise unavailable(error, where) from error


async def _create(
    request: Request, store: Store, watch: Watch, now: asyncpg.Connection
) -> Manifest:
    settings = request.settings
    asyncio.get_running_loop().set_default_executor(
        ThreadPoolExecutor(settings.backup_jobs + SPARE_THREADS)
    )
    major = now.get_server_version().major
    programs = await in_thread(find_programs, major, settings.backup_pg_bin)
    compress = await in_thread(compression, programs, settings.backup_compress)
    async with _locked(store, watch) as lock:
        for _ in range(MOST_BEGINNINGS):
            means = Means(
                backup_id=new_id(await now.fetchval("SELECT now()")),
                store=store,
                programs=programs,
                compress=compress,
                jobs=settings.backup_jobs,
                watch=watch,
            )
            try:
                return await _make(request, means, now, lock)
            except _ChangedError as error:
                watch.say(f"{error}; it begins anew")
                changed = error
        raise BackupError(f"{changed}, {MOST_BEGINNINGS} times; try again later")


@asynccontextmanager
async def _locked(store: Store, watch: Watch) -> AsyncIterator[StoreLock]:
    held = ExitStack()
    try:
        yield await in_thread(
            held.enter_context, store_lock(store, "create", say=watch.say)
        )
    finally:
        await in_thread(held.close)


async def _make(
    request: Request, means: Means, now: asyncpg.Connection, lock: StoreLock
) -> Manifest:
    """Make the parts and the manifest, or leave nothing."""
    stored: set[str] = set()
    written: list[str] = []
    try:
        manifest = await _store_parts(request, means, now, stored)
        await in_thread(lock.check)
        written.append(manifest_key(manifest.id))
        await in_thread(means.store.create, written[0], encode(manifest))
        return manifest
    except BaseException as error:
        await _take_back(means, written, stored)
        if isinstance(error, BaseExceptionGroup):
            raise _what_is_wrong(error) from error
        raise


async def _store_parts(
    request: Request, means: Means, now: asyncpg.Connection, stored: set[str]
) -> Manifest:
    started = time.monotonic()
    days = [row["oid"] for row in await now.fetch(load_blocks()["days"])]
    before = await read_fingerprints(now, days)
    async with hold_snapshot(request.database_url) as snapshot:
        contents = await read_contents(snapshot)
        earlier: dict[str, Part] = {}
        if not request.is_full:
            earlier = await in_thread(
                earlier_parts, means.store, contents, means.watch.say
            )
        parts = Parts(means, snapshot, contents, earlier, before, stored)
        means.watch.begin(
            len(contents.tables) + 1, sum(each.size_bytes for each in contents.tables)
        )
        for foreign in contents.foreign:
            means.watch.say(f"{foreign} is another server's; its rows are not in it")
        made, other_rows = await _all_parts(parts, snapshot, contents, now)
    return Manifest(
        id=means.backup_id,
        created_at=snapshot.created_at,
        duration_seconds=round(time.monotonic() - started, 3),
        penstock_version=__version__,
        server_version=contents.server_version,
        pg_dump_version=means.programs.version,
        schema_version=contents.schema_version,
        database=contents.database,
        system_identifier=contents.system_identifier,
        database_oid=contents.database_oid,
        other_rows=other_rows,
        roles=contents.roles,
        extensions=contents.extensions,
        left_out=(*parts.left_out, *contents.foreign),
        parts=tuple(made),
    )


async def _all_parts(
    parts: Parts, snapshot: Snapshot, contents: Contents, now: asyncpg.Connection
) -> tuple[list[Part], dict[str, int]]:
    """Make all parts, that of the database first.

    While that is dumped pg_dump locks all tables against being dropped. It fails if one
    has been since the snapshot; later on each day can go, and only it is left out.
    """
    async with asyncio.TaskGroup() as group:
        unchanged = group.create_task(parts.find_unchanged(now))
        try:
            database = await parts.of_database()
            other_rows = await count_others(snapshot, contents)
        except FAILURES as error:
            if await parts.is_some_gone(contents.oids):
                raise _ChangedError(
                    "a table was dropped just when the backup had begun"
                ) from error
            raise
        days = [
            group.create_task(parts.of_table(table, unchanged))
            for table in contents.tables
        ]
    made = [day.result() for day in days]
    return [*(part for part in made if part is not None), database], other_rows


async def _take_back(means: Means, *batches: Collection[str]) -> None:
    """Remove what is in the store and belongs to no backup now.

    Args:
        batches: the keys, those first without which the others are of no harm: of a
            manifest nobody may know whether it has been written.
    """
    try:
        for keys in batches:
            if keys:
                await in_thread(means.store.delete, keys)
    except PenstockError as error:
        means.watch.say(
            f"parts of the backup that was not made may be left in {means.store.url}"
            f" ({error}); `penstock backup prune` removes them"
        )


def _what_is_wrong(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return, of several failures at once, the one that the others come from.

    A database that is lost ends a pg_dump too; one part's failure stops the others.
    """
    found = list(_each(group))
    for kind in (LOST_ERRORS, DatabaseUnavailableError, PenstockError):
        for error in found:
            if isinstance(error, kind):
                return error
    return found[0]


def _each(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [each for inner in error.exceptions for each in _each(inner)]
    return [error]
