"""How far a backup is, on a terminal; and what is said of it meanwhile.

It owns the bar on stderr: bytes, parts and rows. It must not know how a backup is made.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from penstock.amounts import amount
from penstock.cli.output import SHOWN_CONTROLS

MEBIBYTE = 1024 * 1024


class Bar:
    """Counts what a backup tells; shows it where there is a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._parts = 0
        self._done = 0
        self._sent_bytes = 0
        self._rows = 0

    def begin(self, parts: int, table_bytes: int) -> None:
        """Take it for the beginning, again if need be."""
        self._parts, self._done, self._rows = parts, 0, 0
        self._progress.update(self._task, total=max(table_bytes, 1), completed=0)
        self._show()

    def sent(self, size_bytes: int) -> None:
        """Count bytes that are on their way. From any thread."""
        self._sent_bytes += size_bytes
        self._show()

    def finish(self, rows: int, table_bytes: int) -> None:
        """Count a part."""
        self._done += 1
        self._rows += rows
        self._progress.advance(self._task, table_bytes)
        self._show()

    def say(self, text: str) -> None:
        """Print a line above the bar. From any thread."""
        line = f"penstock: {' '.join(text.split())}".translate(SHOWN_CONTROLS)
        if self._progress.disable:
            click.echo(line, err=True)
        else:
            self._progress.console.print(
                line, markup=False, highlight=False, soft_wrap=True
            )

    def _show(self) -> None:
        self._progress.update(
            self._task,
            told=f"{self._done}/{self._parts} parts, {amount(self._rows, 'row')},"
            f" {self._sent_bytes / MEBIBYTE:,.1f} MiB sent",
        )


@contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[Bar]:
    """Show a bar for the block, on stderr, if that is a terminal."""
    console = Console(stderr=True)
    with Progress(
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
        transient=True,
    ) as progress:
        yield Bar(progress, progress.add_task("", total=None, told=""))
