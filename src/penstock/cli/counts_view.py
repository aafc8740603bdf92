"""Counts as a person reads them: a histogram by level, and the most frequent values.

It owns how bars are drawn: with block characters, in colours where there are some, else
in shades. It must not count.
"""

from collections.abc import Sequence
from datetime import timedelta, tzinfo

from rich.table import Table
from rich.text import Text

from penstock.cli.rows_view import LEVEL_STYLES, new_table, shown
from penstock.search.statements import Bin

# A bar's order from the left: what is worst is seen first, in narrow bars too.
LEVELS = ("FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE", "")
SHADES = {"FATAL": "█", "ERROR": "█", "WARN": "▓", "INFO": "▒"}
OTHER_SHADE = "░"
NO_LEVEL_STYLE = "blue"
# The eighths of a block, for the end of a bar.
EIGHTHS = " ▏▎▍▌▋▊▉"
# What a bar has at least, and in a pipe.
LEAST_BAR, PIPE_BAR = 10, 60
# Beside a bar in a wide terminal the levels stand in numbers.
NUMBERS_FROM = 80
BAR_FROM = 50
DAY = timedelta(days=1)


def histogram_table(
    bins: Sequence[Bin],
    step: timedelta,
    zone: tzinfo,
    *,
    width: int | None,
    is_coloured: bool,
) -> Table:
    """Return a line a bin: its time, its bar, how many rows, of which levels."""
    table = new_table()
    table.add_column("time", no_wrap=True, style="dim")
    table.add_column("rows", no_wrap=True, justify="right")
    table.add_column("", no_wrap=True)
    has_numbers = width is None or width >= NUMBERS_FROM
    levels = [each for each in LEVELS if any(each in bin.counts for bin in bins)]
    if has_numbers:
        for level in levels:
            table.add_column(level or "none", no_wrap=True, justify="right")
    times = _times(bins, step, zone)
    most = max((sum(bin.counts.values()) for bin in bins), default=0)
    taken = max(map(len, times), default=0) + max(len("rows"), len(f"{most:,}")) + 2
    if has_numbers:
        taken += sum(
            1 + max(len(level or "none"), *(len(f"{_of(b, level):,}") for b in bins))
            for level in levels
        )
    room = PIPE_BAR if width is None else max(LEAST_BAR, width - taken)
    for time, bin in zip(times, bins, strict=True):
        numbers = [f"{_of(bin, level):,}" for level in levels] if has_numbers else []
        total = sum(bin.counts.values())
        table.add_row(time, f"{total:,}", bar(bin, most, room, is_coloured), *numbers)
    return table


def _of(bin: Bin, level: str) -> int:
    return bin.counts.get(level, 0)


def _times(bins: Sequence[Bin], step: timedelta, zone: tzinfo) -> list[str]:
    starts = [bin.start.astimezone(zone) for bin in bins]
    is_one_day = len({start.date() for start in starts}) <= 1
    if step >= DAY:
        return [f"{start:%Y-%m-%d}" for start in starts]
    clock = "%H:%M" if step >= timedelta(minutes=1) else "%H:%M:%S"
    form = clock if is_one_day else f"%m-%d {clock}"
    fraction = step < timedelta(seconds=1)
    return [
        f"{start:{form}}" + (f".{start.microsecond // 1000:03d}" if fraction else "")
        for start in starts
    ]


def bar(bin: Bin, most: int, room: int, is_coloured: bool) -> Text:
    """Return a bin's bar: `most` rows are as long as there is room.

    Each level that a bin has is seen, be it a single row in a million.
    """
    text = Text()
    total = sum(bin.counts.values())
    if not total:
        return text
    levels = [level for level in LEVELS if _of(bin, level)]
    cells = max(len(levels), round(room * total / most))
    lengths = _shares([_of(bin, level) for level in levels], cells)
    for level, length in zip(levels, lengths, strict=True):
        style = LEVEL_STYLES.get(level, NO_LEVEL_STYLE)
        shade = "█" if is_coloured else SHADES.get(level, OTHER_SHADE)
        text.append(shade * length, style)
    return text


def _shares(counts: Sequence[int], cells: int) -> list[int]:
    """Share out cells by counts, one to each at least, all of them in all."""
    total = sum(counts)
    shares = [max(1, cells * count // total) for count in counts]
    shares[counts.index(max(counts))] += cells - sum(shares)
    return shares


def legend(bins: Sequence[Bin], *, is_coloured: bool) -> Text:
    """Return a line that says which level is which part of a bar, with its sum."""
    text = Text()
    for level in LEVELS:
        count = sum(_of(bin, level) for bin in bins)
        if count:
            shade = "█" if is_coloured else SHADES.get(level, OTHER_SHADE)
            text.append("  " if text else "")
            text.append(shade, LEVEL_STYLES.get(level, NO_LEVEL_STYLE))
            # Not to be torn at the end of a line.
            text.append(
                f"\N{NO-BREAK SPACE}{level or 'none'}\N{NO-BREAK SPACE}{count:,}"
            )
    return text


def top_table(
    name: str, rows: Sequence[tuple[str | None, int, int]], width: int | None
) -> Table:
    """Return a line a value: how many rows have it, of how many, and a bar.

    Args:
        rows: value, count and total; the value is None of those without the field.
    """
    table = new_table()
    table.add_column(shown(name), overflow="fold")
    table.add_column("rows", no_wrap=True, justify="right")
    table.add_column("share", no_wrap=True, justify="right")
    room = 20 if width is None else min(30, width // 3)
    has_bar = width is None or width >= BAR_FROM
    if has_bar:
        table.add_column("", no_wrap=True, style="blue")
    most = max((count for _, count, _ in rows), default=0)
    for value, count, total in rows:
        label = Text("(none)", "dim") if value is None else Text(shown(value))
        drawn = [_plain_bar(count, most, room)] if has_bar else []
        share = f"{100 * count / total:.1f}%"
        table.add_row(label, f"{count:,}", share, *drawn)
    return table


def _plain_bar(count: int, most: int, room: int) -> str:
    eighths = max(1, round(8 * room * count / most))
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()
