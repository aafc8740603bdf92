"""Where in a statement something is wrong, as psql shows it.

Pure: a statement and a place in it come in, two lines of text go out.
"""

import re

from rich.cells import cell_len

from penstock.cli.output import SHOWN_CONTROLS
from penstock.errors import PenstockError, QueryError

# The guard writes the character that is at fault before its line.
PLACE = re.compile(r"at (\d+): ")
# So much of a long line is shown, around the place.
SHOWN_CHARACTERS = 60


def place_of(error: PenstockError, statement: str) -> str | None:
    """Return the line that is wrong and a mark below it; None where nobody knows."""
    if isinstance(error, QueryError):
        if error.position is None:
            return None
        return shown_place(error.sql, error.position)
    found = PLACE.match(str(error))
    return None if found is None else shown_place(statement, int(found[1]))


def shown_place(statement: str, position: int) -> str | None:
    """Return the line with the character of that number, from 1, and a mark below."""
    if not 1 <= position <= len(statement) + 1:
        return None
    before, behind = statement[: position - 1], statement[position - 1 :]
    head = before.rpartition("\n")[2]
    tail = behind.partition("\n")[0]
    if len(head) > SHOWN_CHARACTERS:
        head = "..." + head[-SHOWN_CHARACTERS:]
    if len(tail) > SHOWN_CHARACTERS:
        tail = tail[:SHOWN_CHARACTERS] + "..."
    head, tail = (
        each.replace("\t", " ").translate(SHOWN_CONTROLS) for each in (head, tail)
    )
    label = f"LINE {before.count(chr(10)) + 1}: "
    return f"{label}{head}{tail}\n{' ' * (len(label) + cell_len(head))}^"
