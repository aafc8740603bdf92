"""What the backup commands have in common on the command line: the store, the settings.

It owns those options and how they become settings. It must not open a store or talk to
a database.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from penstock import config
from penstock.cli.database import config_file_option
from penstock.config import CONFIG_FILE, flag_name
from penstock.errors import SettingsError
from penstock.settings import BackupSettings

Command = TypeVar("Command", bound=Callable[..., Any])


def store_options(command: Command) -> Command:
    """Add --store and --config to a command, as `store` and `config_file`."""
    return click.option(
        "--store",
        metavar="URL",
        help="Where backups are: s3://bucket/prefix or file:///directory"
        " (PENSTOCK_BACKUP_STORE).",
    )(config_file_option(command))


def backup_settings(
    store: str | None, config_file: str | None, **flags: str | None
) -> BackupSettings:
    """Return the settings of backups: by flag, environment, file, or default.

    Raises:
        SettingsError: one is not accepted, or no store is named.
    """
    given = {CONFIG_FILE: config_file, "backup_store": store, **flags}
    settings = config.load_settings("", given, ("backup",)).backup
    if not settings.backup_store:
        raise SettingsError(
            "no store is named: give --store, or set backup_store"
            f" ({config.environment_name('backup_store')}), to s3://bucket/prefix or"
            " file:///directory"
        )
    return settings


def quiet_option(command: Command) -> Command:
    """Add --quiet, as `quiet`."""
    return click.option(
        "-q", "--quiet", is_flag=True, help="Nothing on stderr if all is well."
    )(command)


def backup_flag(
    name: str, metavar: str, help_text: str
) -> Callable[[Command], Command]:
    """Return an option that gives a setting of backups on the command line."""
    return click.option(flag_name(name), name, metavar=metavar, help=help_text)
