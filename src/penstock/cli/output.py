"""How rows are printed: a table for a person, JSON lines or CSV for a program.

It owns the forms, and that a log line does not command the terminal. It must not know
what the rows are.
"""

import csv
import io
import re
import sys
from collections.abc import Sequence
from typing import Any

import click
import orjson
from rich.console import Console, ConsoleDimensions
from rich.table import Table

from penstock.amounts import amount
from penstock.errors import PenstockError

# What a log line says is not to command the terminal of whoever looks at it.
SHOWN_CONTROLS = {
    code: f"\\x{code:02x}"
    for code in (*range(32), *range(127, 160))
    if chr(code) not in "\t\n"
} | {
    # Those that turn the direction of writing, and with it what a line seems to say.
    code: f"\\u{code:04x}"
    for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
# Of these orjson leaves to the terminal what is not ASCII. JSON has a way to write them
# that means the same.
_LEFT_IN_JSON = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# Where there is no terminal a table is as wide as its values.
WIDE = 1_000_000
# On a terminal long values are folded, and columns are no narrower than this: a line
# that the terminal breaks is better than a value that is not there.
LEAST_COLUMN = 8
# A column's padding and its line.
COLUMN_FRAME = 3
# What a person looks through. A table measures and folds each of its values, a second
# for so many; as JSON and CSV they take some hundredths.
MOST_CELLS = 20_000
MOST_CHARACTERS = 10_000  # of a value


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    quiet: bool = False,
    has_ids: bool = False,
) -> None:
    """Print a table, and on stderr how many rows it has.

    Args:
        has_ids: the first column is what one copies into the next command.
    """
    click.echo(table_text(columns, rows, has_ids=has_ids), nl=False)
    if not quiet:
        click.echo(f"({amount(len(rows), 'row')})", err=True)


def table_text(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, has_ids: bool = False
) -> str:
    """Return a table as wide as the terminal, or as its values where there is none.

    What is more than anybody looks through is left out, and said so on stderr.
    """
    table = Table()
    # An id that is folded cannot be copied.
    id_width = max((len(as_text(row[0])) for row in rows), default=0) if has_ids else 0
    for number, name in enumerate(columns):
        least = None if number else id_width or None
        table.add_column(
            name.translate(SHOWN_CONTROLS), overflow="fold", min_width=least
        )
    shown = rows[: max(MOST_CELLS // max(len(columns), 1), 1)]
    for row in shown:
        table.add_row(*[_in_table(value) for value in row])
    if len(shown) < len(rows):
        click.echo(
            f"penstock: the table has the first {len(shown):,} of {len(rows):,} rows;"
            " -o json and -o csv have all",
            err=True,
        )
    console = Console(markup=False, highlight=False, emoji=False)
    width = console.width if console.is_terminal else WIDE
    least_width = len(columns) * (LEAST_COLUMN + COLUMN_FRAME) + 1
    width = max(width, least_width + max(id_width - LEAST_COLUMN, 0))
    # Both: of a dumb terminal rich would go on to take the width for 80.
    console.size = ConsoleDimensions(width, console.height)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def _in_table(value: Any) -> str:
    text = as_text(value)
    if len(text) > MOST_CHARACTERS:
        text = f"{text[:MOST_CHARACTERS]}... ({len(text):,} characters)"
    return text.translate(SHOWN_CONTROLS)


def print_json(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print an object a line.

    Raises:
        PenstockError: two columns have one name.
    """
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise PenstockError(
            f"several columns are named {', '.join(repeated)}, and a JSON object holds"
            " one of a name: name each with AS"
        )
    for row in rows:
        record = dict(zip(columns, row, strict=True))
        line = orjson.dumps(record, default=str).decode()
        click.echo(_LEFT_IN_JSON.sub(_in_json, line))


def _in_json(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def print_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a header and the rows: for a program as they are stored."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([as_text(value) for value in row] for row in rows)
    found = text.getvalue()
    if sys.stdout.isatty():
        found = found.translate(SHOWN_CONTROLS)
    # Without `color` click would take out escape sequences.
    click.echo(found, nl=False, color=True)


def print_problem(text: object) -> None:
    """Print on stderr what is wrong; it may tell what a log line says."""
    click.echo(f"penstock: {text}".translate(SHOWN_CONTROLS), err=True)


def as_text(value: Any) -> str:
    """Return a value as a table or CSV has it."""
    if isinstance(value, list | orjson.Fragment):
        return orjson.dumps(value, default=str).decode()
    return "" if value is None else str(value)
