"""`penstock backup create`: a backup of all that is stored.

It owns the command line and what is printed. How a backup is made is in
`penstock.backup.create`.
"""

import click

from penstock.amounts import amount
from penstock.backup import metrics_file
from penstock.backup.create import Request, create
from penstock.backup.manifest import Manifest, encode
from penstock.backup.stores import open_store
from penstock.cli.backup_options import (
    backup_flag,
    backup_settings,
    quiet_option,
    store_options,
)
from penstock.cli.backup_progress import MEBIBYTE, progress_bar
from penstock.cli.database import database_options, found_database
from penstock.cli.signals import run_stoppable
from penstock.settings import BackupSettings


@click.command("create", short_help="Make a backup of all that is stored.")
@click.option(
    "--full", is_flag=True, help="Dump each day, also what an earlier backup has."
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["id", "json"]),
    default="id",
    help="What is printed: the backup's id, or its manifest.",
)
@quiet_option
@backup_flag("backup_jobs", "N", "Days that are dumped at once; 2 by default.")
@backup_flag("backup_compress", "HOW", "auto, none, gzip:1, gzip:6, lz4, zstd:3, ...")
@backup_flag("backup_pg_bin", "DIR", "Where pg_dump is; else it is looked for.")
@backup_flag("backup_metrics_file", "FILE", "A file to tell Prometheus in at the end.")
@store_options
@database_options
def command(
    full: bool,
    output: str,
    quiet: bool,
    store: str | None,
    config_file: str | None,
    database_url: str | None,
    data_dir: str | None,
    **flags: str | None,
) -> None:
    """Back up the database: its schema, its tables, and the rows of logs by day.

    All of it is one snapshot, and ingest goes on meanwhile. A day that is closed and
    sealed is dumped once; later backups refer to it as long as its rows are the same.
    PostgreSQL's statistics tell that, up to 11 s late where somebody is writing, which
    is waited for; not where the extension pg_visibility is installed. The manifest is
    written last: until then there is no backup, and what fails or is stopped leaves
    none.

    The login reads everything, so it is the owner of all tables, a superuser, or a
    member of pg_read_all_data: GRANT pg_read_all_data TO backup. Passwords of logins
    are in no backup. pg_dump has to be as new as the server, or newer.

    \b
    Examples:
      penstock backup create --store s3://bucket/penstock
      penstock backup create --store file:///srv/backups --full -o json

    \b
    Exit status, for cron:
      0    the backup is complete
      1    it could not be made; or somebody else changes the store
      2    wrong usage, or wrong settings
      3    the database or the store cannot be had
      130  stopped by a signal; nothing of it is left
    """
    settings = backup_settings(store, config_file, **flags)
    with metrics_file.telling_failure(settings.backup_metrics_file, "create"):
        manifest = _create(
            settings, database_url, data_dir, config_file, is_full=full, quiet=quiet
        )
    metrics_file.created(settings.backup_metrics_file, manifest)
    if not quiet:
        click.echo(_summary(manifest), err=True)
    click.echo(encode(manifest) if output == "json" else manifest.id, nl=output == "id")


def _create(
    settings: BackupSettings,
    database_url: str | None,
    data_dir: str | None,
    config_file: str | None,
    *,
    is_full: bool,
    quiet: bool,
) -> Manifest:
    place = open_store(
        settings.backup_store,
        sse=settings.backup_sse,
        kms_key_id=settings.backup_sse_kms_key_id,
    )
    with (
        found_database(database_url, data_dir, config_file=config_file) as url,
        progress_bar(quiet=quiet) as bar,
    ):
        request = Request(database_url=url, settings=settings, is_full=is_full)
        return run_stoppable(create(request, place, bar))


def _summary(manifest: Manifest) -> str:
    dumped = sum(part.dumped_in == manifest.id for part in manifest.parts)
    referred = len(manifest.parts) - dumped
    return (
        f"{amount(manifest.rows, 'row')} of logs in"
        f" {manifest.size_bytes / MEBIBYTE:,.1f} MiB;"
        f" {amount(dumped, 'part')} dumped ({manifest.own_bytes / MEBIBYTE:,.1f} MiB),"
        f" {referred} as they were; {manifest.duration_seconds:.1f} s"
    )
