"""Whole queries over a window: a page of rows, counts, values, fields, neighbours.

It owns their SQL and the names of their columns. Rows come in the order of `ts`, those
of one time in that of `id`; a page begins after the key that another ended with. All
name `logs` as the reader's search_path finds it. Pure; `pages` runs the pages.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, NamedTuple

from penstock.search.compile import Parameters, Query, as_text, condition, value_of
from penstock.search.filters import Filter, Path
from penstock.search.times import Window

Order = Literal["newest", "oldest"]

# What a page's rows have, in this order.
PAGE_COLUMNS = (
    "id",
    "ts",
    "level",
    "service",
    "host",
    "tag",
    "message",
    "attributes",
)
# What the keys of attributes are looked for in; more would add few keys and much time.
FIELDS_SAMPLE_ROWS = 10_000
# A nested key below this is looked at as a value of the last: records go three deep.
FIELDS_DEPTH = 4
# What a histogram's bins may be long, so that their bounds are round.
STEPS = tuple(
    timedelta(seconds=seconds)
    for seconds in (
        *(0.001, 0.01, 0.1, 1, 2, 5, 10, 15, 30),
        *(60 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
        *(3_600 * hours for hours in (1, 2, 3, 6, 12)),
        *(86_400 * days for days in (1, 2, 7, 28, 91, 364, 3_640)),
    )
)


class Key(NamedTuple):
    """Where a page ended: the time and the id of its last row."""

    ts: datetime
    id: int


class Bin(NamedTuple):
    """How many rows a stretch of time has, of each level; "" is no level."""

    start: datetime
    counts: dict[str, int]


def page(
    filter: Filter,
    window: Window,
    *,
    limit: int,
    after: Key | None = None,
    order: Order = "newest",
    fields: Sequence[Path] | None = None,
) -> Query:
    """Return the query of a page's rows, PAGE_COLUMNS each.

    Args:
        after: the key of the last row of the page before.
        fields: of each row instead, after its id and ts: columns as they are, of
            attributes the value as jsonb.
    """
    parameters = Parameters()
    selected = _selected(fields, parameters)
    where = _where(filter, window, parameters, after, order)
    return _rows(selected, where, limit, order, parameters)


def _rows(
    selected: str, where: str, limit: int, order: Order, parameters: Parameters
) -> Query:
    direction = "DESC" if order == "newest" else "ASC"
    return Query(
        f"SELECT {selected}\nFROM logs\nWHERE {where}\n"
        f"ORDER BY ts {direction}, id {direction}\n"
        f"LIMIT {parameters.add(limit, 'bigint')}",
        parameters.values,
    )


def _selected(fields: Sequence[Path] | None, parameters: Parameters) -> str:
    """Return what is selected; the names of fields are not, since somebody typed them.

    None has a name that ORDER BY would take for a column's.
    """
    if fields is None:
        return ", ".join(PAGE_COLUMNS)
    values = [
        f"{value_of(path, parameters)} AS field_{number}"
        for number, path in enumerate(fields, start=1)
    ]
    return ", ".join(["id", "ts", *values])


def count(filter: Filter, window: Window) -> Query:
    """Return the query of how many rows there are: one row, `count`."""
    parameters = Parameters()
    where = _where(filter, window, parameters)
    return Query(f"SELECT count(*)\nFROM logs\nWHERE {where}", parameters.values)


def histogram(
    filter: Filter, window: Window, *, step: timedelta, origin: datetime
) -> Query:
    """Return the query of the counts: `start`, `level`, `count`; empty bins lack.

    Args:
        step: how long a bin is.
        origin: a time that a bin starts at.
    """
    parameters = Parameters()
    # Immutable, so that it is one value to the planner: a text that is cast to an
    # interval is read anew for each row.
    every = f"make_interval(secs => {parameters.add(step.total_seconds(), 'float8')})"
    start = parameters.add(origin, "timestamptz")
    where = _where(filter, window, parameters)
    return Query(
        f"SELECT date_bin({every}, ts, {start}) AS start, level, count(*)\n"
        f"FROM logs\nWHERE {where}\nGROUP BY 1, 2\nORDER BY 1, 2",
        parameters.values,
    )


def top(filter: Filter, window: Window, path: Path, *, limit: int) -> Query:
    """Return the query of a field's values that most rows have.

    `value` is null of those without the field; `count`, `total` of all rows found,
    `distinct` of all values.
    """
    parameters = Parameters()
    value = as_text(path, parameters)
    where = _where(filter, window, parameters)
    return Query(
        "SELECT value, count(*) AS count, sum(count(*)) OVER () AS total,"
        " count(*) OVER () AS distinct\n"
        f"FROM (SELECT {value} AS value FROM logs WHERE {where}) AS found\n"
        'GROUP BY value\nORDER BY count DESC, value COLLATE "C"\n'
        f"LIMIT {parameters.add(limit, 'bigint')}",
        parameters.values,
    )


def fields(
    filter: Filter, window: Window, *, sample_rows: int = FIELDS_SAMPLE_ROWS
) -> Query:
    """Return the query of the keys in attributes: `path`, `type`, `count`.

    Of so many rows of the window, whichever are found first. A path is an array of
    keys; its type is JSON's.
    """
    parameters = Parameters()
    where = _where(filter, window, parameters)
    sample = parameters.add(sample_rows, "bigint")
    depth = parameters.add(FIELDS_DEPTH, "int")
    return Query(
        "WITH RECURSIVE seen AS (\n"
        f"  SELECT attributes FROM logs WHERE {where} LIMIT {sample}\n"
        "), found(path, value) AS (\n"
        "  SELECT ARRAY[]::text[], attributes FROM seen\n"
        "  UNION ALL\n"
        "  SELECT found.path || each.key, each.value\n"
        "  FROM found, LATERAL jsonb_each(\n"
        "    CASE WHEN jsonb_typeof(found.value) = 'object'"
        " THEN found.value ELSE '{}' END\n"
        "  ) AS each\n"
        f"  WHERE cardinality(found.path) < {depth}\n"
        ")\n"
        "SELECT path, jsonb_typeof(value) AS type, count(*) AS count\n"
        "FROM found WHERE cardinality(path) > 0\n"
        "GROUP BY 1, 2\nORDER BY count DESC, path, type",
        parameters.values,
    )


def context(
    source: "Source", window: Window, *, limit: int, after: Key, order: Order
) -> Query:
    """Return the query of the rows next to a key, of the same source as its row.

    Args:
        order: `newest` for what came before the key, nearest first, else what came
            after it.
    """
    parameters = Parameters()
    same = " AND ".join(
        f"{name} IS NOT DISTINCT FROM {parameters.add(value, 'text')}"
        for name, value in zip(("tag", "service", "host"), source, strict=True)
    )
    where = f"{_window(window, parameters, after, order)}\n  AND {same}"
    return _rows(", ".join(PAGE_COLUMNS), where, limit, order, parameters)


class Source(NamedTuple):
    """What a row comes from: its neighbours are those of the same."""

    tag: str
    service: str | None
    host: str | None


def _where(
    filter: Filter,
    window: Window,
    parameters: Parameters,
    after: Key | None = None,
    order: Order = "newest",
) -> str:
    bounds = _window(window, parameters, after, order)
    found = condition(filter, parameters)
    return bounds if found == "true" else f"{bounds}\n  AND {found}"


def _window(
    window: Window, parameters: Parameters, after: Key | None, order: Order
) -> str:
    """Return the bounds on ts: constants to the planner, which leaves out days by them.

    Of a comparison of rows it would not see that it bounds ts: that is said besides.
    """
    start = parameters.add(window.start, "timestamptz")
    end = parameters.add(window.end, "timestamptz")
    bounds = f"ts >= {start} AND ts < {end}"
    if after is None:
        return bounds
    ts = parameters.add(after.ts, "timestamptz")
    key = f"({ts}, {parameters.add(after.id, 'bigint')})"
    sign = "<" if order == "newest" else ">"
    return f"{bounds} AND ts {sign}= {ts} AND (ts, id) {sign} {key}"


# --- bins


def step_for(window: Window, bins: int) -> timedelta:
    """Return the shortest round step of which so many bins hold the window."""
    span = window.end - window.start
    # One more bin, since the first does not begin with the window.
    fitting = (step for step in STEPS if span <= step * max(1, bins - 1))
    return next(fitting, STEPS[-1])


def origin_for(window: Window, zone: tzinfo) -> datetime:
    """Return the midnight, of the zone, that the window's first day begins with."""
    local = window.start.astimezone(zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return midnight.astimezone(UTC)


def filled(
    rows: list[tuple[datetime, str | None, int]],
    window: Window,
    *,
    step: timedelta,
    origin: datetime,
) -> list[Bin]:
    """Return all bins of the window in their order, those without rows too."""
    first = origin + (window.start - origin) // step * step
    length = -((first - window.end) // step)
    bins = [Bin(first + step * number, {}) for number in range(length)]
    for start, level, number in rows:
        bins[(start - first) // step].counts[level or ""] = number
    return bins
