"""`penstock backup wal-enable`: WAL into the store, from now on."""

import asyncio
import sys
from pathlib import Path

import click

from penstock import config
from penstock.backup.physical import Physical
from penstock.backup.store import Store
from penstock.backup.stores import open_store
from penstock.backup.wal_enable import (
    Enabled,
    archive_history,
    disable,
    enable,
    refuse_unless_done,
    try_as_server,
    wanted_settings,
)
from penstock.backup.wal_owner import claim
from penstock.cli.backup_options import backup_flag, backup_settings, store_options
from penstock.cli.database import (
    database_options,
    embedded_data_dir,
    found_database,
)
from penstock.cli.physical_options import barman_of, saying_what_is_opened
from penstock.embedded import let_run
from penstock.embedded.directory import DataDirectory
from penstock.errors import DatabaseUnavailableError
from penstock.postgres.connection import LOST_ERRORS, connect, without_password
from penstock.postgres.words import unavailable


@click.command("wal-enable", short_help="Archive WAL into the store from now on.")
@store_options
@database_options
@backup_flag(
    "backup_wal_server",
    "NAME",
    "Under which name in the store (PENSTOCK_BACKUP_WAL_SERVER); one for each"
    " PostgreSQL.",
)
@backup_flag(
    "backup_barman_bin",
    "DIR",
    "Where barman-cloud-wal-archive is on PostgreSQL's machine"
    " (PENSTOCK_BACKUP_BARMAN_BIN).",
)
@click.option(
    "--print",
    "is_printed",
    is_flag=True,
    help="Only print the settings, for a PostgreSQL that somebody else sets up: a"
    " container, a managed configuration.",
)
@click.option("--disable", "is_off", is_flag=True, help="Archive no more.")
def command(
    store: str | None,
    config_file: str | None,
    database_url: str | None,
    data_dir: str | None,
    is_printed: bool,
    is_off: bool,
    **flags: str | None,
) -> None:
    """Have PostgreSQL archive each segment of its WAL into the store, by barman-cloud.

    With a base backup (`penstock backup base`) a restore can then go to any moment
    since: `penstock backup restore --to-time`. A disk that dies takes a minute of logs
    along at most, for a segment is archived when it is full or a minute old.

    First it checks that the store is S3's and can be written, also by the account that
    PostgreSQL runs as, and that no other PostgreSQL's WAL is there. Then it sets
    archive_mode, archive_command, archive_timeout (and wal_level, if need be) by ALTER
    SYSTEM, and waits until a first segment has arrived. If it does not arrive,
    archiving is off again, for WAL that cannot be archived fills the disk.

    The embedded PostgreSQL needs no restart. Where another does, it is said; run this
    again after it. The server reaches S3 as boto3 does, with what itself sees: an
    instance's role, or the AWS_* variables that `penstock up` was started with.

    \b
    Examples:
      penstock backup wal-enable --store s3://bucket/prefix
      penstock backup wal-enable --store s3://bucket/prefix --database-url URL
      penstock backup wal-enable --store s3://bucket/prefix --print
      penstock backup wal-enable --disable

    Ends with 1 where nothing is archived yet.
    """
    if is_off:
        with found_database(database_url, data_dir, config_file=config_file) as url:
            asyncio.run(_disable(url))
        click.echo(
            "WAL is archived no more; what is in the store stays. No restore reaches a"
            " later time until wal-enable and a new base backup"
        )
        return
    settings = backup_settings(store, config_file, **flags)
    barman = barman_of(settings, is_elsewhere=is_printed)
    if is_printed:
        for name, value in wanted_settings(barman).items():
            click.echo(f"{name} = {_quoted(value)}")
        click.echo(
            "penstock: for postgresql.conf, or each as -c name=value; wal_level and"
            " archive_mode take a restart. Then see `penstock backup wal-status`",
            err=True,
        )
        return
    place = open_store(
        settings.backup_store,
        sse=settings.backup_sse,
        kms_key_id=settings.backup_sse_kms_key_id,
    )
    with found_database(database_url, data_dir, config_file=config_file) as url:
        log = None
        if config.database_url(database_url, config_file) is None:
            directory = embedded_data_dir(data_dir, config_file)
            with saying_what_is_opened():
                let_run(directory, Path(barman.archive_program))
            log = DataDirectory.at(directory).log
        marker = f"barman/{settings.backup_wal_server}.json"
        enabled = asyncio.run(_enable(url, barman, place, marker, log))
    _tell(enabled, barman)
    sys.exit(1 if enabled.needs_restart else 0)


async def _enable(
    url: str, physical: Physical, place: Store, marker: str, log: Path | None
) -> Enabled:
    connection = await connect(url)
    try:
        said = await try_as_server(connection, physical.archive_test())
        if said is not None:
            refuse_unless_done(said, physical)
        await claim(connection, physical, place, marker)
        enabled = await enable(connection, physical, place, log)
        if enabled.first_wal:
            await archive_history(connection, physical)
        enabled.was_tried_as_server = said is not None
        return enabled
    except LOST_ERRORS as error:
        raise _lost(error, url) from error
    finally:
        await connection.close()


async def _disable(url: str) -> None:
    connection = await connect(url)
    try:
        await disable(connection)
    except LOST_ERRORS as error:
        raise _lost(error, url) from error
    finally:
        await connection.close()


def _lost(error: BaseException, url: str) -> DatabaseUnavailableError:
    return unavailable(error, without_password(url))


def _tell(enabled: Enabled, physical: Physical) -> None:
    for line in enabled.changed:
        click.echo(f"set {line}")
    if not enabled.was_tried_as_server:
        click.echo(
            "penstock: this login may not run programs as the server, so whether that"
            " reaches the store shows with the first segment",
            err=True,
        )
    if enabled.needs_restart:
        click.echo(
            f"penstock: nothing is archived yet: {' and '.join(enabled.needs_restart)}"
            " takes a restart of PostgreSQL; restart it, and run this again",
            err=True,
        )
        return
    click.echo(f"archived {enabled.first_wal} to {physical.place}")
    click.echo(
        "penstock: now make a base backup, from which a restore begins:"
        " penstock backup base",
        err=True,
    )


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
