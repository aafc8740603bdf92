"""Draws figures as SVG, by hand so that it needs no library: bars, or lines.

Owns the look of pictures. Knows no benchmark and measures nothing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

# Blue and orange are told apart by those too who do not see red and green as two; the
# third is darker than both, so grey paper shows it.
COLOURS: Final = ("#2b6cb0", "#dd8a2e", "#4a5568")

FONT: Final = 'font-family="sans-serif" font-size="13"'

# Pixels.
WIDTH: Final = 720
BAR: Final = 18
TOP: Final = 74
BOTTOM: Final = 24
# Of a line's picture: its field, and the room for the numbers at its left.
LINES_HEIGHT: Final = 380
LINES_LEFT: Final = 80
LINES_RIGHT: Final = 24
LINES_BOTTOM: Final = 56


@dataclass(frozen=True, slots=True)
class Head:
    """What stands over a picture: its title, what it holds for, the colours' names."""

    title: str
    subtitle: str
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class Group:
    """Bars that belong together: their name, and a figure and its text for each."""

    name: str
    bars: Sequence[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class Axes:
    """What the two directions of a line's picture are; `is_log` of the upright one."""

    across: str
    upright: str
    is_log: bool = False


def bars(head: Head, groups: Sequence[Group], left: int = 110) -> str:
    """Draw horizontal bars, a group below the other; zero is at the left."""
    step = max(len(group.bars) for group in groups) * BAR + 16
    largest = max(value for group in groups for value, _ in group.bars) or 1.0
    full = WIDTH - left - 150
    body = []
    for number, group in enumerate(groups):
        top = TOP + number * step + 8
        middle = top + len(group.bars) * BAR / 2 + 4
        body.append(_text(10, middle, group.name))
        for place, (value, text) in enumerate(group.bars):
            y = top + place * BAR
            width = full * value / largest
            body.append(
                f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{BAR - 2}"'
                f' fill="{COLOURS[place]}"/>'
            )
            body.append(_text(left + width + 6, y + BAR - 5, text))
    return _picture(TOP + len(groups) * step + BOTTOM, head, body)


def lines(
    head: Head, axes: Axes, series: Sequence[Sequence[tuple[float, float]]]
) -> str:
    """Draw a line for each series of points; the upright axis begins at zero."""
    points = [point for one in series for point in one]
    most_x = max(x for x, _ in points) or 1.0
    marks = _log_marks(points) if axes.is_log else _marks(max(y for _, y in points))

    def across(x: float) -> float:
        return LINES_LEFT + (WIDTH - LINES_LEFT - LINES_RIGHT) * x / most_x

    def upright(y: float) -> float:
        low, high = marks[0], marks[-1]
        if axes.is_log:
            share = math.log(max(y, low) / low) / math.log(high / low)
        else:
            share = (y - low) / (high - low)
        return LINES_HEIGHT - LINES_BOTTOM - (LINES_HEIGHT - LINES_BOTTOM - TOP) * share

    body = []
    for mark in marks:
        y = upright(mark)
        body.append(
            f'<line x1="{LINES_LEFT}" y1="{y:.1f}" x2="{WIDTH - LINES_RIGHT}"'
            f' y2="{y:.1f}" stroke="#d7dbe0"/>'
        )
        body.append(_text(LINES_LEFT - 8, y + 4, f"{mark:,.10g}", anchor="end"))
    for mark in _marks(most_x):
        if mark <= most_x:
            x, y = across(mark), LINES_HEIGHT - LINES_BOTTOM + 18
            body.append(_text(x, y, f"{mark:,.10g}", anchor="middle"))
    middle = (LINES_LEFT + WIDTH - LINES_RIGHT) / 2
    body.append(_text(middle, LINES_HEIGHT - 14, axes.across, anchor="middle"))
    body.append(_text(10, TOP + 2, axes.upright))
    for one, colour in zip(series, COLOURS, strict=False):
        path = " ".join(f"{across(x):.1f},{upright(y):.1f}" for x, y in one)
        body.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}"'
            ' stroke-width="2"/>'
        )
    return _picture(LINES_HEIGHT, head, body)


def _marks(largest: float) -> list[float]:
    """Round numbers from zero to above `largest`, some four to nine of them."""
    step = 10.0 ** math.floor(math.log10(largest or 1.0))
    for part in (5, 2, 1):
        if largest / (step / part) >= 4:
            step /= part
            break
    else:
        step /= 10
    count = max(1, math.ceil(largest / step))
    if count > 9:
        step, count = step * 2, math.ceil(largest / step / 2)
    return [number * step for number in range(count + 1)]


def _log_marks(points: Sequence[tuple[float, float]]) -> list[float]:
    values = [y for _, y in points if y > 0] or [1.0]
    low = math.floor(math.log10(min(values)))
    high = max(low + 1, math.ceil(math.log10(max(values))))
    return [10.0**power for power in range(low, high + 1)]


def _picture(height: int, head: Head, body: Sequence[str]) -> str:
    size = f'width="{WIDTH}" height="{height}"'
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {FONT}>',
        # Its own ground: a page's may be dark.
        f'<rect {size} fill="#ffffff"/>',
        *_head(head),
        *body,
        "</svg>",
    ]
    return "\n".join(drawn) + "\n"


def _head(head: Head) -> Iterator[str]:
    yield _text(10, 22, head.title, weight="bold")
    yield _text(10, 40, head.subtitle)
    for number, name in enumerate(head.names):
        x = 10 + number * 235
        yield f'<rect x="{x}" y="51" width="12" height="12" fill="{COLOURS[number]}"/>'
        yield _text(x + 18, 62, name)


def _text(
    x: float, y: float, text: str, weight: str = "normal", anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="#222222" font-weight="{weight}"'
        f' text-anchor="{anchor}">{escape(text)}</text>'
    )
