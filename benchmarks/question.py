"""The frame around one benchmark: options, stop signals, exit code, result.

Owns what all of them share, so that each file holds only its question. A benchmark
measures into a dictionary; this adds when, where and by which command, writes it to
benchmarks/results/<name>.json and prints its tables.

Exit codes: 0 measured, 1 something failed, 2 usage, 130 interrupted.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from benchmarks import report, stage
from benchmarks.load import LoadError
from benchmarks.report import Sheet, Target
from benchmarks.stage import StageError
from penstock.errors import PenstockError

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a benchmark may make what it needs; all of it is ended with the stack."""

    stack: ExitStack
    directory: Path


@dataclass(frozen=True, slots=True)
class Question:
    """A benchmark: what it asks, how it measures, how its result reads.

    Args:
        measure: returns the figures; `postgresql` among them is the server's version.
        draw: the result as SVG, where a picture says more than the table.
    """

    name: str
    asks: str
    add_options: Callable[[argparse.ArgumentParser], None]
    measure: Callable[[argparse.Namespace, Place], Result]
    sheets: Callable[[Result], list[Sheet]]
    targets: Callable[[Result], list[Target]] = lambda result: []
    draw: Callable[[Result], str] | None = None
    timeout_seconds: int = 900


def answer(question: Question, arguments: Sequence[str] | None = None) -> int:
    """Measure, then report as the options ask for; return the exit code."""
    options = _parser(question).parse_args(arguments)
    stage.heed_stop_signals(options.timeout)
    try:
        result = _measure(question, options)
    except (StageError, LoadError, PenstockError, SubprocessError, OSError) as error:
        stage.say(f"{question.name}: {error}")
        return 1
    except KeyboardInterrupt:
        stage.say(f"{question.name}: interrupted; all that was started is stopped")
        return 130
    result = _signed(question, options) | result
    # Shown first: what took minutes to measure is not to be lost to a full disk.
    if options.json == "-":
        sys.stdout.write(json.dumps(report.rounded(result)) + "\n")
    else:
        report.print_sheets(question.sheets(result))
    files = [options.results / f"{question.name}.json"]
    if options.json not in (None, "-"):
        files.append(Path(options.json))
    try:
        for file in files:
            report.write_json(result, file)
    except OSError as error:
        stage.say(f"{question.name}: the result is not written: {error}")
        return 1
    return 0


def positive(text: str) -> int:
    """Parse an option that is a number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def settings(options: argparse.Namespace) -> Result:
    """The options that a figure depends on, as part of the result."""
    beside = {"json", "results", "work_dir", "timeout"}
    return {key: value for key, value in vars(options).items() if key not in beside}


def _parser(question: Question) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=question.name, description=question.asks)
    question.add_options(parser)
    add = parser.add_argument
    add("--json", metavar="FILE|-", help="also write the result; - prints one line")
    add("--results", type=Path, default=report.RESULTS_DIR, help="a directory for it")
    add("--work-dir", type=Path, help="where the temporary directory is made")
    add(
        "--timeout",
        type=positive,
        default=question.timeout_seconds,
        help="seconds for all of it",
    )
    return parser


def _measure(question: Question, options: argparse.Namespace) -> Result:
    with ExitStack() as stack:
        try:
            directory = stack.enter_context(stage.work_dir(options.work_dir))
            figures = question.measure(options, Place(stack, directory))
        finally:
            stage.ignore_stop_signals()
    postgresql = figures.pop("postgresql", "not used")
    return settings(options) | figures | report.surroundings(postgresql)


def _signed(question: Question, options: argparse.Namespace) -> Result:
    """Which benchmark this is, when, and the command that does it again."""
    defaults = settings(_parser(question).parse_args([]))
    words = [question.name]
    for key, value in settings(options).items():
        if value != defaults[key]:
            flag = "--" + key.replace("_", "-")
            each = value if isinstance(value, list) else [value]
            words += [flag if one is True else f"{flag}={one}" for one in each]
    return {
        "benchmark": question.name,
        "command": f'make bench ARGS="{" ".join(words)}"',
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
