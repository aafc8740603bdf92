"""What `penstock search` is asked for: its options, read into what they mean.

It owns the defaults and which options go together. Nothing is asked of a database here.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import click

from penstock.cli.filter_arguments import read_filter
from penstock.cli.local_zone import own_zone
from penstock.cli.search_output import Form
from penstock.search import statements
from penstock.search.compile import Query
from penstock.search.filters import Filter, FilterError, Path
from penstock.search.language import parse_paths
from penstock.search.statements import Key, Order
from penstock.search.times import TimeError, Window, parse_duration, parse_window
from penstock.settings import ReadLimits

# Some screens of rows: who wants more narrows the filter, or says so.
DEFAULT_LIMIT = 100
# With what stands around each of them.
DEFAULT_HITS = 10
DEFAULT_VALUES = 20
# A line each: more than a screen has, for most windows.
BINS = 48


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for, read and checked: nothing of it can fail any more."""

    filter: Filter
    window: Window
    form: Form
    order: Order
    limit: int | None
    after: Key | None
    fields: list[Path] | None
    top: Path | None
    step: timedelta | None
    is_histogram: bool
    is_count: bool
    context: int | None

    @property
    def row_limit(self) -> int:
        """Return how many rows are shown at most."""
        default = DEFAULT_LIMIT if self.context is None else DEFAULT_HITS
        return self.limit or default

    @property
    def bin_step(self) -> timedelta:
        """Return how long a bin of the histogram is."""
        return self.step or statements.step_for(self.window, BINS)

    @property
    def origin(self) -> datetime:
        """Return a time that a bin of the histogram starts at."""
        return statements.origin_for(self.window, self.form.zone)

    def query(self) -> Query:
        """Return the one statement that this is, with nothing done in slices."""
        if self.is_count:
            return statements.count(self.filter, self.window)
        if self.is_histogram:
            return statements.histogram(
                self.filter, self.window, step=self.bin_step, origin=self.origin
            )
        if self.top is not None:
            return statements.top(
                self.filter, self.window, self.top, limit=self.limit or DEFAULT_VALUES
            )
        return statements.page(
            self.filter,
            self.window,
            limit=self.row_limit,
            after=self.after,
            order=self.order,
            fields=self.fields,
        )


def read_request(
    words: tuple[str, ...],
    *,
    since: str | None,
    until: str | None,
    last: str | None,
    output: str,
    fields: str | None,
    limit: int | None,
    order: Order,
    after: str | None,
    is_count: bool,
    is_histogram: bool,
    step: str | None,
    top: str | None,
    context: int | None,
    utc: bool,
    no_pager: bool,
) -> Request:
    """Read what was typed, all of it before anything is asked.

    Raises:
        click.UsageError: options that do not go together, or no key.
        FilterError, TimeError: one line of what is wrong.
    """
    kinds = {
        "--count": is_count,
        "--histogram": is_histogram,
        "--top": top is not None,
        "--context": context is not None,
        "--fields": fields is not None,
    }
    given = [name for name, is_given in kinds.items() if is_given]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} do not go together: give one")
    if step is not None and not is_histogram:
        raise click.UsageError("--step is of --histogram")
    zone = own_zone(utc=utc)
    window = parse_window(since, until, last, datetime.now(UTC), zone)
    request = Request(
        filter=read_filter(words, zone),
        window=window,
        form=Form(output, zone, window, may_page=not no_pager),
        order=order,
        limit=limit,
        after=None if after is None else _read_key(after),
        fields=None if fields is None else _read_paths("--fields", fields),
        top=None,
        step=None if step is None else _read_step(step, window),
        is_histogram=is_histogram,
        is_count=is_count,
        context=context,
    )
    if top is None:
        return request
    paths = _read_paths("--top", top)
    if len(paths) > 1:
        raise click.UsageError("--top takes one field")
    return replace(request, top=paths[0])


def _read_paths(option: str, text: str) -> list[Path]:
    try:
        return parse_paths(text)
    except FilterError as error:
        raise FilterError(f"in {option} {error}") from None


def _read_step(text: str, window: Window) -> timedelta:
    step = parse_duration(text)
    most = ReadLimits().max_rows // 10
    if (window.end - window.start) / step > most:
        raise TimeError(f"--step {text} makes more than {most:,} bars: a longer one")
    return step


def _read_key(text: str) -> Key:
    ts, _, number = text.partition("/")
    try:
        moment = datetime.fromisoformat(ts)
        if moment.tzinfo is None:
            raise ValueError
        return Key(moment, int(number))
    except ValueError:
        raise click.UsageError(
            f"--after {text!r} is no key, as a page names it: 2026-11-01T12:00Z/123"
        ) from None


def spell_key(key: Key) -> str:
    moment = key.ts.astimezone(UTC).replace(tzinfo=None)
    return f"{moment.isoformat()}Z/{key.id}"
