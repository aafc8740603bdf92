"""The SQL Penstock runs, in files that a DBA can read.

It owns the reading of the named blocks in `*.sql`; the statements are theirs.
"""

from functools import cache
from importlib.resources import files
from typing import NamedTuple

from penstock.postgres.blocks import read_blocks

# The first line of a migration that must not be applied while an older server runs.
BREAKS_OLDER = "-- breaks: older"


class Migration(NamedTuple):
    """One numbered file of `migrations/`."""

    version: int
    name: str
    statements: str

    @property
    def breaks_older(self) -> bool:
        """Tell whether servers of before cannot work with what it makes."""
        return self.statements.startswith(f"{BREAKS_OLDER}\n")


def load_blocks(name: str) -> dict[str, str]:
    """Return the named statements of `name`.sql."""
    return read_blocks(__package__, name)


@cache
def load_migrations() -> tuple[Migration, ...]:
    """Return the migrations in the order in which they are applied."""
    found = [
        Migration(int(path.name[:4]), path.name[5:-4], path.read_text(encoding="utf-8"))
        for path in files(__package__).joinpath("migrations").iterdir()
        if path.name.endswith(".sql")
    ]
    return tuple(sorted(found))
