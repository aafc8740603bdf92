"""`penstock config`: is the configuration right, what is in force, what can be set.

It owns how settings are written as TOML. It must not decide what is right.
"""

import json
from collections.abc import Iterator
from dataclasses import Field, fields
from textwrap import wrap
from typing import Any

import click

from penstock.cli.database import config_file, database_options
from penstock.cli.server_options import load_told, server_options
from penstock.config import CONCERNS, DEFAULT, database_url, load
from penstock.config.values import accepted_by
from penstock.settings import Accepted, Settings
from penstock.sink.connection import without_password

SECRET = "***"
_WIDTH = 78


@click.group("config", short_help="Check, show and explain the configuration.")
def command() -> None:
    """Check the configuration, show what is in force, explain what can be set.

    Settings come from the command line, else the environment, else the file that
    --config or PENSTOCK_CONFIG names, else their defaults.
    """


@command.command("check")
@server_options
def check_command(**flags: str | None) -> None:
    """Say what is wrong with the configuration, all of it at once.

    Takes the options of `serve` too. Exit status: 0 if it is right, else 2.
    """
    load_told("", flags)
    where = config_file()
    click.echo(f"{where}: right" if where else "the configuration is right")


@command.command("show")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["toml", "json"]),
    default="toml",
    help="What to write.",
)
@click.option("--changed", is_flag=True, help="Only what is not by default.")
@database_options
@server_options
def show_command(
    output: str,
    changed: bool,
    database_url: str | None,
    data_dir: str | None,
    **flags: str | None,
) -> None:
    """Show the settings that are in force, and where each is from.

    Secrets are shown as ***. Takes the options of `serve` too.
    """
    file = config_file()
    loaded = load(database_url or "", flags, config_file=file)
    rows = [
        (concern, each, value, loaded.origins.get(each.name, DEFAULT))
        for concern, each, value in _all_values(loaded.settings)
        if not changed or loaded.origins.get(each.name, DEFAULT) != DEFAULT
    ]
    where = _shown_url(database_url)
    if output == "json":
        shown = {
            each.name: {"value": _hidden(value, each), "from": origin}
            for _, each, value, origin in rows
        }
        click.echo(json.dumps({"database_url": where, "settings": shown}, indent=2))
        return
    click.echo(f"database_url = {_toml(where)}" if where else "# no database_url")
    lists = [row for row in rows if accepted_by(row[1]).table is not None]
    concern_before = ""
    for concern, each, value, origin in rows:
        if accepted_by(each).table is not None:
            continue
        if concern != concern_before:
            click.echo(f"\n[{concern}]")
            concern_before = concern
        click.echo(f"{each.name} = {_toml(_hidden(value, each))}  # {origin}")
    for _, each, value, origin in lists:
        for table in _hidden(value, each):
            click.echo(f"\n[[{each.name}]]  # {origin}")
            for name, part in table.items():
                click.echo(f"{name} = {_toml(part)}")


@command.command("reference")
def reference_command() -> None:
    """Write a configuration file with every setting in it, explained.

    All are commented out and have their defaults: uncomment what you want to change.
    """
    click.echo("\n".join(reference()))


def reference() -> Iterator[str]:
    """Yield the lines of the reference file."""
    yield "# Penstock's configuration. What is commented out is the default."
    yield ""
    yield '#database_url = "postgresql://penstock_writer@db.example/logs"'
    yield '#data_dir = "/var/lib/penstock"'
    lists: list[Field[Any]] = []
    for concern, kind in CONCERNS.items():
        yield from ("", f"[{concern}]")
        for each in fields(kind):
            if accepted_by(each).table is not None:
                lists.append(each)
            else:
                yield from _explained(each)
    for each in lists:
        table = accepted_by(each).table
        assert table is not None
        yield ""
        yield from _comment(accepted_by(each).help_text)
        yield f"#[[{each.name}]]"
        for part in fields(table):
            yield from _explained(part)


def _explained(each: Field[Any]) -> Iterator[str]:
    accepted = accepted_by(each)
    yield ""
    yield from _comment(accepted.help_text)
    if words := _accepted_words(each, accepted):
        yield from _comment(f"Accepted: {words}.")
    yield f"#{each.name} = {_toml(each.default)}"


def _comment(text: str) -> Iterator[str]:
    yield from (f"# {line}" for line in wrap(text, _WIDTH))


def _accepted_words(each: Field[Any], accepted: Accepted) -> str:
    if accepted.choices or accepted.low is not None:
        return accepted.in_words()
    return ""


def _all_values(settings: Settings) -> Iterator[tuple[str, Field[Any], Any]]:
    for concern, kind in CONCERNS.items():
        for each in fields(kind):
            yield concern, each, getattr(getattr(settings, concern), each.name)


def _hidden(value: Any, each: Field[Any]) -> Any:
    """Return a value as it may be shown."""
    accepted = accepted_by(each)
    if accepted.table is not None:
        return [
            {
                part.name: _hidden(getattr(table, part.name), part)
                for part in fields(accepted.table)
            }
            for table in value
        ]
    return SECRET if accepted.secret and value else value


def _toml(value: Any) -> str:
    """Return a value as TOML: its texts, numbers and arrays are JSON's too."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


def _shown_url(flag: str | None) -> str:
    url = database_url(flag, config_file=config_file())
    return "" if url is None else without_password(url)
