"""Rows of `logs` as a person reads them: columns that fit, colours by level.

It owns which columns are shown in which width, and that a line of a log commands no
terminal. It must not know where the rows come from.
"""

import re
from collections.abc import Collection, Sequence
from datetime import datetime, tzinfo
from typing import Any, NamedTuple

import orjson
from rich.table import Table
from rich.text import Text

from penstock.cli.output import SHOWN_CONTROLS, as_text

LEVEL_STYLES = {
    "TRACE": "dim",
    "DEBUG": "dim",
    "INFO": "green",
    "WARN": "yellow",
    "ERROR": "red",
    "FATAL": "bold red",
}
# From so many cells on a column is shown; narrower, the message is worth more.
SERVICE_FROM = 60
DATE_FROM = 60
HOST_FROM = 100
ATTRIBUTES_FROM = 80
TAG_FROM = 120
# A value that tells rows apart needs no more; what is longer is folded.
NAME_WIDTH = 20
# Of a message on a terminal: some lines of it. -o raw and -o json have all.
SHOWN_CHARACTERS = 2_000
# CSI and OSC sequences, and the short ones (ECMA-48, 5.3 to 5.6).
ANSI = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\|$)|[@-Z\\^_])"
)


class Look(NamedTuple):
    """How rows are shown: the width, None where nothing bounds it; zone and day."""

    width: int | None
    zone: tzinfo
    is_one_day: bool

    def is_at_least(self, width: int) -> bool:
        """Tell whether there are so many cells."""
        return self.width is None or self.width >= width

    def time(self, moment: Any) -> str:
        """Return a row's time, in the zone, without what all of them share."""
        if not isinstance(moment, datetime):
            return str(moment)
        local = moment.astimezone(self.zone)
        if not self.is_at_least(DATE_FROM):
            return f"{local:%H:%M:%S}" if self.is_one_day else f"{local:%m-%d %H:%M}"
        if self.width is None:
            return local.isoformat(sep=" ", timespec="milliseconds")
        clock = f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}"
        return clock if self.is_one_day else f"{local:%m-%d} {clock}"


def shown(text: str) -> str:
    """Return a text without escape sequences, its other control characters in sight."""
    return ANSI.sub("", text).translate(SHOWN_CONTROLS)


def rows_table(
    rows: Sequence[Sequence[Any]], look: Look, marked: Collection[int] | None = None
) -> Table:
    """Return the table of a page's rows (statements.PAGE_COLUMNS).

    Args:
        marked: the ids of rows that get a mark, where some are to be told apart.
    """
    table = new_table()
    if marked is not None:
        table.add_column("", no_wrap=True)
    has_service = any(row[3] is not None for row in rows)
    columns = {
        "service": has_service and look.is_at_least(SERVICE_FROM),
        "host": look.is_at_least(HOST_FROM) and any(row[4] is not None for row in rows),
        "tag": look.is_at_least(TAG_FROM)
        or (not has_service and look.is_at_least(SERVICE_FROM)),
    }
    table.add_column("time", no_wrap=True, style="dim")
    table.add_column("level", no_wrap=True)
    for name in (name for name, is_shown in columns.items() if is_shown):
        width = None if look.width is None else NAME_WIDTH
        table.add_column(name, overflow="fold", max_width=width, style="cyan")
    table.add_column("message", overflow="fold", ratio=None)
    for row in rows:
        _, ts, level, service, host, tag, message, attributes = row
        names = {"service": service, "host": host, "tag": tag}
        mark = () if marked is None else (">" if row[0] in marked else "",)
        table.add_row(
            *mark,
            look.time(ts),
            Text(level or "", LEVEL_STYLES.get(level, "")),
            *(Text(shown(names[each] or "")) for each in columns if columns[each]),
            message_text(message, attributes, look),
        )
    return table


def new_table() -> Table:
    """Return a table without lines: its text can be copied."""
    return Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")


def message_text(message: str | None, attributes: Any, look: Look) -> Text:
    """Return a message, and what else the row has where there is room for it."""
    text = Text(_cut(message or "", look))
    if message is None or look.is_at_least(ATTRIBUTES_FROM):
        pairs = _pairs(attributes)
        if pairs:
            text.append(" " if message else "")
            text.append(_cut(pairs, look), "dim")
    return text


def _cut(text: str, look: Look) -> str:
    if look.width is None or len(text) <= SHOWN_CHARACTERS:
        return shown(text)
    more = len(text) - SHOWN_CHARACTERS
    return f"{shown(text[:SHOWN_CHARACTERS])} ... {more:,} characters more (-o raw)"


def _pairs(attributes: Any) -> str:
    """Return attributes as key=value, as many a log is written."""
    text = as_text(attributes)
    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError:  # a number that only PostgreSQL can hold
        return text
    if not isinstance(record, dict):
        return text
    return " ".join(f"{key}={_plain(value)}" for key, value in record.items())


def _plain(value: Any) -> str:
    if isinstance(value, str):
        needs = not value or any(each.isspace() or each == '"' for each in value)
        return orjson.dumps(value).decode() if needs else value
    return orjson.dumps(value).decode()


def fields_table(
    names: Sequence[str], rows: Sequence[Sequence[Any]], look: Look
) -> Table:
    """Return the table of the fields that were asked for."""
    table = new_table()
    for name in names:
        table.add_column(shown(name), overflow="fold")
    for row in rows:
        table.add_row(
            *(
                Text(
                    look.time(value) if name == "ts" else _cut(field_text(value), look),
                    LEVEL_STYLES.get(str(value), "") if name == "level" else "",
                )
                for name, value in zip(names, row, strict=True)
            )
        )
    return table


def field_text(value: Any) -> str:
    """Return a field's value as text: of a JSON text what it says, else the JSON."""
    if isinstance(value, orjson.Fragment):
        text = as_text(value)
        if text.startswith('"'):
            return str(orjson.loads(text))
        return "" if text == "null" else text
    return as_text(value)
