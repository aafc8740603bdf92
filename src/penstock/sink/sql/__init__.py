"""The SQL Penstock runs, in files that a DBA can read.

It owns the reading of the named blocks in `*.sql`; the statements are theirs.
"""

import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

# The first line of a migration that must not be applied while an older server runs.
BREAKS_OLDER = "-- breaks: older"

_NAME = re.compile(r"^-- (\w+) --$", re.MULTILINE)


class Migration(NamedTuple):
    """One numbered file of `migrations/`."""

    version: int
    name: str
    statements: str

    @property
    def breaks_older(self) -> bool:
        """Tell whether servers of before cannot work with what it makes."""
        return self.statements.startswith(f"{BREAKS_OLDER}\n")


@cache
def load_blocks(name: str) -> dict[str, str]:
    """Return the named statements of `name`.sql."""
    text = files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return {
        block: body.strip() for block, body in zip(parts[::2], parts[1::2], strict=True)
    }


@cache
def load_migrations() -> tuple[Migration, ...]:
    """Return the migrations in the order in which they are applied."""
    found = [
        Migration(int(path.name[:4]), path.name[5:-4], path.read_text(encoding="utf-8"))
        for path in files(__package__).joinpath("migrations").iterdir()
        if path.name.endswith(".sql")
    ]
    return tuple(sorted(found))
