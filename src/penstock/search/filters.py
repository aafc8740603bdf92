"""What a filter is: a tree of frozen values, and what each of them holds for.

It owns the meaning. `language` reads and prints it, `compile` says it in SQL, whoever
has a row says it in Python, and all agree with what is written here. It must not know
how a filter is spelled, nor SQL.

A filter holds for a row, or it does not: there is no third answer. What is said of a
field that a row does not have does not hold, and `Not` of it does.

- A path is a tuple of keys. One key that names a column is that column; all else is in
  `attributes`, where a key is an object's, or an array's index (from 0, from the end
  where it is negative). `("attributes", key, ...)` is in attributes whatever it names.
- `=` on tag, service, host, message: the same text. On an attribute: a JSON text that
  is the same; or, where the filter's value is a number (`number_of`), a JSON number
  equal to it (500 is 500.0); or where it is `true`, `false` or `null`, that. An object
  and an array equal nothing.
- `!=` holds where the field is there (`exists`) and `=` does not hold.
- `<` `<=` `>` `>=` on an attribute, where the filter's value is a number: a JSON
  number, or a JSON text that is one (`number_of`), so compared; nothing else. Where it
  is none: the attribute's text (below) by code point. On tag, service, host, message:
  by code point.
- `like`: the whole text, with wildcards (`wildcard_parts`). On message it takes a
  letter in either case, as `Text` does; elsewhere not. On an attribute: of its text.
- `exists`: the column is not null; there is an attribute, and it is not JSON null.
- level: `value` is a label of the enum, and labels compare in the enum's order. id: a
  whole number. ts: a time in ISO 8601 with its offset. None of these three has `like`.
- `Regex`: on message, tag, service, host, level and attributes; anywhere in the text,
  unless anchored. What may be in it, and what it means, is in `regex`.
- An attribute's text: of a JSON text that itself; of anything else but null, what
  PostgreSQL prints for it (`attributes #>> path`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from penstock.errors import PenstockError

Path = tuple[str, ...]
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "like", "exists"]

# The columns of `logs` that a path of one key names.
TEXT_COLUMNS = ("tag", "service", "host", "message")
COLUMNS = ("id", "ts", "level", *TEXT_COLUMNS)
ATTRIBUTES = "attributes"
# The labels of the enum log_level, in its order.
LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")

# What is a number: JSON's grammar, and leading zeros. Of so many digits that no cast to
# numeric fails and none takes long: more are no measurement.
NUMBER = re.compile(r"-?[0-9]{1,100}(\.[0-9]{1,100})?([eE][+-]?[0-9]{1,3})?")


class FilterError(PenstockError):
    """A filter is not one; the message is one line, with the place: `at 14: ...`."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Everything:
    """Holds for every row."""


@dataclass(frozen=True, slots=True)
class Text:
    """The message has this text somewhere, letters in either case."""

    text: str


@dataclass(frozen=True, slots=True)
class Anywhere:
    """Message, tag, service, host or the attributes' text has it, in either case.

    The attributes' text is PostgreSQL's of the whole jsonb; see `anywhere_texts`.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Field:
    """A field compares so with a value; `exists` has the empty text as its value."""

    path: Path
    operator: Operator
    value: str


@dataclass(frozen=True, slots=True)
class Regex:
    """A field's text matches a regular expression."""

    path: Path
    pattern: str


@dataclass(frozen=True, slots=True)
class Not:
    """The other does not hold, for whatever reason: it is not true."""

    filter: "Filter"


@dataclass(frozen=True, slots=True)
class And:
    """All of them hold; there are two or more."""

    filters: "tuple[Filter, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """One of them holds; there are two or more."""

    filters: "tuple[Filter, ...]"


Filter = Everything | Text | Anywhere | Field | Regex | Not | And | Or


def column_of(path: Path) -> str | None:
    """Return the column that a path names; None if it leads into attributes."""
    return path[0] if len(path) == 1 and path[0] in COLUMNS else None


def attribute_keys(path: Path) -> Path:
    """Return the keys below `attributes` that a path, not a column's, leads along."""
    return path[1:] if path[0] == ATTRIBUTES and len(path) > 1 else path


def path_of_keys(keys: Path) -> Path:
    """Return the path of an attribute; one with a column's name says where it is."""
    if column_of(keys) is not None or keys[0] == ATTRIBUTES:
        return (ATTRIBUTES, *keys)
    return keys


def number_of(text: str) -> Decimal | None:
    """Return the number that a text is, None if it is none."""
    return Decimal(text) if NUMBER.fullmatch(text) else None


def wildcard_parts(pattern: str) -> list[str]:
    r"""Return the texts between the wildcards of a `like`: `a*b` is ["a", "b"].

    `*` stands for any text, the empty one too; `\` takes what it had from the next
    character. A text that has it begins with the first part, ends with the last, and
    has the others between them in this order.
    """
    parts, characters = [""], iter(pattern)
    for character in characters:
        if character == "*":
            parts.append("")
        else:
            parts[-1] += next(characters, "\\") if character == "\\" else character
    return parts


def wildcard_literal(text: str) -> str:
    """Return what stands for this very text in the pattern of a `like`."""
    return text.replace("\\", "\\\\").replace("*", "\\*")


# As PostgreSQL prints a text in jsonb (escape_json).
_JSON_ESCAPES = {
    **{code: f"\\u{code:04x}" for code in range(32)},
    **str.maketrans({"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}),
    **str.maketrans({'"': '\\"', "\\": "\\\\"}),
}


def anywhere_texts(text: str) -> tuple[str, ...]:
    """Return what `Anywhere` looks for in the attributes' text, any one of these.

    As it is, for whoever writes JSON; and as it stands inside a text in JSON.
    """
    return tuple(dict.fromkeys((text, text.translate(_JSON_ESCAPES))))


def json_quoted(text: str) -> str:
    """Return a text as PostgreSQL prints it in jsonb."""
    return f'"{text.translate(_JSON_ESCAPES)}"'


def walk(root: Filter) -> Iterator[Filter]:
    """Yield a filter and all that it is made of."""
    waiting: list[Filter] = [root]
    while waiting:
        each = waiting.pop()
        yield each
        if isinstance(each, Not):
            waiting.append(each.filter)
        elif isinstance(each, And | Or):
            waiting.extend(reversed(each.filters))
