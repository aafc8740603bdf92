"""GET /api/search, /api/histogram and /api/fields.

It owns what each takes and how it answers. What a filter is, which statements it takes
and what may be read is for `search` and `reader`.
"""

from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import orjson
from aiohttp import web

from penstock.http.answers import JSON, ApiError, answer
from penstock.http.cursor import Cursor, read_cursor, write_cursor
from penstock.http.parameters import SEARCHED, Parameters, Searched, path_of
from penstock.http.readers import Readers
from penstock.search import statements
from penstock.search.filters import Path, attribute_keys, column_of, path_of_keys
from penstock.search.pages import read_page
from penstock.search.spelling import spell, spell_path
from penstock.search.statements import PAGE_COLUMNS, Order
from penstock.search.times import Window

MOST_ROWS = 1_000
DEFAULT_ROWS = 100
MOST_BINS = 1_000
DEFAULT_BINS = 60
MOST_VALUES = 1_000
DEFAULT_VALUES = 20
MOST_FIELDS = 64
ORDERS = ("newest", "oldest")

SEARCH_PARAMETERS = SEARCHED | {"limit", "cursor", "fields", "order"}
HISTOGRAM_PARAMETERS = SEARCHED | {"bins"}
FIELDS_PARAMETERS = SEARCHED | {"field", "limit"}

_ATTRIBUTES = PAGE_COLUMNS.index("attributes")
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])


class Search:
    """Answers all three, each in a session of its own."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def search(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return a page of rows."""
        parameters = Parameters(request, SEARCH_PARAMETERS)
        limit = parameters.number("limit", DEFAULT_ROWS, 1, MOST_ROWS)
        order = cast("Order", parameters.choice("order", ORDERS))
        fields = fields_of(parameters.text("fields"))
        searched = parameters.searched()
        window, after = searched.window, None
        if (text := parameters.text("cursor")) is not None:
            window, after = read_cursor(text, searched.filter, order)
        async with self._readers.session() as session:
            page = await read_page(
                session, searched.filter, window, limit=limit, after=after, order=order
            )
        following = None
        if page.next is not None:
            following = write_cursor(Cursor(window, page.next), searched.filter, order)
        return _answer(
            {
                **_asked(searched, window),
                "rows": [row_as_json(row, fields) for row in page.rows],
                "next": following,
                "is_cut": page.is_cut,
            }
        )

    async def histogram(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return how many rows there are, by time and level."""
        parameters = Parameters(request, HISTOGRAM_PARAMETERS)
        most = parameters.number("bins", DEFAULT_BINS, 1, MOST_BINS)
        searched = parameters.searched()
        window = searched.window
        step = statements.step_for(window, most)
        try:
            origin = statements.origin_for(window, searched.zone)
        except OverflowError:
            raise ApiError(400, "a window that begins in the year 1") from None
        query = statements.histogram(searched.filter, window, step=step, origin=origin)
        async with self._readers.session() as session:
            found = await session.fetch(*query)
        rows = cast("list[tuple[datetime, str | None, int]]", found.rows)
        bins = statements.filled(rows, window, step=step, origin=origin)
        return _answer(
            {
                **_asked(searched, window),
                "step_seconds": step.total_seconds(),
                "bins": [
                    {
                        "start": _time(each.start),
                        "count": sum(each.counts.values()),
                        "levels": {
                            level or "none": count
                            for level, count in each.counts.items()
                        },
                    }
                    for each in bins
                ],
            }
        )

    async def fields(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return which fields there are, or the values that most rows have of one."""
        parameters = Parameters(request, FIELDS_PARAMETERS)
        limit = parameters.number("limit", DEFAULT_VALUES, 1, MOST_VALUES)
        path = parameters.path("field")
        searched = parameters.searched()
        if path is None:
            found = await self._keys(searched, limit)
        else:
            found = await self._values(searched, path, limit)
        return _answer({**_asked(searched, searched.window), **found})

    async def _keys(self, searched: Searched, limit: int) -> dict[str, Any]:
        query = statements.fields(searched.filter, searched.window)
        async with self._readers.session() as session:
            found = await session.fetch(*query)
        keys: dict[tuple[str, ...], dict[str, int]] = {}
        for path, kind, count in found.rows:
            keys.setdefault(tuple(path), {})[kind] = count
        most = sorted(keys.items(), key=lambda each: (-sum(each[1].values()), each[0]))
        return {
            "fields": [
                {
                    "field": spell_path(path_of_keys(path)),
                    "path": list(path),
                    "types": types,
                    "count": sum(types.values()),
                }
                for path, types in most[:limit]
            ],
            "distinct": len(keys),
            "sample_rows": statements.FIELDS_SAMPLE_ROWS,
        }

    async def _values(
        self, searched: Searched, path: Path, limit: int
    ) -> dict[str, Any]:
        query = statements.top(searched.filter, searched.window, path, limit=limit)
        async with self._readers.session() as session:
            found = await session.fetch(*query)
        total, distinct = found.rows[0][2:] if found.rows else (0, 0)
        return {
            "field": spell_path(path),
            "values": [
                {"value": value, "count": count} for value, count, _, _ in found.rows
            ],
            "distinct": distinct,
            "total": int(total),
        }


def fields_of(text: str | None) -> list[tuple[str, Path]]:
    """Return the fields that are asked for, each with its name; all columns by default.

    Raises:
        ApiError: one is none.
    """
    if text is None:
        return [(name, (name,)) for name in PAGE_COLUMNS]
    names = [name.strip() for name in text.split(",")]
    if len(names) > MOST_FIELDS:
        raise ApiError(400, f"fields are more than {MOST_FIELDS}")
    return [
        (name, (name,) if name in PAGE_COLUMNS else path_of("fields", name))
        for name in names
    ]


def row_as_json(
    row: tuple[Any, ...], fields: list[tuple[str, Path]]
) -> dict[str, object]:
    """Return the fields of a row of PAGE_COLUMNS, ready for orjson.

    An id is a text: it has more digits than a number in JavaScript.
    """
    return {name: _value(row, path) for name, path in fields}


def _value(row: tuple[Any, ...], path: Path) -> object:
    if path == ("attributes",):
        return row[_ATTRIBUTES]
    column = column_of(path)
    if column is None:
        return _attribute(row[_ATTRIBUTES], attribute_keys(path))
    value = row[PAGE_COLUMNS.index(column)]
    if column == "id":
        return str(value)
    return _time(value) if isinstance(value, datetime) else value


def _attribute(attributes: object, keys: Path) -> object:
    """Return what stands along the keys as its own text: a number stays as it is."""
    raw = msgspec.Raw(orjson.dumps(attributes))
    for key in keys:
        begins = bytes(raw)[:1]
        if begins == b"{":
            found = _object.decode(raw).get(key)
        elif begins == b"[" and key.lstrip("-").isdecimal() and len(key) < 10:
            values, index = _array.decode(raw), int(key)
            found = values[index] if -len(values) <= index < len(values) else None
        else:
            found = None
        if found is None:
            return None
        raw = found
    return orjson.Fragment(bytes(raw))


def _asked(searched: Searched, window: Window) -> dict[str, object]:
    return {
        "filter": spell(searched.filter),
        "window": {"start": _time(window.start), "end": _time(window.end)},
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _answer(value: dict[str, object]) -> web.Response:
    return answer(200, orjson.dumps(value), JSON)
