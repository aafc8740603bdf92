"""`penstock backup restore`: a backup, or some of it, into a database."""

import contextlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from penstock import config
from penstock.amounts import amount
from penstock.backup.catalogue import LATEST
from penstock.backup.latest import read_database_id
from penstock.backup.loading import Dumps, reading_programs
from penstock.backup.manifest import Manifest
from penstock.backup.restore import Restored, Wanted, restore
from penstock.backup.store import Store
from penstock.backup.stores import open_store
from penstock.cli.backup_choice import chosen_backup
from penstock.cli.backup_options import backup_flag, backup_settings, store_options
from penstock.cli.backup_reading import reading_bar
from penstock.cli.backup_restore_to_time import run
from penstock.cli.signals import (
    keep_cleaning_up,
    run_stoppable,
    stop_signals_interrupting,
)
from penstock.embedded import has_database, open_database
from penstock.postgres.connection import without_password
from penstock.settings import BackupSettings
from penstock.sink.roles import make_roles


@click.command("restore", short_help="Restore a backup: all, some days, or one tag.")
@click.argument("backup", metavar="[ID|latest]", required=False)
@click.option(
    "--to-database-url",
    metavar="URL",
    help="The database to restore into: an empty one, or one with Penstock's tables.",
)
@click.option(
    "--data-dir",
    type=click.Path(readable=False),  # as in cli/database.py
    metavar="DIR",
    help="The embedded PostgreSQL to restore into; made where there is none.",
)
@click.option(
    "--day",
    "days",
    metavar="YYYYMMDD",
    multiple=True,
    help="Only this day (UTC); may be given more than once.",
)
@click.option("--tag", metavar="TAG", help="Only the rows of this tag.")
@click.option(
    "--replace",
    "is_replacing",
    is_flag=True,
    help="Delete the rows that are in the way: of the days, or of the tag.",
)
@click.option(
    "--to-time",
    metavar="TIME",
    help="All of a PostgreSQL as it was at a moment, from its base backup and its WAL:"
    " '2026-11-20 14:05:00+09:00', or latest. Into --data-dir or --pgdata.",
)
@click.option(
    "--pgdata",
    type=click.Path(readable=False),
    metavar="DIR",
    help="With --to-time: the data directory of a PostgreSQL that is not embedded.",
)
@backup_flag(
    "backup_wal_server",
    "NAME",
    "With --to-time: whose WAL (PENSTOCK_BACKUP_WAL_SERVER).",
)
@backup_flag("backup_jobs", "N", "Days at once (PENSTOCK_BACKUP_JOBS).")
@backup_flag("backup_pg_bin", "DIR", "Where pg_restore is (PENSTOCK_BACKUP_PG_BIN).")
@store_options
def command(
    backup: str | None,
    to_database_url: str | None,
    data_dir: str | None,
    days: tuple[str, ...],
    tag: str | None,
    is_replacing: bool,
    to_time: str | None,
    pgdata: str | None,
    store: str | None,
    config_file: str | None,
    **flags: str | None,
) -> None:
    """Restore the backup ID, as `penstock backup list` shows it; or `latest`.

    `latest` is the newest of the database that is restored into, where the store has
    one of it, else the newest of all.

    Into an empty database all is restored as it was: schema, roles without passwords,
    rows, indexes. Into a database with Penstock's tables, which may be in use, the days
    of logs are. A day that has other rows is refused, and what would be lost is said.

    Each day is one transaction, and its rows are compared with the backup's before it
    is committed. A restore that was interrupted goes on when it is given again.

    A day older than the server keeps (retention_max_age_days) is dropped again by its
    maintenance.

    With --to-time it is not such a backup that is restored, but the whole cluster, by
    the last base backup before that time (`penstock backup base`) and the WAL since
    (`wal-enable`), into a directory that holds nothing. The time is that of commits,
    not of log lines; everything committed up to it is there, and nothing later. The
    store is only read, and the restored server archives nothing until `wal-enable`. The
    embedded PostgreSQL is started, looked at and stopped: go on with `penstock up
    --data-dir DIR`. For another, --pgdata gets the files, and the command that starts
    it is said. It ends with 1 where the archive ends before that time; all that there
    is has been restored then.

    \b
    Examples:
      penstock backup restore latest --data-dir new
      penstock backup restore latest --day 20261128 --to-database-url URL
      penstock backup restore --to-time '2026-11-20 14:05:00+09:00' --data-dir new
      penstock backup restore --to-time latest --pgdata /var/lib/postgresql/18/new
    """
    if to_time is not None:
        if backup or to_database_url or days or tag or is_replacing:
            raise click.UsageError(
                "--to-time restores a whole PostgreSQL into --data-dir or --pgdata,"
                " and goes with no other option of what or where"
            )
        settings = backup_settings(store, config_file, **flags)
        sys.exit(run(to_time, settings, data_dir=data_dir, pgdata=pgdata))
    if pgdata is not None:
        raise click.UsageError("--pgdata goes with --to-time")
    if backup is None:
        raise click.UsageError("give the ID of a backup, or latest")
    if (to_database_url is None) == (data_dir is None):
        raise click.UsageError("give one of --to-database-url and --data-dir")
    settings = backup_settings(store, config_file, **flags)
    wanted = Wanted(
        days=frozenset(_day(day) for day in days), tag=tag, is_replacing=is_replacing
    )
    began = time.monotonic()
    with stop_signals_interrupting():
        manifest, restored, place = _restore_into(
            to_database_url, data_dir, settings, backup, wanted
        )
    _print(manifest, restored, place, time.monotonic() - began)


