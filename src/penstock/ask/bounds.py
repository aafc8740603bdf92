"""What is asked of a statement's text before the parser may have it.

PostgreSQL's parser recurses into what it has parsed, on the C stack: a few hundred
levels of `(SELECT` end a process whose threads have stacks of 512 KiB (macOS). So text
is bounded by its length, and then by its tokens, which the lexer finds without
recursion. It must not know what a statement means.
"""

from pglast.parser import ParseError, scan

from penstock.ask.refusal import Refused

# A list of some thousand ids is of this size; nobody types more. Half a second of work.
MAX_STATEMENT_BYTES = 64 * 1024
# pglast counts characters anew for each place it tells, so that its time grows with
# bytes times what is not ASCII: 27 s for 120 KB of letters, half a second for this.
MAX_UNICODE_BYTES = 16 * 1024
# Brackets in each other, and words or operators that can be (`- - -`, NOT NOT, CASE, a
# chain of +). Found by doing: on a stack of 512 KiB the worst of them end the parser
# between 800 and 1,600, and WITH in brackets between 200 and 400.
MAX_BRACKET_DEPTH = 64
MAX_NESTING_TOKENS = 600

_OPENING = {"ASCII_40", "ASCII_91"}
_CLOSING = {"ASCII_41", "ASCII_93"}
# A parser keeps `a AND b AND c` as a list.
_FLAT = {
    "AND", "OR", "ASCII_44", "ASCII_46", "ASCII_59", "IDENT", "UIDENT", "SCONST",
    "USCONST", "ICONST", "FCONST", "BCONST", "XCONST", "NULL_P", "TRUE_P", "FALSE_P",
    "SQL_COMMENT", "C_COMMENT",
}  # fmt: skip


def check_text(sql: str) -> None:
    """Refuse text that the parser is not to see.

    Raises:
        Refused: too long, too deeply nested, or not text that PostgreSQL takes.
    """
    try:
        size_bytes = len(sql.encode())
    except UnicodeEncodeError:
        raise Refused(
            "the statement holds a lone surrogate, which is no text"
        ) from None
    if "\0" in sql:
        # C ends a text there: what is behind it would not have been looked at.
        raise Refused("the statement holds a NUL character, which is no text")
    may_have = MAX_STATEMENT_BYTES if sql.isascii() else MAX_UNICODE_BYTES
    if size_bytes > may_have:
        of = "" if sql.isascii() else " with letters that are not ASCII"
        raise Refused(
            f"the statement has {size_bytes} bytes, and one{of} may have {may_have}"
        )
    if sql.lstrip().startswith("\\"):
        raise Refused("psql's commands, which begin with a backslash, are none of SQL")
    try:
        tokens = scan(sql)
    except ParseError as error:
        raise syntax_error(error) from error
    depth = nesting = 0
    for token in tokens:
        if token.name in _OPENING:
            depth += 1
            if depth > MAX_BRACKET_DEPTH:
                raise Refused(
                    f"at {token.start + 1}: brackets are nested more than"
                    f" {MAX_BRACKET_DEPTH} deep"
                )
        elif token.name in _CLOSING:
            depth -= 1
        elif token.name not in _FLAT:
            nesting += 1
            if nesting > MAX_NESTING_TOKENS:
                raise Refused(
                    f"at {token.start + 1}: the statement has more than"
                    f" {MAX_NESTING_TOKENS} operators and keywords; split it"
                )


def syntax_error(error: ParseError) -> Refused:
    """Return a parser's complaint as a line."""
    text, *place = error.args
    where = f"at {place[0] + 1}: " if place and isinstance(place[0], int) else ""
    return Refused(f"{where}{text}")
