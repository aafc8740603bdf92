"""`penstock backup verify`: a backup into a scratch PostgreSQL, and compared."""

from datetime import UTC, datetime
from pathlib import Path

import click

from penstock.amounts import amount
from penstock.backup import metrics_file
from penstock.backup.catalogue import LATEST, Verified, note_verified
from penstock.backup.loading import Dumps, reading_programs
from penstock.backup.manifest import DATABASE, Manifest
from penstock.backup.store import Store
from penstock.backup.stores import open_store
from penstock.backup.verify import Checked, scratch_postgres, verify
from penstock.cli.backup_choice import chosen_backup
from penstock.cli.backup_options import (
    backup_flag,
    backup_settings,
    quiet_option,
    store_options,
)
from penstock.cli.backup_reading import reading_bar
from penstock.cli.output import print_json, print_problem, print_table
from penstock.cli.signals import (
    keep_cleaning_up,
    run_stoppable,
    stop_signals_interrupting,
)
from penstock.errors import CorruptError, StoreError
from penstock.settings import BackupSettings

COLUMNS = ("part", "rows", "bytes", "seconds", "result")


@click.command("verify", short_help="Restore a backup for a trial, and compare.")
@click.argument("backup", metavar="[ID]", required=False)
@click.option("--last", is_flag=True, help="The newest backup, for cron.")
@click.option(
    "--scratch-dir",
    type=click.Path(readable=False),
    metavar="DIR",
    help="Where the scratch PostgreSQL is made; it needs the room of the largest days,"
    " --backup-jobs of them. Default: the system's directory for temporary files.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How it is written; json is one object a line.",
)
@quiet_option
@backup_flag("backup_jobs", "N", "Days at once (PENSTOCK_BACKUP_JOBS).")
@backup_flag("backup_pg_bin", "DIR", "Where pg_restore is (PENSTOCK_BACKUP_PG_BIN).")
@backup_flag(
    "backup_metrics_file", "FILE", "For Prometheus (PENSTOCK_BACKUP_METRICS_FILE)."
)
@store_options
def command(
    backup: str | None,
    last: bool,
    scratch_dir: str | None,
    output: str,
    quiet: bool,
    store: str | None,
    config_file: str | None,
    **flags: str | None,
) -> None:
    """Restore the backup ID into a scratch PostgreSQL, part by part, and compare.

    Of each day the rows are counted and summed up as they were when it was dumped; of
    all else, that the schema can be made and each table has its rows. No database of
    yours is touched. Exit status 1 where anything differs, with the parts' names.
    """
    if (backup is None) != last:
        raise click.UsageError("give the ID of a backup, or --last")
    settings = backup_settings(store, config_file, **flags)
    with (
        metrics_file.telling_failure(settings.backup_metrics_file, "verify"),
        stop_signals_interrupting(),
    ):
        place = open_store(
            settings.backup_store,
            sse=settings.backup_sse,
            kms_key_id=settings.backup_sse_kms_key_id,
        )
        wanted = LATEST if backup is None else backup
        manifest = chosen_backup(place, wanted, quiet=quiet)
        directory = None if scratch_dir is None else Path(scratch_dir)
        with scratch_postgres(directory) as url:
            try:
                checks = _verify(url, settings, place, manifest, quiet=quiet)
            finally:
                keep_cleaning_up()
    _tell(settings, place, manifest, checks, output, quiet=quiet)
    if not quiet:
        click.echo(
            f"penstock: the backup {manifest.id} came back as it was made:"
            f" {amount(manifest.rows, 'row')}",
            err=True,
        )


def _verify(
    url: str,
    settings: BackupSettings,
    store: Store,
    manifest: Manifest,
    *,
    quiet: bool,
) -> list[Checked]:
    programs = reading_programs(manifest, settings.backup_pg_bin)
    of_days = [part.size_bytes for part in manifest.parts if part.table != DATABASE]
    with reading_bar(sum(of_days), quiet=quiet) as (on_bytes, bar):
        dumps = Dumps(store, programs, on_bytes)

        def on_part(checked: Checked) -> None:
            if not bar.disable:
                said = checked.problem or amount(checked.part.rows, "row")
                bar.console.print(f"{checked.part.table}: {said}")

        return run_stoppable(
            verify(url, manifest, dumps, jobs=settings.backup_jobs, on_part=on_part)
        )


def _tell(
    settings: BackupSettings,
    store: Store,
    manifest: Manifest,
    checks: list[Checked],
    output: str,
    *,
    quiet: bool,
) -> None:
    """Print what came of it, write it down; raise CorruptError if a part differs."""
    rows = [
        (
            each.part.table,
            each.part.rows,
            each.part.size_bytes,
            round(each.seconds, 2),
            "differs" if each.problem else "ok",
        )
        for each in checks
    ]
    if output == "json":
        problems = [each.problem for each in checks]
        print_json(
            ("backup", *COLUMNS, "problem"),
            [
                (manifest.id, *row, problem)
                for row, problem in zip(rows, problems, strict=True)
            ],
        )
    else:
        print_table(COLUMNS, rows, quiet=quiet)
    wrong = tuple(each.problem for each in checks if each.problem)
    verified = Verified(at=datetime.now(UTC), ok=not wrong, problems=wrong)
    metrics_file.verified(settings.backup_metrics_file, manifest.id, ok=not wrong)
    try:
        note_verified(store, manifest.id, verified)
    except StoreError as error:
        print_problem(f"it is not written down that it was verified: {error}")
    if wrong:
        raise CorruptError(
            f"the backup {manifest.id} does not come back as it was made:"
            f" {'; '.join(wrong)}"
        )
