"""`penstock backup base`: base backups, from which a restore to any moment begins."""

import asyncio
import time
from datetime import UTC, datetime

import click
import orjson
from rich.console import Console

from penstock.backup import metrics_file
from penstock.backup.base import prune, require_ready, take, with_sizes
from penstock.backup.lock import store_lock
from penstock.backup.physical import BaseBackup, Physical, Retention
from penstock.backup.store import Store
from penstock.backup.stores import open_store
from penstock.cli.backup_options import (
    backup_flag,
    backup_settings,
    quiet_option,
    store_options,
)
from penstock.cli.database import database_options, found_database
from penstock.cli.output import print_table
from penstock.cli.physical_options import barman_of
from penstock.cli.signals import stop_signals_interrupting
from penstock.errors import SettingsError
from penstock.postgres.connection import LOST_ERRORS, connect, without_password
from penstock.postgres.words import unavailable

COLUMNS = ("id", "ended", "size", "PostgreSQL", "timeline", "WAL from", "problem")


@click.command("base", short_help="Make a base backup, for restores to any moment.")
@click.option("--list", "is_listed", is_flag=True, help="List them; make none.")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Then keep the last N, and no WAL that none of them needs.",
)
@click.option(
    "--keep-days",
    type=click.IntRange(min=1),
    metavar="DAYS",
    help="Then keep what any moment of the last DAYS is restored from.",
)
@click.option(
    "--only-remove",
    "is_only_removed",
    is_flag=True,
    help="Make none; with --keep or --keep-days, from any machine.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(("table", "json")),
    default="table",
    show_default=True,
    help="How --list prints.",
)
@quiet_option
@store_options
@database_options
@backup_flag(
    "backup_wal_server",
    "NAME",
    "Under which name in the store (PENSTOCK_BACKUP_WAL_SERVER).",
)
@backup_flag(
    "backup_compress",
    "HOW",
    "auto is lz4 where barman's Python has it, else gzip:1, a third smaller for a"
    " minute of a core each GB; or none (PENSTOCK_BACKUP_COMPRESS).",
)
@backup_flag("backup_metrics_file", "FILE", "A file to tell Prometheus in at the end.")
@backup_flag("backup_jobs", "N", "Files that are sent at once (PENSTOCK_BACKUP_JOBS).")
def command(
    is_listed: bool,
    keep: int | None,
    keep_days: int | None,
    is_only_removed: bool,
    output: str,
    quiet: bool,
    store: str | None,
    config_file: str | None,
    database_url: str | None,
    data_dir: str | None,
    **flags: str | None,
) -> None:
    """Copy all of PostgreSQL's files into the store, while it works.

    With the WAL that is archived since (`penstock backup wal-enable`, which comes
    first), it can be restored to any moment after its end: `penstock backup restore
    --to-time`. A restore replays all WAL since its base backup, so make one each day or
    each week.

    It reads the files themselves: it is to be run on PostgreSQL's machine, as root or
    as PostgreSQL's user.

    --keep and --keep-days remove older base backups once the new one is there, with the
    WAL that no other needs; the last is never removed. The id goes to stdout. Where
    PostgreSQL's machine may not remove, somebody else does, by --only-remove.

    \b
    Examples:
      penstock backup base --store s3://bucket/prefix --keep-days 14
      penstock backup base --store s3://bucket/prefix --keep-days 14 --only-remove
      penstock backup base --store s3://bucket/prefix --list
    """
    if keep is not None and keep_days is not None:
        raise SettingsError("--keep and --keep-days both say what stays: give one")
    settings = backup_settings(store, config_file, **flags)
    barman = barman_of(settings)
    place = open_store(
        settings.backup_store,
        sse=settings.backup_sse,
        kms_key_id=settings.backup_sse_kms_key_id,
    )
    if is_listed:
        print_bases(with_sizes(barman.bases(), barman, place), output)
        return
    policy = None
    if keep is not None or keep_days is not None:
        policy = Retention(keep, keep_days)
    if is_only_removed:
        if policy is None:
            raise SettingsError("--only-remove needs --keep or --keep-days: what stays")
        with stop_signals_interrupting(), store_lock(place, "base"):
            _say_removed(prune(barman, policy), quiet)
        return
    with (
        metrics_file.telling_failure(settings.backup_metrics_file, "base"),
        stop_signals_interrupting(),
        found_database(database_url, data_dir, config_file=config_file) as url,
    ):
        began = time.monotonic()
        asyncio.run(_require_ready(url, barman))
        console = Console(stderr=True, quiet=quiet)
        made, removed = _take(barman, place, url, settings.backup_jobs, policy, console)
    seconds = time.monotonic() - began
    metrics_file.base_created(
        settings.backup_metrics_file, made.began_at, made.size_bytes or 0, seconds
    )
    if not quiet:
        click.echo(f"{_size(made)} in {barman.place}; {seconds:.1f} s", err=True)
    _say_removed(removed, quiet)
    click.echo(made.id)


def _say_removed(removed: list[BaseBackup], quiet: bool) -> None:
    if not quiet:
        for each in removed:
            click.echo(f"removed {each.id}, and WAL that no other needs", err=True)


def print_bases(bases: list[BaseBackup], output: str) -> None:
    """Print base backups, the newest first."""
    newest_first = bases[::-1]
    if output == "json":
        for each in newest_first:
            click.echo(orjson.dumps(each._asdict() | {"is_complete": each.is_complete}))
        return
    print_table(
        COLUMNS,
        [
            (
                each.id,
                "" if each.ended_at is None else f"{each.ended_at:%Y-%m-%d %H:%M:%SZ}",
                _size(each),
                each.server_major,
                each.timeline,
                each.first_wal,
                each.problem,
            )
            for each in newest_first
        ],
        has_ids=True,
    )


def _take(
    physical: Physical,
    place: Store,
    url: str,
    jobs: int,
    policy: Retention | None,
    console: Console,
) -> tuple[BaseBackup, list[BaseBackup]]:
    with (
        store_lock(place, "base"),
        # Of how much there is nobody knows before the end.
        console.status(f"base backup to {physical.place}, since {_now()}"),
    ):
        made, removed = take(physical, place, url, jobs=jobs, policy=policy)
        return with_sizes([made], physical, place)[0], removed


async def _require_ready(url: str, physical: Physical) -> None:
    connection = await connect(url)
    try:
        await require_ready(connection, physical)
    except LOST_ERRORS as error:
        raise unavailable(error, without_password(url)) from error
    finally:
        await connection.close()


def _size(base: BaseBackup) -> str:
    return "" if base.size_bytes is None else f"{base.size_bytes / 1e6:,.1f} MB"


def _now() -> str:
    return f"{datetime.now(UTC):%H:%M:%SZ}"
