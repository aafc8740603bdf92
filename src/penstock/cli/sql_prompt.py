"""The prompt of `penstock sql`: statements one after the other, until \\q or Ctrl-D.

It owns what a line is: a statement that ends with `;`, or a command with a backslash;
and that Ctrl-C ends the statement that runs, not the prompt. Each statement has a
session of its own, so one that fails or is lost is the last of its own only.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.filters import Condition
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from penstock.ask.guard import VIEWS, check
from penstock.cli.output import print_table
from penstock.cli.sql_completion import SqlCompleter
from penstock.cli.sql_history import open_history
from penstock.cli.sql_output import show_error, show_rows
from penstock.errors import PenstockError
from penstock.reader import Rows, open_session
from penstock.search.filters import Everything
from penstock.search.statements import fields
from penstock.search.times import Window
from penstock.settings import ReadLimits
from penstock.sink.roles import let_reader_read

PROMPT = "penstock> "
GOES_ON = "      ... "
HELP = """\
A statement is a SELECT over the views logs and rejected_event, and ends with ;
Ctrl-C ends the statement that runs; Ctrl-D or \\q leaves; Tab completes.
\\d shows the views and their columns."""
# What is looked at for keys of attributes: enough rows to meet the usual ones, of the
# last day, since there is always one.
KEYS_OF = timedelta(days=1)

T = TypeVar("T")


class SqlPrompt:
    """One prompt on one database."""

    def __init__(
        self, url: str, limits: ReadLimits, form: str, *, is_embedded: bool
    ) -> None:
        self._url = url
        self._limits = limits
        self._form = form
        self._is_embedded = is_embedded
        self._completer = SqlCompleter()

    async def run(self) -> None:
        """Ask for statements and answer them, until there are no more.

        Raises:
            DatabaseUnavailableError: it cannot be reached at the beginning.
        """
        if self._is_embedded:
            await let_reader_read(self._url)
        async with open_session(self._url, self._limits, is_embedded=self._is_embedded):
            pass  # a prompt that can answer nothing is none
        looking = asyncio.create_task(self._look_for_keys(), name="keys of attributes")
        try:
            await self._answer_all()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _answer_all(self) -> None:
        prompt = _prompt(self._completer)
        while True:
            try:
                text = (await prompt.prompt_async(PROMPT)).strip()
            except KeyboardInterrupt:  # Ctrl-C drops what is typed
                continue
            except EOFError:
                return
            if text.rstrip("; ") in ("\\q", "exit", "quit"):
                return
            await self._answer(text)

    async def _answer(self, text: str) -> None:
        if not text.strip("; \n\t"):
            return
        if text.startswith("\\"):
            _run_command(text)
            return
        try:
            with _ctrl_c_ends(self._ask(check(text).sql)) as asking:
                found, seconds = await asking
            with _ctrl_c_is_the_pagers():
                show_rows(found, seconds, self._form, self._limits, is_prompt=True)
        except PenstockError as error:
            show_error(error, text)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise  # it is we who are to end
            click.echo("penstock: the statement was cancelled", err=True)

    async def _ask(self, sql: str) -> tuple[Rows, float]:
        async with open_session(
            self._url, self._limits, is_embedded=self._is_embedded
        ) as session:
            began = time.monotonic()
            return await session.fetch(sql), time.monotonic() - began

    async def _look_for_keys(self) -> None:
        now = datetime.now(UTC)
        query = fields(Everything(), Window(now - KEYS_OF, now))
        # Without them all else is completed; whatever is wrong, a statement will say.
        with contextlib.suppress(PenstockError):
            async with open_session(
                self._url, self._limits, is_embedded=self._is_embedded
            ) as session:
                found = await session.fetch(query.sql, query.params)
            self._completer.keys = {row[0][0] for row in found.rows}


def _prompt(completer: SqlCompleter) -> PromptSession[str]:
    keys = KeyBindings()

    @Condition
    def is_whole() -> bool:
        return _is_whole(prompt.default_buffer.text)

    @keys.add("enter", filter=is_whole)
    def accept(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    prompt: PromptSession[str] = PromptSession(
        history=open_history(),
        completer=completer,
        complete_while_typing=False,
        key_bindings=keys,
        multiline=True,
        prompt_continuation=GOES_ON,
    )
    return prompt


def _is_whole(text: str) -> bool:
    """Tell whether Enter is to run what is typed, or to begin a line."""
    text = text.strip()
    return (
        not text
        or text.endswith(";")
        or text.startswith("\\")
        or (text in ("exit", "quit"))
    )


def _run_command(text: str) -> None:
    if text.rstrip("; ") == "\\d":
        rows = [(view, ", ".join(columns)) for view, columns in VIEWS.items()]
        print_table(["view", "columns"], rows)
    elif text.rstrip("; ") in ("\\?", "\\h", "\\help"):
        click.echo(HELP, err=True)
    else:
        click.echo(
            f"penstock: there is no command {text.split()[0]!a}; \\? shows those there"
            " are",
            err=True,
        )


@contextlib.contextmanager
def _ctrl_c_ends(work: Coroutine[Any, Any, T]) -> Iterator[asyncio.Task[T]]:
    """Let Ctrl-C end this work only, for the block."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work, name="statement")
    before = signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        yield task
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
        task.cancel()


@contextlib.contextmanager
def _ctrl_c_is_the_pagers() -> Iterator[None]:
    """Let Ctrl-C be nothing to us while a pager has the terminal."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
