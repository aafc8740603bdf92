"""Answers without a model, so that all but the model can be measured.

`recorded.jsonl` has a line for each question whose answer is not simply the gold SQL:
its answers one after the other, as a repair asks for the next, and what has to come of
them. They are written by hand, to be right in another way, wrong, broken, hostile, cut
or refused; they say nothing of how good a model is. `--record` of the command writes
the answers of a real one in the same form, without what has to come of them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import fake_model
from benchmarks.ask.catalog import Question
from benchmarks.fake_model import Reply, Request

FILE = Path(__file__).parent / "recorded.jsonl"
GOLD = "$gold"
SPECIAL: Mapping[str, Reply] = {
    "$refusal": fake_model.REFUSAL,
    "$cut": fake_model.CUT,
    "$garbage": Reply(text="Here is your SQL: SELECT 1"),
    "$overloaded": fake_model.OVERLOADED,
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """The answers to one question; `expect` is empty where nobody knows."""

    answers: tuple[Any, ...] = (GOLD,)
    expect: str = "right"


def read_recorded(
    questions: Sequence[Question], file: Path = FILE
) -> dict[str, Recorded]:
    """Return what is answered to each question, by its key."""
    found = {question.key: Recorded() for question in questions}
    for line in file.read_text(encoding="utf-8").splitlines():
        given = json.loads(line)
        answers, key = tuple(given["answers"]), given["key"]
        if key in found:
            found[key] = Recorded(answers, given.get("expect", ""))
    return found


class Answering:
    """Decides what the fake model answers."""

    def __init__(
        self, questions: Sequence[Question], recorded: Mapping[str, Recorded]
    ) -> None:
        self._by_text = {question.text: question for question in questions}
        self._recorded = recorded

    def __call__(self, request: Request) -> Reply:
        """Return the next answer to the question that a conversation began with."""
        asked = request.turns[0].rpartition("Question: ")[2]
        question = self._by_text[asked]
        answers = self._recorded[question.key].answers
        answer = answers[min(len(request.turns) // 2, len(answers) - 1)]
        reply = self._reply(answer, question)
        # As large as it was, so that a cost is one of this size.
        read = len(request.system) + sum(map(len, request.turns))
        return replace(
            reply,
            input_tokens=read // 4,
            output_tokens=max(1, len(reply.text) // 4),
        )

    def _reply(self, answer: Any, question: Question) -> Reply:
        if isinstance(answer, dict):
            return fake_model.form(**answer)
        if answer in SPECIAL:
            return SPECIAL[answer]
        statement = question.gold[0] if answer == GOLD else answer
        return fake_model.sql(statement, reading=question.text)
