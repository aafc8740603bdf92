"""Asks every question and compares what comes with what the gold SQL returns.

Through all that `penstock ask --yes` goes through: context, SDK, guard, EXPLAIN,
repairs, the reading role. Only now() is another: what the clock says is put in as a
constant, since the logs are of some days in March.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import asyncpg

from benchmarks.ask import data
from benchmarks.ask.catalog import Question
from benchmarks.ask.scoring import same_rows
from penstock.ask.answers import AskBack
from penstock.ask.audit import Audit
from penstock.ask.conversation import AnswersQuestions, Conversation, Proposal
from penstock.ask.problems import MendableError
from penstock.errors import PenstockError
from penstock.reader import Rows, Session, open_session
from penstock.settings import AskSettings, ReadLimits

LIMITS = ReadLimits(statement_timeout_seconds=20.0)
AT_ONCE = 4
_CLOCKS = re.compile(
    r"\b(?:now\(\)|current_timestamp|transaction_timestamp\(\)|statement_timestamp\(\)"
    r"|clock_timestamp\(\))",
    re.IGNORECASE,
)
_TODAY = re.compile(r"\bcurrent_date\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a question.

    `verdict`: right, wrong, refused (by the guard or PostgreSQL), asked_back,
    no_answer, failed (no answer of the model, or of no use).
    """

    question: Question
    verdict: str
    sql: str = ""
    problem: str = ""
    repairs: int = 0
    cost_usd: Decimal = Decimal(0)
    seconds: float = 0.0


async def fill(database_url: str) -> None:
    """Store the logs that are asked about."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=str, decoder=str, format="text"
        )
        for row_type in ("logs", "rejected_event"):
            columns = data.COLUMNS if row_type == "logs" else data.REJECTED_COLUMNS
            rows = data.logs() if row_type == "logs" else data.rejected()
            places = ", ".join(
                f"${n}::text::jsonb" if name == "attributes"
                else f"${n}::text::log_level" if name == "level"
                else f"${n}"
                for n, name in enumerate(columns, 1)
            )  # fmt: skip
            await connection.executemany(
                f"INSERT INTO {row_type} ({', '.join(columns)}) VALUES ({places})",
                list(rows),
            )
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


def at_now(sql: str) -> str:
    """Return SQL in which it is data.NOW."""
    moment = f"timestamptz '{data.NOW.isoformat()}'"
    day = f"date '{data.NOW:%Y-%m-%d}'"
    return _TODAY.sub(day, _CLOCKS.sub(moment, sql))


class _AtNow:
    """A session in which it is data.NOW."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> Rows:
        """As Session.fetch."""
        return await self._session.fetch(at_now(sql), params)

    async def explain(self, sql: str, params: Sequence[Any] = ()) -> dict[str, Any]:
        """As Session.explain."""
        return await self._session.explain(at_now(sql), params)


@asynccontextmanager
async def session_at_now(database_url: str) -> AsyncIterator[Any]:
    """Open a reading session in which it is data.NOW."""
    async with open_session(database_url, LIMITS, is_embedded=False) as session:
        yield _AtNow(session)


async def gold_rows(database_url: str, question: Question) -> list[Rows]:
    """Return the results that are right."""
    async with session_at_now(database_url) as session:
        return [await session.fetch(sql) for sql in question.gold]


class Running:
    """Asks one model on one database."""

    def __init__(
        self, database_url: str, model: AnswersQuestions, settings: AskSettings
    ) -> None:
        self._url = database_url
        self._model = model
        self._settings = settings

    async def all(
        self, questions: Sequence[Question], told: Callable[[Result], None]
    ) -> list[Result]:
        """Ask all questions, some at once; `told` is called after each."""
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(question: Question) -> Result:
            async with turn:
                result = await self.one(question)
            told(result)
            return result

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(question)) for question in questions]
        return [task.result() for task in tasks]

    async def one(self, question: Question) -> Result:
        """Ask one question in a conversation of its own."""
        conversation = Conversation(
            model=self._model,
            audit=Audit(self._url, asked_by="benchmarks.ask"),
            open_session=lambda: session_at_now(self._url),
            settings=self._settings,
            time_zone=data.TIME_ZONE,
            now=lambda: data.NOW,
        )
        began = time.monotonic()
        sql, problem, repairs = "", "", 0
        try:
            proposal, rows = await self._rows(conversation, question)
            if rows is None:
                is_question = isinstance(proposal, AskBack)
                verdict = "asked_back" if is_question else "no_answer"
            else:
                sql, repairs = proposal.sql, proposal.repairs
                is_right = await self._is_right(question, rows)
                verdict = "right" if is_right else "wrong"
        except MendableError as error:
            verdict, problem = "refused", str(error)
        except PenstockError as error:
            verdict, problem = "failed", str(error)
        return Result(
            question,
            verdict,
            sql=sql,
            problem=problem,
            repairs=repairs,
            cost_usd=conversation.spent.cost_usd or Decimal(0),
            seconds=time.monotonic() - began,
        )

    async def _rows(
        self, conversation: Conversation, question: Question
    ) -> tuple[Any, Rows | None]:
        answer = await conversation.ask(question.text)
        while isinstance(answer, Proposal):
            try:
                return answer, await conversation.run(answer)
            except MendableError as error:
                answer = await conversation.mend(answer, error)
        return answer, None

    async def _is_right(self, question: Question, rows: Rows) -> bool:
        return any(
            same_rows(rows.rows, gold.rows, is_ordered=question.is_ordered)
            for gold in await gold_rows(self._url, question)
        )
