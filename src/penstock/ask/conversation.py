"""A conversation about logs: question, SQL, guard, plan, result, and the next question.

It owns the order of these steps and what the model is told between them. A model's SQL
reaches PostgreSQL only through `_checked`: the guard, then EXPLAIN; it is run only when
somebody calls `run`. No row goes to the model in a turn that SQL comes of: what
PostgreSQL says of a value is cut out of its error, and `explain` is a conversation of
its own, without a tool and without memory. It must not print, nor ask for a yes.
"""

import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol, TypeVar

from penstock.ask.answers import (
    Answer,
    AskBack,
    NoAnswer,
    SqlAnswer,
    UnusableAnswerError,
    Usage,
)
from penstock.ask.audit import Audit, Finished
from penstock.ask.context import MAX_EXAMPLES, read_context
from penstock.ask.guard import Guarded, Refused, check
from penstock.ask.problems import (
    MendableError,
    mendable_at_planning,
    mendable_at_running,
)
from penstock.ask.prompt import (
    answered_turn,
    explain_turn,
    first_turn,
    next_turn,
    question_text,
    repair_turn,
    words,
)
from penstock.ask.sharing import shared_rows
from penstock.ask.spend import check_spend
from penstock.errors import PenstockError
from penstock.reader import Rows, Session
from penstock.settings import AskSettings

# A follow-up is about what was said last, or about what it all began with.
MAX_TURNS = 12

T = TypeVar("T")
OpenSession = Callable[[], AbstractAsyncContextManager[Session]]


