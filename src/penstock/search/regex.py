r"""Regular expressions: what PostgreSQL and RE2 both have, said so that they agree.

It owns the grammar that is taken. A pattern is read here and written anew for each of
the two, so that neither finds a fault in it or reads it in its own way: `\d` is 0 to 9,
`\w` a letter of ASCII, a digit or `_`, `\s` a blank of ASCII, `.` any character, a line
end too, `^` and `$` the ends of the text. Sources: PostgreSQL documentation, 9.7.3, and
RE2's syntax page.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from penstock.search.cases import Cases
from penstock.search.filters import FilterError

# Enough for what a person writes; a pattern costs its length squared at worst.
MAX_CHARACTERS = 1_000
# PostgreSQL takes 255 (DUPMAX), RE2 1000.
MAX_REPEAT = 255
# Characters and classes, each as often as it is repeated: either machine has a copy of
# it for each. Of what may be left out, as in (?:a?b?){100}, PostgreSQL's time to read
# it grows with the cube: a second at this size.
MAX_SIZE = 500
MAX_DEPTH = 20

Dialect = Literal["postgres", "re2"]

# The members of a class, as both have them between brackets.
_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": " \\t\\n\\f\\r"}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
# PostgreSQL's own \\y asks the locale what is a letter.
_WORD = "[A-Za-z0-9_]"
_BOUNDARIES = {
    "postgres": {
        "b": f"(?:(?<!{_WORD})(?={_WORD})|(?<={_WORD})(?!{_WORD}))",
        "B": f"(?:(?<={_WORD})(?={_WORD})|(?<!{_WORD})(?!{_WORD}))",
    },
    "re2": {"b": "\\b", "B": "\\B"},
}
_REPEAT = re.compile(r"\{(\d{1,4})(,(\d{0,4}))?\}")
_HEX = re.compile(r"x([0-9A-Fa-f]{2})|x\{([0-9A-Fa-f]{1,6})\}")


class Expression(NamedTuple):
    """A pattern as its dialect writes it, without its mark for either case."""

    text: str
    ignores_case: bool


def translate(pattern: str, dialect: Dialect, cases: Cases | None = None) -> Expression:
    """Write a pattern for one of the two.

    Args:
        cases: have the pattern itself name a letter in either case, if it is for that,
            as PostgreSQL does: what RE2 takes for the same letter may be more.

    Raises:
        FilterError: it is no regular expression, or has what only one of them has.
    """
    if len(pattern) > MAX_CHARACTERS:
        raise _refused(f"it has {len(pattern)} characters; {MAX_CHARACTERS} are taken")
    ignores_case = pattern.startswith("(?i)")
    named = cases if ignores_case else None
    reader = _Reader(pattern, 4 if ignores_case else 0, dialect, named)
    text, _ = reader.alternatives(0)
    if reader.place < len(pattern):
        raise reader.refused("a ) that closes nothing; \\) is the character")
    return Expression(text, ignores_case and cases is None)


def check(pattern: str) -> None:
    """Raise FilterError if a pattern is not taken."""
    translate(pattern, "postgres")


def _refused(why: str) -> FilterError:
    return FilterError(f"the regular expression is not taken: {why}")


@dataclass
class _Reader:
    """Reads a pattern once, from left to right, and writes as it reads.

    Each part is returned with its size, as MAX_SIZE counts it.
    """

    pattern: str
    place: int
    dialect: Dialect
    cases: Cases | None

    def refused(self, why: str) -> FilterError:
        return _refused(f"at {self.place + 1} of it: {why}")

    def peek(self) -> str:
        return self.pattern[self.place : self.place + 1]

    def take(self) -> str:
        character = self.peek()
        if not character:
            raise self.refused("it ends too early")
        self.place += 1
        return character

    def alternatives(self, depth: int) -> tuple[str, int]:
        if depth > MAX_DEPTH:
            raise self.refused(f"parentheses {MAX_DEPTH} deep are taken")
        branches, size = [""], 1
        while (character := self.peek()) and character != ")":
            if character == "|":
                self.place += 1
                branches.append("")
                continue
            text, more = self.piece(depth)
            branches[-1] += text
            size += more
            if size > MAX_SIZE:
                raise self.refused(f"with its repetitions it is longer than {MAX_SIZE}")
        return "|".join(branches), size

    def piece(self, depth: int) -> tuple[str, int]:
        character = self.peek()
        if character in "*+?" or (character == "{" and self._repeat()):
            raise self.refused(f"{character} repeats nothing; \\{character} is itself")
        text, size, is_place = self.atom(depth)
        mark, times = self.quantifier()
        if not mark:
            return text, size
        if is_place:
            raise self.refused("a place such as ^ cannot be repeated")
        if self.peek() == "?":  # which of the matches does not matter here
            self.place += 1
        if self.peek() in ("*", "+", "?") or self._repeat():
            raise self.refused("a repetition of a repetition: use parentheses")
        return text + mark, size * max(1, times)

    def quantifier(self) -> tuple[str, int]:
        character = self.peek()
        if character and character in "*+?":
            self.place += 1
            return character, 1
        found = self._repeat()
        if not found:
            return "", 1
        low = int(found[1])
        high = low if found[2] is None else int(found[3]) if found[3] else None
        if max(low, high or 0) > MAX_REPEAT or (high is not None and high < low):
            raise self.refused(f"{found[0]}: up to {MAX_REPEAT} times, the lower first")
        self.place = found.end()
        return found[0], max(low, high or 0)

    def _repeat(self) -> re.Match[str] | None:
        return _REPEAT.match(self.pattern, self.place)

    def atom(self, depth: int) -> tuple[str, int, bool]:
        character = self.take()
        if character == "(":
            text, size = self.group(depth)
            return text, size, False
        if character == "[":
            return self.bracket(), 1, False
        if character in "^$":
            return character, 1, True
        if character == ".":
            return character, 1, False
        if character != "\\":
            return self.literal(character), 1, False
        escape = self.take()
        if escape in _BOUNDARIES[self.dialect]:
            return _BOUNDARIES[self.dialect][escape], 1, True
        if escape.lower() in _CLASSES:
            negation = "^" if escape.isupper() else ""
            return f"[{negation}{_CLASSES[escape.lower()]}]", 1, False
        return self.literal(self.escaped(escape)), 1, False

    def literal(self, character: str) -> str:
        """Return what is the character, or either case of it.

        PostgreSQL takes its lower and its upper case and, of the few that are neither,
        not itself (allcases in regc_locale.c).
        """
        if self.cases is None:
            return _literal(character)
        both = self.cases.both(character)
        members = "".join(map(_member, both))
        return _literal(*both) if len(both) == 1 else f"[{members}]"

    def escaped(self, escape: str) -> str:
        """Return the character that follows from a backslash and this one."""
        if escape in _CONTROLS:
            return _CONTROLS[escape]
        if found := _HEX.match(self.pattern, self.place - 1):
            code = int(found[1] or found[2], 16)
            if code and code < 0x110000 and not 0xD800 <= code < 0xE000:
                self.place = found.end()
                return chr(code)
        if escape.isalnum() or escape == "_":
            raise self.refused(f"\\{escape} is not taken")
        return escape

    def group(self, depth: int) -> tuple[str, int]:
        if self.peek() == "?":
            if self.pattern[self.place + 1 : self.place + 2] != ":":
                raise self.refused(
                    "of (?...) only (?:...) is taken, and (?i) at the beginning"
                )
            self.place += 2
        text, size = self.alternatives(depth + 1)
        if self.peek() != ")":
            raise self.refused("a ( that is not closed; \\( is the character")
        self.place += 1
        return f"(?:{text})", size

    def bracket(self) -> str:
        negation = ""
        if self.peek() == "^":
            self.place += 1
            negation = "^"
        members = "".join(self._members())
        return f"[{negation}{members}]"

    def _members(self) -> Iterator[str]:
        is_first = True
        while (character := self.take()) != "]" or is_first:
            is_first = False
            if character == "[" and self.peek() in (":", ".", "="):
                raise self.refused("[:name:] is not taken; write what is in it")
            low = self._member(character)
            if len(low) > 1:  # a class
                yield low
            elif (
                self.peek() == "-"
                and self.pattern[self.place + 1 : self.place + 2] != "]"
            ):
                self.place += 1
                high = self._member(self.take())
                if len(high) > 1 or high < low:
                    raise self.refused("a range has its lower end first")
                yield f"{_member(low)}-{_member(high)}"
                if self.cases is not None:
                    others = self.cases.others(range(ord(low), ord(high) + 1))
                    yield from map(_member, others)
            else:
                both = [low] if self.cases is None else self.cases.both(low)
                yield from map(_member, both)

    def _member(self, character: str) -> str:
        if character != "\\":
            return character
        escape = self.take()
        if escape in _CLASSES:
            return _CLASSES[escape]
        return self.escaped(escape)


def _literal(character: str) -> str:
    return f"\\{character}" if character in "\\.[](){}*+?|^$" else character


def _member(character: str) -> str:
    return f"\\{character}" if character in "\\[]^-&~|" else character
