"""A filter, said in SQL: a condition on a row of `logs`, and its parameters.

It owns how each filter is asked for, so that an index that is there can answer. Every
value is a parameter: nothing of what somebody typed is in the SQL text, which is made
of the constants here. What is asked never fails on a row, whatever its attributes hold.

Indexes that these conditions can use: trigrams for ILIKE and ~ on message, and GIN
jsonb_path_ops for `attributes @>` (sink/seal.py makes both).
"""

import json
import re
from datetime import datetime
from typing import Any, NamedTuple

from penstock.search import regex
from penstock.search.filters import (
    ATTRIBUTES,
    TEXT_COLUMNS,
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
    anywhere_texts,
    attribute_keys,
    column_of,
    number_of,
    wildcard_parts,
)

# The operators, as SQL has them.
_COMPARISONS = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_COLUMNS = {
    "id": "id",
    "ts": "ts",
    "level": "level",
    "tag": "tag",
    "service": "service",
    "host": "host",
    "message": "message",
    "attributes": "attributes",
}
# filters.NUMBER, as PostgreSQL reads it.
_NUMBER = r"'^-?[0-9]{1,100}(\.[0-9]{1,100})?([eE][+-]?[0-9]{1,3})?$'"  # no user's text
# What `#>` takes for the index of an array, strtol's grammar.
_INDEX = re.compile(r"\s*[+-]?[0-9]+")
_CONSTANTS = ("true", "false", "null")


class Query(NamedTuple):
    """One statement and what its $1, $2 ... stand for."""

    sql: str
    params: tuple[Any, ...]


class Parameters:
    """The values of a statement, in the order of their numbers."""

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._numbers: dict[tuple[str, str], int] = {}

    def add(self, value: Any, type_name: str) -> str:
        """Return what stands for the value in SQL.

        Args:
            type_name: PostgreSQL's type, a constant; empty for that of the other side.
        """
        key = (type_name, repr(value))
        number = self._numbers.setdefault(key, len(self._values) + 1)
        if number > len(self._values):
            self._values.append(value)
        return f"${number}::{type_name}" if type_name else f"${number}"

    @property
    def values(self) -> tuple[Any, ...]:
        """Return the values."""
        return tuple(self._values)


def condition(filter: Filter, parameters: Parameters) -> str:
    """Return the condition that holds, or is null or false, for a row of `logs`."""
    match filter:
        case Everything():
            return "true"
        case Text(text):
            pattern = parameters.add(_inside(text), "text")
            return f"message {_like_operator(text)} {pattern}"
        case Anywhere(text):
            return _anywhere(text, parameters)
        case Field(path, operator, value):
            column = column_of(path)
            if column is None:
                return _attribute(attribute_keys(path), operator, value, parameters)
            return _column(column, operator, value, parameters)
        case Regex(path, pattern):
            expression = regex.translate(pattern, "postgres")
            matches = "~*" if expression.ignores_case else "~"
            subject = as_text(path, parameters)
            pattern = parameters.add(expression.text, "text")
            return f"{subject} {matches} {pattern}"
        case Not(inner):
            return f"({condition(inner, parameters)}) IS NOT TRUE"
        case And(filters):
            return _joined(" AND ", filters, parameters)
        case Or(filters):
            return _joined(" OR ", filters, parameters)


def _joined(joiner: str, filters: tuple[Filter, ...], parameters: Parameters) -> str:
    return f"({joiner.join(condition(each, parameters) for each in filters)})"


def as_text(path: Path, parameters: Parameters) -> str:
    """Return the SQL of a field's text; null where a row has no such field."""
    column = column_of(path)
    if path == (ATTRIBUTES,):
        return "attributes::text"
    if column is None:
        return _attribute_text(attribute_keys(path), parameters)
    return column if column in TEXT_COLUMNS else f"{column}::text"


def value_of(path: Path, parameters: Parameters) -> str:
    """Return the SQL of a field's value: a column's own, of attributes jsonb."""
    column = ATTRIBUTES if path == (ATTRIBUTES,) else column_of(path)
    if column is None:
        return _attribute_value(attribute_keys(path), parameters)
    return _COLUMNS[column]


def _attribute_text(keys: Path, parameters: Parameters) -> str:
    if len(keys) == 1:
        return f"(attributes ->> {parameters.add(keys[0], 'text')})"
    return f"(attributes #>> {parameters.add(list(keys), 'text[]')})"


def _attribute_value(keys: Path, parameters: Parameters) -> str:
    if len(keys) == 1:
        return f"(attributes -> {parameters.add(keys[0], 'text')})"
    return f"(attributes #> {parameters.add(list(keys), 'text[]')})"


