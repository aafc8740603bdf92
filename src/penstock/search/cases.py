"""Which letters are the same letter in either case, as a database has it.

It owns what ILIKE and `lower()` make of a character: PostgreSQL asks its locale, so
the answer is a database's (`CASES_QUERY`), and Unicode's where nobody asked. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

# Beyond this no character has a case (Unicode, DerivedCoreProperties.txt, Cased).
_END = 0x20000
_SURROGATES = range(0xD800, 0xE000)

# As code points: a character, its lower and its upper case, where one differs.
CASES_QUERY = f"""\
SELECT code, ascii(lower(chr(code))), ascii(upper(chr(code)))
FROM generate_series(1, {_END - 1}) AS code
WHERE code NOT BETWEEN {_SURROGATES.start} AND {_SURROGATES.stop - 1}
  AND (lower(chr(code)) <> chr(code) OR upper(chr(code)) <> chr(code))"""


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """The lower and the upper case of each character that has one, as code points.

    `to_ascii` are the characters beyond ASCII whose lower case is in it, and
    `is_usual` tells that of ASCII's own A is a, and so on.
    """

    lower: Mapping[int, int]
    upper: Mapping[int, int]
    to_ascii: frozenset[str]
    is_usual: bool

    def fold(self, text: str) -> str:
        """Return the text in lower case, as ILIKE compares it."""
        if self.is_usual and text.isascii():
            return text.lower()
        return text.translate(self.lower)

    def both(self, character: str) -> list[str]:
        """Return the lower and the upper case of a character."""
        code = ord(character)
        both = (self.lower.get(code, code), self.upper.get(code, code))
        return [chr(each) for each in dict.fromkeys(both)]

    def others(self, codes: range) -> list[str]:
        """Return what is a case of one of these, and is not among them."""
        all_cases = (
            table[code]
            for table in (self.lower, self.upper)
            for code in table
            if code in codes
        )
        return [chr(each) for each in dict.fromkeys(all_cases) if each not in codes]

    def has_case(self, character: str) -> bool:
        """Tell whether another character is the same as this one in another case."""
        code = ord(character)
        return code in self.lower or code in self.upper


def cases_of(rows: Iterable[tuple[int, int, int]]) -> Cases:
    """Return what the rows of `CASES_QUERY` say."""
    lower, upper = {}, {}
    for code, low, high in rows:
        if low != code:
            lower[code] = low
        if high != code:
            upper[code] = high
    usual = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
    return Cases(
        lower,
        upper,
        frozenset(
            chr(code) for code, low in lower.items() if code >= 0x80 and low < 0x80
        ),
        {code: low for code, low in lower.items() if code < 0x80} == usual,
    )


@cache
def unicode_cases() -> Cases:
    """Return what Unicode says: one character for one, as most locales have it."""
    return cases_of(
        (code, ord(chr(code).lower()[0]), ord(_upper(chr(code))))
        for code in range(1, _END)
        if code not in _SURROGATES
    )


def _upper(character: str) -> str:
    upper = character.upper()
    return upper if len(upper) == 1 else character
