"""One row of a stream, written: as a line for a person, as JSON, or as it was sent.

It owns the three forms. It must not know where the rows come from.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo

import click
import msgspec
import orjson
from rich.console import Console
from rich.text import Text

from penstock.cli.paged import Screen
from penstock.cli.rows_view import (
    LEVEL_STYLES,
    SERVICE_FROM,
    Look,
    message_text,
    shown,
)

# So that messages stand below each other; a longer name moves its own.
LEVEL_WIDTH = 5


class Row(msgspec.Struct):
    """A row as the server sends it; the attributes as they are."""

    id: str
    ts: str
    level: str | None
    service: str | None
    host: str | None
    tag: str
    message: str | None
    attributes: msgspec.Raw


_decode_row = msgspec.json.Decoder(Row).decode
Writer = Callable[[bytes], None]


def writer_of(output: str, zone: tzinfo) -> Writer:
    """Return what writes a row's JSON to stdout in this form: text, json or raw."""
    if output == "json":
        return _write_json
    if output == "raw":
        return _write_raw
    return _Lines(zone).write


def _write_json(data: bytes) -> None:
    click.echo(data)


def _write_raw(data: bytes) -> None:
    row = _decode_row(data)
    text = bytes(row.attributes).decode() if row.message is None else row.message
    # As it is stored, but to a terminal, which it would command.
    click.echo(shown(text) if sys.stdout.isatty() else text)


class _Lines:
    """Lines for a person: time, level, source, message, attributes."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        screen = Screen()
        self._width = screen.width
        self._console: Console | None = None
        if screen.is_coloured:
            self._console = Console(markup=False, highlight=False, emoji=False)

    def write(self, data: bytes) -> None:
        """Write one."""
        text = self._line(_decode_row(data))
        if self._console is None:
            click.echo(text.plain)
        else:
            self._console.print(text, soft_wrap=True)

    def _line(self, row: Row) -> Text:
        moment = _moment(row.ts)
        is_today = (
            isinstance(moment, datetime)
            and moment.astimezone(self._zone).date() == datetime.now(self._zone).date()
        )
        look = Look(self._width, self._zone, is_today)
        level = row.level or ""
        text = Text(no_wrap=True)
        text.append(look.time(moment), "dim")
        text.append(" ")
        text.append(f"{level:<{LEVEL_WIDTH}}", LEVEL_STYLES.get(level, ""))
        text.append(" ")
        if look.is_at_least(SERVICE_FROM):
            text.append(shown(row.service or row.tag), "cyan")
            text.append(" ")
        attributes = orjson.Fragment(bytes(row.attributes))
        # Not from the beginning of a line, or a message could look like another row.
        message = row.message and row.message.replace("\n", "\n    ")
        text.append_text(message_text(message, attributes, look))
        return text


def _moment(ts: str) -> datetime | str:
    try:
        return datetime.fromisoformat(ts).astimezone(UTC)
    except ValueError:  # of a year that Python does not have
        return ts
