"""What `penstock search` has found, written: as a table, JSON lines, CSV or raw.

It owns what each form holds. Programs get times in UTC and values as they are stored; a
terminal gets what fits and what a person can read.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import click

from penstock.cli.counts_view import histogram_table, legend, top_table
from penstock.cli.output import as_text, print_csv, print_json
from penstock.cli.paged import Screen
from penstock.cli.rows_view import Look, field_text, fields_table, rows_table, shown
from penstock.search.statements import PAGE_COLUMNS, Bin
from penstock.search.times import Window

MESSAGE, ATTRIBUTES = PAGE_COLUMNS.index("message"), PAGE_COLUMNS.index("attributes")
Printer = Callable[[Sequence[str], Sequence[Sequence[Any]]], None]


@dataclass(frozen=True, slots=True)
class Form:
    """How the results are wanted: -o, the zone, whether a pager may be used."""

    output: str
    zone: tzinfo
    window: Window
    may_page: bool

    def look(self, screen: Screen) -> Look:
        """Return how rows look on a screen."""
        start, end = self.window.start, self.window.end - timedelta(microseconds=1)
        days = {moment.astimezone(self.zone).date() for moment in (start, end)}
        return Look(screen.width, self.zone, len(days) == 1)

    @property
    def print(self) -> Printer:
        """Return what writes rows for a program."""
        return _print_json if self.output == "json" else _print_csv


def _print_json(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print an object a line; an id is a text, as in the API.

    It has more digits than a number in JavaScript, or jq.
    """
    ids = {place for place, name in enumerate(columns) if name == "id"}
    print_json(
        columns,
        [
            [str(value) if place in ids else value for place, value in enumerate(row)]
            for row in rows
        ],
    )


def _print_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    if not sys.stdout.isatty():
        print_csv(columns, rows)
        return
    print_csv(
        [shown(each) for each in columns],
        [[shown(as_text(value)) for value in row] for row in rows],
    )


def show_rows(
    names: Sequence[str] | None, rows: Sequence[Sequence[Any]], form: Form
) -> None:
    """Write a page's rows.

    Args:
        names: of the fields that follow id and ts in each row; None of whole rows.
    """
    if form.output == "raw":
        _write_raw([_raw(row) if names is None else _joined(row[2:]) for row in rows])
    elif form.output == "table":
        screen = Screen()
        look = form.look(screen)
        if names is None:
            screen.add(rows_table(rows, look))
        else:
            screen.add(fields_table(names, [row[2:] for row in rows], look))
        screen.show(may_page=form.may_page)
    elif names is None:
        form.print(PAGE_COLUMNS, [_in_utc(row) for row in rows])
    else:
        form.print(names, [_in_utc(row[2:]) for row in rows])


def _in_utc(row: Sequence[Any]) -> list[Any]:
    return [
        value.astimezone(UTC) if isinstance(value, datetime) else value for value in row
    ]


def _raw(row: Sequence[Any]) -> str:
    """Return a row's message; of a row that has none its attributes."""
    message: str | None = row[MESSAGE]
    return as_text(row[ATTRIBUTES]) if message is None else message


def _joined(values: Sequence[Any]) -> str:
    return "\t".join(map(field_text, _in_utc(values)))


def _write_raw(lines: Sequence[str]) -> None:
    # As they are stored, but to a terminal, which they would command.
    as_is = not sys.stdout.isatty()
    for line in lines:
        # Without `color` click would take escape sequences out.
        click.echo(line if as_is else shown(line), color=True)


def show_context(
    groups: Sequence[Sequence[Sequence[Any]]], hits: frozenset[int], form: Form
) -> None:
    """Write hits with their neighbours, a group each, the hits marked."""
    if form.output == "raw":
        for number, group in enumerate(groups):
            _write_raw([*(["--"] if number else []), *map(_raw, group)])
    elif form.output == "table":
        screen = Screen()
        look = form.look(screen)
        for number, group in enumerate(groups):
            if number:
                screen.add("--")
            screen.add(rows_table(group, look, marked=hits))
        screen.show(may_page=form.may_page)
    else:
        rows = [
            [*_in_utc(row), row[0] in hits, number]
            for number, group in enumerate(groups, start=1)
            for row in group
        ]
        form.print([*PAGE_COLUMNS, "is_hit", "group"], rows)


def show_count(count: int, form: Form) -> None:
    """Write how many rows there are."""
    if form.output in ("table", "raw"):
        click.echo(str(count))
    else:
        form.print(["count"], [[count]])


def show_histogram(bins: Sequence[Bin], step: timedelta, form: Form) -> None:
    """Write the counts of each bin, by level."""
    if form.output == "table":
        screen = Screen()
        screen.add(
            histogram_table(
                bins,
                step,
                form.zone,
                width=screen.width,
                is_coloured=screen.is_coloured,
            )
        )
        screen.add("")
        screen.add(legend(bins, is_coloured=screen.is_coloured))
        screen.show(may_page=form.may_page)
        return
    rows = [
        [bin.start.astimezone(UTC), level or None, count]
        for bin in bins
        for level, count in (bin.counts or {"": 0}).items()
    ]
    if form.output == "raw":
        _write_raw(["\t".join(map(_text_of, row)) for row in rows])
    else:
        form.print(["start", "level", "count"], rows)


def _text_of(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else as_text(value)


def show_top(name: str, rows: Sequence[tuple[Any, int, int]], form: Form) -> None:
    """Write the values with their counts and shares."""
    if form.output == "table":
        screen = Screen()
        screen.add(top_table(name, rows, screen.width))
        screen.show(may_page=form.may_page)
        return
    counted = [(value, count, round(count / total, 6)) for value, count, total in rows]
    if form.output == "raw":
        _write_raw([as_text(value) for value, _, _ in counted])
    else:
        form.print(["value", "count", "share"], counted)
