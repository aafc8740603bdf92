"""The values of a long text of JSON, of which none takes very much memory to be read.

An empty map has two characters, and takes eighty bytes. It owns that nothing is read of
what holds more values than an entry may. It must not know what the values are.
"""

import re
from collections.abc import Generator
from typing import Any

from penstock.wire.json_frames import DECODER
from penstock.wire.values import MAX_VALUES

# What ends within so much is read at once: some megabytes, whatever it holds.
WINDOW_CHARACTERS = 256 * 1024
# Behind a number may be as much that is of it: `1e+`.
_NUMBER_TAIL = 3
# Of what is longer, some milliseconds of looking, then others have a turn.
_STEP_TOKENS = 16 * 1024
# A string without an end goes as far as there is anything: were it none, it would be
# looked through again from each quote in it.
_TOKEN = re.compile(r'[\[{\]},:]|"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


class TooManyValuesError(Exception):
    """A value holds too many others; `end` is where it ends."""

    def __init__(self, end: int) -> None:
        super().__init__(f"it has more than {MAX_VALUES:,} values")
        self.end = end


class LongText:
    """A text that is read from its beginning on."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._window = ""
        self._begin = 0  # of the window

    def decode(self, at: int) -> Generator[None, None, tuple[Any, int]]:
        """Return the value that begins there, and its end; others have turns meanwhile.

        Raises:
            ValueError, RecursionError: it is no JSON.
            TooManyValuesError: it is not read.
        """
        for is_new in (False, True):
            if is_new:
                self._begin = at
                self._window = self._text[at : at + WINDOW_CHARACTERS]
            try:
                value, end = DECODER.raw_decode(self._window, at - self._begin)
            except (ValueError, RecursionError):
                continue  # broken, or cut by the window's end
            is_last = self._begin + len(self._window) == len(self._text)
            if is_last or end + _NUMBER_TAIL <= len(self._window):
                return value, self._begin + end
        yield from self._look_through(at)
        return DECODER.raw_decode(self._text, at)

    def _look_through(self, at: int) -> Generator[None, None, None]:
        """Count values as `json_frames` does. Raises TooManyValuesError."""
        values = depth = 0
        end = at
        for number, token in enumerate(_TOKEN.finditer(self._text, at), 1):
            sign = self._text[token.start()]
            if sign in "[{":
                depth += 1
            elif sign in "]}":
                depth -= 1
            values += sign in "[{,:"
            if depth <= 0:
                end = token.end()
                break
            if number % _STEP_TOKENS == 0:
                yield
        else:
            end = len(self._text)  # it has none
        if values > MAX_VALUES:
            raise TooManyValuesError(end)
