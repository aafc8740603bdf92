"""Finds the commands in a Markdown page: its fenced blocks and what is said of them.

    ```sh                      is run by the tests, in order, in one directory a page
    ```console                 a session: each `$ command` is run in its turn too, and
                               has to answer what is shown below it
    <!-- not run: reason -->   on the line before one (a blank line may stand between):
                               it is shown only

Any other tag (toml, sql, conf ...) is no command.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<tag>[\w-]*).*$")
NOT_RUN = re.compile(r"^\s*<!-- not run:(?P<reason>.*)-->\s*$")
PROMPT = "$ "

# What every run has its own of: the ids it makes, and times.
ID = r"(?<!\d)\d{18,19}(?!\d)"
TIME = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"
ID_OR_TIME = re.compile(f"({ID}|{TIME})")
# Long beside a page's run, short beside the age of what a page shows.
NOW = timedelta(hours=1)
# Behind the count of rows.
TOOK = re.compile(r"(?:(?<=row)|(?<=rows)), \d+(?:\.\d)? m?s\)")


class Exchange(NamedTuple):
    """A command of a session, and the answer that the page shows."""

    line: int
    command: str
    answer: str


@dataclass(frozen=True, slots=True)
class DocBlock:
    """One fenced block: where its first line is, its tag, its text.

    `not_run` is the reason given for not running it; None where no comment stands.
    """

    line: int
    tag: str
    text: str
    not_run: str | None

    @property
    def is_run(self) -> bool:
        return self.tag in {"sh", "console"} and self.not_run is None

    def exchanges(self) -> list[Exchange]:
        """The commands of a session, each with its answer."""
        found: list[Exchange] = []
        for number, line in enumerate(self.text.splitlines(), start=self.line):
            if line.startswith(PROMPT):
                found.append(Exchange(number, line.removeprefix(PROMPT), ""))
            elif found:
                last = found.pop()
                found.append(last._replace(answer=f"{last.answer}{line}\n"))
        return found


def doc_pages(root: Path) -> list[Path]:
    """The pages whose commands have to work."""
    readmes = [root / "README.md", root / "README.ko.md"]
    return [p for p in readmes if p.exists()] + sorted((root / "docs").glob("*.md"))


def parse_blocks(markdown: str) -> list[DocBlock]:
    """The fenced blocks of a page, in order.

    Raises:
        ValueError: a block is not closed.
    """
    blocks: list[DocBlock] = []
    not_run: str | None = None
    lines = iter(enumerate(markdown.splitlines(), start=1))
    for number, line in lines:
        if comment := NOT_RUN.match(line):
            not_run = comment["reason"].strip()
        elif fence := FENCE.match(line):
            body: list[str] = []
            for _, inner in lines:
                if inner.strip() == fence["ticks"]:
                    break
                body.append(inner.removeprefix(fence["indent"]))
            else:
                raise ValueError(f"line {number}: the block is not closed")
            text = "\n".join(body)
            blocks.append(DocBlock(number + 1, fence["tag"], text, not_run))
            not_run = None
        elif line.strip():
            not_run = None
    return blocks


def agree(shown: str, printed: str) -> bool:
    """Whether a command prints what its page shows, but for what is of that run.

    All is compared to the letter except an id, how long a statement took, and a time
    that is now: a time that a record was given is the same in every run.
    """
    shown, printed = (TOOK.sub(")", each) for each in (shown, printed))
    ours, theirs = ID_OR_TIME.split(shown), ID_OR_TIME.split(printed)
    # The parts in between stand at even places, ids and times at odd ones.
    return ours[::2] == theirs[::2] and all(
        mine == other or _is_of_a_run(mine, other)
        for mine, other in zip(ours[1::2], theirs[1::2], strict=True)
    )


def _is_of_a_run(shown: str, printed: str) -> bool:
    if printed.isdigit() or shown.isdigit():
        return printed.isdigit() and shown.isdigit()
    return abs(datetime.now(UTC) - datetime.fromisoformat(printed)) < NOW
