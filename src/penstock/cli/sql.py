"""`penstock sql`: one statement, read-only, as a table, JSON or CSV."""

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import click
import orjson

from penstock import config
from penstock.cli.database import (
    config_file_option,
    database_options,
    found_database,
)
from penstock.cli.output import print_csv, print_json, print_table
from penstock.embedded import url_as
from penstock.errors import PenstockError
from penstock.postgres.connection import connect
from penstock.postgres.words import describe
from penstock.sink.roles import READER, let_reader_read

# A string, which stays as it is, or the white space between two tokens.
JSON_STRING_OR_SPACE = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|[ \t\n\r]+')


def _compact(text: str) -> orjson.Fragment:
    """Return a JSON text without white space, and otherwise untouched.

    Not parsed: numbers of any size, and keys that come twice, are to come out again.
    """
    return orjson.Fragment(JSON_STRING_OR_SPACE.sub(lambda m: m[1] or "", text))


def _time_or_text(text: str) -> datetime | str:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


# From PostgreSQL's own text, where Python's type does not hold all that PostgreSQL's
# does: numbers of any size, times of any year and `infinity`, months.
DECODERS: dict[str, Callable[[str], Any]] = {
    "json": _compact,
    "jsonb": _compact,
    "timestamptz": _time_or_text,
    "timestamp": _time_or_text,
    "date": str,
    "interval": str,
    "bytea": str,
}


@click.command("sql", short_help="Run one SQL statement, read-only.")
@click.argument("statement")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How the rows are written; json is one object a line.",
)
@database_options
@config_file_option
def command(
    statement: str,
    output: str,
    database_url: str | None,
    data_dir: str | None,
    config_file: str | None,
) -> None:
    """Run one SQL STATEMENT in a read-only transaction and print its rows.

    In the embedded database it runs as penstock_reader, who can read all tables and do
    nothing else; elsewhere with the rights of the login in the URL.

    \b
    Example:
      penstock sql "select level, count(*) from logs group by level"
    """
    is_embedded = config.database_url(database_url, config_file) is None
    with found_database(database_url, data_dir, config_file=config_file) as url:
        work = (
            _fetch_as_reader(url, statement) if is_embedded else _fetch(url, statement)
        )
        columns, rows = asyncio.run(work)
    {"table": print_table, "json": print_json, "csv": print_csv}[output](columns, rows)


async def _fetch_as_reader(
    url: str, statement: str
) -> tuple[list[str], list[Sequence[Any]]]:
    """Ask as one who is not a superuser.

    A transaction that is read-only lets a superuser run programs and write files.
    """
    await let_reader_read(url)
    return await _fetch(url_as(url, READER), statement)


async def _fetch(url: str, statement: str) -> tuple[list[str], list[Sequence[Any]]]:
    connection = await connect(url)
    try:
        async with connection.transaction(readonly=True):
            for type_name, decoder in DECODERS.items():
                await connection.set_type_codec(
                    type_name, schema="pg_catalog", encoder=str, decoder=decoder
                )
            prepared = await connection.prepare(statement)
            columns = [attribute.name for attribute in prepared.get_attributes()]
            rows = await prepared.fetch()
            return columns, [tuple(row) for row in rows]
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise PenstockError(f"the statement failed: {describe(error)}") from error
    finally:
        await connection.close()
