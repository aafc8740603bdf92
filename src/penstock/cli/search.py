"""`penstock search`: the rows of a window that a filter finds, or counts of them."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import click

from penstock import config
from penstock.amounts import amount
from penstock.cli.database import (
    config_file_option,
    database_options,
    found_database,
)
from penstock.cli.filter_arguments import FilterCommand, filter_argument
from penstock.cli.read_options import read_limits
from penstock.cli.search_hints import hints_of_fields
from penstock.cli.search_output import (
    show_context,
    show_count,
    show_histogram,
    show_rows,
    show_top,
)
from penstock.cli.search_request import (
    DEFAULT_LIMIT,
    DEFAULT_VALUES,
    Request,
    read_request,
    spell_key,
)
from penstock.reader import Session, open_session
from penstock.search import statements
from penstock.search.filters import Field, Path, column_of, walk
from penstock.search.literals import written_out
from penstock.search.pages import read_context, read_page
from penstock.search.spelling import spell, spell_path
from penstock.search.statements import Key, Source
from penstock.search.times import Window, describe_window
from penstock.settings import ReadLimits
from penstock.sink.roles import let_reader_read

# How far the neighbours of a row are looked for.
CONTEXT_REACH = timedelta(hours=1)


@click.command(
    "search", cls=FilterCommand, short_help="Find rows by words, fields and times."
)
@filter_argument
@click.option("--since", metavar="TIME", help="Where the window begins; or 2h..1h.")
@click.option("--until", metavar="TIME", help="Where it ends; now by default.")
@click.option("--last", metavar="DURATION", help="How long it is; 1h by default.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "csv", "raw"]),
    default="table",
    show_default=True,
    help="How results are written; json is one object a line, raw the messages.",
)
@click.option("--fields", metavar="FIELDS", help="What of a row: service,http.status.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help=f"Rows at most: {DEFAULT_LIMIT}; {DEFAULT_VALUES} values with --top.",
)
@click.option(
    "--order",
    type=click.Choice(["newest", "oldest"]),
    default="newest",
    show_default=True,
    help="Which rows come first.",
)
@click.option(
    "--after", metavar="KEY", help="Go on where a page ended, which said KEY."
)
@click.option("--count", "is_count", is_flag=True, help="Only how many rows there are.")
@click.option(
    "--histogram", "is_histogram", is_flag=True, help="Rows by time and by level."
)
@click.option("--step", metavar="DURATION", help="How long a bar of the histogram is.")
@click.option("--top", metavar="FIELD", help="Its most frequent values.")
@click.option(
    "--context",
    type=click.IntRange(1, 1_000),
    metavar="N",
    help="N rows of the same tag, service and host before and after each.",
)
@click.option("--show-sql", is_flag=True, help="Print the SQL, and run nothing.")
@click.option("--utc", is_flag=True, help="Times in UTC, typed and shown.")
@click.option(
    "--statement-timeout-seconds",
    metavar="SECONDS",
    help=f"How long it may take. Default: {ReadLimits().statement_timeout_seconds:g}.",
)
@click.option("--no-pager", is_flag=True, help="Write long tables straight out.")
@database_options
@config_file_option
def command(
    words: tuple[str, ...],
    database_url: str | None,
    data_dir: str | None,
    config_file: str | None,
    show_sql: bool,
    statement_timeout_seconds: str | None,
    **options: Any,
) -> None:
    """Find rows of logs: all of a window's by default, the newest first.

    \b
    FILTER, several of which have to hold at once:
      timeout "broken pipe"        words and phrases in the message
      -healthz  NOT healthz        what may not be there
      timeout OR (reset by peer)   one or the other
      level:>=warn  service:api    columns: level service host tag message id ts
      status:>499  http.method:GET any path in attributes
      user:*  path:/api/*          is there; begins so
      /took \\d{4,} ms/            a regular expression
      any:42                       anywhere in the row

    \b
    TIME is 15m, 2h..1h, 14:30, "yesterday 14:00", monday, 2026-11-01T14:00.

    \b
    Examples:
      penstock search --last 15m level:error -healthz
      penstock search --histogram --since today service:checkout
      penstock search --top service --last 1d 'level:>=warn'
      penstock search -o json --fields ts,http.path status:500
    """
    request = read_request(words, **options)
    if show_sql:
        click.echo(f"{written_out(request.query())};")
        return
    form = request.form
    flags = {"statement_timeout_seconds": statement_timeout_seconds}
    limits = read_limits(config_file, flags)
    click.echo(f"window: {describe_window(request.window, form.zone)}", err=True)
    is_embedded = config.database_url(database_url, config_file) is None
    with found_database(database_url, data_dir, config_file=config_file) as url:
        show = asyncio.run(_ask(url, request, limits, is_embedded=is_embedded))
    show()


async def _ask(
    url: str, request: Request, limits: ReadLimits, *, is_embedded: bool
) -> Callable[[], None]:
    """Ask for it; return what shows the answer, when the database is not needed."""
    # One more than is shown; who wants more than the settings' has said so by --limit.
    limits = replace(limits, max_rows=max(limits.max_rows, request.row_limit + 1))
    if is_embedded:
        await let_reader_read(url)
    async with open_session(url, limits, is_embedded=is_embedded) as session:
        if request.is_count:
            return await _count(session, request)
        if request.is_histogram:
            return await _histogram(session, request)
        if request.top is not None:
            return await _top(session, request, request.top)
        if request.context is not None:
            return await _context(session, request, request.context)
        return await _rows(session, request)


async def _count(session: Session, request: Request) -> Callable[[], None]:
    found = await session.fetch(*request.query())
    ((count,),) = found.rows
    return lambda: show_count(count, request.form)


async def _histogram(session: Session, request: Request) -> Callable[[], None]:
    step, origin = request.bin_step, request.origin
    found = await session.fetch(*request.query())
    rows = [(start, level, count) for start, level, count in found.rows]
    bins = statements.filled(rows, request.window, step=step, origin=origin)

    def show() -> None:
        show_histogram(bins, step, request.form)
        _say_total(sum(count for _, _, count in rows), request)

    return show


async def _top(session: Session, request: Request, path: Path) -> Callable[[], None]:
    found = await session.fetch(*request.query())
    rows = [(value, count, int(total)) for value, count, total, _ in found.rows]
    distinct = found.rows[0][3] if found.rows else 0

    def show() -> None:
        if rows or request.form.output != "table":
            show_top(spell_path(path), rows, request.form)
        _say_total(rows[0][2] if rows else 0, request)
        if distinct > len(rows):
            _say(f"{len(rows):,} of {distinct:,} values; --limit shows more")

    return show


async def _rows(session: Session, request: Request) -> Callable[[], None]:
    page = await read_page(
        session,
        request.filter,
        request.window,
        limit=request.row_limit,
        after=request.after,
        order=request.order,
        fields=request.fields,
    )
    names = None
    if request.fields is not None:
        names = [spell_path(path) for path in request.fields]
    hints = await hints_of_fields(session, request, page.rows)

    def show() -> None:
        if page.rows or request.form.output != "table":
            show_rows(names, page.rows, request.form)
        _say_total(len(page.rows), request, next_page=page.next)
        for hint in hints:
            _say(hint)

    return show


async def _context(
    session: Session, request: Request, reach: int
) -> Callable[[], None]:
    page = await read_page(
        session,
        request.filter,
        request.window,
        limit=request.row_limit,
        after=request.after,
        order=request.order,
    )
    hits = frozenset(row[0] for row in page.rows)
    groups: list[list[tuple[Any, ...]]] = []
    seen: set[int] = set()
    for row in page.rows:
        number, ts, _, service, host, tag, *_ = row
        if number in seen:
            continue
        around = Window(ts - CONTEXT_REACH, ts + CONTEXT_REACH)
        before, behind = await read_context(
            session, Source(tag, service, host), around, Key(ts, number), limit=reach
        )
        groups.append([*before, row, *behind])
        seen |= {each[0] for each in groups[-1]}

    def show() -> None:
        if groups or request.form.output != "table":
            show_context(groups, hits, request.form)
        _say_total(len(hits), request, next_page=page.next)

    return show


def _say(text: str) -> None:
    click.echo(text, err=True)


def _say_total(count: int, request: Request, next_page: Key | None = None) -> None:
    """Say how many rows there are, and how to get at those that are not shown."""
    rows = amount(count, "row")
    if next_page is not None:
        _say(
            f"({rows}, and there are more: --limit N shows more at once,"
            f" --after {spell_key(next_page)} goes on)"
        )
        return
    _say(f"({rows})")
    if not count:
        _say_why(request)


def _say_why(request: Request) -> None:
    """Say of what was read as a field that it may have been meant as text."""
    for each in walk(request.filter):
        if isinstance(each, Field) and column_of(each.path) is None:
            _say(
                f"{spell(each)} is the field {spell_path(each.path)} of attributes; in"
                " quotes it is text of the message"
            )
            return
