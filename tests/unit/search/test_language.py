"""The language of a search: what is typed, and the filter that is read of it."""

from zoneinfo import ZoneInfo

import pytest

from penstock.search.filters import (
    And,
    Anywhere,
    Everything,
    Field,
    Filter,
    FilterError,
    Not,
    Or,
    Regex,
    Text,
    wildcard_parts,
)
from penstock.search.language import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_TERMS,
    parse,
    parse_paths,
)

MESSAGE = ("message",)


@pytest.mark.parametrize(
    ("text", "filter"),
    [
        ("", Everything()),
        ("  ", Everything()),
        ("*", Everything()),
        ("timeout", Text("timeout")),
        ("a b", And((Text("a"), Text("b")))),
        ("a AND b", And((Text("a"), Text("b")))),
        ("a OR b c", Or((Text("a"), And((Text("b"), Text("c")))))),
        ("(a OR b) c", And((Or((Text("a"), Text("b"))), Text("c")))),
        ("a and or not", And((Text("a"), Text("and"), Text("or"), Text("not")))),
        ("ORDER NOTHING", And((Text("ORDER"), Text("NOTHING")))),
        ('"OR"', Text("OR")),
        ("-a", Not(Text("a"))),
        ("NOT a", Not(Text("a"))),
        ("-(a OR b)", Not(Or((Text("a"), Text("b"))))),
        ("- a", And((Text("-"), Text("a")))),
        ("a-b", Text("a-b")),
        (r"\-a", Text("-a")),
        ('"say \\"hi\\" \\\\ \\n"', Text('say "hi" \\ \\n')),
        ("it's", Text("it's")),
        (r"C:\temp\new", Text(r"C:\temp\new")),
        ("100%", Text("100%")),
        ("😀", Text("😀")),
        ("https://example.com/a?b=1", Text("https://example.com/a?b=1")),
        ("10.0.0.1:5432", Text("10.0.0.1:5432")),
        ("12:30:45", Text("12:30:45")),
        ("::1", Text("::1")),
        ("/var/log/syslog", Text("/var/log/syslog")),
        ("/var/log/", Text("/var/log/")),
        ("key=value", Text("key=value")),
        ("conn*refused", Field(MESSAGE, "like", "*conn*refused*")),
        ("conn*", Text("conn")),
        (r"2\*3", Text("2*3")),
        (r"/a\/b c/", Regex(MESSAGE, "a/b c")),
        ("/a/i", Regex(MESSAGE, "(?i)a")),
        ("message:a", Text("a")),
        ('message:"a b"', Text("a b")),
        ('message:="a b"', Field(MESSAGE, "=", "a b")),
        ("any:a", Anywhere("a")),
        ('"any":a', Field(("any",), "=", "a")),
        ("attributes.any:a", Field(("attributes", "any"), "=", "a")),
        ("service:api", Field(("service",), "=", "api")),
        ('service:"my api"', Field(("service",), "=", "my api")),
        ('service:""', Field(("service",), "=", "")),
        ("service:*", Field(("service",), "exists", "")),
        ("service:web-*", Field(("service",), "like", r"web-*")),
        ('service:"web-*"', Field(("service",), "=", "web-*")),
        ("service:!=api", Field(("service",), "!=", "api")),
        ("service:/^a/", Regex(("service",), "^a")),
        ("path:/api/users", Field(("path",), "=", "/api/users")),
        ("path:/api/*", Field(("path",), "like", "/api/*")),
        ("http.status:>=500", Field(("http", "status"), ">=", "500")),
        ("http.status:<-1.5", Field(("http", "status"), "<", "-1.5")),
        ('"a.b".c:1', Field(("a.b", "c"), "=", "1")),
        ('a."b c".0:1', Field(("a", "b c", "0"), "=", "1")),
        ("service.name:a", Field(("service", "name"), "=", "a")),
        ("메시지:값", Field(("메시지",), "=", "값")),
        ("level:error", Field(("level",), "=", "ERROR")),
        ("level:>=Warning", Field(("level",), ">=", "WARN")),
        ("level:crit", Field(("level",), "=", "FATAL")),
        ("level:*", Field(("level",), "exists", "")),
        (
            "level:(warn OR -err)",
            Or((Field(("level",), "=", "WARN"), Not(Field(("level",), "=", "ERROR")))),
        ),
        ("id:007", Field(("id",), "=", "7")),
        ("ts:>2026-11-05T12:00", Field(("ts",), ">", "2026-11-05T03:00:00+00:00")),
        ("ts:>2026-11-05T12:00Z", Field(("ts",), ">", "2026-11-05T12:00:00+00:00")),
        ('ts:<="2026-11-05 12:00"', Field(("ts",), "<=", "2026-11-05T03:00:00+00:00")),
    ],
)
def test_what_is_typed_is_read(text: str, filter: Filter) -> None:
    assert parse(text, ZoneInfo("Asia/Seoul")) == filter


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a "b', "at 3: a quote that is not closed"),
        (
            'a"b"',
            r"at 2: a quote inside a word; quote the whole word, and write \" for",
        ),
        ('"a"b', r"at 4: the quotes end here and a word goes on; a quote that is text"),
        ("(a", "at 1: a ( that is not closed; in quotes it is text"),
        ("a)", "at 2: a ) that closes nothing; in quotes it is text"),
        ("main()", "at 5: nothing in parentheses; in quotes it is text"),
        ("a OR", "at 5: the end, where a word or a field has to stand"),
        (
            "OR a",
            "at 1: OR, where a word or a field has to stand; in quotes it is text",
        ),
        ("a AND AND b", "at 7: AND, where a word or a field has to stand"),
        ("NOT", "at 4: the end, where a word or a field has to stand"),
        ("Error: x", "at 1: a field without a value; in quotes it is text"),
        ("a:>", "at 4: a value has to stand right after >"),
        ("a:>= 5", "at 5: a value has to stand right after >="),
        ("a:>5*", "at 4: > takes no wildcard; in quotes it is text"),
        ("a:!=b*", "at 5: != takes no wildcard; in quotes it is text, and -a:b* is"),
        ('""', "at 1: nothing in quotes, which is in every text"),
        (
            "level:loud",
            "at 1: no level is named 'loud'; there are TRACE, DEBUG, INFO, ",
        ),
        ("level:err*", "at 1: level takes no wildcard"),
        ("any:a*", "at 1: any takes no wildcard"),
        ("any:>5", "at 1: any takes a word or a phrase, and is not compared"),
        ("any:/a/", "at 1: any takes no regular expression"),
        ("id:abc", "at 1: an id is a whole number below 2^63: 'abc'"),
        ("id:9223372036854775808", "at 1: an id is a whole number below 2^63"),
        ("ts:>noon", "at 1: 'noon' is no time as in ts:>2026-11-01T12:00"),
        ("attributes:1", "at 1: attributes needs a key, as in attributes.status:500"),
        ("/a[/", "at 1: the regular expression is not taken: at 3 of it: it ends too"),
        (r"/(a)\1/", r"at 1: the regular expression is not taken: at 6 of it: \1 is"),
        ("/a{3}/b", "at 1: a regular expression is /between slashes/, with \\/ for a"),
        ("a\0b", "at 2: U+0000, which no text in PostgreSQL has"),
        ("\udc80", "at 1: U+DC80, which no text in PostgreSQL has"),
        (
            "x" * (MAX_CHARACTERS + 1),
            "at 16385: a filter has 16,384 characters at most",
        ),
        ("(" * 60 + "a" + ")" * 60, f"parentheses and negations go {MAX_DEPTH} deep"),
        ("-" * 60 + "a", f"parentheses and negations go {MAX_DEPTH} deep"),
        ("a " * 201, f"a filter has {MAX_TERMS} words and fields at most"),
        (".".join("a" * 33) + ":1", "at 1: a path has 32 keys at most"),
    ],
)
def test_what_is_no_filter_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(FilterError) as refused:
        parse(text)

    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_word_as_long_as_a_filter_may_be_is_a_word() -> None:
    word = "x" * MAX_CHARACTERS

    assert parse(word) == Text(word)


def test_wildcards_stand_between_parts() -> None:
    assert wildcard_parts(r"a*\*\\**b") == ["a", "*\\", "", "b"]
    assert wildcard_parts("a\\") == ["a\\"]


def test_fields_are_read_with_commas_between() -> None:
    assert parse_paths('service, http.status,"a,b".c') == [
        ("service",),
        ("http", "status"),
        ("a,b", "c"),
    ]


@pytest.mark.parametrize("text", ["", "a,", "a b", "a:b", ",a", "a..b", '"a'])
def test_what_is_no_field_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(FilterError, match=r"^at \d+: (a field is|a comma has)"):
        parse_paths(text)
