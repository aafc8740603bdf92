"""`penstock ask`: a question in plain language, the SQL for it, and what that returns.

It owns the order in which somebody sees things and says yes. What is shown is in
`ask_view`; how SQL is made and judged is in `penstock.ask`.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import click

from penstock import config
from penstock.ask.answers import AskBack, NoAnswer
from penstock.ask.audit import Audit
from penstock.ask.conversation import Conversation, Proposal
from penstock.ask.opening import open_model
from penstock.ask.problems import MendableError
from penstock.cli.ask_view import show_cost, show_proposal, show_result, show_words
from penstock.cli.database import (
    config_file_option,
    database_options,
    found_database,
)
from penstock.cli.output import print_problem
from penstock.errors import PenstockError, UnavailableError
from penstock.reader import Rows, open_session
from penstock.settings import Settings
from penstock.sink.roles import let_reader_read

CONCERNS = ("ask", "reading")
SAVE = "/save"
NEXT = f"Next question ({SAVE} keeps the last one as an example, Enter ends)"


@dataclass(frozen=True, slots=True)
class Options:
    """What was said on the command line of how to go about it."""

    output: str
    runs: bool
    is_dry: bool
    explains: bool
    saves: bool
    time_zone: str
    is_terminal: bool


@click.command("ask", short_help="Ask in plain language; the SQL is shown first.")
@click.argument("question", required=False)
@click.option("-y", "--yes", is_flag=True, help="Run the SQL without asking for a yes.")
@click.option("--dry-run", is_flag=True, help="Print the SQL, and run nothing.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How the rows are written; json is one object a line.",
)
@click.option(
    "--explain",
    is_flag=True,
    help="Put the result into words, where rows may be sent to the model.",
)
@click.option(
    "--share-rows",
    is_flag=True,
    help="Let --explain send rows of the result to the model (PENSTOCK_ASK_SHARE_ROWS)."
    " Nothing else sends any.",
)
@click.option(
    "--save", is_flag=True, help="Keep the question as an example, if it ran."
)
@click.option(
    "--tz",
    "time_zone",
    metavar="ZONE",
    help="Time zone of days and hours, as Asia/Seoul; else the machine's.",
)
@database_options
@config_file_option
def command(
    question: str | None,
    yes: bool,
    dry_run: bool,
    output: str,
    explain: bool,
    share_rows: bool,
    save: bool,
    time_zone: str | None,
    database_url: str | None,
    data_dir: str | None,
    config_file: str | None,
) -> None:
    """Ask about the logs in plain language, in any language.

    A model makes SQL of the QUESTION. It is shown, with how the question was read, and
    runs after a yes: read-only, guarded, within the limits of `penstock sql`. The model
    sees the names of columns, attributes, services and hosts, and no row, unless
    --share-rows says so. On a terminal the next question goes on from the last. Each
    question, its SQL and its cost are written to the table penstock_question.

    Needs a key for the model's API: ANTHROPIC_API_KEY, or the setting ask_api_key_file.

    \b
    Examples:
      penstock ask "which service had the most errors since noon?"
      penstock ask --yes -o csv "요청 수를 시간별로 보여줘"
    """
    flags = {config.CONFIG_FILE: config_file}
    if share_rows:
        flags["ask_share_rows"] = "on"
    settings = config.load_settings("", flags, CONCERNS)
    if yes and dry_run:
        raise click.UsageError("--yes runs the SQL and --dry-run does not: give one")
    if explain and settings.ask.ask_share_rows != "on":
        raise click.UsageError(
            "--explain sends rows of the result to the model: say --share-rows too, or"
            " set ask_share_rows"
        )
    is_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    if question is None and not is_terminal:
        question = sys.stdin.read()
    options = Options(
        output=output,
        runs=yes,
        is_dry=dry_run,
        explains=explain,
        saves=save,
        time_zone=_zone(time_zone),
        is_terminal=is_terminal,
    )
    is_embedded = config.database_url(database_url, config_file) is None
    with found_database(database_url, data_dir, config_file=config_file) as url:
        settings = replace(settings, database_url=url)
        with _conversing(settings, options, is_embedded=is_embedded) as asking:
            asking.go_on(question)


def _zone(given: str | None) -> str:
    """Return the name of the time zone that days and hours are meant in."""
    if given is None:
        return config.time_zone_name()
    try:
        return ZoneInfo(given).key
    except (OSError, ValueError, KeyError):  # no such name, or no name at all
        raise click.UsageError(
            f"--tz: there is no time zone {given!r}; names are Asia/Seoul, UTC"
        ) from None


@contextmanager
def _conversing(
    settings: Settings, options: Options, *, is_embedded: bool
) -> Iterator["_Asking"]:
    """Open what a conversation needs, on a loop that runs when something is awaited."""
    url, key = settings.database_url, config.model_access()
    # A person is asked between the steps, when no loop runs.
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            model = runner.run(
                stack.enter_async_context(
                    open_model(
                        settings.ask, environment_key=key[0], environment_url=key[1]
                    )
                )
            )
            if is_embedded:
                runner.run(let_reader_read(url))
            conversation = Conversation(
                model=model,
                audit=Audit(
                    settings.ask.ask_database_url or url,
                    asked_by="penstock ask",
                    is_embedded=is_embedded,
                ),
                open_session=lambda: open_session(
                    url, settings.reading, is_embedded=is_embedded
                ),
                settings=settings.ask,
                time_zone=options.time_zone,
                now=lambda: datetime.now(UTC),
                may_share_rows=settings.ask.ask_share_rows == "on",
            )
            yield _Asking(runner, conversation, options)
        finally:
            runner.run(stack.aclose())


class _Asking:
    """One conversation at a terminal, or one question elsewhere."""

    def __init__(
        self, runner: asyncio.Runner, conversation: Conversation, options: Options
    ) -> None:
        self._runner = runner
        self._conversation = conversation
        self._options = options
        self._last: Proposal | None = None

    def go_on(self, question: str | None) -> None:
        """Ask, and ask again for as long as somebody at a terminal has questions."""
        options = self._options
        goes_on = options.is_terminal and (
            question is None or not (options.runs or options.is_dry)
        )
        while question is not None or (question := self._next()):
            if not goes_on:
                self._ask(question)
                return
            try:
                if question == SAVE:
                    self._save()
                else:
                    self._ask(question)
            except UnavailableError:
                raise
            except PenstockError as error:  # the conversation goes on
                print_problem(error)
            question = None

    def _next(self) -> str:
        words = NEXT if self._last else "Question"
        try:
            given: str = click.prompt(
                words, default="", show_default=False, err=True, prompt_suffix=": "
            )
        except click.Abort:  # Ctrl-D, Ctrl-C: nothing is under way
            click.echo(err=True)
            return ""
        return given.strip()

    def _ask(self, question: str) -> None:
        try:
            answer = self._await(self._conversation.ask(question))
            while True:
                if not isinstance(answer, Proposal):
                    return self._unanswered(answer)
                show_proposal(answer, self._options)
                if not self._may_run(answer):
                    return None
                try:
                    return self._run(answer)
                except MendableError as error:
                    print_problem(f"{error}; asking for other SQL")
                    answer = self._await(self._conversation.mend(answer, error))
        finally:
            show_cost(self._conversation.spent)

    def _unanswered(self, answer: AskBack | NoAnswer) -> None:
        if isinstance(answer, AskBack):
            show_words(answer.question)
            if self._options.is_terminal:
                return
            raise PenstockError("the model asks back: ask again, and say that too")
        raise PenstockError(f"no answer: {show_words(answer.reason, prints=False)}")

    def _may_run(self, proposal: Proposal) -> bool:
        options = self._options
        if options.is_dry:
            return False
        if options.runs:
            return True
        if not options.is_terminal:
            raise PenstockError(
                "not run: nobody is here to say yes to it; --yes runs it at once"
            )
        if click.confirm("Run it?", default=False, err=True):
            return True
        self._await(self._conversation.decline(proposal))
        return False

    def _run(self, proposal: Proposal) -> None:
        rows: Rows = self._await(self._conversation.run(proposal))
        self._last = proposal
        show_result(rows, self._options.output)
        if self._options.saves:
            self._save()
        if self._options.explains:
            show_words(self._await(self._conversation.explain(proposal, rows)))

    def _save(self) -> None:
        if self._last is None:
            raise PenstockError("nothing has run yet that could be kept")
        self._await(self._conversation.save(self._last))
        click.echo("kept as an example for later questions", err=True)

    def _await(self, work: Any) -> Any:
        return self._runner.run(work)
