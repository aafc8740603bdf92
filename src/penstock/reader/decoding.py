"""Values of which Python's types do not hold all that PostgreSQL's do.

It owns what they come as: numbers of any size within JSON, times of any year and
`infinity`, months. It must not know columns.
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import orjson

# A string, which stays as it is, or the white space between two tokens.
JSON_STRING_OR_SPACE = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|[ \t\n\r]+')


def _compact(text: str) -> orjson.Fragment:
    """Return a JSON text without white space, and otherwise untouched.

    Not parsed: numbers of any size, and keys that come twice, are to come out again.
    `orjson.dumps` returns the text as it is.
    """
    return orjson.Fragment(JSON_STRING_OR_SPACE.sub(lambda m: m[1] or "", text))


def _time_or_text(text: str) -> datetime | str:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


def _interval_text(value: timedelta | str) -> str:
    """Return a duration as PostgreSQL reads it; months are for texts."""
    if isinstance(value, str):
        return value
    return f"{value.days} days {value.seconds}.{value.microseconds:06} seconds"


# From PostgreSQL's own text.
DECODERS: dict[str, Callable[[str], Any]] = {
    "json": _compact,
    "jsonb": _compact,
    "timestamptz": _time_or_text,
    "timestamp": _time_or_text,
    "date": str,
    "interval": str,
    "bytea": str,
}


async def decode_as_text(connection: asyncpg.Connection) -> None:
    """Let a connection's values of these types be what is said here."""
    for type_name, decoder in DECODERS.items():
        encoder: Callable[[Any], str] = (
            _interval_text if type_name == "interval" else str
        )
        await connection.set_type_codec(
            type_name, schema="pg_catalog", encoder=encoder, decoder=decoder
        )
