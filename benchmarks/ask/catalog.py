"""The questions, and the SQL that answers each.

In questions/*.txt, a file for an area. A question begins with a line `@ name level`,
with `ordered` behind it where the order of rows counts. Then `en:` and `ko:`, the same
question in two languages; then SQL. A line `or` stands between statements where the
question can be read in more than one way.
"""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "questions"
LEVELS = ("easy", "medium", "hard")
LANGUAGES = ("en", "ko")


@dataclass(frozen=True, slots=True)
class Question:
    """One question in one language."""

    name: str  # area-number
    area: str
    level: str
    language: str
    text: str
    gold: tuple[str, ...]
    is_ordered: bool

    @property
    def key(self) -> str:
        """What names it and no other."""
        return f"{self.name}.{self.language}"


def questions(folder: Path = FOLDER) -> list[Question]:
    """Return all questions, by area and in the order of the files."""
    found: list[Question] = []
    for file in sorted(folder.glob("*.txt")):
        for block in file.read_text(encoding="utf-8").split("\n@ "):
            if block.strip():
                found += _read(file.stem, block.removeprefix("@ "))
    return found


def _read(area: str, block: str) -> list[Question]:
    head, *lines = block.strip().splitlines()
    name, level, *flags = head.split()
    if level not in LEVELS or set(flags) - {"ordered"}:
        raise ValueError(f"{area}: {head!r} is not: name level [ordered]")
    texts = {}
    while lines and lines[0][:3] in ("en:", "ko:"):
        line = lines.pop(0)
        texts[line[:2]] = line[3:].strip()
    gold = tuple(" ".join(part.split()) for part in "\n".join(lines).split("\nor\n"))
    if not texts or not all(gold):
        raise ValueError(f"{area}: {name} lacks a question or SQL")
    return [
        Question(f"{area}-{name}", area, level, language, text, gold, bool(flags))
        for language, text in texts.items()
    ]
