"""The settings of the server as options of the commands that need them.

It owns which of them the help page shows: those that a person changes in the first
week. The others work all the same and are in docs/settings.md. It looks up the names
of hosts too, so that a wrong one is refused before anything is started. What is only
doubtful it tells in the log.
"""

import logging
import socket
from collections.abc import Callable, Container
from dataclasses import fields
from typing import Any, TypeVar

import click

from penstock import config
from penstock.cli.guards import open_places
from penstock.config import CONFIG_FILE, all_settings, flag_name
from penstock.errors import UnavailableError
from penstock.net.places import specs_of
from penstock.settings import MaintenanceSettings, PartitionSettings, Settings
from penstock.telemetry.logs import set_up_logs

SHOWN = frozenset({"host", "port", "http_host", "http_port", "log_format", "log_level"})

logger = logging.getLogger(__name__)

Command = TypeVar("Command", bound=Callable[..., Any])


def server_options(command: Command) -> Command:
    """Add --config and an option for each setting of the server to a command."""
    every = {name for name, _, _ in all_settings()}
    return config_option(_with_options(command, every, shown=SHOWN))


def maintenance_options(command: Command) -> Command:
    """Add --config and an option for each setting of maintenance to a command."""
    names = {
        each.name
        for concern in (PartitionSettings, MaintenanceSettings)
        for each in fields(concern)
        if not each.name.startswith("maintenance_")  # of the server's own
    }
    return config_option(_with_options(command, names, shown=names))


def config_option(command: Command) -> Command:
    """Add --config, which names the configuration file."""
    return click.option(
        flag_name(CONFIG_FILE),
        CONFIG_FILE,
        metavar="FILE",
        help="Configuration file, TOML (PENSTOCK_CONFIG).",
    )(command)


def started_with(flags: config.Flags) -> config.Configuration:
    """Read the settings at the start, log as they say, and log what is doubtful.

    Raises:
        SettingsError: something is wrong with them.
    """
    configuration = config.load(flags)
    process = configuration.settings.process
    set_up_logs(process.log_format, process.log_level)
    _log_doubts(configuration)
    return configuration


def read_again(flags: config.Flags) -> Settings:
    """Read the settings for a reload, and log what is doubtful.

    Raises:
        SettingsError: something is wrong with them.
    """
    configuration = config.load(flags)
    _log_doubts(configuration)
    return configuration.settings


def _log_doubts(configuration: config.Configuration) -> None:
    for warning in configuration.warnings:
        logger.warning("a setting is not as it is meant", extra={"warning": warning})
    if found := list(open_places(configuration.settings)):
        logger.warning(
            "anybody who can reach a listener can write logs: it asks for no key and no"
            " client certificate",
            extra={"listeners": found},
        )


def _with_options(
    command: Command, names: Container[str], *, shown: Container[str]
) -> Command:
    for name, each, accepted in reversed(list(all_settings())):
        # A command line can be read by everybody on the machine: secrets have no flag.
        if name not in names or accepted.secret:
            continue
        default = each.default
        shown_default = ",".join(default) if isinstance(default, tuple) else default
        if default in ("", ()):
            shown_default = "none"
        command = click.option(
            flag_name(name),
            name,
            metavar=name.rpartition("_")[2].upper(),
            help=f"{accepted.help_text} Default: {shown_default}.",
            hidden=name not in shown,
        )(command)
    return command


def check_addresses(settings: Settings) -> None:
    """See that the hosts to listen on are addresses, or names of some.

    Raises:
        UnavailableError: one is not; the message names its flag.
    """
    for name, host in (
        ("--http-host", settings.http.http_host),
        *(
            (each.how_to_change("host"), each.host)
            for each in specs_of(settings.listen)
            if not each.path
        ),
    ):
        try:
            socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # the latter: no name can be like that
            reason = getattr(error, "strerror", None) or "not a host name"
            raise UnavailableError(
                f"cannot listen on {host}: {reason}; give an address of this machine"
                f" with {name}"
            ) from error
