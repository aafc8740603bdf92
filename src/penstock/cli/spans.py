"""Spans of time as people write them: 90s, 15m, 2h, 7d."""

import re
from datetime import timedelta

import click

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def span(text: str) -> timedelta:
    """Read a span; the `type` of an option that takes one.

    Raises:
        click.BadParameter: it is none.
    """
    match = SPAN.fullmatch(text.strip())
    if match is None:
        raise click.BadParameter(
            f"{text!r} is no span of time; such are 90s, 15m, 2h, 7d"
        )
    try:
        return timedelta(**{UNITS[match[2]]: float(match[1])})
    except OverflowError as error:
        raise click.BadParameter(f"{text!r} is too long a time") from error
