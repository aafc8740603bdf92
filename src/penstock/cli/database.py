"""How every command finds its database: by URL, else the embedded one.

It owns the two options and their meaning. It must not talk to the database.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from penstock import config
from penstock.cli.output import print_problem
from penstock.cli.signals import keep_cleaning_up, stop_signals_interrupting
from penstock.embedded import default_data_dir, open_database

Command = TypeVar("Command", bound=Callable[..., Any])


def database_options(command: Command) -> Command:
    """Add --database-url and --data-dir to a command."""
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


def config_file_option(command: Command) -> Command:
    """Add --config, which may name the database, to a command without settings."""
    return click.option(
        "--config",
        "config_file",
        metavar="FILE",
        help="Configuration file, TOML (PENSTOCK_CONFIG).",
    )(command)


@contextmanager
def found_database(
    database_url: str | None,
    data_dir: str | None,
    *,
    create: bool = False,
    config_file: str | None = None,
) -> Iterator[str]:
    """Yield the URL of the database, which answers until the block ends.

    The embedded PostgreSQL is used where it runs, else started for the block and
    stopped after it, also when SIGTERM or SIGHUP ends the block.

    Args:
        config_file: as --config names it; else PENSTOCK_CONFIG does.
        create: make the embedded database where there is none, rather than refuse.

    Raises:
        EmbeddedPostgresError: the embedded PostgreSQL cannot be used.
    """
    url = config.database_url(database_url, config_file)
    if url is not None:
        yield url
        return
    directory = embedded_data_dir(data_dir, config_file)
    with (
        stop_signals_interrupting(),
        open_database(
            directory,
            create=create,
            environment=config.s3_variables(),
            say=print_problem,
        ) as embedded_url,
    ):
        try:
            yield embedded_url
        finally:
            keep_cleaning_up()


def embedded_data_dir(data_dir: str | None, config_file: str | None = None) -> Path:
    """Return the embedded PostgreSQL's data directory: as given, else the default."""
    return config.data_dir(data_dir, config_file) or default_data_dir()
