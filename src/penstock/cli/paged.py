"""Tables on a terminal: as wide as it is, coloured, in a pager where they do not fit.

It owns what a terminal is asked. It must not know what is in a table.
"""

import io
import sys

import click
from rich.console import Console, ConsoleDimensions, RenderableType

from penstock.cli.output import WIDE


class Screen:
    """Where a table goes: a terminal with its width, or a pipe that has none."""

    def __init__(self) -> None:
        asked = Console()
        self.is_terminal = asked.is_terminal
        self.is_coloured = asked.color_system is not None and not asked.no_color
        self.width = asked.width if self.is_terminal else None
        self.height = asked.height
        self._buffer = io.StringIO()
        self._console = Console(
            file=self._buffer,
            force_terminal=self.is_terminal,
            color_system="auto" if self.is_terminal else None,
            markup=False,
            highlight=False,
            emoji=False,
            legacy_windows=False,
        )
        self._console.size = ConsoleDimensions(self.width or WIDE, self.height)

    def add(self, what: RenderableType) -> None:
        """Add a table or a line to what is shown."""
        self._console.print(what)

    def show(self, *, may_page: bool) -> None:
        """Write all that was added; through $PAGER where it is more than a screen."""
        lines = [line.rstrip(" ") for line in self._buffer.getvalue().splitlines()]
        text = "".join(f"{line}\n" for line in lines)
        is_long = self.is_terminal and len(lines) >= self.height
        if may_page and is_long and sys.stdin.isatty():
            click.echo_via_pager(text)
        else:
            click.echo(text, nl=False, color=self.is_coloured or None)
