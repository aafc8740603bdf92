"""What the guard says when it lets a statement not pass: one line for a person.

It owns the exception and how foreign names are written into its line.
"""

from penstock.errors import PenstockError

# PostgreSQL's names have 63 bytes; what is longer is no name, and not to be repeated.
MAX_SHOWN_CHARACTERS = 63
# A parser repeats what it stumbled over, however long it is.
MAX_LINE_CHARACTERS = 300


class Refused(PenstockError):
    """A statement that is not run; the text says what was refused, and why."""

    def __init__(self, text: str) -> None:
        super().__init__(_cut(" ".join(text.split()), MAX_LINE_CHARACTERS))


def shown(name: str) -> str:
    """Return a name from a statement as it can stand in a line."""
    return _cut(name, MAX_SHOWN_CHARACTERS)


def _cut(text: str, characters: int) -> str:
    """Return text that cannot act on a terminal, and is no longer than so much."""
    plain = "".join(
        each if each.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for each in text[:characters]
    )
    return plain if len(text) <= characters else f"{plain}..."
