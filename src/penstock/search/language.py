"""The language of a search: what is typed, read into a filter.

It owns the grammar; `filters` says what each filter means, `lexing` where a word ends,
`values` what a field takes, `spelling` prints a filter. Read once, from left to right.

    word  wo*rd  "a phrase"  -word  NOT word  word AND other  word OR other  (a OR b) c
    field:value  field:"a value"  field:val*  field:*  field:/regex/  field:(a OR b)
    field:>500  >=  <  <=  !=  =      "a.key".b:value    attributes.tag:value
    /regex/  /regex/i                 any:word
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from penstock.search.filters import (
    ATTRIBUTES,
    And,
    Everything,
    Filter,
    FilterError,
    Not,
    Or,
    Path,
)
from penstock.search.lexing import Cursor
from penstock.search.values import MESSAGE, read_phrase, read_value, read_words

# What fits into a command line or an address with room to spare; nobody types more.
MAX_CHARACTERS = 16_384
# Parentheses and negations, one inside the other: each is a turn of the reader's stack.
MAX_DEPTH = 50
# A term is a condition in SQL: PostgreSQL plans some hundred in some milliseconds.
MAX_TERMS = 200
MAX_KEYS = 32

_JOINER = re.compile(r"(AND|OR|NOT)(?=[\s()]|$)")


def parse(text: str, zone: tzinfo = UTC) -> Filter:
    """Read a filter.

    Args:
        zone: that of a time which does not say its own, as in `ts:>2026-11-01T12:00`.

    Raises:
        FilterError: it is none; one line, with the place.
    """
    if len(text) > MAX_CHARACTERS:
        raise FilterError(
            f"at {MAX_CHARACTERS + 1}: a filter has {MAX_CHARACTERS:,} characters at"
            f" most, and this one {len(text):,}"
        )
    for place, character in enumerate(text):
        if character == "\0" or 0xD800 <= ord(character) < 0xE000:
            raise FilterError(
                f"at {place + 1}: U+{ord(character):04X}, which no text in PostgreSQL"
                " has"
            )
    cursor = Cursor(text)
    cursor.skip_blanks()
    if not cursor.peek():
        return Everything()
    found = _Parser(cursor, zone).either(0)
    if cursor.peek():
        raise cursor.refused("a ) that closes nothing; in quotes it is text")
    return found


@dataclass
class _Parser:
    cursor: Cursor
    zone: tzinfo
    terms: int = 0
    # The fields whose parentheses are open, as in level:(warn OR error).
    fields: list[Path] = field(default_factory=list)

    def _joiner(self) -> str:
        found = _JOINER.match(self.cursor.text, self.cursor.place)
        return found[0] if found else ""

    def _take_joiner(self, joiner: str) -> bool:
        if self._joiner() != joiner:
            return False
        self.cursor.place += len(joiner)
        self.cursor.skip_blanks()
        return True

    def either(self, depth: int) -> Filter:
        """Read what OR joins."""
        found = [self._all(depth)]
        while self._take_joiner("OR"):
            found.append(self._all(depth))
        return found[0] if len(found) == 1 else Or(tuple(found))

    def _all(self, depth: int) -> Filter:
        found = [self._one(depth)]
        while True:
            is_joined = self._take_joiner("AND")
            ends = self.cursor.peek() in ("", ")") or self._joiner() == "OR"
            if ends and not is_joined:
                return found[0] if len(found) == 1 else And(tuple(found))
            found.append(self._one(depth))

    def _one(self, depth: int) -> Filter:
        """Read a term, with what negates it, and the blanks behind it."""
        if depth > MAX_DEPTH:
            raise self.cursor.refused(
                f"parentheses and negations go {MAX_DEPTH} deep, one inside the other"
            )
        if self._take_joiner("NOT") or self._take_minus():
            return Not(self._one(depth + 1))
        next_one = self._joiner() or self.cursor.peek()
        if next_one in ("", ")", "AND", "OR"):
            raise self.cursor.refused(
                f"{next_one or 'the end'}, where a word or a field has to stand;"
                " in quotes it is text"
            )
        if next_one == "(":
            found = self._parentheses(depth)
        else:
            found = self._term(depth)
        self.cursor.skip_blanks()
        return found

    def _take_minus(self) -> bool:
        after = self.cursor.text[self.cursor.place + 1 :][:1]
        if self.cursor.peek() != "-" or after.isspace() or after in ("", ")"):
            return False
        self.cursor.place += 1
        return True

    def _parentheses(self, depth: int) -> Filter:
        cursor, start = self.cursor, self.cursor.place
        cursor.place += 1
        cursor.skip_blanks()
        if cursor.peek() == ")":
            raise cursor.refused("nothing in parentheses; in quotes it is text", start)
        found = self.either(depth + 1)
        if cursor.peek() != ")":
            raise cursor.refused("a ( that is not closed; in quotes it is text", start)
        cursor.place += 1
        return found

    def _term(self, depth: int) -> Filter:
        cursor, start = self.cursor, self.cursor.place
        self.terms += 1
        if self.terms > MAX_TERMS:
            raise cursor.refused(f"a filter has {MAX_TERMS} words and fields at most")
        if self.fields:
            return read_value(cursor, self.fields[-1], start, self.zone)
        path = cursor.path()
        if path is not None:
            return self._field(path, start, depth)
        if cursor.peek() == '"':
            return read_phrase(cursor, MESSAGE, start)
        return read_words(cursor)

    def _field(self, path: Path, start: int, depth: int) -> Filter:
        cursor = self.cursor
        if len(path) > MAX_KEYS:
            raise cursor.refused(f"a path has {MAX_KEYS} keys at most", start)
        if path == (ATTRIBUTES,):
            raise cursor.refused(
                f"{ATTRIBUTES} needs a key, as in {ATTRIBUTES}.status:500", start
            )
        if cursor.peek() != "(":
            return read_value(cursor, path, start, self.zone)
        self.fields.append(path)
        found = self._parentheses(depth)
        self.fields.pop()
        return found


def parse_paths(text: str) -> list[Path]:
    """Read fields with commas between them: `service,http.status,"a.b".c`.

    Raises:
        FilterError: one is no field; one line, with the place.
    """
    cursor, paths = Cursor(text), list[Path]()
    while True:
        cursor.skip_blanks()
        found = cursor.keys()
        if not found:
            raise cursor.refused(
                "a field is a column, or keys with dots between; a key that has other"
                ' than letters, digits, _, -, @ and $ is quoted, as in "a.b".c'
            )
        paths.append(found)
        cursor.skip_blanks()
        if not cursor.peek():
            return paths
        if cursor.peek() != ",":
            raise cursor.refused("a comma has to stand between fields")
        cursor.place += 1
