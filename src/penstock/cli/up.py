"""`penstock up`: the embedded PostgreSQL and the server, until Ctrl-C."""

import asyncio
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import click

from penstock import __version__, app
from penstock.cli.database import embedded_data_dir
from penstock.cli.server_options import (
    check_addresses,
    in_url,
    loaded,
    place,
    server_options,
)
from penstock.cli.signals import (
    EXIT_INTERRUPTED,
    interrupt_on_stop_signals,
    keep_cleaning_up,
)
from penstock.config import CONFIG_FILE
from penstock.embedded import EmbeddedPostgres, default_data_dir, url_as
from penstock.settings import Settings
from penstock.sink.migrations import migrate
from penstock.sink.roles import WRITER, make_roles
from penstock.telemetry.logs import set_up_logs

# What a newcomer wants to see, quick in a large table too: the one index is on ts.
FIRST_QUERY = (
    "select ts, tag, message from logs"
    " where ts > now() - interval '15 minutes' order by ts desc limit 5"
)


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
    settings = loaded(flags)
    directory = embedded_data_dir(data_dir, flags[CONFIG_FILE])
    set_up_logs(settings.process.log_format, settings.process.log_level)
    check_addresses(settings)
    # Until the server catches signals itself: PostgreSQL is stopped on every way out.
    interrupt_on_stop_signals()
    patience_seconds = settings.process.shutdown_timeout_seconds
    postgres = EmbeddedPostgres(directory)

    def load() -> Settings:
        """Read the settings again, of the server on this PostgreSQL."""
        return with_least_rights(loaded(flags), postgres.url)

    try:
        postgres.start()
        asyncio.run(prepare(postgres.url))
        stopped = app.run(
            load(),
            on_ready=lambda listening: print_ready(listening, postgres.url, directory),
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


def print_ready(listening: app.Listening, database_url: str, data_dir: Path) -> None:
    """Print where things are and what to try first, as lines for a shell."""
    me = this_program()
    forward = in_url(listening.host)
    # A wildcard address is for listening, not for connecting.
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listening.host, listening.host)
    host = "" if here == "127.0.0.1" else f" --host {here}"
    port = "" if listening.port == 24224 else f" --port {listening.port}"
    others = "".join(f"\n{'':20}{place(each)}" for each in listening.others)
    directory = data_dir.resolve()
    is_default = directory == default_data_dir()
    where = "" if is_default else f" --data-dir {shlex.quote(str(directory))}"
    click.echo(f"""\
Penstock {__version__} is ready.

  forward protocol  {forward}:{listening.port}{others}
  database          {database_url}
  metrics           http://{in_url(listening.http_host)}:{listening.http_port}/metrics
  data directory    {directory}

Try it, in another terminal:

  echo 'hello' | {me} send{host}{port}
  {me} sql{where} "{FIRST_QUERY}"
  psql {shlex.quote(database_url)}
  fluent-bit -i cpu -o forward -p host={here} -p port={listening.port}

Ctrl-C stops both.
""")


def this_program() -> str:
    """Return the words that started this program, as a shell takes them."""
    program = sys.argv[0]
    if program.endswith("__main__.py"):
        return f"{shlex.quote(sys.executable)} -m penstock"
    return shlex.quote(program)
