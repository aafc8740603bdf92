"""The limits of a question, as options of the commands that ask one.

It owns which of them have a flag. It must not know what is asked.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from penstock import config
from penstock.config import CONFIG_FILE, flag_name
from penstock.settings import ReadLimits

# Those that one question may need otherwise than the next; others are settings.
FLAGS = {
    "statement_timeout_seconds": ("SECONDS", "How long a statement may run."),
    "max_rows": ("ROWS", "Rows that are shown, at most."),
    "max_bytes": ("SIZE", "Bytes of rows that are shown, at most; as 64MiB."),
}

Command = TypeVar("Command", bound=Callable[..., Any])


def read_options(command: Command) -> Command:
    """Add the limits of a question to a command."""
    for name, (metavar, help_text) in reversed(FLAGS.items()):
        default = ReadLimits.__dataclass_fields__[name].default
        command = click.option(
            flag_name(name),
            name,
            metavar=metavar,
            help=f"{help_text} Default: {default:,.10g}.",
        )(command)
    return command


def read_limits(config_file: str | None, flags: dict[str, str | None]) -> ReadLimits:
    """Return the limits: by flag, environment, configuration file, or default.

    Raises:
        SettingsError: one is not accepted.
    """
    given = {CONFIG_FILE: config_file, **flags}
    return config.load_settings("", given, ("reading",)).reading
