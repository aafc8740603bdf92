"""A filter, printed as the language spells it: what is read of it is the filter again.

It owns quoting. It must not know what a filter means.
"""

import re

from penstock.search.filters import (
    And,
    Anywhere,
    Everything,
    Field,
    Filter,
    Not,
    Or,
    Path,
    Regex,
    Text,
    wildcard_parts,
)
from penstock.search.lexing import FIRST_KEY, KEY, is_escaped

_FIRST_KEY = re.compile(FIRST_KEY)
_KEY = re.compile(KEY)
# What is read as a word and nothing else; all else goes into quotes.
_PLAIN_WORD = re.compile(r"(?!(?:AND|OR|NOT)$)[\w@$%#.,;+][\w@$%#.,;+/-]*")


def spell(filter: Filter) -> str:
    """Print a filter; `language.parse` reads the same one from it."""
    match filter:
        case Everything():
            return "*"
        case Text(text):
            return _value(text)
        case Anywhere(text):
            return f"any:{_value(text)}"
        case Field(path, operator, value):
            return _field(path, operator, value)
        case Regex(path, pattern):
            return _regex(path, pattern)
        case Not(inner):
            return f"-{_inside(inner)}"
        case And(filters):
            return " ".join(map(_inside, filters))
        case Or(filters):
            return " OR ".join(map(_inside, filters))


def _inside(filter: Filter) -> str:
    text = spell(filter)
    return f"({text})" if isinstance(filter, And | Or | Not) else text


def spell_path(path: Path) -> str:
    """Print a field's path."""
    keys = [key if _KEY.fullmatch(key) else _quoted(key) for key in path]
    if not _FIRST_KEY.fullmatch(path[0]) or path[0] == "any":
        keys[0] = _quoted(path[0])
    return ".".join(keys)


def _field(path: Path, operator: str, value: str) -> str:
    name = spell_path(path)
    if operator == "exists":
        return f"{name}:*"
    if operator == "like":
        parts = ["".join(map(_escaped, part)) for part in wildcard_parts(value)]
        if path == ("message",):  # there it is anywhere in the text
            parts = parts[1:-1]
        return f"{name}:{'*'.join(parts)}"
    if operator != "=" or path == ("message",):
        return f"{name}:{operator}{_value(value)}"
    return f"{name}:{_value(value)}"


def _regex(path: Path, pattern: str) -> str:
    flag = "i" if pattern.startswith("(?i)") else ""
    body = pattern[4:] if flag else pattern
    escaped = re.sub(r"\\.|/", _escaped_slash, body, flags=re.DOTALL)
    name = "" if path == ("message",) else f"{spell_path(path)}:"
    return f"{name}/{escaped}/{flag}"


def _escaped_slash(found: re.Match[str]) -> str:
    return "\\/" if found[0] == "/" else found[0]


def _value(text: str) -> str:
    return text if _PLAIN_WORD.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _escaped(character: str) -> str:
    return f"\\{character}" if is_escaped(character) else character
