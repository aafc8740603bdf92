"""Which keys of a record fill which column, and how a level is spelled.

It owns the mapping from a record to the columns `level`, `service`, `host` and
`message`: the keys to look for come from the settings, the names and numbers of
levels are here. A value moves to its column whole or stays where it is; a value
of another type than the column's stays.
"""

from typing import Any, NamedTuple

from penstock.settings import ColumnSettings

# The enum's labels, in its order, each with the spellings seen in the field: log4j,
# logrus, zap, pino, bunyan, python, java.util.logging, .NET, syslog, glog.
_SPELLINGS: dict[str, tuple[str, ...]] = {
    "TRACE": ("trace", "trc", "verbose", "fine", "finer", "finest", "silly", "all"),
    "DEBUG": ("debug", "dbg", "d", "config"),
    "INFO": ("info", "inf", "i", "information", "informational", "notice", "default"),
    "WARN": ("warn", "wrn", "w", "warning"),
    "ERROR": ("error", "err", "e", "eror", "severe"),
    "FATAL": (
        "fatal",
        "ftl",
        "f",
        "critical",
        "crit",
        "alert",
        "emerg",
        "emergency",
        "panic",
        "dpanic",
    ),
}
# Syslog severities (RFC 5424, 6.2.1) and the levels of pino and bunyan. The ranges
# do not meet, so a number says which it is.
_NUMBERS: dict[int, str] = {
    0: "FATAL",
    1: "FATAL",
    2: "FATAL",
    3: "ERROR",
    4: "WARN",
    5: "INFO",
    6: "INFO",
    7: "DEBUG",
    10: "TRACE",
    20: "DEBUG",
    30: "INFO",
    40: "WARN",
    50: "ERROR",
    60: "FATAL",
}
_LEVELS: dict[str, str] = {
    spelling: label for label, spellings in _SPELLINGS.items() for spelling in spellings
} | {str(number): label for number, label in _NUMBERS.items()}
# Longer than any spelling: what is longer is not looked at further.
_LONGEST_SPELLING = 16


def level_label(value: Any) -> str | None:
    """Return the `log_level` label for a name or a number, None if it is none."""
    if type(value) is int:
        return _NUMBERS.get(value)
    if type(value) is str and len(value) <= _LONGEST_SPELLING:
        return _LEVELS.get(value.strip().lower())
    return None


def level_spellings() -> dict[str | int, str]:
    """Return every spelling of a level in its usual cases, with its label."""
    spellings: dict[str | int, str] = {}
    spellings.update(_NUMBERS.items())
    for spelling, label in _LEVELS.items():
        for cased in (spelling, spelling.upper(), spelling.capitalize()):
            spellings[cased] = label
    return spellings


# A key that no record has: it stands for a column that these records do not fill.
NO_KEY = object()


class ColumnPlan(NamedTuple):
    """Where the columns of records of one shape are found.

    For each column the key that most likely holds it, `NO_KEY` if there is none at
    the top level, and all paths worth trying.
    """

    level_key: Any
    level_paths: tuple[str, ...]
    service_key: Any
    service_paths: tuple[str, ...]
    host_key: Any
    host_paths: tuple[str, ...]
    message_key: Any
    message_paths: tuple[str, ...]


def plan_for(keys: tuple[Any, ...], columns: ColumnSettings) -> ColumnPlan:
    """Return the plan for records with these top-level keys."""
    present = set(keys)

    def reachable(paths: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
        found = tuple(
            path
            for path in paths
            if path in present or path.partition(".")[0] in present
        )
        key = found[0] if found and found[0] in present else NO_KEY
        return key, found

    return ColumnPlan(
        *reachable(columns.level_keys),
        *reachable(columns.service_keys),
        *reachable(columns.host_keys),
        *reachable(columns.message_keys),
    )


def take_text(record: dict[str, Any], paths: tuple[str, ...]) -> str | None:
    """Take the first string that one of the paths leads to out of the record."""
    for path in paths:
        owner, key = locate(record, path)
        if owner is not None and type(owner[key]) is str:
            text: str = owner.pop(key)
            return text
    return None


def take_level(record: dict[str, Any], paths: tuple[str, ...]) -> str | None:
    """Take the first known level that one of the paths leads to out of the record."""
    for path in paths:
        owner, key = locate(record, path)
        if owner is None:
            continue
        label = level_label(owner[key])
        if label is not None:
            del owner[key]
            return label
    return None


def locate(record: dict[str, Any], path: str) -> tuple[dict[str, Any] | None, str]:
    """Find the map and the key that a path leads to; no map if it leads nowhere.

    A key that holds dots itself, as ECS and Kubernetes labels have, goes before the
    nested one.
    """
    owner: Any = record
    key = path
    while type(owner) is dict:
        if key in owner:
            return owner, key
        head, dot, key = key.partition(".")
        if not dot:
            break
        owner = owner.get(head)
    return None, key
