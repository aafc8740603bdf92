"""The record of questions: written before a model is asked, and after each answer.

It owns the tables of 0009_questions.sql. It writes over connections of its own, as
`penstock_asker`: the session that runs a model's SQL (reader/) can write nothing, so
what is run can neither forge the record nor reset what has been spent. SECURITY DEFINER
functions would do it too, but each would be one more thing that whoever reads could
try to call; a role with a few column rights is nothing that a query can reach. A
connection for each step: somebody may think for an hour before saying yes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import asyncpg

from penstock.ask.answers import Usage
from penstock.ask.context import Example
from penstock.errors import DatabaseUnavailableError, PenstockError
from penstock.postgres.blocks import read_blocks
from penstock.postgres.connection import connect, without_password
from penstock.postgres.urls import url_as
from penstock.postgres.words import unavailable

# What we log in as where the cluster is ours (sink/sql/roles.sql).
ASKER = "penstock_asker"
# Rows by their key: nothing here takes long, unless something is wrong.
LIMITS = {"statement_timeout": "10s", "lock_timeout": "5s"}
# From here on a member of a role need not be one who may take it (SET ROLE).
SET_OPTION_MAJOR = 16
# What is written of a text that is not ours.
MAX_TEXT_CHARACTERS = 20_000

Outcome = Literal[
    "proposed",
    "declined",
    "ran",
    "failed",
    "refused",
    "asked_back",
    "no_answer",
    "model_failed",
]


@dataclass(frozen=True, slots=True)
class Finished:
    """What came of a question."""

    outcome: Outcome
    sql: str | None = None
    reading: str | None = None
    problem: str | None = None
    row_count: int | None = None
    seconds: float | None = None


class Audit:
    """The record in one database.

    `is_embedded`: the URL is that of a cluster of our own.
    """

    def __init__(
        self, database_url: str, *, asked_by: str, is_embedded: bool = False
    ) -> None:
        self._url = url_as(database_url, ASKER) if is_embedded else database_url
        self._asked_by = asked_by
        self._blocks = read_blocks("penstock.ask", "audit")

    async def begin(self, question: str) -> int:
        """Write down that somebody asks; return the question's number.

        Raises:
            DatabaseUnavailableError: out of reach, or not migrated.
            PenstockError: the login may not ask.
        """
        async with self._connected() as connection:
            number: int = await connection.fetchval(
                self._blocks["begin"], self._asked_by, _storable(question)
            )
            return number

    async def spent(self) -> Decimal:
        """Return what the questions of the last 24 hours have cost, in US dollars."""
        async with self._connected() as connection:
            spent: Decimal = await connection.fetchval(self._blocks["spent"])
            return spent

    async def called(self, number: int, usage: Usage) -> None:
        """Write down what a call of the model has used."""
        async with self._connected() as connection:
            await connection.execute(
                self._blocks["call"],
                number,
                _storable(usage.model),
                usage.input_tokens,
                usage.cache_write_tokens,
                usage.cache_read_tokens,
                usage.output_tokens,
                usage.cost_usd,
            )

    async def finish(self, number: int, finished: Finished) -> None:
        """Write down what came of it; it may be more than once, the last counts."""
        async with self._connected() as connection:
            await connection.execute(
                self._blocks["finish"],
                number,
                finished.outcome,
                _storable(finished.sql),
                _storable(finished.reading),
                _storable(finished.problem),
                finished.row_count,
                finished.seconds,
            )

    async def save(self, number: int) -> None:
        """Make a question and its SQL an example for later ones."""
        async with self._connected() as connection:
            await connection.execute(self._blocks["save"], number)

    async def examples(self, limit: int) -> list[Example]:
        """Return the saved questions, the newest first."""
        async with self._connected() as connection:
            rows = await connection.fetch(self._blocks["examples"], limit)
            return [Example(row["question"], row["sql"]) for row in rows]

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await connect(self._url, limits=LIMITS)
        try:
            await self._become_asker(connection)
            yield connection
        except asyncpg.PostgresError as error:
            raise unavailable(error, without_password(self._url)) from error
        finally:
            await connection.close()

    async def _become_asker(self, connection: asyncpg.Connection) -> None:
        if not await connection.fetchval(self._blocks["place"]):
            raise DatabaseUnavailableError(
                f"the schema in {without_password(self._url)} is not up to date;"
                " run `penstock db migrate`"
            )
        major = connection.get_server_version().major
        needed = "SET" if major >= SET_OPTION_MAJOR else "MEMBER"
        if await connection.fetchval(self._blocks["take_asker"], needed):
            return
        if not await connection.fetchval(self._blocks["may_write"]):
            login = await connection.fetchval("SELECT session_user")
            raise PenstockError(
                f"{login} may not ask: each question is written down, by members of"
                " penstock_asker; have the owner of the tables run `penstock db roles"
                f" --asker {login}`"
            )


def _storable(text: str | None) -> str | None:
    """Return a text that `text` can hold: no NUL, no half of a pair, not endless."""
    if text is None:
        return None
    plain = text[:MAX_TEXT_CHARACTERS].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return plain.encode(errors="replace").decode()
