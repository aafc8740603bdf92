"""The words that the model is given.

It owns what is said, in which role, and in which order: what is the same for everyone
(words/*.txt) comes first, so that it is read from the prompt cache. What comes from
logs or from the database stands in the user's turn between tags, as JSON.
"""

from datetime import datetime
from functools import cache
from importlib.resources import files

from penstock.ask.answers import SqlAnswer
from penstock.ask.context import Context, as_data, data_block, local_time, readable
from penstock.errors import PenstockError

# A question of a page; what is longer is a log that somebody has pasted.
MAX_QUESTION_CHARACTERS = 4_000
MAX_PROBLEM_CHARACTERS = 600


@cache
def words(name: str) -> str:
    """Return a text that is the same for every question: `system` or `explain`."""
    folder = files("penstock.ask").joinpath("words")
    return folder.joinpath(f"{name}.txt").read_text(encoding="utf-8")


def question_text(question: str) -> str:
    """Return a question as it is asked: on one line, without what cannot be seen.

    Raises:
        PenstockError: it is empty, or too long for a question.
    """
    text = readable(question, MAX_QUESTION_CHARACTERS + 1)
    if not text:
        raise PenstockError("there is no question")
    if len(text) > MAX_QUESTION_CHARACTERS:
        raise PenstockError(
            f"the question has more than {MAX_QUESTION_CHARACTERS:,} characters; ask"
            " for what you want to know, without the log"
        )
    return text


def first_turn(context: Context, question: str, now: datetime, time_zone: str) -> str:
    """Return what begins a conversation."""
    data = data_block(context)
    return f"<in_use>{data}</in_use>\n\n{next_turn(question, now, time_zone)}"


def next_turn(question: str, now: datetime, time_zone: str) -> str:
    """Return a question, the first or one that follows."""
    return (
        f"It is now {local_time(now, time_zone)}. Time zone of who asks: {time_zone}."
        "\n\n"
        f"Question: {question}"
    )


def repair_turn(problem: str) -> str:
    """Return what asks for other SQL; `problem` is one line, and may quote anything."""
    shown = as_data(readable(problem, MAX_PROBLEM_CHARACTERS))
    return (
        f"<from_database>{shown}</from_database>\n\n"
        "Your SQL cannot be run, for this reason. Answer the same question again, in"
        " the same form, with SQL that can."
    )


def answered_turn(answer: SqlAnswer) -> str:
    """Return the model's own answer, as it is told of it in a conversation."""
    return as_data({"sql": answer.sql, "reading": answer.reading})


def explain_turn(question: str, sql: str, data: str) -> str:
    """Return what asks for a result in words; `data` is of `as_data`."""
    return (
        f"Question: {question}\n\nSQL: {sql}\n\n<from_database>{data}</from_database>"
    )
