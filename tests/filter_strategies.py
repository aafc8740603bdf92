"""Filters for hypothesis: such as the language can spell, and no others."""

from hypothesis import strategies as st

from penstock.search.filters import (
    ATTRIBUTES,
    And,
    Anywhere,
    Everything,
    Field,
    Filter,
    Not,
    Or,
    Path,
    Regex,
    Text,
    column_of,
    wildcard_literal,
)

# What PostgreSQL's text takes: no NUL, no half of a surrogate pair. Much of what means
# something to the language, to LIKE, to JSON or to SQL.
SPECIAL = [*"*\\\"'():/-<>=!.%_{}[]$1;, \t\n", "AND", "OR", "NOT", "é", "😀", "한글"]
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(SPECIAL),
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
    ),
    min_size=1,
    max_size=6,
).map("".join)
NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(["0", "-0", "500", "007", "1.50", "1e3", "-2.5E-3", "1e999"]),
)
CONSTANTS = st.sampled_from(["true", "false", "null"])
VALUES = st.one_of(NUMBERS, CONSTANTS, TEXTS)
KEYS = st.one_of(
    st.sampled_from(["a", "b", "status", "any", "0", "-1", "a.b", "level", "x y"]),
    TEXTS,
)
TEXT_PATHS = st.sampled_from([("tag",), ("service",), ("host",), ("message",)])
ATTRIBUTE_PATHS: st.SearchStrategy[Path] = st.one_of(
    st.lists(KEYS, min_size=2, max_size=4).map(tuple),
    KEYS.map(lambda key: (key,)).filter(
        lambda path: column_of(path) is None and path != (ATTRIBUTES,)
    ),
    KEYS.map(lambda key: ("attributes", key)),
)
LEVEL = st.sampled_from(["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"])
COMPARISON = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
PARTS_OF_PATTERNS = (
    *("a", "b", ".", "[a-c]", r"\d", r"\w+", "(x|y)", "z?", "^", "$", r"\.", "é"),
    *("[^0-9/]", "q{1,3}", r"\b", "/", '"', " ", "(?:)", "a|", "😀", r"\s*", "-"),
)
PATTERNS = st.lists(st.sampled_from(PARTS_OF_PATTERNS), min_size=1, max_size=5).map(
    "".join
)


def _like(path: Path, parts: list[str]) -> Field:
    pattern = "*".join(map(wildcard_literal, parts))
    return Field(path, "like", pattern)


def _like_in_message(parts: list[str]) -> Field:
    return _like(("message",), ["", *parts, ""])


FIELDS = st.one_of(
    st.builds(Field, TEXT_PATHS, COMPARISON, VALUES).filter(
        lambda it: it.path != ("message",) or it.value != ""
    ),
    st.builds(Field, ATTRIBUTE_PATHS, COMPARISON, VALUES),
    st.builds(Field, st.just(("level",)), COMPARISON, LEVEL),
    st.builds(
        Field, st.just(("id",)), COMPARISON, st.integers(-(2**62), 2**62).map(str)
    ),
    st.builds(
        Field,
        st.just(("ts",)),
        COMPARISON,
        st.datetimes().map(lambda it: f"{it.isoformat()}+00:00"),
    ),
    st.builds(
        Field,
        st.one_of(
            TEXT_PATHS, ATTRIBUTE_PATHS, st.sampled_from([("id",), ("ts",), ("level",)])
        ),
        st.just("exists"),
        st.just(""),
    ),
    st.builds(
        _like,
        st.one_of(
            st.sampled_from([("tag",), ("service",), ("host",)]), ATTRIBUTE_PATHS
        ),
        st.lists(st.one_of(TEXTS, st.just("")), min_size=2, max_size=4).filter(any),
    ),
    st.builds(_like_in_message, st.lists(TEXTS, min_size=2, max_size=3)),
)
LEAVES: st.SearchStrategy[Filter] = st.one_of(
    st.builds(Text, TEXTS),
    st.builds(Anywhere, TEXTS),
    FIELDS,
    st.builds(
        Regex, st.one_of(TEXT_PATHS, ATTRIBUTE_PATHS, st.just(("level",))), PATTERNS
    ),
    st.just(Everything()),
)


def _made_of(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    several = st.lists(inner, min_size=2, max_size=4).map(tuple)
    return st.one_of(
        st.builds(Not, inner), st.builds(And, several), st.builds(Or, several)
    )


FILTERS: st.SearchStrategy[Filter] = st.recursive(LEAVES, _made_of, max_leaves=8)
