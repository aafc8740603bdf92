"""Our own log lines: human on a terminal, JSON elsewhere, never a flood."""

import ast
import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.telemetry.logs import (
    BURST_LINES,
    MOST_SENTENCES,
    WINDOW_SECONDS,
    RateLimit,
    set_up_logs,
)

SOURCE = Path(penstock.__file__).parent
LOG_METHODS = ("debug", "info", "warning", "error", "critical", "exception")
SENTENCE = "a batch was not stored; trying again"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("penstock", "asyncio")]
    kept = [(each.handlers, each.level, each.propagate) for each in loggers]
    yield
    for each, (handlers, level, propagate) in zip(loggers, kept, strict=True):
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)


def lines_of(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def json_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_of(stream)]


# --- the form


@pytest.mark.parametrize(
    ("log_format", "stream", "is_json"),
    [
        ("auto", io.StringIO, True),
        ("auto", Terminal, False),
        ("json", Terminal, True),
        ("human", io.StringIO, False),
    ],
)
def test_json_where_nobody_reads_and_human_on_a_terminal(
    log_format: str, stream: type[io.StringIO], is_json: bool
) -> None:
    target = stream()
    set_up_logs(log_format, "info", target)
    logging.getLogger("penstock.net").warning("a sentence", extra={"peer": "::1"})
    (line,) = lines_of(target)
    assert line.startswith("{") == is_json
    assert "a sentence" in line and "::1" in line


def test_a_json_line_has_the_sentence_and_its_fields_apart() -> None:
    target = io.StringIO()
    set_up_logs("json", "info", target)
    before = datetime.now(UTC)
    logging.getLogger("penstock.sink").warning(
        SENTENCE, extra={"rows": 7, "error": 'a "quoted"\nthing', "path": object}
    )
    (line,) = json_lines(target)
    when = datetime.fromisoformat(line.pop("time"))
    assert before <= when <= datetime.now(UTC)
    assert line.pop("path") == str(object), "what JSON does not know is text"
    assert line == {
        "level": "WARNING",
        "logger": "penstock.sink",
        "message": SENTENCE,
        "rows": 7,
        "error": 'a "quoted"\nthing',
    }


def test_a_human_line_has_time_level_sentence_and_fields() -> None:
    target = Terminal()
    set_up_logs("auto", "info", target)
    logging.getLogger("penstock").error(SENTENCE, extra={"rows": 7})
    (line,) = lines_of(target)
    assert re.fullmatch(rf"\d\d:\d\d:\d\d error +{re.escape(SENTENCE)}  rows=7", line)


@pytest.mark.parametrize("log_format", ["json", "human"])
def test_a_traceback_comes_with_the_line(log_format: str) -> None:
    target = io.StringIO()
    set_up_logs(log_format, "info", target)
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        logging.getLogger("penstock").exception("it failed")
    text = target.getvalue()
    assert "Traceback" in text and "RuntimeError: a bug" in text
    assert (len(lines_of(target)) == 1) == (log_format == "json")


