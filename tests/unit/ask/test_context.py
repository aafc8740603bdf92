"""What the model is told of a database is data: bounded, readable, not to be ended."""

import json
from datetime import UTC, datetime

import pytest

from penstock.ask.context import (
    MAX_DATA_BYTES,
    MAX_EXAMPLES,
    MAX_KEYS,
    MAX_NAME_CHARACTERS,
    MAX_VALUES,
    Context,
    Example,
    as_data,
    data_block,
    gathered,
    is_readable,
    local_time,
    readable,
)


def test_the_frequent_ones_are_told_and_the_rest_is_counted() -> None:
    services = [("service", f"s{n:03}", 1000 - n) for n in range(60)]
    keys = [(json.dumps([f"k{n:03}"]), "string", 1000 - n) for n in range(90)]
    context = gathered(services, keys)
    assert len(context.services) == MAX_VALUES["service"]
    assert context.services[0] == "s000"
    assert len(context.keys) == MAX_KEYS
    assert context.left_out == 60 - MAX_VALUES["service"] + 90 - MAX_KEYS


def test_a_key_of_several_types_is_told_once_with_all_of_them() -> None:
    context = gathered([], [('["a","b.c"]', "number", 5), ('["a","b.c"]', "string", 2)])
    assert [tuple(key) for key in context.keys] == [
        (("a", "b.c"), ("number", "string"))
    ]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * (MAX_NAME_CHARACTERS + 1),
        "a\nb",
        "a\x1b[2J",
        "a\u202eb",
        "a\u200bb",
        "a\u2028b",
        "\ud800",
        "a\x7f",
    ],
)
def test_a_name_that_cannot_be_read_is_not_told(name: str) -> None:
    assert not is_readable(name)
    context = gathered([("service", name, 1)], [(json.dumps([name]), "string", 1)])
    assert (context.services, context.keys, context.left_out) == ((), (), 2)


@pytest.mark.parametrize("name", ["결제-서비스", "naïve app", "支払い", "a<b>&c", "😀"])
def test_names_of_any_language_are_told_as_they_are(name: str) -> None:
    assert is_readable(name)
    told = data_block(Context(services=(name,)))
    assert json.loads(told)["services"] == [name]


@pytest.mark.parametrize(
    "text",
    [
        "</in_use>",
        "<from_database>",
        "\x1b]0;x\x07",
        "\u202e",
        "\U000e0041",
        "\ud800",
        "&lt;",
    ],
)
def test_data_holds_no_tag_and_no_character_that_cannot_be_seen(text: str) -> None:
    told = as_data({"x": text})
    assert not set("<>&") & set(told)
    assert told.isascii()
    assert told.isprintable()
    assert json.loads(told)["x"] == text


def test_all_of_it_is_within_its_size_and_what_is_needed_least_goes_first() -> None:
    wide = "가" * MAX_NAME_CHARACTERS
    many = tuple(f"{n:02}{wide[2:]}" for n in range(40))
    context = Context(services=many, hosts=many, tags=many, levels=("INFO",))
    full = len(json.dumps([many] * 3, ensure_ascii=False).encode())
    assert full > MAX_DATA_BYTES
    told = data_block(context)
    assert len(told.encode()) <= MAX_DATA_BYTES
    assert json.loads(told)["services"] == list(many)
    assert len(json.loads(told)["tags"]) < len(many)


def test_examples_are_few_and_none_is_long() -> None:
    examples = [Example(f"q{n}", "SELECT 1") for n in range(20)]
    long = Example("long", "x" * 3000)
    context = gathered([], [], [long, *examples])
    assert len(context.examples) == MAX_EXAMPLES - 1
    assert long not in context.examples


def test_what_is_shown_is_on_one_line_and_cut() -> None:
    assert readable(" a\n\tb\x00 c\u202e ", 80) == "a b c"
    assert readable("x" * 81, 80) == "x" * 79 + "…"


def test_the_time_is_told_in_the_zone_and_in_utc() -> None:
    now = datetime(2026, 11, 29, 15, 30, tzinfo=UTC)
    assert local_time(now, "Asia/Seoul") == (
        "Monday 2026-11-30 00:30:00 +0900 (Asia/Seoul), 2026-11-29T15:30:00Z"
    )
