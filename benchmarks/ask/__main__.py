"""`make bench-ask`: how many questions get the rows that they ask for.

    make bench-ask                                 with ANTHROPIC_API_KEY the model,
                                                   without it recorded answers
    make bench-ask ARGS="--offline"                recorded answers in any case
    make bench-ask ARGS="--area http --language ko"
    make bench-ask ARGS="--record answers.jsonl"   keep the model's answers
    make bench-ask ARGS="--replay answers.jsonl"   score them again, without the model

Models and limits are Penstock's own settings (PENSTOCK_ASK_MODEL and so on); what is
spent is bounded by ask_spend_per_day. Offline the share of right answers says nothing
of a model: it is that of recorded.jsonl. What is measured there is the machinery, and
an answer that does not come out as that file says it has to makes this fail.

Exit codes: 0 measured, 1 not as expected, 2 usage, 130 interrupted.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.ask.catalog import LANGUAGES, LEVELS, Question, questions
from benchmarks.ask.recorded import FILE, Answering, Recorded, read_recorded
from benchmarks.ask.running import Result, Running, fill
from benchmarks.fake_model import fake_model
from penstock import config
from penstock.ask.answers import Answer, AskBack, NoAnswer, Usage
from penstock.ask.conversation import AnswersQuestions
from penstock.ask.opening import open_model
from penstock.ask.spend import in_dollars
from penstock.embedded import EmbeddedPostgres
from penstock.errors import PenstockError
from penstock.sink.migrations import migrate
from penstock.sink.roles import make_roles

Keep = Callable[[str, dict[str, Any]], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, and tell."""
    options = _parser().parse_args(arguments)
    chosen = [
        question
        for question in questions()
        if options.area in (None, question.area)
        and options.language in (None, question.language)
        and options.level in (None, question.level)
    ][: options.limit]
    if not chosen:
        _tell("bench-ask: there is no such question")
        return 2
    has_key = bool(config.model_access()[0])
    if not has_key and not options.offline and not options.replay:
        _tell("bench-ask: no ANTHROPIC_API_KEY: recorded answers")
    is_real = has_key and not options.offline and not options.replay
    file = Path(options.replay) if options.replay else FILE
    recorded = {} if is_real else read_recorded(chosen, file)
    try:
        with _database() as url:
            results = asyncio.run(_ask(url, chosen, recorded, options, is_real))
    except PenstockError as error:
        _tell(f"bench-ask: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    _report(results)
    if options.json:
        _write(Path(options.json), results)
    unexpected = [
        each
        for each in results
        if recorded and recorded[each.question.key].expect not in ("", each.verdict)
    ]
    for each in unexpected:
        expected = recorded[each.question.key].expect
        _say(f"not as expected: {each.question.key} {each.verdict}, not {expected}")
    return 1 if unexpected else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench-ask",
        description="How many questions get the rows that they ask for.",
    )
    areas = sorted({question.area for question in questions()})
    parser.add_argument("--area", choices=areas)
    parser.add_argument("--language", choices=LANGUAGES)
    parser.add_argument("--level", choices=LEVELS)
    parser.add_argument("--limit", type=int, help="so many questions at most")
    parser.add_argument("--offline", action="store_true", help="recorded answers")
    parser.add_argument("--record", metavar="FILE", help="keep the model's answers")
    parser.add_argument("--replay", metavar="FILE", help="answers that were kept")
    parser.add_argument("--json", metavar="FILE", help="results, an object a line")
    return parser


@contextmanager
def _database() -> Iterator[str]:
    """Start a PostgreSQL of our own with the shop's logs in it."""
    home = Path(tempfile.mkdtemp(prefix="penstock-bench-ask-")).resolve()
    server = EmbeddedPostgres(home / "data")
    try:
        server.start()
        asyncio.run(_prepare(server.url))
        yield server.url
    finally:
        server.stop(patience_seconds=0)
        shutil.rmtree(home)


async def _prepare(url: str) -> None:
    await migrate(url)
    await make_roles(url, is_ours=True)
    await fill(url)


