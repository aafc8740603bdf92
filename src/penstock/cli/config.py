"""`penstock config`: whether the settings are good, which hold, which there are.

It must not start anything, nor print a secret.
"""

from typing import Any

import click
import orjson

from penstock import config
from penstock.cli.database import database_options
from penstock.cli.server_options import check_addresses, server_options
from penstock.config.writing import (
    effective_values,
    is_changed,
    reference,
    written_toml,
)
from penstock.postgres.connection import without_password

OUTPUTS = ("toml", "json")


@click.group("config", short_help="Check the settings, show them, list all of them.")
def command() -> None:
    """Check the settings, show which hold and why, list all there are.

    They are read from where `up` and `serve` read them: flags, the environment, the
    file that --config or PENSTOCK_CONFIG names.
    """


@command.command("check")
@database_options
@server_options
def check_command(**flags: str | None) -> None:
    """Tell whether the server would start with these settings.

    What is wrong is told a line each, with the flag, the variable or the line of the
    file. Exit status: 0 if all is good, 2 if not.
    """
    configuration = config.load(flags)
    warn(configuration)
    check_addresses(configuration.settings)
    click.echo(f"{configuration.file or 'the settings'}: good")


@command.command("show")
@click.option("--changed", is_flag=True, help="Only what differs from its default.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(OUTPUTS),
    default=OUTPUTS[0],
    help="The form. Default: toml.",
)
@database_options
@server_options
def show_command(changed: bool, output: str, **flags: str | None) -> None:
    """Show the settings that hold, and where each was given.

    Secrets are shown as ***, and a database's URL without its password.
    """
    configuration = config.load(flags)
    warn(configuration)
    values = effective_values(configuration, without_password)
    if changed:
        values = only_changed(configuration, values)
    if output == "json":
        click.echo(as_json(values, configuration))
    else:
        click.echo(written_toml(values, configuration.origins), nl=False)


@command.command("reference")
def reference_command() -> None:
    """Print a configuration file of all settings, with defaults and explanations."""
    click.echo(reference(), nl=False)


def warn(configuration: config.Configuration) -> None:
    """Say on stderr what is no error, and yet is not meant so."""
    for warning in configuration.warnings:
        click.echo(f"penstock: warning: {warning}", err=True)


def only_changed(
    configuration: config.Configuration, values: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return of these settings those that differ from their defaults."""
    changed = {
        concern: {
            name: value
            for name, value in table.items()
            if is_changed(configuration, concern, name)
        }
        for concern, table in values.items()
    }
    return {concern: table for concern, table in changed.items() if table}


def as_json(
    values: dict[str, dict[str, Any]], configuration: config.Configuration
) -> str:
    """Return an object of the settings, each with its value and its origin."""
    shown = {
        name: {"value": value, "origin": configuration.origins.get(name, "default")}
        for table in values.values()
        for name, value in table.items()
    }
    # A name may hold bytes that are no UTF-8; JSON cannot.
    return orjson.dumps(shown, option=orjson.OPT_INDENT_2, default=str).decode()
