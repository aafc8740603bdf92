"""`penstock sql`: guarded SQL, read-only, one statement or a prompt for many."""

import asyncio
import sys
import time

import click

from penstock import config
from penstock.ask.guard import check
from penstock.cli.database import (
    config_file_option,
    database_options,
    found_database,
)
from penstock.cli.read_options import read_limits, read_options
from penstock.cli.sql_output import FORMS, show_error, show_rows
from penstock.errors import PenstockError
from penstock.reader import Rows, open_session
from penstock.settings import ReadLimits
from penstock.sink.roles import let_reader_read

STDIN = "-"


@click.command("sql", short_help="Run SQL, read-only and guarded; or a prompt.")
@click.argument("statement", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Choice(FORMS),
    default="table",
    show_default=True,
    help="How the rows are written; json is one object a line.",
)
@read_options
@database_options
@config_file_option
def command(
    statement: str | None,
    output: str,
    database_url: str | None,
    data_dir: str | None,
    config_file: str | None,
    **flags: str | None,
) -> None:
    """Run one SQL STATEMENT and print its rows; - reads it from stdin.

    Without a STATEMENT, on a terminal: a prompt with history and completion, where
    statements end with ; and \\q leaves.

    A statement is one SELECT over the views logs and rejected_event, with PostgreSQL's
    harmless functions; anything else is refused before it is sent. It runs as a role
    that can read these views and do nothing else, in a read-only transaction, within
    limits. Ctrl-C ends it on the server too.

    \b
    Examples:
      penstock sql "select level, count(*) from logs group by level"
      penstock sql -o csv - < query.sql
    """
    limits = read_limits(config_file, flags)
    is_embedded = config.database_url(database_url, config_file) is None
    if statement is None:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise click.UsageError("give a statement, or - to read it from stdin")
        # prompt_toolkit takes a while to import.
        from penstock.cli.sql_prompt import SqlPrompt

        with found_database(database_url, data_dir, config_file=config_file) as url:
            prompt = SqlPrompt(url, limits, output, is_embedded=is_embedded)
            asyncio.run(prompt.run())
        return
    sql = _read_stdin() if statement == STDIN else statement
    try:
        guarded = check(sql)
        with found_database(database_url, data_dir, config_file=config_file) as url:
            asking = _ask(url, guarded.sql, limits, is_embedded=is_embedded)
            found, seconds = asyncio.run(asking)
    except PenstockError as error:
        # One line for a program, the place as well for a person.
        if sys.stderr.isatty():
            show_error(error, sql)
            sys.exit(error.exit_code)
        raise
    show_rows(found, seconds, output, limits, is_prompt=False)


async def _ask(
    url: str, sql: str, limits: ReadLimits, *, is_embedded: bool
) -> tuple[Rows, float]:
    """Return the rows, and the seconds that they took."""
    if is_embedded:
        await let_reader_read(url)
    async with open_session(url, limits, is_embedded=is_embedded) as session:
        began = time.monotonic()
        return await session.fetch(sql), time.monotonic() - began


def _read_stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise PenstockError(
            f"stdin is not UTF-8 at byte {error.start + 1}: a statement is text"
        ) from error
