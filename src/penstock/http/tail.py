"""GET /api/tail: rows as they are committed, after some that were before.

It owns how history and the rows from now on become one stream, without a gap and
without a row twice: the feed begins first, then the database is asked; what is in both
is left out of the feed. How rows get into a feed is for `live`.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from penstock.http.answers import ApiError
from penstock.http.events import EventStream, open_events
from penstock.http.parameters import SEARCHED, Parameters
from penstock.http.readers import Readers
from penstock.http.search import fields_of, row_as_json
from penstock.live.feed import Feed, LiveRow, Missed
from penstock.pieces import joined
from penstock.rows.copy_format import ID_EPOCH_MICROSECONDS, RECEIVER_BITS
from penstock.search.cases import CASES_QUERY, Cases, cases_of, unicode_cases
from penstock.search.filters import And, Field, Filter, FilterError
from penstock.search.pages import read_page
from penstock.search.times import Window

# Begins to look for rows that are committed, for a block.
Looking = Callable[[Filter, Cases], AbstractAsyncContextManager[Feed]]

TAIL_PARAMETERS = (SEARCHED - {"until"}) | {"rows", "after"}
MOST_ROWS = 10_000
# With --since or last, where no number is given.
SINCE_ROWS = 1_000
# Nothing between us and the reader takes a stream for dead that says something in 30 s.
HEARTBEAT_SECONDS = 15.0
# Rows are committed in another order than they came in: writers overlap, and what a
# restart finds is tried again. Who comes back is sent what came in so long before the
# last row that it had, and leaves out those that it knows by their ids.
OVERLAP = timedelta(seconds=60)
# A row's own time may be so much older than its arrival to be found then.
LATENESS = timedelta(minutes=5)
# And so much newer: clocks differ.
AHEAD = timedelta(days=1)
_ID_EPOCH = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
    microseconds=ID_EPOCH_MICROSECONDS
)
_MICROSECOND = timedelta(microseconds=1)
_ALL_COLUMNS = fields_of(None)


class _Asked(NamedTuple):
    """A filter, and the rows of before: of a window, so many, all after an id."""

    filter: Filter
    window: Window
    rows: int
    after: int | None


class _History(NamedTuple):
    """Rows that were committed before, the oldest first; whether there are more."""

    rows: list[LiveRow]
    is_cut: bool
    is_after: bool


class Tail:
    """Answers, each reader from a feed of its own."""

    def __init__(self, readers: Readers, looking: Looking) -> None:
        self._readers = readers
        self._looking = looking
        self._cases: Cases | None = None

    async def stream(self, request: web.BaseRequest) -> web.StreamResponse:
        """Send rows until the client goes, or we stop."""
        asked = _read(request)
        try:
            looking = self._looking(asked.filter, await self._known_cases())
        except FilterError as error:
            raise ApiError(400, f"q: {error}") from error
        async with looking as feed:
            history = await self._history(asked)
            async with open_events(request) as events:
                await _send_history(events, history)
                known = frozenset(row.id for row in history.rows)
                async for piece in _pieces(feed, known):
                    await events.send_bytes(piece)
            return events.response

    async def _known_cases(self) -> Cases:
        """Return which letters the database takes for the same; it is asked once."""
        if self._cases is None:
            try:
                async with self._readers.session() as session:
                    found = await session.fetch(CASES_QUERY)
            except ApiError:
                # Rows that are committed can be seen before they can be read.
                return unicode_cases()
            self._cases = cases_of((row[0], row[1], row[2]) for row in found.rows)
        return self._cases

    async def _history(self, asked: _Asked) -> _History:
        if not asked.rows:
            return _History([], is_cut=False, is_after=False)
        filter = asked.filter
        if asked.after is not None:
            filter = And((filter, Field(("id",), ">", str(asked.after))))
        async with self._readers.session() as session:
            page = await read_page(session, filter, asked.window, limit=asked.rows)
        is_cut = page.is_cut or page.next is not None
        rows = [_live_row(row) for row in reversed(page.rows)]
        return _History(rows, is_cut, asked.after is not None)


def _read(request: web.BaseRequest) -> _Asked:
    parameters = Parameters(request, TAIL_PARAMETERS)
    searched = parameters.searched()
    window = Window(searched.window.start, datetime.now(UTC) + AHEAD)
    is_of_window = any(parameters.text(name) for name in ("since", "last"))
    default = SINCE_ROWS if is_of_window else 0
    last = parameters.text("after")
    if last is None:
        last = request.headers.get("Last-Event-ID") or None
    if last is None:
        rows = parameters.number("rows", default, 0, MOST_ROWS)
        return _Asked(searched.filter, window, rows, None)
    parameters.number("rows", default, 0, MOST_ROWS)
    if not (last.isascii() and last.isdigit() and len(last) <= 19):
        raise ApiError(400, "Last-Event-ID, or after, has to be the id of a row")
    overlap = OVERLAP // _MICROSECOND << RECEIVER_BITS
    after = max(0, int(last) - overlap)
    arrived = _ID_EPOCH + timedelta(microseconds=after >> RECEIVER_BITS)
    window = Window(arrived - LATENESS, window.end)
    return _Asked(searched.filter, window, MOST_ROWS, after)


def _live_row(row: tuple[Any, ...]) -> LiveRow:
    return LiveRow(row[0], orjson.dumps(row_as_json(row, _ALL_COLUMNS)))


async def _send_history(events: EventStream, history: _History) -> None:
    for piece in joined(map(_row_event, history.rows)):
        await events.send_bytes(piece)
    told = {
        "history": len(history.rows),
        "is_cut": history.is_cut,
        "after": history.is_after,
    }
    # Who has had no row has something to come back with too.
    since = (datetime.now(UTC) - _ID_EPOCH) // _MICROSECOND << RECEIVER_BITS
    await events.send(orjson.dumps(told), event="live", event_id=str(since))


async def _pieces(feed: Feed, known: frozenset[int]) -> AsyncIterator[bytes]:
    """Yield events to be sent, and a heartbeat where there are none for long."""
    while (items := await feed.take(HEARTBEAT_SECONDS)) is not None:
        if not items:
            yield b":\n\n"
        events = (
            _missed_event(item) if isinstance(item, Missed) else _row_event(item)
            for item in items
            if isinstance(item, Missed) or item.id not in known
        )
        for piece in joined(events):
            yield piece


def _row_event(row: LiveRow) -> bytes:
    return b"event: row\nid: %d\ndata: %b\n\n" % (row.id, row.json)


def _missed_event(missed: Missed) -> bytes:
    told = orjson.dumps({"rows": missed.rows, "reason": missed.reason})
    return b"event: missed\ndata: %b\n\n" % told
