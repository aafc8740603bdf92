"""What `penstock tail` says of rows that it does not show: summed up, a line at a time.

It owns these words and how often they are said. It reads no clock: it is told the time.
"""

from collections import Counter
from collections.abc import Callable

from penstock.amounts import amount

# Under load a server tells several times a second, and the lines would hide the rows.
EACH_SECONDS = 1.0
_WORDS = {
    "slow_reader": "{rows} not shown here: they were not read in time",
    "busy": "{rows} not looked at: more come than can be; some may be yours",
    "worker_ended": "a worker has ended: rows that it stored last may be missing here",
}


class Missed:
    """Rows that were missed and are not yet told."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._rows: Counter[str] = Counter()
        self._told_seconds: float | None = None

    def add(self, reason: str, rows: int) -> None:
        """Note that so many more rows were missed."""
        self._rows[reason] += rows

    def say_if_due(self, now_seconds: float) -> None:
        """Tell what there is, unless something has been told a moment ago."""
        told = self._told_seconds
        if self._rows and (told is None or now_seconds - told >= EACH_SECONDS):
            self._told_seconds = now_seconds
            self.say_rest()

    def say_rest(self) -> None:
        """Tell what there is: nothing comes after it."""
        rows, self._rows = self._rows, Counter()
        if rows:
            self._say("; ".join(_in_words(*each) for each in rows.items()))


def _in_words(reason: str, rows: int) -> str:
    were = f"{amount(rows, 'row')} {'was' if rows == 1 else 'were'}"
    return _WORDS.get(reason, "{rows} missed here").format(rows=were)
