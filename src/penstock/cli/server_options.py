"""The settings of the server as options of the commands that need them.

It owns which of them the help page shows: those that a person changes in the first
week. The others work all the same and are in docs/settings.md. It looks up the names
of hosts too, so that a wrong one is refused before anything is started.
"""

import socket
from collections.abc import Callable, Container, Mapping
from dataclasses import fields
from typing import Any, TypeVar

import click

from penstock.cli.database import config_file, config_option
from penstock.config import all_settings, flag_name, load
from penstock.errors import UnavailableError
from penstock.settings import MaintenanceSettings, PartitionSettings, Settings

SHOWN = frozenset({"host", "port", "http_host", "http_port", "log_format", "log_level"})

Command = TypeVar("Command", bound=Callable[..., Any])


def server_options(command: Command) -> Command:
    """Add an option for each setting of the server to a command."""
    every = {name for name, _, _ in all_settings()}
    return config_option(_with_options(command, every, shown=SHOWN))


def maintenance_options(command: Command) -> Command:
    """Add an option for each setting of maintenance to a command."""
    names = {
        each.name
        for concern in (PartitionSettings, MaintenanceSettings)
        for each in fields(concern)
        if not each.name.startswith("maintenance_")  # of the server's own
    }
    return _with_options(command, names, shown=names)


def _with_options(
    command: Command, names: Container[str], *, shown: Container[str]
) -> Command:
    for name, each, accepted in reversed(list(all_settings())):
        if name not in names or accepted.secret:
            continue
        default = each.default
        shown_default = ",".join(default) if isinstance(default, tuple) else default
        shown_default = "none" if shown_default == "" else shown_default
        command = click.option(
            flag_name(name),
            name,
            metavar=name.rpartition("_")[2].upper(),
            help=f"{accepted.help_text} Default: {shown_default}.",
            hidden=name not in shown,
        )(command)
    return command


def load_told(database_url: str, flags: Mapping[str, str | None]) -> Settings:
    """Load the settings, and say on stderr what is no mistake for certain.

    Raises:
        SettingsError: something is not as it should be.
    """
    loaded = load(database_url, flags, config_file=config_file())
    for warning in loaded.warnings:
        click.echo(f"penstock: {warning}", err=True)
    return loaded.settings


def check_addresses(settings: Settings) -> None:
    """See that the hosts to listen on are addresses, or names of some.

    Raises:
        UnavailableError: one is not; the message names its flag.
    """
    for name, host in (
        ("host", settings.listen.host),
        ("http_host", settings.http.http_host),
    ):
        try:
            socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # the latter: no name can be like that
            reason = getattr(error, "strerror", None) or "not a host name"
            raise UnavailableError(
                f"cannot listen on {host}: {reason}; give an address of this machine"
                f" with {flag_name(name)}"
            ) from error
