"""The SQL of backups, in a file that a DBA can read.

It owns the reading of the named blocks in `*.sql`; the statements are theirs.
"""

from penstock.postgres.blocks import read_blocks


def load_blocks(name: str = "backup") -> dict[str, str]:
    """Return the named statements of `name`.sql."""
    return read_blocks(__package__, name)
