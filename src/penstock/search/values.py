"""What a field takes: values of the column's type, operators, wildcards.

It owns which of them makes sense of which field, and says so where one does not.
"""

import re
from datetime import UTC, datetime, tzinfo

from penstock.rows.columns import level_label
from penstock.search import regex
from penstock.search.filters import (
    LEVELS,
    Anywhere,
    Everything,
    Field,
    Filter,
    FilterError,
    Operator,
    Path,
    Regex,
    Text,
    column_of,
    wildcard_literal,
)
from penstock.search.lexing import ANY, Cursor

MESSAGE: Path = ("message",)
# A column of type bigint.
MAX_ID = 2**63 - 1

_OPERATOR = re.compile(r">=|<=|!=|>|<|=")
_OPERATORS: dict[str, Operator] = {
    ">=": ">=",
    "<=": "<=",
    "!=": "!=",
    ">": ">",
    "<": "<",
    "=": "=",
}


def read_words(cursor: Cursor) -> Filter:
    """Read a word or a regular expression that stands alone, of the message."""
    start = cursor.place
    pattern = cursor.regex()
    if pattern is not None:
        return _regex(cursor, MESSAGE, pattern, start)
    return _in_message(cursor.word())


def read_phrase(cursor: Cursor, path: Path, start: int) -> Filter:
    """Read what stands in quotes, of a field."""
    text = cursor.phrase()
    if path in (MESSAGE, ANY) and not text:
        raise cursor.refused("nothing in quotes, which is in every text", start)
    if path == ANY:
        return Anywhere(text)
    return Text(text) if path == MESSAGE else _field(cursor, path, "=", text, start)


def read_value(cursor: Cursor, path: Path, start: int, zone: tzinfo) -> Filter:
    """Read what stands after a field's colon.

    Args:
        start: where the field begins, for the errors.
        zone: that of a time which does not say its own.

    Raises:
        FilterError: the field takes no such value.
    """
    if path == ("ts",):
        return _time(cursor, start, zone)
    if cursor.is_at_boundary():
        raise cursor.refused("a field without a value; in quotes it is text", start)
    operator = _OPERATOR.match(cursor.text, cursor.place)
    if operator:
        return _comparison(cursor, path, _OPERATORS[operator[0]], start)
    if cursor.peek() == '"':
        return read_phrase(cursor, path, start)
    pattern = cursor.regex()
    if pattern is not None:
        return _regex(cursor, path, pattern, start)
    parts = cursor.word()
    if len(parts) > 1 and not any(parts) and path != ANY:
        return Field(path, "exists", "")
    if path == MESSAGE:
        return _in_message(parts)
    if len(parts) == 1:
        if path == ANY:
            return Anywhere(parts[0])
        return _field(cursor, path, "=", parts[0], start)
    if path == ANY or column_of(path) in ("id", "level"):
        raise cursor.refused(f"{_shown(path)} takes no wildcard", start)
    return Field(path, "like", "*".join(map(wildcard_literal, parts)))


def _in_message(parts: list[str]) -> Filter:
    """Return the filter of a word that may be anywhere in the message."""
    inside = parts[:]
    while len(inside) > 1 and not inside[0]:
        del inside[0]
    while len(inside) > 1 and not inside[-1]:
        del inside[-1]
    if len(inside) > 1:
        pattern = "*".join(map(wildcard_literal, inside))
        return Field(MESSAGE, "like", f"*{pattern}*")
    return Text(inside[0]) if inside[0] else Everything()


def _comparison(cursor: Cursor, path: Path, operator: Operator, start: int) -> Filter:
    cursor.place += len(operator)
    if path == ANY:
        raise cursor.refused("any takes a word or a phrase, and is not compared", start)
    if cursor.peek() == '"':
        return _field(cursor, path, operator, cursor.phrase(), start)
    if cursor.is_at_boundary():
        raise cursor.refused(f"a value has to stand right after {operator}")
    place = cursor.place
    parts = cursor.word()
    if len(parts) > 1:
        raise cursor.refused(
            f"{operator} takes no wildcard; in quotes it is text, and"
            f" -{_shown(path)}:{cursor.text[place : cursor.place]} is the opposite"
            if operator == "!="
            else f"{operator} takes no wildcard; in quotes it is text",
            place,
        )
    return _field(cursor, path, operator, parts[0], start)


def _field(
    cursor: Cursor, path: Path, operator: Operator, value: str, start: int
) -> Filter:
    """Return the comparison, with a value that the column's type has."""
    column = column_of(path)
    if column == "level":
        label = level_label(value)
        if label is None:
            raise cursor.refused(
                f"no level is named {_shown_value(value)}; there are"
                f" {', '.join(LEVELS)} (err, warning, crit and the like are taken too)",
                start,
            )
        value = label
    elif column == "id":
        if not re.fullmatch(r"-?[0-9]{1,19}", value) or abs(int(value)) > MAX_ID:
            raise cursor.refused(
                f"an id is a whole number below 2^63: {value!r}", start
            )
        value = str(int(value))
    return Field(path, operator, value)


def _time(cursor: Cursor, start: int, zone: tzinfo) -> Filter:
    """Read a comparison of ts, whose value has colons in it."""
    operator = _OPERATOR.match(cursor.text, cursor.place)
    if operator:
        cursor.place += len(operator[0])
    text = cursor.phrase() if cursor.peek() == '"' else "*".join(cursor.word())
    if text == "*" and not operator:
        return Field(("ts",), "exists", "")
    try:
        moment = datetime.fromisoformat(text)
        value = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(
            UTC
        )
    except (ValueError, OverflowError):
        raise cursor.refused(
            f"{_shown_value(text)} is no time as in ts:>2026-11-01T12:00", start
        ) from None
    return Field(
        ("ts",), _OPERATORS[operator[0]] if operator else "=", value.isoformat()
    )


def _regex(cursor: Cursor, path: Path, pattern: str, start: int) -> Filter:
    if path == ANY or column_of(path) == "id":
        raise cursor.refused(f"{_shown(path)} takes no regular expression", start)
    try:
        regex.check(pattern)
    except FilterError as error:
        raise cursor.refused(str(error), start) from None
    return Regex(path, pattern)


def _shown(path: Path) -> str:
    return ".".join(path) if path else "any"


def _shown_value(value: str) -> str:
    """Return a value as an error may show it: on one line, and not all of it."""
    return repr(value if len(value) <= 40 else f"{value[:40]}...")
