"""`penstock rejected`: what could not become a row, looked at, tried again, deleted."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click
import orjson

from penstock import config
from penstock.cli.database import (
    config_file_option,
    database_options,
    found_database,
)
from penstock.cli.output import print_json, print_table
from penstock.cli.rejected_view import as_dict, as_lines, chunk_text
from penstock.cli.spans import span
from penstock.errors import PenstockError
from penstock.sink.rejected import (
    Kind,
    Listed,
    Wanted,
    count_by_kind,
    count_events,
    find_event,
    list_events,
    purge_events,
)
from penstock.sink.replay import Replayed, replay

# The settings that a replay needs: it need not be let to the server's keys.
REPLAY_CONCERNS = ("columns", "partitions", "wire")
LISTED_EVENTS = 50
# PostgreSQL's bigint.
LAST_ID = 2**63 - 1

Command = TypeVar("Command", bound=Callable[..., Any])

reason_option = click.option(
    "--reason",
    metavar="R",
    help="Only of this reason; `refused` is each that PostgreSQL refused.",
)
tag_option = click.option("--tag", metavar="T", help="Only with this tag.")
output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How it is written; json is one object a line.",
)


@click.group("rejected", short_help="Look at events that could not be stored; replay.")
def command() -> None:
    """Look at the events that could not become rows, try them again, delete them.

    They are in the table `rejected_event`, each with the reason and the bytes that
    came. Once the reason is gone, a constraint dropped or a limit raised, `replay`
    stores them as the rows they would have been.
    """


@command.command("list")
@click.option("--since", type=span, metavar="SPAN", help="Only so recent: 15m, 7d.")
@reason_option
@tag_option
@click.option("--sqlstate", metavar="S", help="Only of this SQLSTATE.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=LISTED_EVENTS,
    show_default=True,
    help="How many at most.",
)
@click.option("--count", is_flag=True, help="Count them by reason, SQLSTATE and tag.")
@output_option
@database_options
@config_file_option
def list_command(
    since: timedelta | None,
    reason: str | None,
    tag: str | None,
    sqlstate: str | None,
    limit: int,
    count: bool,
    output: str,
    database_url: str | None,
    data_dir: str | None,
    config_file: str | None,
) -> None:
    """List rejected events, the newest first."""
    wanted = Wanted(younger_than=since, reason=reason, tag=tag, sqlstate=sqlstate)
    show = print_table if output == "table" else print_json
    with found_database(database_url, data_dir, config_file=config_file) as url:
        if count:
            kinds = asyncio.run(count_by_kind(url, wanted))
            show(Kind._fields, kinds)
            return
        events = asyncio.run(list_events(url, wanted, limit=limit + 1))
    rows = [(*event[:4], chunk_text(event.chunk), *event[5:]) for event in events]
    show(Listed._fields, rows[:limit])
    if len(events) > limit:
        click.echo("there are older ones: --limit", err=True)


@command.command("show")
@click.argument("event_id", metavar="ID", type=click.IntRange(0, LAST_ID))
@output_option
@database_options
@config_file_option
def show_command(
    event_id: int,
    output: str,
    database_url: str | None,
    data_dir: str | None,
    config_file: str | None,
) -> None:
    """Show all there is of one event, its bytes decoded."""
    with found_database(database_url, data_dir, config_file=config_file) as url:
        event = asyncio.run(find_event(url, event_id))
    if event is None:
        raise PenstockError(f"there is no rejected event {event_id}")
    if output == "json":
        click.echo(orjson.dumps(as_dict(event)).decode())
    else:
        click.echo(as_lines(event))


@command.command("replay")
@click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(0, LAST_ID))
@click.option("--all", "is_all", is_flag=True, help="All of them.")
@reason_option
@tag_option
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Try N at most.")
@click.option("--dry-run", is_flag=True, help="Try, say what would pass, undo it.")
@database_options
@config_file_option
def replay_command(
    ids: tuple[int, ...],
    is_all: bool,
    reason: str | None,
    tag: str | None,
    limit: int | None,
    dry_run: bool,
    database_url: str | None,
    data_dir: str | None,
    config_file: str | None,
) -> None:
    """Store rejected events as the rows that they are now, oldest first.

    An event that becomes a row leaves rejected_event in the same transaction, so
    that it is stored once, however often and by how many this is run. The others
    stay as they are; then the exit code is 1.

    The settings of columns and limits are read from the environment and the file that
    --config or PENSTOCK_CONFIG names, as `serve` reads them.
    """
    _check_choice(is_all, [ids, reason, tag], "IDs, --reason, --tag")
    wanted = Wanted(ids=ids or None, reason=reason, tag=tag)
    with found_database(database_url, data_dir, config_file=config_file) as url:
        settings = config.load_settings(
            url, {config.CONFIG_FILE: config_file}, REPLAY_CONCERNS
        )
        done = asyncio.run(replay(url, settings, wanted, limit=limit, dry_run=dry_run))
    gone = len(set(ids)) - done.events - done.remaining.total() - done.elsewhere
    if ids and limit is None and gone > 0 and reason is None and tag is None:
        click.echo(f"{gone} of these IDs are not there", err=True)
    click.echo(_summary(done, "would replay" if dry_run else "replayed"))
    sys.exit(1 if done.remaining else 0)


@command.command("purge")
@click.option("--older-than", type=span, metavar="SPAN", help="Only older: 30d.")
@reason_option
@tag_option
@click.option("--all", "is_all", is_flag=True, help="All of them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_options
@config_file_option
def purge_command(
    older_than: timedelta | None,
    is_all: bool,
    reason: str | None,
    tag: str | None,
    yes: bool,
    database_url: str | None,
    data_dir: str | None,
    config_file: str | None,
) -> None:
    """Delete rejected events for good."""
    _check_choice(is_all, [older_than, reason, tag], "--older-than, --reason, --tag")
    wanted = Wanted(older_than=older_than, reason=reason, tag=tag)
    with found_database(database_url, data_dir, config_file=config_file) as url:
        extent = asyncio.run(count_events(url, wanted))
        if extent.events and not yes:
            question = f"Delete {_events(extent.events)} for good?"
            click.confirm(question, abort=True, err=True)
        purged = asyncio.run(purge_events(url, wanted, last_id=extent.last_id))
    click.echo(f"purged {_events(purged)}")


def _check_choice(is_all: bool, choices: list[object], names: str) -> None:
    is_chosen = any(choice is not None and choice != () for choice in choices)
    if is_all == is_chosen:
        raise click.UsageError(f"which events? Give either --all, or {names}.")


def _summary(done: Replayed, verb: str) -> str:
    """Return the one line: how many passed, how many remain and why."""
    rows = ""
    if done.rows != done.events:
        rows = f" as {done.rows} row{'' if done.rows == 1 else 's'}"
    line = f"{verb} {_events(done.events)}{rows}"
    if done.remaining:
        line += f", {done.remaining.total()} remain: {_by_reason(done.remaining)}"
    if done.elsewhere:
        line += f", {done.elsewhere} in another replay"
    return line


def _by_reason(remaining: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in remaining.most_common())


def _events(count: int) -> str:
    return f"{count} event{'' if count == 1 else 's'}"
