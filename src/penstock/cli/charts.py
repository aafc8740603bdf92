"""A series as a chart of characters: how a number went over time.

It owns the drawing. It must not print, nor know what is counted.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

# PostgreSQL's types of a time, and of a number.
TIMES = {"timestamptz", "timestamp", "date"}
NUMBERS = {"int2", "int4", "int8", "float4", "float8", "numeric"}
# Eighths of a line's height (Unicode, "Block Elements").
EIGHTHS = " ▁▂▃▄▅▆▇█"
HEIGHT_LINES = 8
# Narrower, its scale would leave nothing for the chart.
LEAST_WIDTH = 24
MOST_COLUMN = 6


def series_chart(
    columns: Sequence[str],
    types: Sequence[str],
    rows: Sequence[Sequence[Any]],
    width: int,
) -> list[str]:
    """Return the lines of a chart; none where the result is no series.

    A series is a time and one number, in the order of time, each time once. Where there
    are more times than columns, a column shows the largest of its numbers.
    """
    if len(columns) != 2 or types[0] not in TIMES or types[1] not in NUMBERS:
        return []
    times = [_time(row[0]) for row in rows]
    numbers = [_number(row[1]) for row in rows]
    known = [time for time in times if time is not None]
    is_series = len(known) == len(times) >= 2 and _is_ascending(known)
    if not is_series or width < LEAST_WIDTH or not any(n > 0 for n in numbers):
        return []
    top = max(numbers)
    scale = max(len(_short(top)), 1)
    room = width - scale - 2
    heights = _columns(numbers, room)
    lines = []
    for line in reversed(range(HEIGHT_LINES)):
        label = _short(top) if line == HEIGHT_LINES - 1 else "0" if line == 0 else ""
        drawn = "".join(_cell(height / top, line) for height in heights)
        lines.append(f"{label:>{scale}} ┤{drawn}".rstrip())
    first, last = _label(known[0]), _label(known[-1])
    gap = len(heights) - len(first) - len(last)
    ends = f"{first}{' ' * gap}{last}" if gap > 0 else first
    lines.append(f"{'':>{scale}}  {ends}")
    lines.append(f"{'':>{scale}}  {columns[1]} by {columns[0]}")
    return lines


def _columns(numbers: Sequence[float], room: int) -> list[float]:
    """Return a height for each column of the chart."""
    if len(numbers) > room:
        size = math.ceil(len(numbers) / room)
        return [max(numbers[at : at + size]) for at in range(0, len(numbers), size)]
    wide = min(room // len(numbers), MOST_COLUMN)
    return [number for number in numbers for _ in range(wide)]


def _cell(share: float, line: int) -> str:
    eighths = round(max(share, 0) * HEIGHT_LINES * 8) - line * 8
    if line == 0 and share > 0:
        eighths = max(eighths, 1)  # a little is not nothing
    return EIGHTHS[max(0, min(8, eighths))]


def _time(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:  # a date of another calendar, infinity, null
        return None


def _is_ascending(times: Sequence[datetime]) -> bool:
    return all(a < b for a, b in pairwise(times))


def _number(value: Any) -> float:
    """Return a number as it is drawn: what is none, or below zero, is nothing."""
    if isinstance(value, int | float | Decimal) and math.isfinite(value):
        return max(0.0, float(value))
    return 0.0


def _label(time: datetime) -> str:
    return f"{time:%m-%d %H:%M}"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
