"""`penstock backup wal-status`: whether WAL is archived, and how far that is."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import orjson

from penstock import config
from penstock.backup.wal_segment import archive_segment
from penstock.cli.database import (
    config_file_option,
    database_options,
    embedded_data_dir,
    found_database,
)
from penstock.embedded.directory import DataDirectory
from penstock.postgres.archiver import Archiver, read_archiver
from penstock.postgres.connection import LOST_ERRORS, connect, without_password
from penstock.postgres.words import unavailable

# A segment is archived when it is a minute old, and one that fails is tried again after
# a minute: who is five behind is not catching up by itself.
MAX_LAG_SECONDS = 300


@click.command("wal-status", short_help="Say how far the WAL is archived.")
@click.option(
    "--max-lag-seconds",
    type=click.FloatRange(min=0),
    default=MAX_LAG_SECONDS,
    show_default=True,
    help="End with 1 where a segment waits for longer.",
)
@click.option(
    "--flush",
    is_flag=True,
    help="First have all that is committed archived, and wait for it: before a restore,"
    " a shutdown, a risky change.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="How it is printed.",
)
@database_options
@config_file_option
def command(
    max_lag_seconds: float,
    flush: bool,
    output: str,
    database_url: str | None,
    data_dir: str | None,
    config_file: str | None,
) -> None:
    """Say whether WAL is archived, and how far that is behind.

    Ends with 1 where it is not archived at all, or where a segment has waited for
    longer than --max-lag-seconds: for cron. It goes by the segments that wait (.ready
    files) and by their age, not by how many attempts have failed: an archiver that dies
    counts none.
    """
    with found_database(database_url, data_dir, config_file=config_file) as url:
        log = None
        if config.database_url(database_url, config_file) is None:
            log = DataDirectory.at(embedded_data_dir(data_dir, config_file)).log
        archiver = asyncio.run(_read(url, log, is_flushed=flush))
    problem = problem_of(archiver, max_lag_seconds)
    if output == "json":
        click.echo(orjson.dumps(_facts(archiver, problem)))
    else:
        for name, text in _lines(archiver):
            click.echo(f"{name:22}{text}")
    if problem:
        click.echo(f"penstock: {problem}", err=True)
    sys.exit(1 if problem else 0)


async def _read(url: str, log: Path | None, *, is_flushed: bool) -> Archiver:
    connection = await connect(url)
    try:
        archiver = await read_archiver(connection)
        if is_flushed and archiver.is_on:
            await archive_segment(connection, log)
        return await read_archiver(connection)
    except LOST_ERRORS as error:
        raise unavailable(error, without_password(url)) from error
    finally:
        await connection.close()


def problem_of(archiver: Archiver, max_lag_seconds: float) -> str:
    """Return what is wrong, in one line; nothing: the archive is near enough."""
    if not archiver.is_on:
        return "WAL is not archived: see `penstock backup wal-enable`"
    lag = archiver.lag_seconds
    if lag is None:
        return (
            "nobody knows how far WAL is archived: none was since the statistics were"
            " reset, and this login may not look at what waits (grant it pg_monitor)"
        )
    if lag <= max_lag_seconds:
        return ""
    last = archiver.archived_age_seconds
    since = "none was ever archived" if last is None else f"the last {_age(last)}"
    why = (
        f"attempts fail, the last at {archiver.last_failed_wal}"
        if archiver.is_failing
        else "no attempt is known to have failed"
    )
    return (
        f"WAL is not archived for {lag:,.0f} s ({since}; {why}): the server's log says"
        " why, and its disk fills meanwhile"
    )


def _facts(archiver: Archiver, problem: str) -> dict[str, object]:
    return {
        "is_on": archiver.is_on,
        "archive_command": archiver.command,
        "last_archived_wal": archiver.last_archived_wal,
        "last_archived_at": _time(archiver.last_archived_seconds),
        "last_archived_age_seconds": archiver.archived_age_seconds,
        "ready_files": archiver.ready_files,
        "lag_seconds": archiver.lag_seconds,
        "unarchived_bytes": archiver.unarchived_bytes,
        "archived_count": archiver.archived_count,
        "failed_count": archiver.failed_count,
        "last_failed_wal": archiver.last_failed_wal,
        "last_failed_at": _time(archiver.last_failed_seconds),
        "is_failing": archiver.is_failing,
        "problem": problem or None,
    }


def _lines(archiver: Archiver) -> list[tuple[str, str]]:
    ready, behind = archiver.ready_files, archiver.unarchived_bytes
    lag = archiver.lag_seconds
    return [
        ("archiving", "on" if archiver.is_on else "off"),
        ("archive_command", archiver.command or archiver.library),
        (
            "last archived",
            _event(archiver.last_archived_wal, archiver.archived_age_seconds),
        ),
        ("segments that wait", "may not be seen" if ready is None else f"{ready:,}"),
        ("waiting for", "unknown" if lag is None else f"{lag:,.0f} s"),
        ("not archived", "unknown" if behind is None else f"{behind:,} bytes"),
        (
            "last failure",
            _event(archiver.last_failed_wal, _since(archiver))
            + (f"; {archiver.failed_count:,} in all" if archiver.failed_count else ""),
        ),
    ]


def _since(archiver: Archiver) -> float | None:
    failed = archiver.last_failed_seconds
    return None if failed is None else max(archiver.now_seconds - failed, 0.0)


def _event(wal: str | None, age_seconds: float | None) -> str:
    return "none" if age_seconds is None else f"{wal}, {_age(age_seconds)}"


def _age(seconds: float) -> str:
    return f"{seconds:,.0f} s ago"


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
