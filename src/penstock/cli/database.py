"""How every command finds its database: by URL, else the embedded one.

It owns the two options and their meaning. It must not talk to the database.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from penstock import config
from penstock.embedded import default_data_dir, open_database

Command = TypeVar("Command", bound=Callable[..., Any])


def database_options(command: Command) -> Command:
    """Add --database-url and --data-dir to a command."""
    command = click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Data directory of the embedded PostgreSQL (PENSTOCK_DATA_DIR).",
    )(command)
    return click.option(
        "--database-url",
        metavar="URL",
        help="PostgreSQL to use instead of the embedded one (PENSTOCK_DATABASE_URL).",
    )(command)


@contextmanager
def found_database(database_url: str | None, data_dir: Path | None) -> Iterator[str]:
    """Yield the URL of the database, which answers until the block ends.

    The embedded PostgreSQL is used where it runs, else started for the block.

    Raises:
        EmbeddedPostgresError: the embedded PostgreSQL cannot be used.
    """
    url = config.database_url(database_url)
    if url is not None:
        yield url
        return
    with open_database(embedded_data_dir(data_dir)) as embedded_url:
        yield embedded_url


def embedded_data_dir(data_dir: Path | None) -> Path:
    """Return the embedded PostgreSQL's data directory: as given, else the default."""
    return config.data_dir(data_dir) or default_data_dir()
