"""What a check of `penstock doctor` says."""

from typing import NamedTuple


class Finding(NamedTuple):
    """What one check found: ok, warn or fail, what, and how to mend it."""

    mark: str
    what: str
    mend: str = ""
