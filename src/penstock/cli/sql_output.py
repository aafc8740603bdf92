"""What `penstock sql` shows of a result, and of what went wrong.

Rows go to stdout, all else to stderr. It must not talk to the database.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from penstock.amounts import amount
from penstock.cli.output import print_csv, print_json, print_problem, table_text
from penstock.cli.sql_place import place_of
from penstock.errors import PenstockError
from penstock.reader import Rows
from penstock.settings import ReadLimits

FORMS = ("table", "json", "csv")
# What a prompt and the line of counts take of a screen.
SCREEN_LINES = 3

Printer = Callable[[Sequence[str], Sequence[Sequence[Any]]], None]


def show_rows(
    found: Rows, seconds: float, form: str, limits: ReadLimits, *, is_prompt: bool
) -> None:
    """Print a result, and on stderr how many rows it has and what was cut off.

    Raises:
        PenstockError: it cannot be put in that form.
    """
    if form == "table":
        _show_table(found, is_prompt=is_prompt)
    else:
        printers: dict[str, Printer] = {"json": print_json, "csv": print_csv}
        printers[form](found.columns, found.rows)
    count = len(found.rows)
    duration = f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
    # A program that takes JSON or CSV and shows what is on stderr shows errors with it.
    if form == "table" or sys.stderr.isatty():
        click.echo(f"({amount(count, 'row')}, {duration})", err=True)
    if found.is_cut:
        click.echo(f"penstock: {_cut(count, limits)}", err=True)


def _show_table(found: Rows, *, is_prompt: bool) -> None:
    text = table_text(found.columns, found.rows)
    if (
        is_prompt
        and sys.stdout.isatty()
        and text.count("\n") > shutil.get_terminal_size().lines - SCREEN_LINES
    ):
        click.echo_via_pager(text)
    else:
        click.echo(text, nl=False)


def _cut(count: int, limits: ReadLimits) -> str:
    if count >= limits.max_rows:
        limit = f"max_rows ({limits.max_rows:,})"
    else:
        limit = f"max_bytes ({limits.max_bytes:,})"
    return (
        f"there are more rows: {limit} ended the result; ask for less, raise the limit,"
        " or use `penstock export`"
    )


def show_error(error: PenstockError, statement: str) -> None:
    """Print what went wrong, and where in the statement."""
    print_problem(error)
    if place := place_of(error, statement):
        click.echo(place, err=True)
