"""Looks after the database: once, or every few minutes beside the server.

It owns the lock by which one of many processes does it, and the task that does it
again and again. What is done is in `maintenance_round`.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable

import asyncpg

from penstock.errors import DatabaseUnavailableError, NotOwnerError
from penstock.postgres.connection import connect, without_password
from penstock.postgres.words import unavailable
from penstock.sink.maintenance_report import Deed, MaintenanceReport
from penstock.sink.maintenance_round import MaintenanceRound, Upkeep
from penstock.sink.sql import load_blocks
from penstock.telemetry.upkeep import MaintenanceMetrics

logger = logging.getLogger(__name__)

# A server that starts has enough to do; what a batch needs it makes by itself.
FIRST_AFTER_SECONDS = 10.0
# After each day that the server has sealed, which takes a while, it comes back to what
# is quick and cannot wait as long.
SEALED_AT_A_TIME = 1
# A goodbye is answered at once or not at all.
CLOSE_TIMEOUT_SECONDS = 1.0
# What asyncpg raises when a connection is lost in the middle, or the server refuses.
ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


async def maintain(
    database_url: str,
    settings: Upkeep,
    *,
    now_seconds: float,
    is_dry_run: bool = False,
    most_sealed_days: int | None = None,
) -> MaintenanceReport:
    """Do all that is to be done now, or say what that would be; return what it was.

    Does nothing where another process maintains the database at this moment.

    Raises:
        NotOwnerError: the login may store rows, but not drop any.
        DatabaseUnavailableError: out of reach, lost meanwhile, or without our schema.
            What was done until then is done.
    """
    report = MaintenanceReport(is_dry_run=is_dry_run)
    blocks = load_blocks("maintenance")
    where = without_password(database_url)
    connection = await connect(database_url)
    try:
        if not await connection.fetchval(blocks["has_schema"]):
            raise DatabaseUnavailableError(
                f"the schema in {where} is not up to date; run `penstock db migrate`"
            )
        await _require_owner(connection, where)
        if not is_dry_run and not await connection.fetchval(blocks["try_lock"]):
            report.was_skipped = True
            return report
        one = MaintenanceRound(
            connection,
            settings,
            report,
            now_seconds=now_seconds,
            most_sealed_days=most_sealed_days,
        )
        await one.run()
        return report
    except ERRORS as error:
        raise unavailable(error, where) from error
    finally:
        await _close(connection)


async def maintain_periodically(
    database_url: str,
    settings: Upkeep,
    metrics: MaintenanceMetrics,
    *,
    clock: Callable[[], float] = time.time,
) -> None:
    """Maintain the database every few minutes until cancelled.

    Errors are logged and counted; the next round tries again. That the login is not the
    owner of the tables is no error, and told once: somebody else maintains them.
    """
    interval_seconds = settings.maintenance.maintenance_interval_seconds
    if not interval_seconds:
        return
    await asyncio.sleep(min(FIRST_AFTER_SECONDS, interval_seconds))
    is_told = False
    while True:
        is_unfinished = False
        try:
            report = await maintain(
                database_url,
                settings,
                now_seconds=clock(),
                most_sealed_days=SEALED_AT_A_TIME,
            )
            _tell(report, metrics, clock())
            is_unfinished = report.is_unfinished
        except NotOwnerError as error:
            if not is_told:
                logger.warning(
                    "this server does not maintain the database",
                    extra={"reason": str(error)},
                )
            is_told = True
        except DatabaseUnavailableError as error:
            metrics.failed()
            logger.warning(
                "the database cannot be maintained now", extra={"error": str(error)}
            )
        except Exception:
            metrics.failed()
            logger.exception("maintenance has failed; it will be tried again")
        if not is_unfinished:
            # Not in step with the other processes.
            await asyncio.sleep(interval_seconds * random.uniform(0.9, 1.1))


async def _require_owner(connection: asyncpg.Connection, where: str) -> None:
    found = await connection.fetchrow(load_blocks("maintenance")["owner"])
    if found is not None and not found["is_ours"]:
        raise NotOwnerError(
            f"the tables in {where} are owned by {found['owner']}; run `penstock db"
            f" maintain` as {found['owner']}, or give the server a"
            " maintenance_database_url"
        )


def _tell(
    report: MaintenanceReport, metrics: MaintenanceMetrics, now_seconds: float
) -> None:
    archiver = report.archiver
    if archiver is not None and archiver.is_on:
        metrics.saw_archive(
            archiver.last_archived_seconds, archiver.ready_files, archiver.lag_seconds
        )
    else:  # what was so a while ago is nothing to go by
        metrics.saw_archive(None, None, None)
    if report.was_skipped:
        return
    for entry in report.entries:
        logger.info("maintenance", extra={"done": entry.in_words(done=True)})
        if entry.deed is Deed.MADE:
            metrics.made()
        elif entry.deed is Deed.DROPPED:
            metrics.dropped()
        elif entry.deed is Deed.DELETED:
            metrics.deleted(entry.rows)
        elif entry.deed is Deed.SEALED:
            metrics.sealed()
    metrics.counted_default(report.default_rows)
    for failure in report.failures:
        metrics.failed()
        logger.warning("maintenance is not complete", extra={"reason": failure})
    if not report.failures:
        metrics.succeeded(now_seconds)


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=CLOSE_TIMEOUT_SECONDS)
    except (*ERRORS, TimeoutError):
        connection.terminate()
