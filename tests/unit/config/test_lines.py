"""The line of each key of a TOML text, whatever is written around it."""

import time
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.lines import key_lines, line_of
from penstock.config.writing import toml_value


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a = 1", ("a",), 1),
        ("\n\n  a=1", ("a",), 3),
        ("# a = 0\na = 1", ("a",), 2),
        ("a = 1 # b = 2\nb = 3", ("b",), 2),
        ("a = 1\r\nb = 2\r\n", ("b",), 2),
        ("[t]\na = 1", ("t",), 1),
        ("[t]\na = 1", ("t", "a"), 2),
        ("[ t . u ] # x\na = 1", ("t", "u", "a"), 2),
        ("t.a = 1\nt . b = 2", ("t", "b"), 2),
        ("\"a b\" = 1\n'c.d' = 2", ("c.d",), 2),
        ('x = 1\n"\\u0061" = 1', ("a",), 2),
        ('x = 1\n"q\\"]" = 1\ny = 2', ("y",), 3),
        ('["t.u".v]\na = 1', ("t.u", "v", "a"), 2),
        ('a = """\nb = 1\n"""\nb = 2', ("b",), 4),
        ('a = """x\\""" """\nb = 2', ("b",), 2),
        ('a = """"quoted""""\nb = 2', ("b",), 2),
        ('a = """\n\\\\"""\nb = 2', ("b",), 3),
        ("a = '''\nb = 1\n''''\nb = 2", ("b",), 4),
        ("a = '''\\'''\nb = 2", ("b",), 2),
        ('a = ""\nb = 2', ("b",), 2),
        ("a = '\"'\nb = 2", ("b",), 2),
        ("a = [\n  1, # ]\n  [2],\n]\nb = 2", ("b",), 5),
        ("a = [\n\"]\",\n'[',\n]\nb = 2", ("b",), 5),
        ("a = {x = 1, y = [1,\n2]}\nb = 2", ("b",), 3),
        ("[[l]]\na = 1\n[[l]]\na = 2", ("l",), 1),
        ("[[l]]\na = 1\n[[l]]\na = 2", ("l", 1), 3),
        ("[[l]]\na = 1\n[[l]]\na = 2", ("l", 1, "a"), 4),
        ("[[l]]\n[[l.m]]\na = 1\n[[l]]\n[[l.m]]\n\na = 2", ("l", 1, "m", 0, "a"), 7),
        ("[[l]]\n[l.m]\na = 1\n[[l]]\n[l.m]\na = 2", ("l", 1, "m", "a"), 6),
        ("[t]\n[[t.l]]\na=1\n[u]\na=1", ("u", "a"), 5),
    ],
)
def test_a_key_is_found_on_its_line(
    text: str, path: tuple[str | int, ...], line: int
) -> None:
    tomllib.loads(text)
    assert key_lines(text)[path] == line


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("x = 1\na = {b = 2}", ("a", "b"), 2),
        ("x = 1\nl = [\n{b = 2}]", ("l", 0, "b"), 2),
        ("x = 1", ("not there",), 1),
        ("\n[t]\na = 1", ("t", "b"), 2),
    ],
)
def test_what_has_no_line_of_its_own_has_that_of_what_is_around_it(
    text: str, path: tuple[str | int, ...], line: int
) -> None:
    assert line_of(key_lines(text), path) == line


VALUES = st.recursive(
    st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(st.tuples(st.text(min_size=1), VALUES, st.integers(0, 2)), max_size=8))
def test_every_key_is_found_whatever_the_names_and_values(
    entries: list[tuple[str, Any, int]],
) -> None:
    text, expected, line = "", {}, 1
    for name, value, blanks in entries:
        if (name,) in expected:
            continue
        text += "\n" * blanks + f'{toml_value(name)} = {toml_value(value)} # ]"\n'
        line += blanks
        expected[(name,)] = line
        line += 1
    if any(0xD800 <= ord(c) < 0xE000 for name, _, _ in entries for c in name):
        return
    found = tomllib.loads(text)
    assert {(name,) for name in found} == set(expected)
    assert key_lines(text) == expected


def test_a_large_file_is_read_in_linear_time() -> None:
    text = "".join(f"key_{number} = [1, 2, 3]\n" for number in range(40_000))
    started = time.process_time()
    assert len(key_lines(text)) == 40_000
    assert time.process_time() - started < 5
