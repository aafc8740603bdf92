"""The configuration as TOML: what holds, and the page of all that can be set.

It owns their form. A secret is never in it, nor the password of a database's URL.
"""

import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, fields
from inspect import getdoc
from typing import Any

from penstock.config.concerns import CONCERNS
from penstock.config.file import PLACES, lists_of
from penstock.config.loading import Configuration
from penstock.config.values import HIDDEN, accepted_by
from penstock.settings import Accepted, Settings, is_reloaded

WIDTH = 78
PLACES_SAID = {
    "database_url": "The PostgreSQL to use, for all but `penstock up`. With a password"
    " in it this file is for Penstock's user only.",
    "database_url_file": "The file that holds that URL, and a line end at most: only"
    " one of the two may be. Of a URL the password alone may stand in a file:"
    " ?password_file=/run/secrets/password.",
    "data_dir": "The embedded PostgreSQL's data directory.",
}
PLACES_SHOWN = {
    "database_url": "postgresql://penstock@db.example/logs",
    "database_url_file": "/run/secrets/penstock-url",
    "data_dir": "/var/lib/penstock",
}
REFERENCE_HEAD = """\
# All settings of Penstock, with their defaults. To change one, take away the # before
# its name. A flag goes over an environment variable, and that over this file. SIGHUP
# applies a change, but of what is marked (restart).
"""
# What no default can show.
EXAMPLES: Mapping[str, str] = {
    "listeners": """\
#[[listeners]]
#host = "0.0.0.0"
#port = 24225
#tls = "on"
#
#[[listeners]]
#path = "/run/penstock/forward.sock"
""",
    "users": """\
#[[users]]
#name = "web"
#password_file = "/run/secrets/penstock-web"
""",
    "networks": """\
#[[networks]]
#cidr = "10.1.0.0/16"
#shared_key_file = "/run/secrets/penstock-key-10.1"
#users = ["web"]
#tags = ["app.*"]
""",
}


def effective_values(
    configuration: Configuration, without_password: Callable[[str], str]
) -> dict[str, dict[str, Any]]:
    """Return the settings in force by concern, as they may be shown."""
    settings = configuration.settings
    return {
        "": _places(configuration, without_password),
        **{name: _shown_table(getattr(settings, name)) for name in CONCERNS},
    }


def _places(
    configuration: Configuration, without_password: Callable[[str], str]
) -> dict[str, Any]:
    url, directory = configuration.settings.database_url, configuration.data_dir
    found: dict[str, Any] = {}
    if url:
        found["database_url"] = without_password(url)
    if directory is not None:
        found["data_dir"] = str(directory)
    return found


def _shown_table(given: Any) -> dict[str, Any]:
    """Return the values of a concern, or of one table of a list, secrets hidden."""
    shown: dict[str, Any] = {}
    for each in fields(given):
        value, accepted = getattr(given, each.name), accepted_by(each)
        if accepted.secret:
            value = HIDDEN if value else ""
        elif accepted.table is not None:
            value = [_shown_table(table) for table in value]
        elif isinstance(value, tuple):
            value = list(value)
        shown[each.name] = value
    return shown


def is_changed(configuration: Configuration, concern: str, name: str) -> bool:
    """Tell whether a setting differs from its default."""
    if not concern:
        return True
    kept = getattr(Settings(database_url=""), concern)
    return bool(
        getattr(getattr(configuration.settings, concern), name) != getattr(kept, name)
    )


def written_toml(
    values: Mapping[str, Mapping[str, Any]], origins: Mapping[str, str]
) -> str:
    """Return settings by concern as TOML, with the place of each behind it."""
    parts: list[str] = []
    lists: list[str] = []
    for concern, table in values.items():
        lines = []
        for name, value in table.items():
            place = origins.get(name, "default")
            if isinstance(value, list) and value and isinstance(value[0], dict):
                lists += [_list_table(name, each, place) for each in value]
            elif not _is_empty_list_of_tables(concern, name):
                lines.append(f"{name} = {toml_value(value)}  # {place}\n")
        if lines:
            parts.append("".join([f"[{concern}]\n" if concern else "", *lines]))
    return "\n".join(parts + lists)


