"""The smallest parts of a filter: words, phrases, paths, regular expressions.

It owns where each of them ends. It must not know what they are put together to.
"""

import re
from dataclasses import dataclass

from penstock.search.filters import FilterError, Path

# What a backslash takes its meaning from, in a word. Before all else it is itself, so
# that C:\temp is what it looks like.
ESCAPED = frozenset('*\\"():/-<>=!')
# A key that needs no quotes. A first one begins with no digit: 10.0.0.1:5432 is a word.
KEY = r"[\w@$-]+"
FIRST_KEY = rf"(?![\d-]){KEY}"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_FIRST = re.compile(rf"{FIRST_KEY}|{_QUOTED}", re.DOTALL)
_NEXT = re.compile(rf"\.({KEY}|{_QUOTED})", re.DOTALL)
_REGEX = re.compile(r"/((?:[^/\\]|\\.)*)/(i?)(?=[\s()]|$)", re.DOTALL)
# A word that begins with a slash and goes on so was to be a regular expression.
_HALF_A_REGEX = re.compile(r"/.*[\[\]{}^$|\\].*", re.DOTALL)
# A place that has a colon in it: https://example.com, C:\temp.
_PLACE = re.compile(r"[A-Za-z]\w*://|[A-Za-z]:\\\w")
_PHRASE = re.compile(_QUOTED, re.DOTALL)
_ESCAPE = re.compile(r'\\([\\"])')

# The path of `any:`, which is no field.
ANY: Path = ()


@dataclass
class Cursor:
    """A place in the text, and what is read from there on."""

    text: str
    place: int = 0

    def refused(self, why: str, place: int | None = None) -> FilterError:
        """Return the error that names this place, or another."""
        at = self.place if place is None else place
        return FilterError(f"at {at + 1}: {why}")

    def peek(self) -> str:
        """Return the next character; nothing at the end."""
        return self.text[self.place : self.place + 1]

    def is_at_boundary(self) -> bool:
        """Tell whether a term ends here: before a blank, a parenthesis, the end."""
        return not self.peek() or self.peek().isspace() or self.peek() in "()"

    def skip_blanks(self) -> None:
        """Go on to what is no blank."""
        while self.peek().isspace():
            self.place += 1

    def keys(self) -> Path:
        """Read keys with dots between; none, and nothing read, where there is none."""
        found = _FIRST.match(self.text, self.place)
        keys: list[str] = []
        while found:
            keys.append(_unquoted(found[1] if keys else found[0]))
            self.place = found.end()
            found = _NEXT.match(self.text, self.place)
        return tuple(keys)

    def path(self) -> Path | None:
        """Read a path and its colon; None, and nothing read, where there is none."""
        start = self.place
        if _PLACE.match(self.text, start):
            return None
        keys = self.keys()
        if self.peek() != ":" or not keys:
            self.place = start
            return None
        self.place += 1
        return ANY if self.text.startswith("any:", start) else keys

    def phrase(self) -> str:
        """Read a text in quotes.

        Raises:
            FilterError: it does not end, or not where a term may.
        """
        start = self.place
        found = _PHRASE.match(self.text, start)
        if not found:
            raise self.refused("a quote that is not closed", start)
        self.place = found.end()
        if not self.is_at_boundary():
            raise self.refused(
                "the quotes end here and a word goes on; a quote that is text is"
                r" written \" in quotes"
            )
        return _unquoted(found[0])

    def regex(self) -> str | None:
        """Read a /regular expression/; None, and nothing read, where there is none.

        It has no other slash in it, or `\\/`: /var/log/syslog is a word.
        """
        found = _REGEX.match(self.text, self.place)
        if not found or not found[1]:
            return None
        self.place = found.end()
        pattern = re.sub(r"\\(.)", _slash, found[1], flags=re.DOTALL)
        return f"(?i){pattern}" if found[2] else pattern

    def word(self) -> list[str]:
        """Read a word; its parts are what its wildcards stand between.

        Raises:
            FilterError: it is half a regular expression, or has a quote in it.
        """
        start = self.place
        parts = [""]
        while not self.is_at_boundary():
            character = self.peek()
            if character == "*":
                parts.append("")
            elif character == '"':
                raise self.refused(
                    "a quote inside a word; quote the whole word, and write"
                    r" \" for a quote in it"
                )
            elif character == "\\" and is_escaped(self.text[self.place + 1 :][:1]):
                self.place += 1
                parts[-1] += self.peek()
            else:
                parts[-1] += character
            self.place += 1
        if _HALF_A_REGEX.fullmatch(self.text, start, self.place):
            raise self.refused(
                "a regular expression is /between slashes/, with \\/ for a slash in"
                " it; a text that begins with a slash is to be quoted",
                start,
            )
        return parts


def is_escaped(character: str) -> bool:
    """Tell whether a backslash before this character, in a word, makes it text."""
    return character in ESCAPED or character.isspace()


def _slash(escaped: re.Match[str]) -> str:
    return "/" if escaped[1] == "/" else escaped[0]


def _unquoted(text: str) -> str:
    return _ESCAPE.sub(r"\1", text[1:-1]) if text.startswith('"') else text
