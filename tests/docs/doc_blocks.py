"""Finds the commands in a Markdown page: its fenced blocks and what is said of them.

    ```sh                      is run by the tests, in order, in one directory a page
    <!-- not run: reason -->   on the line before it (a blank line may stand between)
    ```sh                      is shown only
    ```console                 a session: `$ command` and what it answers; shown only

Any other tag (toml, sql, conf ...) is no command.
"""

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<tag>[\w-]*).*$")
NOT_RUN = re.compile(r"^\s*<!-- not run:(?P<reason>.*)-->\s*$")


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
        return self.tag == "sh" and self.not_run is None


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
