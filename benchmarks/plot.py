"""Draws a result of the end-to-end benchmark: for each pair, what it did and the limit.

    .venv/bin/python benchmarks/plot.py benchmarks/results/end_to_end.json

Owns the picture, an SVG written by hand so that it needs no library. Measures nothing.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

# The two bars of a pair: key of the result, name, colour. Blue and orange are told
# apart by those too who do not see red and green as two.
BARS: Final = (
    ("events_per_second", "end to end, acked after COMMIT", "#2b6cb0"),
    ("limit_rows_per_second", "limit, the same rows by COPY", "#dd8a2e"),
)

FONT: Final = 'font-family="sans-serif" font-size="13"'

# Pixels.
WIDTH: Final = 720
LEFT: Final = 70
FULL_BAR: Final = 500
BAR: Final = 18
PAIR: Final = 2 * BAR + 16
TOP: Final = 74
BOTTOM: Final = 24


def draw(result: dict[str, Any]) -> str:
    """Return the SVG of a result."""
    pairs = result["pair_results"]
    height = TOP + len(pairs) * PAIR + BOTTOM
    size = f'width="{WIDTH}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {FONT}>',
        # Its own ground: a page's may be dark.
        f'<rect {size} fill="#ffffff"/>',
        *_head(result),
        *_bars(pairs),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _head(result: dict[str, Any]) -> Iterator[str]:
    versions = result["versions"]
    title = (
        f"Rows a second, {result['events']:,} events a run; the median of the pairs'"
        f" ratios is {result['ratio_to_limit']:.3f}"
    )
    yield _text(10, 22, title, weight="bold")
    where = (
        f"{result['cpu_count']} CPUs, PostgreSQL {versions['postgresql']},"
        f" Python {versions['python']}, {result['machine']}"
    )
    yield _text(10, 40, where)
    for x, (_, name, colour) in zip((10, 290), BARS, strict=True):
        yield f'<rect x="{x}" y="51" width="12" height="12" fill="{colour}"/>'
        yield _text(x + 18, 62, name)


def _bars(pairs: Sequence[dict[str, float]]) -> Iterator[str]:
    largest = max(pair[key] for pair in pairs for key, _, _ in BARS)
    for number, pair in enumerate(pairs):
        top = TOP + number * PAIR + 8
        yield _text(10, top + BAR + 4, f"pair {number + 1}")
        for place, (key, _, colour) in enumerate(BARS):
            y = top + place * BAR
            width = FULL_BAR * pair[key] / largest
            yield (
                f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}"'
                f' fill="{colour}"/>'
            )
            figure = f"{pair[key]:,.0f}"
            if key == "events_per_second":
                figure += f" ({pair['ratio_to_limit']:.3f})"
            yield _text(LEFT + width + 6, y + BAR - 5, figure)


def _text(x: float, y: float, text: str, weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" fill="#222222" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )


def main(arguments: Sequence[str]) -> int:
    """Draw each result named, beside its file."""
    if not arguments:
        sys.stderr.write("plot: which results? benchmarks/plot.py FILE.json ...\n")
        return 2
    for name in arguments:
        file = Path(name)
        file.with_suffix(".svg").write_text(draw(json.loads(file.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
