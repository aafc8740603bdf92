r"""What is somewhere in the bytes of each row that a filter holds for.

It owns what can be said of them for sure: where it says that rows do not have it, the
filter holds for none of them. A tuple has the texts of its columns as they are, each
behind its length, and its attributes as JSON that escapes nothing but quotation marks,
backslashes and controls. Letters of ASCII are compared in lower case. Pure.
"""

import re
import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from penstock.search.cases import Cases
from penstock.search.filters import (
    LEVELS,
    And,
    Anywhere,
    Field,
    Filter,
    Or,
    Path,
    Regex,
    Text,
    attribute_keys,
    column_of,
    number_of,
    wildcard_parts,
)

# Each has to be there: one of its alternatives, in lower case.
Needles = tuple[tuple[bytes, ...], ...]

# Whoever writes JSON writes these as they are.
_PLAIN = re.compile(r"[A-Za-z0-9_./@-]+")
# In jsonb's text and in the text it was read from alike, wherever they stand: not so
# digits, which a number of 1e3 has four of, and what is between two values.
_IN_ANY_JSON = re.compile(r"[A-Za-z_]+")
# An alternative costs a look through all bytes.
_MOST_ALTERNATIVES = 16
_pack_length = struct.Struct(">i").pack


def needles_of(filter: Filter, cases: Cases) -> Needles:
    """Return what has to be in the bytes of the rows that a filter holds for."""
    match filter:
        case Text(text):
            return _folded(text, cases)
        case Anywhere(text):
            return _of_one(_longest(_IN_ANY_JSON.findall(text)), cases)
        case Field(path, operator, value):
            column = column_of(path)
            if column is None:
                return _of_attribute(attribute_keys(path), operator, value)
            return _of_column(column, operator, value, cases)
        case Regex(path, _) if column_of(path) is None:
            return _of_keys(attribute_keys(path))
        case And(filters):
            return tuple(each for inner in filters for each in needles_of(inner, cases))
        case Or(filters):
            return _one_of(needles_of(inner, cases) for inner in filters)
    return ()


def may_hold(needles: Needles, lowered: bytes) -> bool:
    """Tell whether all needles are in bytes that `bytes.lower` was applied to."""
    return all(any(map(lowered.__contains__, each)) for each in needles)


def candidates(
    needles: Needles, lowered: bytes, starts: Sequence[int]
) -> Sequence[int]:
    """Return the numbers of the rows that have all needles, of those that begin so.

    Args:
        lowered: the rows, in lower case.
    """
    numbers: Sequence[int] = range(len(starts))
    ends = [*starts[1:], len(lowered)]
    for place, alternatives in enumerate(needles):
        if place == 0:
            numbers = _with_one(alternatives, lowered, starts, ends)
        else:
            numbers = [
                number
                for number in numbers
                if _has_one(alternatives, lowered, starts[number], ends[number])
            ]
    return numbers


def _with_one(
    alternatives: Iterable[bytes],
    lowered: bytes,
    starts: Sequence[int],
    ends: Sequence[int],
) -> list[int]:
    """Return the numbers of the rows that have an alternative: the quickest way."""
    found: set[int] = set()
    for each in alternatives:
        place = lowered.find(each)
        while place >= 0:
            number = bisect_right(starts, place) - 1
            # No needle goes over a row's end: it would begin with another's head.
            found.add(number)
            place = lowered.find(each, ends[number])
    return sorted(found)


def _has_one(
    alternatives: Iterable[bytes], lowered: bytes, start: int, end: int
) -> bool:
    return any(lowered.find(each, start, end) >= 0 for each in alternatives)


def _one_of(all_needles: Iterable[Needles]) -> Needles:
    alternatives: list[bytes] = []
    for needles in all_needles:
        if not needles:
            return ()
        alternatives += max(needles, key=lambda each: min(map(len, each)))
    if len(alternatives) > _MOST_ALTERNATIVES:
        return ()
    return (tuple(dict.fromkeys(alternatives)),)


def _folded(text: str, cases: Cases) -> Needles:
    """Return what has to be there of a text whose letters may be in either case.

    A letter beyond ASCII may be written with other bytes, so none of its is needed.
    """
    run, runs = "", []
    for character in text:
        if not character.isascii() and cases.has_case(character):
            runs.append(run)
            run = ""
        else:
            run += character
    return _of_one(_longest([*runs, run]), cases)


def _of_one(text: str, cases: Cases) -> Needles:
    if not text or not cases.is_usual:
        return ()
    # The sign of the Kelvin is a k to whoever asks for one in either case.
    lowered = text.encode().lower()
    others = sorted(
        each for each in cases.to_ascii if chr(cases.lower[ord(each)]) in text.lower()
    )
    return ((lowered, *(each.encode() for each in others)),)


def _longest(texts: Iterable[str]) -> str:
    return max(texts, key=len, default="")


def _of_column(column: str, operator: str, value: str, cases: Cases) -> Needles:
    if column in ("id", "ts") or operator == "exists":
        return ()
    if column == "level":
        labels = _labels(operator, LEVELS.index(value))
        return (tuple(map(_field_of, labels)),) if labels else ()
    if operator == "=":
        return ((_field_of(value),),)
    if operator != "like":
        return ()
    longest = _longest(wildcard_parts(value))
    if column == "message":
        return _folded(longest, cases)
    return ((longest.encode().lower(),),) if longest else ()


def _labels(operator: str, rank: int) -> tuple[str, ...]:
    match operator:
        case "=":
            return LEVELS[rank : rank + 1]
        case "<":
            return LEVELS[:rank]
        case "<=":
            return LEVELS[: rank + 1]
        case ">":
            return LEVELS[rank + 1 :]
        case ">=":
            return LEVELS[rank:]
    return (*LEVELS[:rank], *LEVELS[rank + 1 :])


def _field_of(text: str) -> bytes:
    """Return a column's field: no other has these bytes by chance, as in a message."""
    raw = text.encode()
    return (_pack_length(len(raw)) + raw).lower()


def _of_attribute(keys: Path, operator: str, value: str) -> Needles:
    needles = _of_keys(keys)
    is_text = number_of(value) is None and value not in ("true", "false", "null")
    if operator == "=" and is_text and _PLAIN.fullmatch(value):
        return (*needles, (f'"{value}"'.encode().lower(),))
    return needles


def _of_keys(keys: Path) -> Needles:
    """Return the first key, which is an object's; others may be an array's indexes."""
    if not _PLAIN.fullmatch(keys[0]):
        return ()
    return ((f'"{keys[0]}":'.encode().lower(),),)
