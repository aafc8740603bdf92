"""All rows of a window that a filter passes, in the order of time, a page at a time.

It owns how much of the window a query looks at. Nothing on a day that is written to is
in the order of ts, so PostgreSQL sorts what a query looks at: slices that hold about a
page let it sort little and read nothing twice. Each query is short and its own, so no
snapshot is held for as long as an export takes; what is stored behind its back with an
older time than it has come to is not in it.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, NamedTuple

from penstock.errors import QueryTimeoutError
from penstock.reader import Session
from penstock.search.filters import Filter
from penstock.search.pages import key_of
from penstock.search.statements import Key, page
from penstock.search.times import Window

# Rows of a query: some megabytes, sorted in memory on the server.
PAGE_ROWS = 10_000
FIRST_SLICE = timedelta(minutes=1)
# Of what the last page suggests, so that a slice mostly holds one page and little more.
SPARE = 1.5
# Where there was little, and at most: quickly over empty days, not into a full one.
GROWTH = 4
LEAST_SLICE = timedelta(milliseconds=1)


class Exported(NamedTuple):
    """A page of rows; the next one begins after `key`, that of its last row."""

    rows: list[tuple[Any, ...]]
    key: Key


async def read_all(
    session: Session, filter: Filter, window: Window, *, after: Key | None = None
) -> AsyncIterator[Exported]:
    """Yield the rows, oldest first, each page with its last key; empty ones not at all.

    Args:
        after: the key that an earlier export has come to.

    Raises:
        QueryError, DatabaseUnavailableError: as the session.
    """
    start = window.start if after is None else max(window.start, after.ts)
    length, most = FIRST_SLICE, timedelta.max
    while start < window.end:
        stop = start + min(length, window.end - start)
        query = page(
            filter, Window(start, stop), limit=PAGE_ROWS, after=after, order="oldest"
        )
        try:
            found = await session.fetch(query.sql, query.params)
        except QueryTimeoutError:
            # A rare filter over much of the window: in smaller parts.
            if length <= FIRST_SLICE:
                raise
            length = most = max(length / GROWTH**2, FIRST_SLICE)
            continue
        if found.rows:
            after = key_of(found.rows[-1])
            yield Exported(found.rows, after)
        if found.is_cut or len(found.rows) == PAGE_ROWS:
            assert after is not None
            length = max((after.ts - start) * SPARE, LEAST_SLICE)
            start = after.ts
        else:
            start, after = stop, None
            length = min(_next_length(length, len(found.rows)), most)


def _next_length(length: timedelta, rows: int) -> timedelta:
    factor = PAGE_ROWS / (SPARE * rows) if rows else GROWTH
    try:
        return max(length * min(factor, GROWTH), LEAST_SLICE)
    except OverflowError:
        return timedelta.max