class AnswersQuestions(Protocol):
    """Of ask.model.Model, which needs the SDK to be imported."""

    async def answer(
        self, model: str, system: str, turns: list[dict[str, str]]
    ) -> tuple[Answer, Usage]:
        """Return SQL for a question."""

    async def words(
        self, model: str, system: str, turns: list[dict[str, str]]
    ) -> tuple[str, Usage]:
        """Return plain text."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """SQL that has passed the guard and that PostgreSQL has planned; not run yet."""

    number: int  # of the question, in the audit table
    question: str
    answer: SqlAnswer
    guarded: Guarded
    repairs: int = 0

    @property
    def sql(self) -> str:
        """The statement, as it is shown and as it is run."""
        return self.guarded.sql


@dataclass(slots=True)
class Spent:
    """What a question has used so far."""

    calls: list[Usage] = field(default_factory=list)

    @property
    def cost_usd(self) -> Decimal | None:
        """US dollars, None where a model has no price."""
        total = Decimal(0)
        for usage in self.calls:
            if usage.cost_usd is None:
                return None
            total += usage.cost_usd
        return total


class Conversation:
    """Questions of one person, each with what was said before it."""

    def __init__(
        self,
        *,
        model: AnswersQuestions,
        audit: Audit,
        open_session: OpenSession,
        settings: AskSettings,
        time_zone: str,
        now: Callable[[], datetime],
        may_share_rows: bool = False,
    ) -> None:
        self.spent = Spent()  # by the last question
        self._model = model
        self._audit = audit
        self._open_session = open_session
        self._settings = settings
        self._time_zone = time_zone
        self._now = now
        self._may_share_rows = may_share_rows
        self._turns: list[dict[str, str]] = []

    async def ask(self, question: str) -> Proposal | AskBack | NoAnswer:
        """Return SQL for a question, mended where it has to be.

        Raises:
            MendableError: the SQL was refused, also after repairs.
            ModelError, ModelUnavailableError, SpendLimitError: no answer.
            PenstockError: the question is too long; the database is out of reach.
        """
        text = question_text(question)
        self.spent = Spent()
        turns = [*self._recent(), {"role": "user", "content": await self._turn(text)}]
        number = await self._audit.begin(text)
        answer = await self._answer(number, self._settings.ask_model, turns)
        if isinstance(answer, SqlAnswer):
            return await self._mended(number, text, answer, turns, repairs=0)
        return await self._unanswered(number, answer, turns)

    async def mend(
        self, proposal: Proposal, error: MendableError
    ) -> Proposal | AskBack | NoAnswer:
        """Return other SQL for what failed when it was run.

        Raises:
            MendableError: it has been mended as often as it may be.
            As `ask`.
        """
        turns = list(self._turns)
        return await self._repaired(
            proposal.number,
            proposal.question,
            proposal.answer,
            turns,
            repairs=proposal.repairs,
            error=error,
        )

    async def run(self, proposal: Proposal) -> Rows:
        """Run it, within the limits of a reading session.

        Raises:
            MendableError: PostgreSQL ended it for what is wrong with it.
            PenstockError: it took too long, or anything else.
        """
        began = time.monotonic()
        try:
            async with self._open_session() as session:
                rows = await session.fetch(proposal.sql)
        except PenstockError as error:
            finished = Finished(
                "failed", problem=str(error), seconds=time.monotonic() - began
            )
            await self._audit.finish(proposal.number, finished)
            raise mendable_at_running(error) or error from error
        await self._audit.finish(
            proposal.number,
            Finished("ran", row_count=len(rows.rows), seconds=time.monotonic() - began),
        )
        return rows

    async def decline(self, proposal: Proposal) -> None:
        """Write down that somebody did not want it run."""
        await self._audit.finish(proposal.number, Finished("declined"))

    async def save(self, proposal: Proposal) -> None:
        """Make it an example for later questions."""
        await self._audit.save(proposal.number)

    async def explain(self, proposal: Proposal, rows: Rows) -> str:
        """Return the result in words. Sends rows to the model.

        Raises:
            PenstockError: rows may not be shared, or there is no answer.
        """
        if not self._may_share_rows:
            raise PenstockError(
                "a result is put into words only where its rows may be sent to the"
                " model: --share-rows, or ask_share_rows"
            )
        turn = explain_turn(proposal.question, proposal.sql, shared_rows(rows))
        return await self._called(
            proposal.number,
            self._model.words(
                self._settings.ask_model,
                words("explain"),
                [{"role": "user", "content": turn}],
            ),
        )

    # --- what is said

    def _recent(self) -> list[dict[str, str]]:
        """Return what was said, without the middle of a long conversation."""
        if len(self._turns) <= MAX_TURNS:
            return list(self._turns)
        # The first two turns hold what names there are.
        return [*self._turns[:2], *self._turns[2 - MAX_TURNS :]]

    async def _turn(self, question: str) -> str:
        now = self._now()
        if self._turns:
            return next_turn(question, now, self._time_zone)
        examples = await self._audit.examples(MAX_EXAMPLES)
        async with self._open_session() as session:
            context = await read_context(session, now, examples)
        return first_turn(context, question, now, self._time_zone)

    def _remember(self, turns: list[dict[str, str]], answer: str) -> None:
        self._turns = [*turns, {"role": "assistant", "content": answer}]

    # --- the model

    async def _answer(
        self, number: int, model: str, turns: list[dict[str, str]]
    ) -> Answer:
        try:
            return await self._called(
                number, self._model.answer(model, words("system"), turns)
            )
        except PenstockError as error:
            finished = Finished("model_failed", problem=str(error))
            await self._audit.finish(number, finished)
            raise

    async def _called(
        self, number: int, call: Coroutine[Any, Any, tuple[T, Usage]]
    ) -> T:
        """Make a call, if there is money for it, and write down what it has cost."""
        try:
            limit_usd = self._settings.ask_spend_per_day
            check_spend(await self._audit.spent(), limit_usd)
        except BaseException:
            call.close()
            raise
        try:
            result, usage = await call
        except UnusableAnswerError as error:
            await self._charge(number, error.usage)
            raise
        await self._charge(number, usage)
        return result

    async def _charge(self, number: int, usage: Usage) -> None:
        self.spent.calls.append(usage)
        await self._audit.called(number, usage)

    # --- the SQL

    async def _mended(
        self,
        number: int,
        question: str,
        answer: SqlAnswer,
        turns: list[dict[str, str]],
        *,
        repairs: int,
    ) -> Proposal | AskBack | NoAnswer:
        """Return the answer's SQL, or other SQL where this one cannot be run."""
        self._remember(turns, answered_turn(answer))
        try:
            guarded = await self._checked(answer.sql)
        except MendableError as error:
            return await self._repaired(
                number, question, answer, self._turns, repairs=repairs, error=error
            )
        proposal = Proposal(number, question, answer, guarded, repairs)
        finished = Finished("proposed", sql=guarded.sql, reading=answer.reading)
        await self._audit.finish(number, finished)
        return proposal

    async def _repaired(
        self,
        number: int,
        question: str,
        answer: SqlAnswer,
        turns: list[dict[str, str]],
        *,
        repairs: int,
        error: MendableError,
    ) -> Proposal | AskBack | NoAnswer:
        if repairs >= self._settings.ask_max_repairs:
            await self._audit.finish(
                number,
                Finished(
                    "refused",
                    sql=answer.sql,
                    reading=answer.reading,
                    problem=str(error),
                ),
            )
            raise error
        turns = [*turns, {"role": "user", "content": repair_turn(error.for_model)}]
        mended = await self._answer(number, self._settings.ask_repair_model, turns)
        if isinstance(mended, SqlAnswer):
            return await self._mended(
                number, question, mended, turns, repairs=repairs + 1
            )
        return await self._unanswered(number, mended, turns)

    async def _checked(self, sql: str) -> Guarded:
        """Return SQL that may be run, and that PostgreSQL can.

        Raises:
            MendableError: it may not, or cannot.
        """
        try:
            guarded = check(sql)
            if guarded.is_explain:
                raise Refused("EXPLAIN answers no question: only SELECT is run")
        except Refused as error:
            raise MendableError(f"the guard refuses: {error}", str(error)) from error
        try:
            async with self._open_session() as session:
                await session.explain(guarded.sql)
        except PenstockError as error:
            raise mendable_at_planning(error) or error from error
        return guarded

    async def _unanswered(
        self, number: int, answer: AskBack | NoAnswer, turns: list[dict[str, str]]
    ) -> AskBack | NoAnswer:
        is_question = isinstance(answer, AskBack)
        text = answer.question if isinstance(answer, AskBack) else answer.reason
        self._remember(turns, text)
        await self._audit.finish(
            number,
            Finished("asked_back" if is_question else "no_answer", reading=text),
        )
        return answer