def _restore_into(
    to_database_url: str | None,
    data_dir: str | None,
    settings: BackupSettings,
    backup: str,
    wanted: Wanted,
) -> tuple[Manifest, Restored, str]:
    """Restore it; return what it is, what was done, and the database as it is shown."""
    store = open_store(settings.backup_store)
    is_new = data_dir is not None and not has_database(Path(data_dir))
    manifest = None
    if is_new or backup != LATEST:
        manifest = chosen_backup(store, backup)
        wanted.parts(manifest)  # before a database is made
    with _database(to_database_url, data_dir) as url:
        if manifest is None:
            asked = run_stoppable(read_database_id(url))
            manifest = chosen_backup(store, backup, asked)
        restored = _restore(url, settings, store, manifest, wanted)
        if data_dir is not None:
            run_stoppable(make_roles(url, is_ours=True))
            return manifest, restored, data_dir
        return manifest, restored, without_password(url)


def _day(text: str) -> str:
    day = text.replace("-", "")
    if len(day) != 8 or not day.isdigit():
        raise click.BadParameter(
            f"{text} is no day, such as 20261128", param_hint="--day"
        )
    return day


@contextmanager
def _database(database_url: str | None, data_dir: str | None) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        if database_url is not None:
            yield config.with_password(database_url, "--to-database-url")
            return
        assert data_dir is not None
        url = stack.enter_context(open_database(Path(data_dir), create=True))
        try:
            yield url
        finally:
            keep_cleaning_up()


def _restore(
    url: str,
    settings: BackupSettings,
    store: Store,
    manifest: Manifest,
    wanted: Wanted,
) -> Restored:
    programs = reading_programs(manifest, settings.backup_pg_bin)
    parts = wanted.parts(manifest)
    size_bytes = sum(part.size_bytes for part in parts)
    with reading_bar(size_bytes) as (on_bytes, bar):
        dumps = Dumps(store, programs, on_bytes)

        def on_part(table: str, rows: int | None) -> None:
            said = "there already" if rows is None else amount(rows, "row")
            if not bar.disable:
                bar.console.print(f"{table}: {said}")

        return run_stoppable(
            restore(
                url,
                manifest,
                dumps,
                wanted,
                jobs=settings.backup_jobs,
                on_part=on_part,
            )
        )


def _print(manifest: Manifest, restored: Restored, place: str, seconds: float) -> None:
    for note in restored.notes:
        click.echo(f"penstock: {note}", err=True)
    if restored.untouched:
        click.echo(
            f"penstock: their rows are there already: {_some(restored.untouched)}",
            err=True,
        )
    rows = sum(restored.rows.values())
    click.echo(
        f"restored {manifest.id} into {place}: {amount(rows, 'row')} in"
        f" {amount(len(restored.rows), 'table')}, in {seconds:.1f} s"
    )


def _some(tables: list[str]) -> str:
    shown = sorted(tables)[:5]
    more = len(tables) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
