"""`penstock tail`: the last rows, and then each as it is committed."""

import asyncio
import errno
import os
import select
import stat
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import click
import orjson

from penstock import config
from penstock.cli.database import config_file_option
from penstock.cli.event_stream import Event, Server, Tail
from penstock.cli.filter_arguments import FilterCommand, filter_argument, read_filter
from penstock.cli.local_zone import own_zone
from penstock.cli.output import print_problem
from penstock.cli.signals import interrupt_on_stop_signals
from penstock.cli.tail_missed import Missed
from penstock.cli.tail_view import Writer, writer_of
from penstock.errors import SettingsError
from penstock.http.token import NOT_SENDABLE, is_sendable
from penstock.search.spelling import spell
from penstock.search.times import Window, describe_window, parse_window

DEFAULT_ROWS = 10
# As many as the server sends, from --since on.
MOST_ROWS = 10_000


@click.command(
    "tail", cls=FilterCommand, short_help="Follow rows as they are committed."
)
@filter_argument
@click.option(
    "-n",
    "--rows",
    type=click.IntRange(0, MOST_ROWS),
    metavar="N",
    help=f"The last N rows first: {DEFAULT_ROWS}; with --since all of them.",
)
@click.option("--since", metavar="TIME", help="Rows from then on first: 15m, 14:30.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "raw"]),
    default="text",
    show_default=True,
    help="How rows are written; json is one object a line, raw the messages.",
)
@click.option("--utc", is_flag=True, help="Times in UTC, typed and shown.")
@click.option(
    "--server",
    metavar="URL",
    help="Whose rows: http://HOST:PORT.  [default: the server of http_host and"
    " http_port on this machine]",
)
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="The token that the server asks for.  [default: without --server that of"
    " read_token_file or http_token_file]",
)
@config_file_option
def command(
    words: tuple[str, ...],
    rows: int | None,
    since: str | None,
    output: str,
    utc: bool,
    server: str | None,
    token_file: str | None,
    config_file: str | None,
) -> None:
    """Follow rows as they are committed: the last few first, then each that comes.

    \b
    FILTER is that of `penstock search`:
      penstock tail level:error -healthz
      penstock tail --since 15m service:api 'status:>=500'
      penstock tail -o json user.id:42 | jq .message

    Rows come from a server that runs, `penstock up` or `penstock serve`, as soon as
    they are committed. Should the connection break, what came meanwhile is shown when
    it is back. Ctrl-C ends it, with 130.
    """
    zone = own_zone(utc=utc)
    filter = read_filter(words, zone)
    parameters = {"q": spell(filter)}
    if since is not None:
        now = datetime.now(UTC)
        start = parse_window(since, None, None, now, zone).start
        click.echo(f"since: {describe_window(Window(start, now), zone)}", err=True)
        parameters["since"] = start.isoformat().replace("+00:00", "Z")
    default = DEFAULT_ROWS if since is None else MOST_ROWS
    parameters["rows"] = str(default if rows is None else rows)
    follow = Tail(found_server(server, token_file, config_file), parameters, _say)
    is_all_asked = rows is None and since is not None
    # So that what was missed is told whatever ends it.
    interrupt_on_stop_signals()
    asyncio.run(_follow(follow, writer_of(output, zone), is_all_asked=is_all_asked))


def found_server(
    url: str | None, token_file: str | None, config_file: str | None
) -> Server:
    """Return the server that is named, else the one that the settings have.

    Raises:
        click.UsageError: the URL is none.
        SettingsError: a setting or the token's file is wrong.
    """
    token = "" if token_file is None else _token_in(token_file)
    if url is not None:
        # Not the settings' token: it is not this server's to know.
        return Server(_checked(url), token)
    http = config.load_settings("", {config.CONFIG_FILE: config_file}, ("http",)).http
    # Who listens on all addresses is here too.
    here = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
    host = here.get(http.http_host, http.http_host)
    if ":" in host:
        host = f"[{host}]"
    found = f"http://{host}:{http.http_port}"
    own = http.read_token or http.http_token
    return Server(found, token or own, is_default=True)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_bare = not parts.query and not parts.fragment and parts.username is None
        _ = parts.port
    except ValueError:
        is_one = is_bare = False
    if not is_one or not is_bare:
        raise click.UsageError(
            f"--server {url!r} is no address of a server: http://HOST:PORT"
        )
    return url.rstrip("/")


def _token_in(file: str) -> str:
    try:
        token = Path(file).read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(f"--token-file {file}: {reason}") from error
    if not token or not is_sendable(token):
        why = NOT_SENDABLE if token else "is empty"
        raise SettingsError(f"--token-file {file}: the token {why}")
    return token


async def _follow(follow: Tail, write: Writer, *, is_all_asked: bool) -> None:
    missed = Missed(_say)
    try:
        async for events in follow.events():
            if not events:
                _end_if_nobody_reads()
            for event in events:
                if event.kind == "row":
                    write(event.data)
                else:
                    _say_of(event, missed, is_all_asked)
            missed.say_if_due(time.monotonic())
    finally:
        missed.say_rest()


def _say_of(event: Event, missed: Missed, is_all_asked: bool) -> None:
    told = orjson.loads(event.data)
    if event.kind == "missed":
        missed.add(told["reason"], told["rows"])
    elif event.kind == "live" and told["is_cut"] and (is_all_asked or told["after"]):
        _say(f"there are more rows than these {told['history']:,}: the last are shown")


def _say(text: str) -> None:
    print_problem(text)


def _end_if_nobody_reads() -> None:
    """Raise BrokenPipeError if stdout is a pipe without a reader: no row may come."""
    try:
        descriptor = sys.stdout.fileno()
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except (OSError, ValueError):  # it is no file at all
        return
    if not is_pipe:
        return
    poll = select.poll()
    poll.register(descriptor, 0)
    if any(found & select.POLLERR for _, found in poll.poll(0)):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