# --- columns


def _column(column: str, operator: str, value: str, parameters: Parameters) -> str:
    name = _COLUMNS[column]
    if operator == "exists":
        return f"{name} IS NOT NULL"
    if operator == "like":
        kind = _like_operator(value) if column == "message" else "LIKE"
        return f"{name} {kind} {parameters.add(_like(value), 'text')}"
    typed = _typed(column, value, parameters)
    if column in TEXT_COLUMNS and operator in ("<", "<=", ">", ">="):
        name = f'{name} COLLATE "C"'
    return f"{name} {_COMPARISONS[operator]} {typed}"


def _typed(column: str, value: str, parameters: Parameters) -> str:
    if column == "id":
        return parameters.add(int(value), "bigint")
    if column == "ts":
        return parameters.add(datetime.fromisoformat(value), "timestamptz")
    # The enum's name may be out of the search_path; that of the column is not.
    return parameters.add(value, "" if column == "level" else "text")


# --- attributes


def _attribute(keys: Path, operator: str, value: str, parameters: Parameters) -> str:
    if operator == "=":
        return _equals(keys, value, parameters, by_index=True)
    text = _attribute_text(keys, parameters)
    if operator == "exists":
        return f"{text} IS NOT NULL"
    if operator == "!=":
        equals = _equals(keys, value, parameters, by_index=False)
        return f"({text} IS NOT NULL AND NOT ({equals}))"
    if operator == "like":
        return f"{text} LIKE {parameters.add(_like(value), 'text')}"
    comparison = _COMPARISONS[operator]
    number = number_of(value)
    if number is None:
        return f'{text} COLLATE "C" {comparison} {parameters.add(value, "text")}'
    # Nothing is cast that is no number: CASE evaluates no branch it does not take
    # (PostgreSQL documentation, 9.18.1).
    kind = f"jsonb_typeof({_attribute_value(keys, parameters)})"
    return (
        f"CASE WHEN {kind} = 'number' OR {kind} = 'string' AND {text} ~ {_NUMBER}"
        f" THEN {text}::numeric {comparison} {parameters.add(number, 'numeric')} END"
    )


def _equals(keys: Path, value: str, parameters: Parameters, *, by_index: bool) -> str:
    """Return the comparison of a value, in each way that JSON may have it.

    Args:
        by_index: say it also as GIN jsonb_path_ops answers it, where it does. Row by
            row that takes twice as long: it comes second.
    """
    values = [json.dumps(value, ensure_ascii=False)]
    number = number_of(value)
    if number is not None:
        values.append(str(number))
    elif value in _CONSTANTS:
        values.append(value)
    subject = _attribute_value(keys, parameters)
    equal = _either([f"{subject} = {parameters.add(each, 'jsonb')}" for each in values])
    # A number may be the index of an array; but the first key is an object's, since
    # attributes is one.
    if not by_index or any(_INDEX.fullmatch(key) for key in keys[1:]):
        return equal
    contained = [
        f"attributes @> {parameters.add(_nested(keys, each), 'jsonb')}"
        for each in values
    ]
    return f"({equal} AND {_either(contained)})"


def _either(tests: list[str]) -> str:
    return tests[0] if len(tests) == 1 else f"({' OR '.join(tests)})"


def _nested(keys: Path, value: str) -> str:
    opened = "".join(f"{{{json.dumps(key, ensure_ascii=False)}: " for key in keys)
    return f"{opened}{value}{'}' * len(keys)}"


# --- patterns


def _anywhere(text: str, parameters: Parameters) -> str:
    pattern = parameters.add(_inside(text), "text")
    like = _like_operator(text)
    tests = [
        f"{each} {like} {pattern}" for each in ("message", "tag", "service", "host")
    ]
    tests += [
        f"attributes::text {like} {parameters.add(_inside(each), 'text')}"
        for each in anywhere_texts(text)
    ]
    return f"({' OR '.join(tests)})"


def _like_operator(text: str) -> str:
    """Return what looks for a text in either case; LIKE takes half the time of ILIKE.

    Of numbers, addresses and scripts that have no case it finds the same.
    """
    return "LIKE" if text.lower() == text.upper() else "ILIKE"


def _inside(text: str) -> str:
    return f"%{_escaped(text)}%"


def _like(pattern: str) -> str:
    return "%".join(map(_escaped, wildcard_parts(pattern)))


def _escaped(text: str) -> str:
    """Escape what LIKE would take for a wildcard (PostgreSQL documentation, 9.7.1)."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
