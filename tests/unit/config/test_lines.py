"""Each key of a TOML text is found on its line, however it is written."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.lines import Path, key_lines, line_of

TEXT = '''\
# a comment with a [table] and key = value in it
first = 1
"quoted key" = "a # that is no comment"  # one that is
'literal' = 'a [ bracket'
dotted.inner = true

[table]
many = [
    "one",   # ]
    "two",
    """three
[no.table]
no_key = 1
""",
]
text = """
[nor.this]
nor_this = 'x'
"""
other = \'\'\'
[[or.this]]
\'\'\'
after = {inline = 1, deep = {er = "}"}}

[[list]]
name = "a"

[[list]]
name = "b"
[list.sub]
key = 1
[[list.under]]
key = 2

[ spaced . "out" ]
last = """ends with quotes\\""""""
very_last = 2'''

PATHS: dict[Path, int] = {
    ("first",): 2,
    ("quoted key",): 3,
    ("literal",): 4,
    ("dotted", "inner"): 5,
    ("table",): 7,
    ("table", "many"): 8,
    ("table", "text"): 16,
    ("table", "other"): 20,
    ("table", "after"): 23,
    ("list",): 25,
    ("list", 0, "name"): 26,
    ("list", 1): 28,
    ("list", 1, "name"): 29,
    ("list", 1, "sub", "key"): 31,
    ("list", 1, "under", 0, "key"): 33,
    ("spaced", "out", "last"): 36,
    ("spaced", "out", "very_last"): 37,
}


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_key_is_found_on_its_line(path: Path) -> None:
    tomllib.loads(TEXT)
    assert key_lines(TEXT)[path] == PATHS[path]


def test_what_stands_in_a_text_is_no_key() -> None:
    found = {part for path in key_lines(TEXT) for part in path}
    assert not found & {"no_key", "no", "nor", "nor_this", "or", "this", "inline"}


def test_within_an_inline_table_it_is_the_line_of_the_key_before_it() -> None:
    assert line_of(key_lines(TEXT), ("table", "after", "deep", "er")) == 23
    assert line_of(key_lines(TEXT), ("nowhere",)) == 1


KEYS = st.from_regex(r"[a-z_]{1,6}", fullmatch=True)
VALUES = st.recursive(
    st.integers(0, 9)
    | st.booleans()
    | st.text(alphabet="ab[]{}#=\"'\n \\", max_size=8),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


def written(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + " ,\n"[: 2 * bool(value)] + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"""{escaped}"""'
    return str(value).lower()


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_text_that_is_toml_is_gone_through_key_by_key(tables: Any) -> None:
    lines: dict[str, int] = {}
    text = ""
    for key, value in tables.items():
        lines[key] = text.count("\n") + 1
        text += f"{key} = {written(value)}\n"
    tomllib.loads(text)
    assert key_lines(text) == {(key,): line for key, line in lines.items()}