@pytest.mark.parametrize(
    ("log_level", "written"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_what_is_below_the_level_is_not_written(
    log_level: str, written: list[str]
) -> None:
    target = io.StringIO()
    set_up_logs("json", log_level, target)
    for level in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger("penstock.x"), level)(level)
    assert [line["message"] for line in json_lines(target)] == written


def test_lines_go_to_stderr_and_results_alone_to_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logs("json", "info")
    logging.getLogger("penstock").info("ready")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["message"] == "ready"


def test_asyncios_complaints_are_written_as_ours() -> None:
    target = io.StringIO()
    set_up_logs("json", "info", target)
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    logging.getLogger("asyncio").debug("Using selector: EpollSelector")
    (line,) = json_lines(target)
    assert line["logger"] == "asyncio"


def test_to_set_it_up_twice_writes_each_line_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    set_up_logs("json", "info", first)
    set_up_logs("json", "info", second)
    logging.getLogger("penstock").info("ready")
    assert (len(lines_of(first)), len(lines_of(second))) == (0, 1)


# --- the rate


class Log:
    """A log with a clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 500.0
        self.target = io.StringIO()
        self.handler = set_up_logs("json", "info", self.target)
        self.handler.filters = [RateLimit(lambda: self.now)]
        self._read = 0

    def say(self, times: int = 1, sentence: str = SENTENCE, logger: str = "a") -> None:
        for number in range(times):
            extra = {"number": number}
            logging.getLogger(f"penstock.{logger}").warning(sentence, extra=extra)

    def new_lines(self) -> list[dict[str, Any]]:
        found = json_lines(self.target)[self._read :]
        self._read += len(found)
        return found


@pytest.fixture
def log() -> Log:
    return Log()


def test_a_sentence_that_floods_is_written_a_few_times_only(log: Log) -> None:
    log.say(1000)
    lines = log.new_lines()
    assert len(lines) == BURST_LINES <= 10
    assert [line["number"] for line in lines] == list(range(BURST_LINES))


def test_how_many_were_kept_back_is_said_with_the_next_line(log: Log) -> None:
    log.say(BURST_LINES + 37)
    assert not any("suppressed_lines" in line for line in log.new_lines())
    log.now += WINDOW_SECONDS
    log.say(2)
    first, second = log.new_lines()
    assert first["suppressed_lines"] == 37
    assert "suppressed_lines" not in second


def test_nothing_is_said_of_lines_kept_back_when_none_were(log: Log) -> None:
    log.say(BURST_LINES)
    log.now += WINDOW_SECONDS
    log.say()
    assert not any("suppressed_lines" in line for line in log.new_lines())


def test_each_window_has_its_own_few(log: Log) -> None:
    for _ in range(3):
        log.say(BURST_LINES * 2)
        assert len(log.new_lines()) == BURST_LINES
        log.now += WINDOW_SECONDS - 0.001
        log.say()
        assert log.new_lines() == []
        log.now += 0.001


def test_a_sentence_that_comes_rarely_is_always_written(log: Log) -> None:
    for _ in range(100):
        log.say()
        log.now += WINDOW_SECONDS / BURST_LINES * 1.5
    assert len(log.new_lines()) == 100


def test_sentences_are_counted_apart_and_by_their_logger(log: Log) -> None:
    log.say(100)
    log.new_lines()
    log.say(sentence="another")
    log.say(logger="b")
    assert len(log.new_lines()) == 2


def test_the_same_sentence_with_other_values_is_the_same(log: Log) -> None:
    for number in range(100):
        logging.getLogger("penstock").warning("PostgreSQL (pid %d) is slow", number)
    assert len(log.new_lines()) == BURST_LINES


def test_sentences_without_end_cost_bounded_memory(log: Log) -> None:
    limit = log.handler.filters[0]
    assert isinstance(limit, RateLimit)
    for number in range(3 * MOST_SENTENCES):
        log.say(sentence=f"sentence {number}")
        assert len(limit._windows) <= MOST_SENTENCES


def test_the_rate_is_limited_by_the_machines_clock_when_none_is_given() -> None:
    target = io.StringIO()
    set_up_logs("json", "info", target)
    for _ in range(100):
        logging.getLogger("penstock").warning(SENTENCE)
    assert len(lines_of(target)) == BURST_LINES


# --- what is never in them


def test_no_module_logs_with_a_sentence_made_at_run_time() -> None:
    """A value in the sentence escapes the rate limit, and may be a record's."""
    found = 0
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name("logger"), attr=method),
                    args=[sentence, *_],
                ) if method in LOG_METHODS:
                    where = f"{path.name}:{node.lineno}"
                    assert isinstance(sentence, ast.Constant), where
                    found += 1
    assert found > 5


def test_what_a_person_has_asked_for_is_told_each_time() -> None:
    """The sixth configuration that is refused would be so without a word."""
    stream = io.StringIO()
    set_up_logs("json", "info", stream)
    logger = logging.getLogger("penstock.reloading")
    for _ in range(3 * BURST_LINES):
        logger.error("the new configuration is refused, the old one stays")
    assert len(lines_of(stream)) == 3 * BURST_LINES
