"""`penstock sql`: one statement, read-only, as a table, JSON or CSV."""

import asyncio
import csv
import io
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import click
import orjson
from rich.console import Console, ConsoleDimensions
from rich.table import Table

from penstock.cli.database import database_options, found_database
from penstock.errors import PenstockError
from penstock.sink.classify import describe
from penstock.sink.connection import connect

# What a log line says is not to command the terminal of whoever looks at it.
SHOWN_CONTROLS = {
    code: f"\\x{code:02x}"
    for code in (*range(32), *range(127, 160))
    if chr(code) not in "\t\n"
}
# Where there is no terminal a table is as wide as its values.
WIDE = 1_000_000
# On a terminal long values are folded, and columns are no narrower than this: a line
# that the terminal breaks is better than a value that is not there.
LEAST_COLUMN = 8
# A column's padding and its line.
COLUMN_FRAME = 3

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
def command(
    statement: str, output: str, database_url: str | None, data_dir: str | None
) -> None:
    """Run one SQL STATEMENT in a read-only transaction and print its rows.

    \b
    Example:
      penstock sql "select level, count(*) from logs group by level"
    """
    with found_database(database_url, data_dir) as url:
        columns, rows = asyncio.run(_fetch(url, statement))
    {"table": _print_table, "json": _print_json, "csv": _print_csv}[output](
        columns, rows
    )


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


def _print_table(columns: list[str], rows: list[Sequence[Any]]) -> None:
    table = Table()
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*[_as_text(value).translate(SHOWN_CONTROLS) for value in row])
    console = Console(markup=False, highlight=False, emoji=False)
    width = console.width if console.is_terminal else WIDE
    width = max(width, len(columns) * (LEAST_COLUMN + COLUMN_FRAME) + 1)
    # Both: of a dumb terminal rich would go on to take the width for 80.
    console.size = ConsoleDimensions(width, console.height)
    console.print(table)
    click.echo(f"({len(rows)} row{'' if len(rows) == 1 else 's'})", err=True)


def _print_json(columns: list[str], rows: list[Sequence[Any]]) -> None:
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise PenstockError(
            f"several columns are named {', '.join(repeated)}, and a JSON object holds"
            " one of a name: name each with AS"
        )
    for row in rows:
        record = dict(zip(columns, row, strict=True))
        click.echo(orjson.dumps(record, default=str).decode())


def _print_csv(columns: list[str], rows: list[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_as_text(value) for value in row] for row in rows)
    click.echo(text.getvalue(), nl=False)


def _as_text(value: Any) -> str:
    if isinstance(value, list | orjson.Fragment):
        return orjson.dumps(value, default=str).decode()
    return "" if value is None else str(value)
