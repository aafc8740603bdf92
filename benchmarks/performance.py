"""Writes docs/performance.md's figures and pictures from benchmarks/results.

    make bench-report

Owns the generated parts of that page, between its markers, and the SVG files of
docs/images that begin with `performance-`. What is written there by hand stays. It
measures nothing: each figure is one that a benchmark wrote, with its command and date.

Exit codes: 0 written, 1 there is nothing to write from.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from benchmarks.__main__ import ALL, question
from benchmarks.question import Question, Result

ROOT: Final = Path(__file__).resolve().parents[1]

TITLES: Final = {
    "end_to_end": "End to end, beside the limit",
    "variants": "Other ways to send",
    "encoder": "The encoder alone",
    "small_messages": "One event a message",
    "fluent_bit": "Beside Fluent Bit",
    "connections": "Idle connections",
    "latency": "From receipt to ack",
    "outage": "While PostgreSQL is away",
    "growth": "As the table grows",
    "disk": "On disk",
    "queries": "A search",
    "backup": "Backups, and each way back",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and its pictures; return the exit code."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    add = parser.add_argument
    add("--results", type=Path, default=report.RESULTS_DIR, help="a directory")
    add("--docs", type=Path, default=ROOT / "docs", help="where performance.md is")
    options = parser.parse_args(arguments)
    found = read(options.results)
    if not found:
        sys.stderr.write(f"bench-report: no results in {options.results}: make bench\n")
        return 1
    page = options.docs / "performance.md"
    images = options.docs / "images"
    images.mkdir(exist_ok=True)
    text = page.read_text()
    text = _between(text, "targets", targets(found))
    text = _between(text, "figures", figures(found))
    page.write_text(text)
    for asked, result in found:
        if asked.draw is not None:
            (images / f"performance-{asked.name}.svg").write_text(asked.draw(result))
    missing = [name for name in ALL if name not in {asked.name for asked, _ in found}]
    if missing:
        sys.stderr.write(f"bench-report: not measured: {', '.join(missing)}\n")
    return 0


def read(directory: Path) -> list[tuple[Question, Result]]:
    """The results that are there, in the order of the set."""
    found = []
    for name in ALL:
        file = directory / f"{name}.json"
        if file.exists():
            result: dict[str, Any] = json.loads(file.read_text())
            found.append((question(name), result))
    return found


def targets(found: list[tuple[Question, Result]]) -> str:
    """The table of what was aimed at beside what was measured."""
    rows = []
    missed = 0
    for asked, result in found:
        for one in asked.targets(result):
            missed += not one.is_met
            verdict = "yes" if one.is_met else "**no**"
            rows.append((one.what, one.wanted, one.measured, verdict, asked.name))
    headings = ("what", "target", "measured", "met", "benchmark")
    text = report.markdown(report.Sheet("", headings, rows))
    if missed:
        text += f"\n{missed} of {len(rows)} targets are missed"
        text += " on the machine below.\n"
    return text


def figures(found: list[tuple[Question, Result]]) -> str:
    """A section for each benchmark."""
    return "\n".join(_section(asked, result) for asked, result in found)


def _section(asked: Question, result: Result) -> str:
    lines = [f"### {TITLES[asked.name]}", "", asked.asks, ""]
    for sheet in asked.sheets(result):
        title = sheet.title[0].upper() + sheet.title[1:]
        lines += [f"{title}:", "", report.markdown(sheet)]
    if asked.draw is not None:
        lines += [f"![{TITLES[asked.name]}](images/performance-{asked.name}.svg)", ""]
    versions = result["versions"]
    used = "" if versions["postgresql"] == "not used" else f" {_postgresql(result)},"
    held_for = (
        f"`{result['command']}`, {result['date']}; {result['cpu_count']} CPUs,"
        f"{used} Python {versions['python']}, {result['encoder']} encoder,"
        f" {result['machine']}."
    )
    lines += [held_for, ""]
    return "\n".join(lines)


def _postgresql(result: Result) -> str:
    return f"PostgreSQL {result['versions']['postgresql']}"


def _between(text: str, name: str, content: str) -> str:
    begin = f"<!-- begin {name}: written by make bench-report -->"
    end = f"<!-- end {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"docs/performance.md has no {begin}")
    # A function, for the content may hold what re takes for a reference.
    return pattern.sub(lambda _: f"{begin}\n\n{content}\n{end}", text)


if __name__ == "__main__":
    sys.exit(main())
