"""How many of something, as a person says it: 1 row, 2,000 rows.

A leaf: everything that has words for people may use it.
"""


def amount(count: int, noun: str) -> str:
    """Return the number and the noun, which takes an `s` unless it is one."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
