"""`penstock export`: the rows of a window and a filter, all of them, into a file.

It owns the command line, the bar and what is said. What is written, and how it goes on
after an interruption, is in `penstock.export`.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from penstock import config
from penstock.amounts import amount
from penstock.cli.database import (
    config_file_option,
    database_options,
    found_database,
)
from penstock.cli.filter_arguments import (
    FilterCommand,
    filter_argument,
    read_filter,
)
from penstock.cli.local_zone import own_zone
from penstock.cli.read_options import read_limits
from penstock.errors import PenstockError, UnavailableError
from penstock.export.forms import Csv, Form, Gzipped, JsonLines
from penstock.export.paging import PAGE_ROWS, read_all
from penstock.export.parquet import Parquet
from penstock.export.progress import Progress as Written
from penstock.export.target import File, Names, ParquetFile, Stream, Target
from penstock.reader import open_session
from penstock.search.filters import Filter
from penstock.search.spelling import spell
from penstock.search.times import describe_window, parse_window
from penstock.settings import ReadLimits
from penstock.sink.roles import let_reader_read

FORMATS = ("csv", "json", "parquet")
# By the end of a file's name.
ENDINGS = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}
GZIP = ".gz"
STDOUT = "-"


class Shape(NamedTuple):
    """What a file is written as."""

    form: str
    is_gzipped: bool


@click.command(
    "export", cls=FilterCommand, short_help="Write rows to CSV, JSON or Parquet."
)
@filter_argument
@click.option("--since", metavar="TIME", help="Where the window begins; or 2h..1h.")
@click.option("--until", metavar="TIME", help="Where it ends; now by default.")
@click.option("--last", metavar="DURATION", help="How long it is; 1h by default.")
@click.option("--utc", is_flag=True, help="Times on the command line are in UTC.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default=STDOUT,
    help="Where to, .csv, .jsonl or .parquet; .gz compresses. Default: stdout.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Where the name does not say; json is an object a line. Default: csv.",
)
@click.option("--resume", is_flag=True, help="Go on where an export was interrupted.")
@click.option("--force", is_flag=True, help="Replace a file, or what is left of one.")
@database_options
@config_file_option
def command(
    words: tuple[str, ...],
    since: str | None,
    until: str | None,
    last: str | None,
    utc: bool,
    output: str,
    form: str | None,
    resume: bool,
    force: bool,
    database_url: str | None,
    data_dir: str | None,
    config_file: str | None,
) -> None:
    """Write all rows of a window that FILTER finds, the oldest first.

    FILTER and times are those of `penstock search`. A file has its name when it is
    whole; until then it is FILE.partial, and --resume, with the same FILTER and times,
    goes on where it ended, whatever ended it.

    \b
    Examples:
      penstock export --since yesterday --until today -o yesterday.parquet
      penstock export --last 7d 'level:>=error' -o errors.jsonl.gz
    """
    shape = _shape(output, form)
    if resume and force:
        raise click.UsageError("--resume goes on and --force begins anew: give one")
    if output == STDOUT and (resume or force):
        raise click.UsageError("--resume and --force are for a file: give -o FILE")
    zone = own_zone(utc=utc)
    filter = read_filter(words, zone)
    window = parse_window(since, until, last, datetime.now(UTC), zone)
    asked = {
        "filter": spell(filter),
        "since": since or "",
        "until": until or "",
        "last": last or "",
        "utc": "yes" if utc else "",
        "format": f"{shape.form}{GZIP if shape.is_gzipped else ''}",
    }
    limits = replace(read_limits(config_file, {}), max_rows=PAGE_ROWS)
    is_embedded = config.database_url(database_url, config_file) is None
    with (
        _opened(output, shape, Written(asked, window), resume, force) as target,
        found_database(database_url, data_dir, config_file=config_file) as url,
    ):
        click.echo(f"window: {describe_window(target.progress.window, zone)}", err=True)
        if target.progress.rows:
            click.echo(f"goes on after {amount(target.progress.rows, 'row')}", err=True)
        asyncio.run(_export(url, filter, target, limits, is_embedded=is_embedded))
    click.echo(f"({amount(target.progress.rows, 'row')})", err=True)


def _shape(output: str, form: str | None) -> Shape:
    """Return what is to be written: as is said, or as the name says."""
    name = output.lower()
    is_gzipped = name.endswith(GZIP)
    ending = Path(name.removesuffix(GZIP)).suffix
    form = form or ENDINGS.get(ending, "csv" if output == STDOUT else "")
    if not form:
        raise click.UsageError(
            f"{output} does not say what it is to be: end it in .csv, .jsonl or"
            " .parquet, or give --format"
        )
    if form == "parquet" and is_gzipped:
        raise click.UsageError("Parquet is compressed by itself: leave .gz out")
    if form == "parquet" and output == STDOUT:
        raise click.UsageError("Parquet is put together in a file: give -o FILE")
    return Shape(form, is_gzipped)


@contextmanager
def _opened(
    output: str, shape: Shape, asked: Written, resumes: bool, replaces: bool
) -> Iterator[Target]:
    """Open where it goes; when the block has ended well, it is whole.

    Raises:
        PenstockError: something is there; or the disk is full, a pipe is closed.
    """
    target: Target | None = None
    names = None if output == STDOUT else Names(Path(output))
    try:
        target = _open(names, shape, asked, resumes, replaces)
        yield target
        target.finish()
    except BrokenPipeError:  # whoever reads has seen enough; click knows what to do
        raise
    except OSError as error:
        raise UnavailableError(
            f"{error.filename or output}: {error.strerror or error}"
            f"{_left(names, target)}"
        ) from error
    except (PenstockError, KeyboardInterrupt):
        if left := _left(names, target):
            click.echo(f"penstock: interrupted{left}", err=True)
        raise
    finally:
        if target is not None:
            target.close()


def _open(
    names: Names | None, shape: Shape, asked: Written, resumes: bool, replaces: bool
) -> Target:
    parquet = Parquet() if shape.form == "parquet" else None
    form: Form = Csv() if shape.form == "csv" else JsonLines()
    if shape.is_gzipped:
        form = Gzipped(form)
    if names is None:
        return Stream(sys.stdout.buffer, form, asked)
    progress = names.take(asked, resumes=resumes, replaces=replaces)
    if parquet is not None:
        return ParquetFile(names, parquet, progress)
    return File(names, form, progress)


def _left(names: Names | None, target: Target | None) -> str:
    if names is None or target is None:
        return ""
    rows = target.progress.rows
    are = f"{amount(rows, 'row')} {'is' if rows == 1 else 'are'}"
    return f"; {are} in {names.partial}, --resume goes on"


async def _export(
    url: str, filter: Filter, target: Target, limits: ReadLimits, *, is_embedded: bool
) -> None:
    if is_embedded:
        await let_reader_read(url)
    async with open_session(url, limits, is_embedded=is_embedded) as session:
        with _bar(target) as show:
            after, window = target.progress.key, target.progress.window
            async for page in read_all(session, filter, window, after=after):
                target.write(page.rows, page.key)
                show()


@contextmanager
def _bar(target: Target) -> Iterator[Callable[[], None]]:
    """Show a bar on a terminal: how much of the window's time is done."""
    console = Console(stderr=True)
    window = target.progress.window
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as progress:
        total = (window.end - window.start).total_seconds()
        task = progress.add_task("", total=total, rows=target.progress.rows)

        def show() -> None:
            key = target.progress.key
            done = 0.0 if key is None else (key.ts - window.start).total_seconds()
            progress.update(task, completed=done, rows=target.progress.rows)

        yield show
