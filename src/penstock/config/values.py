"""A setting's value from what somebody wrote: text, or a value of a TOML file.

It owns what is understood and the words for what is not. It must not know where a
value was written, only what that place is called.
"""

import math
import tomllib
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any

from penstock.errors import SettingsError
from penstock.settings import Accepted

_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_ON_OFF = {True: "on", False: "off"}

# Is told of each problem: where, and in words.
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
    if accepted.table is not None:
        return from_toml(_inline(text, source), each, source)
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    value = _text(text, default, accepted, source)
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
            raise SettingsError(f"{source} is no list of tables")
        return value
    if isinstance(default, tuple):
        if not _is_list_of(value, str):
            raise SettingsError(f"{source} is no list of texts")
        return tuple(value)
    if isinstance(value, bool) and {"on", "off"} <= set(accepted.choices):
        value = _ON_OFF[value]
    if isinstance(value, str):
        if isinstance(default, str) or each.name.endswith("_bytes"):
            value = _text(value, default, accepted, source)
        else:
            raise SettingsError(
                f"{source} is a text, not a number; accepted: {accepted.in_words()}"
            )
    value = _number_of_kind(value, default, accepted, source)
    accepted.check(source, value)
    return value


def table_from(
    given: dict[str, Any], table: type, source: str, complain: Complain
) -> dict[str, Any]:
    """Read the values of one table of a list; each problem is told, none is raised."""
    known = {each.name: each for each in fields(table)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        where = f"{source}.{name}"
        if name not in known:
            complain(f"{where} is no setting; there are: {', '.join(known)}")
            continue
        try:
            values[name] = from_toml(value, known[name], where)
        except SettingsError as error:
            complain(str(error))
    return values


def _inline(text: str, source: str) -> Any:
    try:
        # Line ends would let a text bring keys of its own.
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f'{source} is no list of tables; written like [{{name = "value"}}]: {error}'
        ) from error


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def _text(text: str, default: Any, accepted: Accepted, source: str) -> Any:
    if isinstance(default, str):
        # An empty address is every interface to asyncio: too much to say by accident.
        if not text and not accepted.choices and not accepted.may_be_empty:
            raise SettingsError(f"{source} is empty; leave it out for {default}")
        return text
    number, factor = text.strip().replace("_", ""), 1
    for unit, unit_factor in _UNITS.items():
        if source.lower().endswith("bytes") and number.endswith(unit):
            number, factor = number.removesuffix(unit).strip(), unit_factor
    try:
        value = type(default)(number) * factor
        if not math.isfinite(value):
            raise ValueError(number)
        return value
    except ValueError as error:
        raise SettingsError(
            f"{source} is {text!r}, not {_kind(default)}; accepted:"
            f" {accepted.in_words()}"
        ) from error


def _number_of_kind(value: Any, default: Any, accepted: Accepted, source: str) -> Any:
    """Return the value as the default's kind, if it is of it."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, float) and is_number and math.isfinite(value):
        return float(value)
    if type(value) is type(default):
        return value
    raise SettingsError(
        f"{source} is {_shown(value)}, not {_kind(default)}; accepted:"
        f" {accepted.in_words()}"
    )


def _kind(default: Any) -> str:
    if isinstance(default, str):
        return "a text"
    return "a number" if isinstance(default, float) else "a whole number"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return str(value)
