"""What `penstock ask` shows: the SQL and how it was read, the result, the cost.

It owns the forms. All that a model wrote is shown as it is: a character that would
command the terminal, or turn the direction of writing, stands there as its number.
"""

import unicodedata
from datetime import UTC, datetime, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo

import click
from rich.console import Console

from penstock.ask.conversation import Proposal, Spent
from penstock.ask.spend import in_dollars
from penstock.cli.charts import series_chart
from penstock.cli.output import print_csv, print_json, print_table
from penstock.reader import Rows

# So much of an assumption or a reading is read.
MAX_WORDS_CHARACTERS = 2_000
NOT_SHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


class Shown(Protocol):
    """Of the command's options, what matters here."""

    @property
    def time_zone(self) -> str: ...

    @property
    def is_dry(self) -> bool: ...

    @property
    def is_terminal(self) -> bool: ...

    @property
    def runs(self) -> bool: ...


def show_proposal(proposal: Proposal, options: Shown) -> None:
    """Show the SQL and its reading; the SQL on stdout where it is all there will be."""
    answer = proposal.answer
    show_words(answer.reading, prints=True)
    for assumption in answer.assumptions:
        click.echo(f"  - {seen(assumption)}", err=True)
    window = _window(answer.since, answer.until, options.time_zone)
    click.echo(f"  {window}", err=True)
    if proposal.repairs:
        times = "once" if proposal.repairs == 1 else f"{proposal.repairs} times"
        click.echo(f"  SQL mended {times}", err=True)
    is_all = options.is_dry or not (options.is_terminal or options.runs)
    click.echo(err=True)
    click.echo(seen(proposal.sql, keeps_lines=True), err=not is_all)
    click.echo(err=True)


def show_result(rows: Rows, output: str) -> None:
    """Print the rows, and on a terminal a chart where they are a series."""
    printing = {"table": print_table, "json": print_json, "csv": print_csv}[output]
    printing(rows.columns, rows.rows)
    if rows.is_cut:
        click.echo("(cut: there are more rows; see max_rows and max_bytes)", err=True)
    console = Console()
    if output == "table" and console.is_terminal:
        chart = series_chart(rows.columns, rows.types, rows.rows, console.width)
        for line in chart:
            click.echo(seen(line))


def show_words(text: str, *, prints: bool = True) -> str:
    """Return words of a model's as they can be shown, and show them."""
    shown = seen(text[:MAX_WORDS_CHARACTERS], keeps_lines=True).strip()
    if prints and shown:
        click.echo(shown, err=True)
    return shown


def show_cost(spent: Spent) -> None:
    """Say what the question has cost."""
    if not spent.calls:
        return
    read = sum(usage.all_input_tokens for usage in spent.calls)
    written = sum(usage.output_tokens for usage in spent.calls)
    cost = "unknown" if spent.cost_usd is None else in_dollars(spent.cost_usd)
    models = ", ".join(dict.fromkeys(seen(usage.model) for usage in spent.calls))
    click.echo(f"(cost {cost}: {models}, {read:,} + {written:,} tokens)", err=True)


def seen(text: str, *, keeps_lines: bool = False) -> str:
    """Return a text in which every character can be seen."""
    return "".join(
        each
        if unicodedata.category(each) not in NOT_SHOWN
        or (keeps_lines and each in "\n\t")
        else f"\\u{ord(each):04x}"
        for each in text
    )


def _window(since: str, until: str, time_zone: str) -> str:
    """Return the window that the model says it looks at, in local time and in UTC."""
    ends = [_moment(since), _moment(until)]
    if ends == [None, None]:
        given = seen(f"{since} to {until}".strip()) if since or until else "all times"
        return f"Window: {given} (time zone {time_zone})"
    zone = ZoneInfo(time_zone)
    local = " to ".join(f"{_at(end, zone)}" for end in ends)
    if time_zone == "UTC":
        return f"Window: {local} (UTC)"
    utc = " to ".join(_at(end, UTC) for end in ends)
    return f"Window: {local} ({time_zone}), {utc} (UTC)"


def _at(moment: datetime | None, zone: tzinfo) -> str:
    return "..." if moment is None else f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
