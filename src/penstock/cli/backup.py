"""`penstock backup`: its subcommands by name, imported when they are asked for."""

import importlib

import click

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


class BackupGroup(click.Group):
    """Imports a subcommand when it is named, and lists them in reading order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module_name = SUBCOMMANDS.get(cmd_name)
        if module_name is None:
            return None
        command = importlib.import_module(f"penstock.cli.{module_name}").command
        assert isinstance(command, click.Command)
        return command


@click.group(
    "backup",
    cls=BackupGroup,
    short_help="Make backups, look after them, and restore.",
)
def command() -> None:
    """Back up what is stored, to S3 or a directory, and bring it back.

    The place is --store, or the setting backup_store (PENSTOCK_BACKUP_STORE):
    s3://bucket/prefix, or file:///directory. Credentials are boto3's to find.
    """