def _is_empty_list_of_tables(concern: str, name: str) -> bool:
    return any(
        (concern, name) == (home, each.name) for home, each in lists_of(CONCERNS)
    )


def _list_table(name: str, table: Mapping[str, Any], place: str) -> str:
    lines = [f"{key} = {toml_value(value)}\n" for key, value in table.items()]
    return f"[[{name}]]  # {place}\n" + "".join(lines)


def reference() -> str:
    """Return a configuration file of all settings, each at its default and explained.

    Read as it is it changes nothing: all of it is comment but the tables' heads.
    """
    parts = [
        REFERENCE_HEAD,
        *(_place_entry(name) for name in PLACES),
        *(_reference_concern(name, kind) for name, kind in CONCERNS.items()),
        *(
            _said(f"{accepted_by(each).help_text}{_restart(CONCERNS[home], each)}")
            + _list_keys(accepted_by(each))
            + EXAMPLES[each.name]
            for home, each in lists_of(CONCERNS)
        ),
    ]
    return "\n".join(parts)


def _place_entry(name: str) -> str:
    example = toml_value(PLACES_SHOWN[name])
    return _said(f"{PLACES_SAID[name]} (restart)") + f"#{name} = {example}\n"


def _reference_concern(name: str, kind: type) -> str:
    summary = " ".join((getdoc(kind) or "").partition("\n\n")[0].split())
    entries = [
        _entry(kind, each) for each in fields(kind) if accepted_by(each).table is None
    ]
    return "\n".join([f"# --- {summary}\n[{name}]\n", *entries])


def _entry(kind: type, each: Field[Any]) -> str:
    accepted, default = accepted_by(each), each.default
    words = f"{accepted.help_text}{accepted_words(accepted)}{_restart(kind, each)}"
    # A guard that is empty is refused, so it cannot be shown at its default.
    if accepted.is_guard and default == "":
        value = "" if accepted.secret else toml_value(_example_file(each.name))
        return _said(words) + f"#{each.name} = {value or toml_value('...')}  # none\n"
    return _said(words) + f"#{each.name} = {toml_value(default)}\n"


def _list_keys(accepted: Accepted) -> str:
    assert accepted.table is not None
    return "".join(
        _said(
            f"{each.name}: {accepted_by(each).help_text}"
            f"{accepted_words(accepted_by(each))}{_table_default(each)}"
        )
        for each in fields(accepted.table)
    )


def _table_default(each: Field[Any]) -> str:
    return "" if each.default in ("", ()) else f" Default: {toml_value(each.default)}."


def accepted_words(accepted: Accepted) -> str:
    """Return the accepted values as a sentence, if there is one to say."""
    has_words = accepted.choices or accepted.low is not None
    return f" Accepted: {accepted.in_words()}." if has_words else ""


def _restart(kind: type, each: Field[Any]) -> str:
    return "" if is_reloaded(kind, each) else " (restart)"


def _example_file(name: str) -> str:
    return f"/etc/penstock/{name.removesuffix('_file').replace('_', '-')}"


def _said(words: str) -> str:
    lines = textwrap.wrap(words, WIDTH, break_on_hyphens=False, break_long_words=False)
    return "".join(f"# {line}\n" for line in lines)


def toml_value(value: Any) -> str:
    """Return a value as TOML v1.0.0 writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        pairs = (f"{key} = {toml_value(each)}" for key, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, str):
        return f'"{"".join(_characters(value))}"'
    return repr(value)


def _characters(text: str) -> Iterator[str]:
    for character in text:
        code = ord(character)
        if character in '"\\':
            yield f"\\{character}"
        elif 0xD800 <= code < 0xE000:  # no character, which TOML cannot hold
            yield "\N{REPLACEMENT CHARACTER}"
        elif code < 0x20 or 0x7F <= code < 0xA0:  # nor may a terminal be told by it
            yield f"\\u{code:04x}"
        else:
            yield character
