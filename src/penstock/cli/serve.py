"""`penstock serve`: the server on a PostgreSQL of the user's."""

import sys

import click

from penstock import app, config
from penstock.cli.guards import places_told
from penstock.cli.server_options import (
    check_addresses,
    read_again,
    server_options,
    started_with,
)
from penstock.embedded import default_data_dir
from penstock.postgres.connection import without_password


@click.command("serve", short_help="Start the server on your own PostgreSQL.")
@click.option(
    "--database-url",
    metavar="URL",
    help="PostgreSQL 15 to 18, postgresql://user@host/database"
    " (PENSTOCK_DATABASE_URL).",
)
@server_options
def command(database_url: str | None, **flags: str | None) -> None:
    """Start the server against an existing PostgreSQL.

    The schema is brought up to date first. SIGTERM or Ctrl-C commits what is in
    memory and stops, and so does the end of the terminal; a second SIGTERM or Ctrl-C
    does not wait for that. SIGHUP has the configuration read again.

    Each option can also be set in the environment or in the configuration file:
    --http-port is PENSTOCK_HTTP_PORT, and http_port in [http]. All of them:
    docs/settings.md, or `penstock config reference`. Put a URL with a password into
    PENSTOCK_DATABASE_URL: a command line can be read by everybody on the machine.
    """
    given = {**flags, "database_url": database_url or None}
    settings = started_with(given).settings
    url = settings.database_url
    if not url:
        raise click.UsageError(
            "which database? Give --database-url or PENSTOCK_DATABASE_URL,"
            " or let `penstock up` bring its own."
        )
    check_addresses(settings)

    def print_ready(listening: app.Listening) -> None:
        told = places_told(settings, listening.host, listening.port, listening.others)
        places = " and ".join(
            f"{place} ({asked})" if asked else place for place, asked in told
        )
        click.echo(
            f"Penstock is ready: forward protocol on {places},"
            f" metrics on http://{listening.http_host}:{listening.http_port}/metrics,"
            f" database {without_password(url)}"
        )

    data_dir = config.data_dir(None, flags[config.CONFIG_FILE]) or default_data_dir()
    spool_dir = data_dir / f"spool-{settings.listen.port}"
    stopped = app.run(
        settings,
        on_ready=print_ready,
        reload=lambda: read_again(given),
        spool_dir=spool_dir,
    )
    sys.exit(0 if stopped.was_clean else 1)
