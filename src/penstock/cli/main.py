"""The `penstock` command: its help page, its exit codes, its subcommands by name.

A subcommand's module is imported when it is asked for, so that `penstock --help`
and `penstock send` start fast.
"""

import importlib
import sys
from collections.abc import Sequence

import click

from penstock import __version__
from penstock.errors import PenstockError

# Name -> the module under penstock.cli that holds its click object `command`.
SUBCOMMANDS = {
    "up": "up",
    "serve": "serve",
    "send": "send",
    "sql": "sql",
    "db": "db",
    "doctor": "doctor",
}


class SubcommandGroup(click.Group):
    """Imports a subcommand when it is named, and lists all of them in reading order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module_name = SUBCOMMANDS.get(cmd_name)
        if module_name is None:
            return None
        module = importlib.import_module(f"penstock.cli.{module_name}")
        command = module.command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=SubcommandGroup)
@click.version_option(__version__, prog_name="penstock")
def cli() -> None:
    """Fluentd's forward protocol in, committed PostgreSQL rows out."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code.

    0 ok, 1 failed, 2 usage, 3 database or network out of reach.
    """
    try:
        cli.main(args=argv, prog_name="penstock")
    except PenstockError as error:
        click.echo(f"penstock: {error}", err=True)
        sys.exit(error.exit_code)
