"""Named statements in .sql files, where a DBA can read them.

It owns how a block is named: by a line of its own, between double dashes.
"""

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- (\w+) --$", re.MULTILINE)


@cache
def read_blocks(package: str, name: str) -> dict[str, str]:
    """Return the named statements of `name`.sql in a package."""
    text = files(package).joinpath(f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return {
        block: body.strip() for block, body in zip(parts[::2], parts[1::2], strict=True)
    }
