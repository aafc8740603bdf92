"""On which line of a TOML text each key stands, which tomllib does not tell.

It reads text that tomllib has accepted, so it need not find mistakes. It must not know
what a key means.

Source of the format: TOML v1.0.0, sections "Keys", "String", "Array", "Table" and
"Array of Tables".
"""

import re
import tomllib

# A part of a key: bare, or quoted in either way.
_KEY_PART = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*""")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|'
    r"'''.*?'{3,5}|"
    r'"(?:[^"\\\n]|\\.)*"|'
    r"'[^'\n]*'",
    re.DOTALL,
)
_BLANK = re.compile(r"(?:\s|#[^\n]*)+")

# A key's way through the tables; a number is the place in a list of tables.
Path = tuple[str | int, ...]


class _Reader:
    """Goes through a TOML text once, a statement at a time."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line, self._counted_to = 1, 0
        self._table: Path = ()
        self._counts: dict[Path, int] = {}
        self.lines: dict[Path, int] = {}

    def read(self) -> None:
        """Note the line of every key and of every table's head."""
        while True:
            self._skip_blank()
            if self._at >= len(self._text):
                return
            line = self._line_here()
            if self._text[self._at] == "[":
                self._read_head(line)
            else:
                path = self._table + self._read_key()
                self._at += 1  # the equals sign
                self._note(path, line)
                self._skip_value()

    def _line_here(self) -> int:
        # Counted on from the last place: from the start each time is quadratic.
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line

    def _read_head(self, line: int) -> None:
        is_list = self._text.startswith("[[", self._at)
        self._at += 2 if is_list else 1
        named = self._read_key()
        self._at += 2 if is_list else 1
        path: Path = ()
        for part in named[:-1]:
            path = self._in_last((*path, part))
        path += named[-1:]
        if is_list:
            self._note(path, line)
            number = self._counts[path] = self._counts.get(path, -1) + 1
            path = (*path, number)
        self._note(path, line)
        self._table = path

    def _in_last(self, path: Path) -> Path:
        """Return the path, into the last of its tables if it is a list of them."""
        return (*path, self._counts[path]) if path in self._counts else path

    def _read_key(self) -> Path:
        parts: list[str] = []
        while (found := _KEY_PART.match(self._text, self._at)) is not None:
            quoted, literal, bare = found.groups()
            if quoted is not None:
                parts.append(tomllib.loads(f'key = "{quoted}"')["key"])
            else:
                parts.append(bare if literal is None else literal)
            self._at = found.end()
            if not self._text.startswith(".", self._at):
                break
            self._at += 1
        return tuple(parts)

    def _skip_value(self) -> None:
        """Go behind a value: to the end of its line, or further where it is open."""
        depth = 0
        while self._at < len(self._text):
            character = self._text[self._at]
            if character in "\"'" and (found := _STRING.match(self._text, self._at)):
                self._at = found.end()
                continue
            if character == "#":
                self._at = self._text.find("\n", self._at)
                if self._at < 0:
                    self._at = len(self._text)
                continue
            if character == "\n" and depth == 0:
                return
            depth += (character in "[{") - (character in "]}")
            self._at += 1

    def _skip_blank(self) -> None:
        if (found := _BLANK.match(self._text, self._at)) is not None:
            self._at = found.end()

    def _note(self, path: Path, line: int) -> None:
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)


def key_lines(text: str) -> dict[Path, int]:
    """Return the line, from 1, of each key and table of a TOML text.

    What stands within an inline table or an array has no line of its own.
    """
    reader = _Reader(text)
    reader.read()
    return reader.lines


def line_of(lines: dict[Path, int], path: Path) -> int:
    """Return the line of a key, or of the nearest that is around it."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return 1
