"""`penstock up`: the embedded PostgreSQL and the server, until Ctrl-C."""

import asyncio
import sys
from dataclasses import replace

import click

from penstock import app, config
from penstock.cli.database import embedded_data_dir
from penstock.cli.first_steps import print_ready
from penstock.cli.server_options import (
    check_addresses,
    read_again,
    server_options,
    started_with,
)
from penstock.cli.signals import (
    EXIT_INTERRUPTED,
    interrupt_on_stop_signals,
    keep_cleaning_up,
)
from penstock.config import CONFIG_FILE
from penstock.embedded import EmbeddedPostgres, url_as
from penstock.settings import Settings
from penstock.sink.migrations import migrate
from penstock.sink.roles import WRITER, make_roles


@click.command("up", short_help="Start PostgreSQL and the server.")
@click.option(
    "--data-dir",
    type=click.Path(readable=False),  # as in cli/database.py
    metavar="DIR",
    help="Where the data lives (PENSTOCK_DATA_DIR).",
)
@server_options
def command(data_dir: str | None, **flags: str | None) -> None:
    """Start PostgreSQL and the server, and say where they listen.

    Everything is kept in the data directory. Ctrl-C or SIGTERM commits what is in
    memory and stops both, and so does the end of the terminal; a second Ctrl-C or
    SIGTERM does not wait for that. SIGHUP has the configuration read again.

    Each option can also be set in the environment or in the configuration file:
    --http-port is PENSTOCK_HTTP_PORT, and http_port in [http]. All of them:
    docs/settings.md, or `penstock config reference`.
    """
    # The URL is known when the server has started; a wrong setting is refused before.
    configuration = started_with(flags)
    settings = configuration.settings
    directory = embedded_data_dir(data_dir, flags[CONFIG_FILE])
    check_addresses(settings)
    # Until the server catches signals itself: PostgreSQL is stopped on every way out.
    interrupt_on_stop_signals()
    patience_seconds = settings.process.shutdown_timeout_seconds
    postgres = EmbeddedPostgres(directory, environment=config.s3_variables())

    def load() -> Settings:
        """Read the settings again, of the server on this PostgreSQL."""
        return with_least_rights(read_again(flags), postgres.url)

    try:
        postgres.start()
        asyncio.run(prepare(postgres.url))
        stopped = app.run(
            with_least_rights(settings, postgres.url),
            on_ready=lambda listening: print_ready(
                listening, configuration, postgres.url, directory
            ),
            reload=load,
            spool_dir=directory / "spool",
            database=app.Supervised(
                postgres.is_running,
                postgres.restart,
                postgres.give_up_start,
                postgres.trim_log,
            ),
        )
        patience_seconds = stopped.seconds_left
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    finally:
        keep_cleaning_up(postgres.hurry)
        postgres.stop(patience_seconds)
        keep_cleaning_up()  # Python drops its handlers before it ends
    sys.exit(0 if stopped.was_clean else 1)


async def prepare(database_url: str) -> None:
    """Bring the schema up to date, and see that the server can do with few rights."""
    await migrate(database_url)
    report = await make_roles(database_url, is_ours=True)
    for advice in report.advice:
        click.echo(f"penstock: {advice}", err=True)


def with_least_rights(settings: Settings, database_url: str) -> Settings:
    """Let the server store rows as one who can do nothing else with them.

    Its maintenance needs more; `database_url` is the superuser's.
    """
    maintenance = replace(settings.maintenance, maintenance_database_url=database_url)
    return replace(
        settings, database_url=url_as(database_url, WRITER), maintenance=maintenance
    )
