"""The questions of benchmarks/ask: gold SQL that runs, and machinery that holds."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from benchmarks.ask.catalog import Question, questions
from benchmarks.ask.recorded import Answering, read_recorded
from benchmarks.ask.running import Running, fill, gold_rows
from benchmarks.fake_model import fake_model
from penstock.ask.guard import check
from penstock.ask.opening import open_model
from penstock.embedded import EmbeddedPostgres
from penstock.settings import AskSettings
from tests.integration.ask_parts import KEY
from tests.integration.conftest import (
    Database,
    create_database,
    drop_database,
    run_async,
)

QUESTIONS = questions()


@pytest.fixture(scope="module")
def shop(postgres: EmbeddedPostgres, template: str) -> Iterator[Database]:
    made = create_database(postgres, template)
    run_async(fill(made.url))
    yield made
    drop_database(made)


def test_there_are_questions_of_every_kind_in_two_languages() -> None:
    assert len(QUESTIONS) >= 120
    assert len({question.key for question in QUESTIONS}) == len(QUESTIONS)
    assert len({question.text for question in QUESTIONS}) == len(QUESTIONS)
    languages = [question.language for question in QUESTIONS]
    assert languages.count("ko") == languages.count("en")
    assert {question.level for question in QUESTIONS} == {"easy", "medium", "hard"}


@pytest.mark.timeout(300)
async def test_all_gold_sql_passes_the_guard_and_returns_something(
    shop: Database,
) -> None:
    turn = asyncio.Semaphore(3)

    async def one(question: Question) -> str:
        async with turn:
            for sql in question.gold:
                check(sql)
            results = await gold_rows(shop.url, question)
        is_empty = any(
            not rows.rows or all(not value for row in rows.rows for value in row)
            for rows in results
        )
        return question.key if is_empty else ""

    # Both languages have the same.
    found = await asyncio.gather(*[one(q) for q in QUESTIONS if q.language == "en"])
    assert [key for key in found if key] == []


@pytest.mark.timeout(300)
async def test_recorded_answers_come_out_as_they_have_to(shop: Database) -> None:
    recorded = read_recorded(QUESTIONS)
    with fake_model() as model:
        model.decide = Answering(QUESTIONS, recorded)
        settings = AskSettings(ask_api_key=KEY, ask_base_url=model.url)
        async with open_model(replace(settings, ask_spend_per_day=0.0)) as real:
            running = Running(shop.url, real, replace(settings, ask_spend_per_day=0.0))
            results = await running.all(
                [q for q in QUESTIONS if recorded[q.key].answers != ("$gold",)],
                lambda result: None,
            )
    assert len(results) >= 40
    wrong = [
        (each.question.key, each.verdict, each.problem)
        for each in results
        if each.verdict != recorded[each.question.key].expect
    ]
    assert wrong == []
