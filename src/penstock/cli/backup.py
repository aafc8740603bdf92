"""`penstock backup`: its subcommands by name, imported when they are asked for."""

import click

from penstock.cli.subcommands import Subcommands

# Name -> the module under penstock.cli that holds its click object `command`.
SUBCOMMANDS: dict[str, str] = {
    "create": "backup_create",
    "list": "backup_list",
    "show": "backup_show",
    "restore": "backup_restore",
    "verify": "backup_verify",
    "prune": "backup_prune",
    "schedule": "backup_schedule",
    "base": "backup_base",
    "wal-enable": "backup_wal_enable",
    "wal-status": "backup_wal_status",
}


@click.group(
    "backup",
    cls=Subcommands,
    modules=SUBCOMMANDS,
    short_help="Make backups, look after them, and restore.",
)
def command() -> None:
    """Back up what is stored, to S3 or a directory, and bring it back.

    The place is --store, or the setting backup_store (PENSTOCK_BACKUP_STORE):
    s3://bucket/prefix, or file:///directory. Credentials are boto3's to find.
    """
