"""A filter, asked of a row in Python: it holds where `compile`'s SQL finds the row.

It owns what PostgreSQL does, done here: letters in either case, wildcards, paths into
jsonb and its text, numbers of any size. A regular expression is RE2's, whose time is
linear in the text. Pure: rows come in, and which letters have a case.

Many rows pass by while one is looked for: what has to be somewhere in the bytes of a
row that is found (`needles`) is looked for in thousands of them at once before one is
decoded.
"""

import operator
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

import msgspec
import re2

from penstock.search import regex
from penstock.search.cases import Cases
from penstock.search.filters import (
    LEVELS,
    TEXT_COLUMNS,
    And,
    Anywhere,
    Everything,
    Field,
    Filter,
    FilterError,
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
from penstock.search.jsonb import MISSING, jsonb_text, value_at
from penstock.search.needles import candidates, may_hold, needles_of

Comparison = Callable[[Any, Any], bool]
_COMPARISONS: dict[str, Comparison] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Row(Protocol):
    """A row as the flow has it: `rows.decoding.StoredRow`."""

    @property
    def id(self) -> int: ...

    @property
    def microseconds(self) -> int: ...

    @property
    def attributes(self) -> bytes: ...

    def raw(self, column: str) -> bytes | None: ...

    def text(self, column: str) -> str | None: ...


Predicate = Callable[[Row], bool]
# A row's field as text; None where it has none.
Reader = Callable[[Row], str | None]


class Matcher:
    """One filter, to be asked of many rows."""

    def __init__(self, filter: Filter, cases: Cases) -> None:
        """Prepare it.

        Raises:
            FilterError: a regular expression is too large to be run here.
        """
        self.holds: Predicate = _predicate(filter, cases)
        self._needles = needles_of(filter, cases)

    def may_hold(self, lowered: bytes) -> bool:
        """Tell whether it may hold for a row somewhere in these bytes.

        Args:
            lowered: the tuples of rows, `bytes.lower` of them.
        """
        return may_hold(self._needles, lowered)

    def candidates(self, lowered: bytes, starts: Sequence[int]) -> Sequence[int]:
        """Return the numbers, in order, of the rows that it may hold for.

        Args:
            starts: where each tuple begins.
        """
        return candidates(self._needles, lowered, starts)


def _predicate(filter: Filter, cases: Cases) -> Predicate:
    match filter:
        case Everything():
            return lambda row: True
        case Text(text):
            return _in_message(text, cases)
        case Anywhere(text):
            return _anywhere(text, cases)
        case Field(path, operator_, value):
            column = column_of(path)
            if column is None:
                return _attribute(attribute_keys(path), operator_, value)
            return _column(column, operator_, value, cases)
        case Regex(path, pattern):
            return _regex(path, pattern, cases)
        case Not(inner):
            holds = _predicate(inner, cases)
            return lambda row: not holds(row)
        case And(filters):
            all_of = [_predicate(each, cases) for each in filters]
            return lambda row: all(holds(row) for holds in all_of)
        case Or(filters):
            any_of = [_predicate(each, cases) for each in filters]
            return lambda row: any(holds(row) for holds in any_of)


# --- texts


def _in_message(text: str, cases: Cases) -> Predicate:
    folded = cases.fold(text)

    def holds(row: Row) -> bool:
        message = row.text("message")
        return message is not None and folded in cases.fold(message)

    return holds


def _anywhere(text: str, cases: Cases) -> Predicate:
    folded = cases.fold(text)
    in_json = [cases.fold(each) for each in anywhere_texts(text)]

    def holds(row: Row) -> bool:
        for column in ("message", "tag", "service", "host"):
            value = row.text(column)
            if value is not None and folded in cases.fold(value):
                return True
        attributes = cases.fold(jsonb_text(_decode(row.attributes)))
        return any(each in attributes for each in in_json)

    return holds


def _like(pattern: str, fold: Callable[[str], str]) -> Callable[[str], bool]:
    first, *parts = [fold(part) for part in wildcard_parts(pattern)]
    if not parts:
        return lambda text: fold(text) == first
    last = parts.pop()

    def matches(text: str) -> bool:
        text = fold(text)
        end = len(text) - len(last)
        if len(first) > end or not (text.startswith(first) and text.endswith(last)):
            return False
        place = len(first)
        for part in parts:
            place = text.find(part, place, end)
            if place < 0:
                return False
            place += len(part)
        return True

    return matches


def _regex(path: Path, pattern: str, cases: Cases) -> Predicate:
    expression = regex.translate(pattern, "re2", cases)
    options = re2.Options()
    options.dot_nl = True
    options.never_capture = True
    options.log_errors = False
    try:
        # As bytes, so that a text is not looked through again to count characters.
        search = re2.compile(expression.text.encode(), options).search
    except re2.error as error:
        raise FilterError(f"the regular expression is not taken: {error}") from error
    column = column_of(path)
    if column is not None:

        def column_matches(row: Row) -> bool:
            raw = row.raw(column)
            return raw is not None and search(raw) is not None

        return column_matches
    read = _attribute_text(attribute_keys(path))

    def attribute_matches(row: Row) -> bool:
        text = read(row)
        return text is not None and search(text.encode()) is not None

    return attribute_matches


# --- columns


def _column(column: str, operator_: str, value: str, cases: Cases) -> Predicate:
    if column in ("id", "ts"):
        return _whole_number(column, operator_, value)
    if operator_ == "exists":
        return lambda row: row.raw(column) is not None
    if column == "level":
        return _level(operator_, value)
    if operator_ == "like":
        matches = _like(value, cases.fold if column == "message" else str)
        return _of_text(lambda row: row.text(column), matches)
    assert column in TEXT_COLUMNS, column
    if operator_ in ("=", "!="):
        # The same text has the same bytes.
        expected, is_same = value.encode(), operator_ == "="
        return lambda row: (
            (raw := row.raw(column)) is not None and (raw == expected) is is_same
        )
    compare = _COMPARISONS[operator_]
    return _of_text(lambda row: row.text(column), lambda text: compare(text, value))


def _of_text(read: Reader, matches: Callable[[str], bool]) -> Predicate:
    return lambda row: (text := read(row)) is not None and matches(text)


def _whole_number(column: str, operator_: str, value: str) -> Predicate:
    if operator_ == "exists":
        return lambda row: True
    compare = _COMPARISONS[operator_]
    if column == "id":
        row_id = int(value)
        return lambda row: compare(row.id, row_id)
    microseconds = (datetime.fromisoformat(value) - _EPOCH) // _MICROSECOND
    return lambda row: compare(row.microseconds, microseconds)


def _level(operator_: str, value: str) -> Predicate:
    compare, typed = _COMPARISONS[operator_], LEVELS.index(value)
    wanted = {
        label.encode() for rank, label in enumerate(LEVELS) if compare(rank, typed)
    }
    return lambda row: row.raw("level") in wanted


# --- attributes


def _attribute_text(keys: Path) -> Reader:
    def read(row: Row) -> str | None:
        value = value_at(_decode(row.attributes), keys)
        return None if value is None or value is MISSING else _text_of(value)

    return read


def _text_of(value: Any) -> str:
    return value if type(value) is str else jsonb_text(value)


def _attribute(keys: Path, operator_: str, value: str) -> Predicate:
    equals = _equals(value)
    match operator_:
        case "=":
            return lambda row: equals(value_at(_decode(row.attributes), keys))
        case "!=":
            return _of_value(keys, lambda found: not equals(found))
        case "exists":
            return _of_value(keys, lambda found: True)
        case "like":
            matches = _like(value, str)
            return _of_value(keys, lambda found: matches(_text_of(found)))
    compare = _COMPARISONS[operator_]
    number = number_of(value)
    if number is None:
        return _of_value(keys, lambda found: compare(_text_of(found), value))

    def compares(found: Any) -> bool:
        if type(found) is str:
            found = number_of(found)
        elif type(found) is not int and type(found) is not Decimal:
            return False
        return found is not None and compare(found, number)

    return _of_value(keys, compares)


def _of_value(keys: Path, holds: Callable[[Any], bool]) -> Predicate:
    """Return what asks a value that is there, and is not null."""

    def holds_for(row: Row) -> bool:
        value = value_at(_decode(row.attributes), keys)
        return value is not None and value is not MISSING and holds(value)

    return holds_for


def _equals(value: str) -> Callable[[Any], bool]:
    number, is_constant = number_of(value), value in _CONSTANTS
    constant = _CONSTANTS.get(value)

    def equals(found: Any) -> bool:
        kind = type(found)
        if kind is str:
            return bool(found == value)
        if kind is int or kind is Decimal:
            return number is not None and bool(found == number)
        return is_constant and found is constant

    return equals
