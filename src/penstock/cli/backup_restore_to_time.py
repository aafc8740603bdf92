"""`penstock backup restore --to-time`: what it is told, and what it says.

It owns those words. The option itself is `backup_restore`'s.
"""

from pathlib import Path

import click
from rich.console import Console

from penstock import config
from penstock.amounts import amount
from penstock.backup.recovery import Restored, restore_to_time
from penstock.backup.stores import open_store
from penstock.backup.target_time import in_words
from penstock.cli.physical_options import barman_of, saying_what_is_opened
from penstock.cli.signals import stop_signals_interrupting
from penstock.errors import SettingsError
from penstock.settings import BackupSettings

ARCHIVE_END = "the end of the archive"


def run(
    to_time: str,
    settings: BackupSettings,
    *,
    data_dir: str | None,
    pgdata: str | None,
) -> int:
    """Restore to a moment and say what came of it; return the exit code.

    Args:
        data_dir: as --data-dir gives it: never a default, which holds the database
            that is in use.

    Raises:
        SettingsError: not one of the two directories is given.
        PenstockError: it cannot be restored; nothing is left of it.
    """
    if (data_dir is None) == (pgdata is None):
        raise SettingsError(
            "--to-time restores all of a PostgreSQL into a directory of its own: give"
            " --data-dir DIR for the embedded one, or --pgdata DIR for another"
        )
    barman = barman_of(settings)
    console = Console(stderr=True)
    with (
        stop_signals_interrupting(),
        saying_what_is_opened(),
        console.status("restoring") as status,
    ):
        restored = restore_to_time(
            to_time,
            barman,
            open_store(settings.backup_store),
            data_dir=Path(data_dir) if data_dir else None,
            pgdata=Path(pgdata) if pgdata else None,
            environment=config.s3_variables(),
            say=lambda line: (
                status.update(line)
                if console.is_terminal
                else click.echo(f"penstock: {line}", err=True)
            ),
        )
    _tell(restored, is_embedded=pgdata is None)
    return 0 if restored.is_reached else 1


def _tell(restored: Restored, *, is_embedded: bool) -> None:
    end = f"the gap in the archive at {restored.gap}" if restored.gap else ARCHIVE_END
    to = ARCHIVE_END if restored.moment is None else in_words(restored.moment)
    if not is_embedded:
        click.echo(
            f"{restored.directory} recovers to {to} when it is started, and takes"
            " connections when it is there (pg_isready):"
        )
    else:
        click.echo(
            f"restored to {to if restored.is_reached else end} in"
            f" {restored.directory}: {restored.size_bytes / 1e6:,.1f} MB,"
            f" {amount(restored.segments, 'segment')} of WAL replayed; logs answers"
        )
        if restored.last_commit is not None:
            click.echo(f"last commit    {in_words(restored.last_commit)}")
        if restored.next_commit is not None:
            click.echo(f"left out from  {in_words(restored.next_commit)}")
        click.echo("Go on with:")
    for command in restored.commands:
        click.echo(f"  {command}")
    if not restored.is_reached:
        why = "the archive ends before"
        if restored.gap:
            why = f"the archive has no {restored.gap}, though it has later WAL"
        # Where nothing was replayed that committed, all there is is the base backup's.
        last = "the base backup" if restored.last_commit is None else "the last commit"
        click.echo(
            f"penstock: {to} was not reached: {why}, and what was committed after"
            f" {last} is not in it",
            err=True,
        )
    click.echo(
        "penstock: it archives nothing yet. When it is the one in use: penstock backup"
        " wal-enable, then penstock backup base",
        err=True,
    )
