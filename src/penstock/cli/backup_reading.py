"""How much of a backup is read: a bar on a terminal, nothing elsewhere.

It owns the bar. It must not know what the bytes are.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


@contextmanager
def reading_bar(
    total_bytes: int, *, quiet: bool = False
) -> Iterator[tuple[Callable[[int], None], Progress]]:
    """Show a bar of so many bytes on stderr, if that is a terminal.

    Yields what is to be called with the bytes read, from any thread, and the bar.
    """
    console = Console(stderr=True, highlight=False, markup=False)
    columns = (
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    disable = quiet or not console.is_terminal
    with Progress(
        *columns, console=console, disable=disable, transient=True
    ) as progress:
        task = progress.add_task("", total=total_bytes)

        def on_bytes(size: int) -> None:
            progress.advance(task, size)

        yield on_bytes, progress
