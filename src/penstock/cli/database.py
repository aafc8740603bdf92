"""How every command finds its configuration and its database.

It owns the three options and their meaning: the file, a URL, else the embedded
database. It must not talk to the database.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from penstock import config
from penstock.cli.signals import keep_cleaning_up, stop_signals_interrupting
from penstock.embedded import default_data_dir, open_database

Command = TypeVar("Command", bound=Callable[..., Any])


_CONFIG_FILE = "penstock.config_file"


def config_option(command: Command) -> Command:
    """Add --config to a command, once; `config_file` returns it."""
    # Where click keeps the options of what is to become a command.
    options: list[click.Parameter] = getattr(command, "__click_params__", [])
    if any(each.name == "config" for each in options):
        return command

    def keep(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        ctx.meta[_CONFIG_FILE] = value

    return click.option(
        "--config",
        type=click.Path(readable=False),
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=keep,
        help="Configuration file, in TOML (PENSTOCK_CONFIG).",
    )(command)


def config_file() -> str | None:
    """Return what this command was given as --config."""
    context = click.get_current_context(silent=True)
    found: str | None = None if context is None else context.meta.get(_CONFIG_FILE)
    return found


def database_options(command: Command) -> Command:
    """Add --database-url, --data-dir and --config to a command."""
    command = config_option(command)
    command = click.option(
        "--data-dir",
        # Not click's own check of the rights: what PostgreSQL needs is asked later, and
        # answered in one line.
        type=click.Path(readable=False),
        metavar="DIR",
        help="Data directory of the embedded PostgreSQL (PENSTOCK_DATA_DIR).",
    )(command)
    return click.option(
        "--database-url",
        metavar="URL",
        help="PostgreSQL to use instead of the embedded one (PENSTOCK_DATABASE_URL).",
    )(command)


@contextmanager
def found_database(
    database_url: str | None, data_dir: str | None, *, create: bool = False
) -> Iterator[str]:
    """Yield the URL of the database, which answers until the block ends.

    The embedded PostgreSQL is used where it runs, else started for the block and
    stopped after it, also when SIGTERM or SIGHUP ends the block.

    Args:
        create: make the embedded database where there is none, rather than refuse.

    Raises:
        EmbeddedPostgresError: the embedded PostgreSQL cannot be used.
    """
    url = config.database_url(database_url, config_file=config_file())
    if url is not None:
        yield url
        return
    directory = embedded_data_dir(data_dir)
    with (
        stop_signals_interrupting(),
        open_database(directory, create=create) as embedded_url,
    ):
        try:
            yield embedded_url
        finally:
            keep_cleaning_up()


def embedded_data_dir(data_dir: str | None) -> Path:
    """Return the embedded PostgreSQL's data directory: as given, else the default."""
    given = config.data_dir(data_dir, config_file=config_file())
    return given or default_data_dir()
