"""Rows as they are sent to a model, where that has been allowed.

It owns how many, how long, and that they stay data. It must not decide whether.
"""

from penstock.ask.context import as_data
from penstock.reader import Rows

# What a few sentences can be about; more rows cost more and say no more.
MAX_ROWS = 100
MAX_VALUE_CHARACTERS = 300
MAX_BYTES = 24_000


def shared_rows(rows: Rows) -> str:
    """Return the first rows of a result as JSON that no value can end."""
    kept = [[_value(value) for value in row] for row in rows.rows[:MAX_ROWS]]
    while True:
        text = as_data(
            {
                "columns": rows.columns,
                "rows": kept,
                "rows_in_all": len(rows.rows),
                "there_are_more": rows.is_cut,
            }
        )
        if len(text.encode()) <= MAX_BYTES or not kept:
            return text
        kept = kept[: len(kept) // 2]


def _value(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)[:MAX_VALUE_CHARACTERS]
