"""What the guard is judged by: statements that do harm, and ones that people write."""

import json
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).parent / "data"


class Contained(NamedTuple):
    """A statement that passes the guard, and what ends it."""

    sql: str
    by: str


class AttackClass(NamedTuple):
    """Statements that do harm in one way, which `why` says."""

    name: str
    why: str
    refused: list[str]
    contained: list[Contained]


def attack_classes() -> list[AttackClass]:
    """Read the attacks."""
    return [
        AttackClass(
            group["class"],
            group["why"],
            group["refused"],
            [Contained(**each) for each in group["contained"]],
        )
        for group in json.loads((DATA / "attacks.json").read_text())
    ]


def ordinary_queries() -> list[str]:
    """Read what an engineer on call writes."""
    queries: list[str] = json.loads((DATA / "ordinary_queries.json").read_text())
    return queries
