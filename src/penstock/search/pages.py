"""Pages of rows, found in growing slices of the window.

It owns how far each query looks. A day that is written to has a BRIN on ts and nothing
in the order of ts, so that PostgreSQL has to read all of a window before it knows the
newest rows of it. Here the last seconds are asked first, then as much more as the page
lacks rows: each slice is a query of its own, no row is looked at twice, and what is
found comes in order. A filter that much of the window passes fills its page from the
first slices; a rare one costs what the whole window costs.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, Protocol

from penstock.search.compile import Query
from penstock.search.filters import Filter, Path
from penstock.search.statements import Key, Order, Source, context, page
from penstock.search.times import Window

# Full of rows it is read in a tenth of a second, at 30,000 rows/s. Less would mostly
# have to be followed by another, and each slice reads what autovacuum has not been at
# since it came: that has no entry in the BRIN yet.
FIRST_SLICE = timedelta(seconds=10)
# Where a slice had no row, and at most: from ten seconds to a day in five slices.
GROWTH = 8
# Beyond what the page should need, so that the next slice mostly is the last.
SPARE = 2


class Found(Protocol):
    """What a query answers: reader's Rows."""

    @property
    def rows(self) -> list[tuple[Any, ...]]: ...

    @property
    def is_cut(self) -> bool: ...


class Session(Protocol):
    """Who runs a query: reader's Session."""

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> Found: ...


class Page(NamedTuple):
    """Rows in their order; `next` is the key to go on after, None at the end.

    `is_cut` tells that the reader's caps ended it before the limit did.
    """

    rows: list[tuple[Any, ...]]
    next: Key | None
    is_cut: bool = False


async def read_page(
    session: Session,
    filter: Filter,
    window: Window,
    *,
    limit: int,
    after: Key | None = None,
    order: Order = "newest",
    fields: Sequence[Path] | None = None,
) -> Page:
    """Return up to `limit` rows of the window, and whether there are more.

    Args:
        fields: as `statements.page` takes them.
    """

    def query(part: Window, missing: int) -> Query:
        return page(
            filter, part, limit=missing, after=after, order=order, fields=fields
        )

    # One more than asked tells whether the page is the last.
    part = _after(window, after, order)
    rows, is_cut = await _in_slices(session, query, part, limit + 1, order)
    shown = rows[:limit]
    has_more = bool(shown) and (is_cut or len(rows) > limit)
    return Page(shown, key_of(shown[-1]) if has_more else None, is_cut)


async def read_context(
    session: Session, source: Source, window: Window, key: Key, *, limit: int
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Return the rows of a source before a key and after it, both in time's order."""
    sides = []
    for order in ("newest", "oldest"):
        side: Order = "newest" if order == "newest" else "oldest"

        def query(part: Window, missing: int, side: Order = side) -> Query:
            return context(source, part, limit=missing, after=key, order=side)

        part = _after(window, key, side)
        sides.append((await _in_slices(session, query, part, limit, side))[0])
    before, behind = sides
    return before[::-1], behind


def key_of(row: tuple[Any, ...]) -> Key:
    """Return the key of a page's row."""
    return Key(row[1], row[0])


async def _in_slices(
    session: Session,
    query: Callable[[Window, int], Query],
    window: Window,
    limit: int,
    order: Order,
) -> tuple[list[tuple[Any, ...]], bool]:
    rows: list[tuple[Any, ...]] = []
    slices = Slices(window, order)
    while len(rows) < limit and (part := slices.next(len(rows), limit)):
        found = await session.fetch(*query(part, limit - len(rows)))
        rows += found.rows
        if found.is_cut:
            return rows, True
    return rows, False


class Slices:
    """The parts of a window, one after the other, each as long as the last tells."""

    def __init__(self, window: Window, order: Order) -> None:
        self._left: Window | None = window if window.start < window.end else None
        self._order = order
        self._length = FIRST_SLICE
        self._taken = timedelta()

    def next(self, found: int, wanted: int) -> Window | None:
        """Return the part to look at next; None at the window's end.

        Args:
            found: how many rows the parts so far had, of those wanted.
        """
        if self._left is None:
            return None
        if self._taken:
            self._length = min(self._taken * GROWTH, self._expected(found, wanted))
        left, length = self._left, min(self._length, self._left.end - self._left.start)
        if self._order == "newest":
            part = Window(left.end - length, left.end)
            rest = Window(left.start, part.start)
        else:
            part = Window(left.start, left.start + length)
            rest = Window(part.end, left.end)
        self._left = rest if rest.start < rest.end else None
        self._taken += length
        return part

    def _expected(self, found: int, wanted: int) -> timedelta:
        """Return how long a part should hold what is missing, and some more."""
        if not found:
            return timedelta.max
        factor = SPARE * (wanted - found) / found
        if factor >= GROWTH:
            return timedelta.max
        return max(self._taken * factor, FIRST_SLICE)


def _after(window: Window, after: Key | None, order: Order) -> Window:
    """Return what of the window is left after a key, its own time with it."""
    if after is None:
        return window
    moment = timedelta(microseconds=1)
    if order == "newest":
        return Window(window.start, min(window.end, after.ts + moment))
    return Window(max(window.start, after.ts), window.end)
