"""`penstock backup list`: all backups of a store, the newest first."""

import sys
from datetime import UTC, datetime

import click

from penstock.backup.catalogue import read_catalogue, read_verified
from penstock.backup.stores import open_store
from penstock.cli.backup_options import backup_settings, store_options
from penstock.cli.backup_view import (
    LIST_COLUMNS,
    as_json,
    list_row,
    output_option,
    print_unreadable,
)
from penstock.cli.output import print_table


@click.command("list", short_help="List backups, the newest first.")
@output_option
@store_options
def command(output: str, store: str | None, config_file: str | None) -> None:
    """List the backups in a store, the newest first.

    `size` is all that a restore reads, `own size` what that backup has added to the
    store: days that have not changed since are referred to, not dumped again.
    With -o json each line has the id, the sums and the whole manifest.

    A manifest that cannot be read is said on stderr; then the exit code is 1.
    """
    settings = backup_settings(store, config_file)
    place = open_store(settings.backup_store)
    manifests, unreadable = read_catalogue(place)
    verified = read_verified(place)
    if output == "json":
        for each in manifests:
            click.echo(as_json(each, verified.get(each.id)))
    else:
        now = datetime.now(UTC)
        rows = [list_row(each, verified.get(each.id), now) for each in manifests]
        print_table(LIST_COLUMNS, rows, has_ids=True)
    print_unreadable(unreadable)
    sys.exit(1 if unreadable else 0)