async def _ask(
    url: str,
    chosen: Sequence[Question],
    recorded: dict[str, Recorded],
    options: argparse.Namespace,
    is_real: bool,
) -> list[Result]:
    settings = config.load_settings("", {}, ("ask",)).ask
    key, base_url = config.model_access()
    with ExitStack() as stack:
        if not is_real:
            fake = stack.enter_context(fake_model())
            fake.decide = Answering(chosen, recorded)
            key = "a-key-of-nobody"
            settings = replace(
                settings, ask_api_key="", ask_base_url=fake.url, ask_spend_per_day=0.0
            )
        keep = _keeping(stack, options.record)
        async with open_model(
            settings, environment_key=key, environment_url=base_url
        ) as model:
            kept = _Kept(model, chosen, keep) if keep else model
            running = Running(url, kept, settings)
            results = await running.all(chosen, _dot)
    _tell("")
    return results


def _keeping(stack: ExitStack, name: str | None) -> Keep | None:
    if name is None:
        return None
    file = stack.enter_context(open(name, "w", encoding="utf-8"))
    answers: dict[str, list[dict[str, Any]]] = {}
    stack.callback(
        lambda: [
            file.write(json.dumps({"key": k, "answers": a}, ensure_ascii=False) + "\n")
            for k, a in answers.items()
        ]
    )
    # The callback is to run before the file is closed.
    return lambda key, answer: answers.setdefault(key, []).append(answer)


class _Kept:
    """A model whose answers are kept, by the question that they are of."""

    def __init__(
        self, model: AnswersQuestions, chosen: Sequence[Question], keep: Keep
    ) -> None:
        self._model = model
        self._keys = {question.text: question.key for question in chosen}
        self._keep = keep

    async def answer(
        self, model: str, system: str, turns: list[dict[str, str]]
    ) -> tuple[Answer, Usage]:
        """As ask.model.Model.answer."""
        answer, usage = await self._model.answer(model, system, turns)
        asked = turns[0]["content"].rpartition("Question: ")[2]
        self._keep(self._keys[asked], _as_form(answer))
        return answer, usage

    async def words(
        self, model: str, system: str, turns: list[dict[str, str]]
    ) -> tuple[str, Usage]:
        """As ask.model.Model.words."""
        return await self._model.words(model, system, turns)


def _as_form(answer: Answer) -> dict[str, Any]:
    if isinstance(answer, AskBack):
        return {"kind": "ask_back", "reading": answer.question}
    if isinstance(answer, NoAnswer):
        return {"kind": "no_answer", "reading": answer.reason}
    return {
        "sql": answer.sql,
        "reading": answer.reading,
        "assumptions": list(answer.assumptions),
        "since": answer.since,
        "until": answer.until,
    }


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _dot(result: Result) -> None:
    mark = "." if result.verdict == "right" else result.verdict[0].upper()
    sys.stderr.write(mark)
    sys.stderr.flush()


def _report(results: Sequence[Result]) -> None:
    """Print what came of them, by what they ask and how hard it is."""
    _say(f"{'':<12}{'right':>12}   mended  of all others")
    groups: dict[str, list[Result]] = {}
    for each in results:
        of = each.question
        for group in (of.area, of.level, of.language):
            groups.setdefault(group, []).append(each)
    areas = sorted({each.question.area for each in results})
    for name in (*areas, *LEVELS, *LANGUAGES):
        if name in groups:
            _say(_line(name, groups[name]))
    _say(_line("all", results))
    cost = sum((each.cost_usd for each in results), Decimal(0))
    seconds = sorted(each.seconds for each in results)
    _say(
        f"cost {in_dollars(cost)}; a question took {statistics.median(seconds):.2f} s"
        f" (median), {seconds[int(len(seconds) * 0.95)]:.2f} s (p95)"
    )


def _line(name: str, results: Sequence[Result]) -> str:
    right = [each for each in results if each.verdict == "right"]
    share = 100 * len(right) / len(results)
    mended = sum(1 for each in right if each.repairs)
    others = Counter(each.verdict for each in results if each.verdict != "right")
    told = ", ".join(f"{count} {verdict}" for verdict, count in others.most_common())
    count = f"{len(right)}/{len(results)}"
    return f"{name:<12}{count:>9} {share:3.0f}%  {mended:>5}    {told}".rstrip()


def _write(file: Path, results: Sequence[Result]) -> None:
    lines = [
        json.dumps(
            {
                "key": each.question.key,
                "area": each.question.area,
                "level": each.question.level,
                "language": each.question.language,
                "verdict": each.verdict,
                "repairs": each.repairs,
                "sql": each.sql,
                "problem": each.problem,
                "cost_usd": float(each.cost_usd),
                "seconds": round(each.seconds, 3),
            },
            ensure_ascii=False,
        )
        for each in results
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
