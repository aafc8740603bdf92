"""A setting's value from what somebody wrote: text, or a value of a TOML file.

It owns what is understood and the words for what is not; a secret is in none of them.
It must not know where a value was written, only what that place is called.
"""

import math
import tomllib
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any

from penstock.errors import SettingsError
from penstock.settings import Accepted
from penstock.settings.declared import AUTO

_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
# What `penstock config show` has in the place of a secret.
HIDDEN = "***"
_ON_OFF = {True: "on", False: "off"}
# As it is written in TOML.
_ON_OFF_TEXT = {"true": "on", "false": "off"}

# Is told of each problem, in a line.
Complain = Callable[[str], None]


def accepted_by(each: Field[Any]) -> Accepted:
    """Return what a setting accepts."""
    accepted: Accepted = each.metadata["is"]
    return accepted


def from_text(text: str, each: Field[Any], source: str) -> Any:
    """Read a value as it stands in the environment or on the command line.

    Raises:
        SettingsError: it is not what the setting accepts; `source` is named.
    """
    accepted, default = accepted_by(each), each.default
    if accepted.is_guard and not text.strip():
        raise SettingsError(f"{source} is empty; {_without(each)}")
    if accepted.table is not None:
        return from_toml(_inline(text, source), each, source)
    if isinstance(default, tuple):
        parts = tuple(part.strip() for part in text.split(",") if part.strip())
        if accepted.is_guard and not parts:
            raise SettingsError(f"{source} is empty; {_without(each)}")
        return parts
    if {"on", "off"} <= set(accepted.choices):
        text = _ON_OFF_TEXT.get(text.strip(), text)
    value = _text(text, each, source)
    accepted.check(source, value)
    return value


def from_toml(value: Any, each: Field[Any], source: str) -> Any:
    """Read a value as tomllib gives it; lists of tables come as lists of dicts.

    Raises:
        SettingsError: it is of another type, or not what the setting accepts.
    """
    accepted, default = accepted_by(each), each.default
    if accepted.table is not None:
        if not _is_list_of(value, dict):
            raise SettingsError(f"{source} is not a list of tables")
        return value
    if isinstance(default, tuple):
        if not _is_list_of(value, str):
            raise SettingsError(f"{source} is {_shown(value)}, not a list of texts")
        return tuple(value)
    if isinstance(value, bool) and {"on", "off"} <= set(accepted.choices):
        value = _ON_OFF[value]
    if isinstance(value, str) and (
        isinstance(default, str) or each.name.endswith("_bytes")
    ):
        value = _text(value, each, source)
    value = _of_kind(value, each, source)
    accepted.check(source, value)
    return value


def table_from(
    given: dict[str, Any],
    table: type,
    where: Callable[[str], str],
    complain: Complain,
) -> dict[str, Any]:
    """Read the values of one table of a list; each problem is told, none is raised."""
    known = {each.name: each for each in fields(table)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            complain(f"{where(name)} is no setting; there are: {', '.join(known)}")
            continue
        try:
            values[name] = from_toml(value, known[name], where(name))
        except SettingsError as error:
            complain(str(error))
    return values


def _without(each: Field[Any]) -> str:
    """Say how to have a setting at its default, on purpose."""
    return f"leave it out for {each.default or 'none'}"


def _inline(text: str, source: str) -> Any:
    try:
        read = tomllib.loads(f"value = {text}")
    # Besides its own error: numbers of thousands of digits, thousands of brackets.
    except (ValueError, RecursionError):
        read = {}
    # A line end in the text could bring keys of its own.
    if read.keys() != {"value"}:
        # TOML's own words may hold what was written, which may be a password.
        raise SettingsError(
            f"{source} is no list of tables; it is written like"
            ' [{name = "value"}, {name = "value"}]'
        )
    return read["value"]


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def _text(text: str, each: Field[Any], source: str) -> Any:
    """Read a text, or a number that is written as one."""
    accepted = accepted_by(each)
    default: Any = 0 if accepted.is_number_or_auto else each.default
    if accepted.is_number_or_auto and text == AUTO:
        return text
    if isinstance(default, str):
        # An empty address is every interface to asyncio: too much to say by accident.
        may_be_empty = accepted.may_be_empty and not accepted.is_guard
        if not text and not accepted.choices and not may_be_empty:
            raise SettingsError(f"{source} is empty; {_without(each)}")
        if accepted.secret and text == HIDDEN:
            # What everybody could guess, from a page that somebody made a file of.
            raise SettingsError(f"{source} is {HIDDEN}, which stands for a secret")
        return text
    number, factor = text.strip().replace("_", ""), 1
    for unit, unit_factor in _UNITS.items():
        if each.name.endswith("_bytes") and number.endswith(unit):
            number, factor = number.removesuffix(unit).strip(), unit_factor
    try:
        value = type(default)(number) * factor
        if not math.isfinite(value):
            raise ValueError(number)
        return value
    except (ValueError, OverflowError) as error:
        raise SettingsError(_not_of_kind(f"{text!r}", each, source)) from error


def _of_kind(value: Any, each: Field[Any], source: str) -> Any:
    """Return the value as the default's kind, if it is of it."""
    if accepted_by(each).is_number_or_auto and (value == AUTO or type(value) is int):
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(each.default, float) and is_number:
        try:
            if math.isfinite(value):
                return float(value)
        except OverflowError:  # a whole number that no float holds
            pass
    elif type(value) is type(each.default):
        return value
    raise SettingsError(_not_of_kind(_shown(value), each, source))


def _not_of_kind(shown: str, each: Field[Any], source: str) -> str:
    accepted, default = accepted_by(each), each.default
    if accepted.secret:
        return f"{source} is not a text; write it in quotes"
    if isinstance(default, str) and not accepted.is_number_or_auto:
        words = f"accepted: {accepted.in_words()}" if accepted.choices else "in quotes"
        return f"{source} is {shown}, not a text; {words}"
    kind = "a number" if isinstance(default, float) else "a whole number"
    return f"{source} is {shown}, not {kind}; accepted: {accepted.in_words()}"


def _shown(value: Any) -> str:
    """Return a TOML value as it may be shown: what is in tables may be secret."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "a table"
        case list():
            return "a list"
        case str():
            return repr(value)
        case int() if abs(value) >= 10**20:  # Python refuses to write the longest
            return "a number of many digits"
    return str(value)
