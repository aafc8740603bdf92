"""What a body of /api/ingest becomes: entries, in order, with their times."""

import json
import time
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.http.answers import ApiError
from penstock.http.long_text import WINDOW_CHARACTERS
from penstock.http.records import MOST_NAMED, Problem, Records, time_of
from penstock.wire.values import MAX_VALUES

NOW_NS = 1_700_000_000_000_000_123
KEYS = ("date",)


def read(body: bytes, keys: tuple[str, ...] = KEYS, most: int = 10_000) -> Records:
    records = Records(body, time_keys=keys, now_ns=NOW_NS, most_records=most)
    for _ in records.read():
        pass
    return records


def entries_of(records: Records) -> list[Any]:
    unpacker = msgpack.Unpacker()
    unpacker.feed(records.entries)
    return list(unpacker)


def records_of(body: bytes) -> list[Any]:
    return [each[1] if type(each) is list else each for each in entries_of(read(body))]


def seconds_of(body: bytes, *keys: str) -> float:
    ((ext, _),) = entries_of(read(body, keys or KEYS))
    assert ext.code == 0
    seconds = int.from_bytes(ext.data[:4])
    return seconds + int.from_bytes(ext.data[4:]) / 1e9


ABC = [{"a": 1}, {"b": "2"}, {"c": [3, None]}]


@pytest.mark.parametrize(
    "body",
    [
        b'[{"a":1},{"b":"2"},{"c":[3,null]}]',
        b'\xef\xbb\xbf [ {"a":1} ,\n {"b":"2"},\r\n{"c":[3,null]} ] \n',
        b'{"a":1}\n{"b":"2"}\n{"c":[3,null]}\n',
        b'{"a":1}\r\n\r\n{"b":"2"}\r\n{"c":[3,null]}',
        b'{"a":1}{"b":"2"}{"c":[3,null]}',
        b'{"a":1} {"b":"2"}\n{"c":[3,null]}',
        b'{\n  "a": 1\n}\n{\n  "b": "2"\n}\n{"c":\n[3,null]}\n',
        b'{\n  "a": 1\n}{\n  "b": "2"}\n{"c":[3,null]}\n',
    ],
)
def test_an_array_lines_and_a_stream_are_the_same_records(body: bytes) -> None:
    assert records_of(body) == ABC


@settings(max_examples=50)
@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers(0, 9)), min_size=1))
def test_any_records_are_what_was_sent_in_every_form(values: list[Any]) -> None:
    values = [{k: v for k, v in each.items() if k != "date"} for each in values]
    lines = "\n".join(json.dumps(each, ensure_ascii=False) for each in values)
    array = json.dumps(values, indent=1)
    for body in (lines, array, "".join(map(json.dumps, values))):
        assert records_of(body.encode()) == values


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        (1700000001.5, 1700000001.5),
        (1700000001, 1700000001),
        (1700000001500, 1700000001.5),
        (1700000001500000, 1700000001.5),
        ("2023-11-14T22:13:21.500000Z", 1700000001.5),
        ("2023-11-14 22:13:21.500000", 1700000001.5),
        ("2023-11-14T22:13:21.500000123Z", 1700000001.5),
        ("2023-11-15T07:13:21.5+09:00", 1700000001.5),
    ],
)
def test_a_time_is_read_as_fluent_bit_and_people_write_it(
    date: object, seconds: float
) -> None:
    body = json.dumps({"date": date, "a": 1}).encode()
    assert seconds_of(body) == pytest.approx(seconds, abs=1e-6)
    assert records_of(body) == [{"a": 1}]


@pytest.mark.parametrize(
    "date", ["soon", "", None, True, [], {}, 0, -5, 1e300, 10**30, "0001-01-01", 1e-9]
)
def test_what_is_no_time_stays_in_the_record_which_has_that_of_its_arrival(
    date: object,
) -> None:
    body = json.dumps({"date": date}).encode()
    assert seconds_of(body) == pytest.approx(1_700_000_000)
    kept = str(date) if date == 10**30 else date
    assert records_of(body) == [{"date": kept}]


def test_the_times_key_is_the_one_that_is_asked_for() -> None:
    body = b'{"date":1600000000,"@timestamp":"2023-11-14T22:13:21Z"}'
    assert seconds_of(body, "ts", "@timestamp") == 1700000001
    assert seconds_of(body, "") == pytest.approx(1_700_000_000)


def test_a_line_that_is_no_json_costs_itself() -> None:
    body = b'{"a":1}\nnot json\n{"b":\n{"c":"\xff"}\n7\n{"d":1} x\n'
    records = read(body)
    kept = [e[1] if type(e) is list else e for e in entries_of(records)]
    assert kept == [{"a": 1}, "not json", '{"b":', {"c": "\\xff"}, 7, {"d": 1}, "x"]
    assert [each.line for each in records.problems] == [2, 3, 5, 6]
    assert records.problems[0].error == ("no JSON at line 2 column 1: Expecting value")
    assert records.problems[1].error.startswith("no JSON at line 3 column 6: ")
    assert records.problems[2].error == "it is no JSON object"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "the body has no record in it"),
        (b" \r\n\t", "the body has no record in it"),
        (b"[]", "the array has no record in it"),
        (b"hello", "no JSON at line 1 column 1: Expecting value; nothing is stored"),
        (b"hello\nworld", "no JSON at line 1 column 1"),
        (b'[{"a":1},\n {"b":}]', "no JSON at line 2 column 7: Expecting value"),
        (b'[{"a":1},\n]', "no JSON at line 2 column 1"),
        (b'[{"a":1}', "no JSON at line 1 column 9: expected , or ]"),
        (b'[{"a":1}] [', "column 11: something stands behind the array"),
        (b'{"a":1}\n{\n "b":1,\n}', "no JSON at line 4 column 1"),
        (b"[" + b"[" * 100_000, "it is nested too deep"),
        (b'{"a":' * 3000 + b"1" + b"}" * 3000, "nested too deep; nothing is stored"),
    ],
)
def test_a_body_that_is_broken_as_a_whole_is_told_where(
    body: bytes, error: str
) -> None:
    with pytest.raises(ApiError) as caught:
        read(body)
    assert caught.value.status == 400
    assert error in str(caught.value)
    assert "hello" not in str(caught.value), "no word of what was sent"


def test_of_many_problems_the_first_are_named_and_all_are_rejected() -> None:
    records = read(b'{"a":1}\n' + b"x\n" * 100)
    assert len(entries_of(records)) == 101
    assert [each.line for each in records.problems] == list(range(2, MOST_NAMED + 2))


def test_so_many_records_and_no_more() -> None:
    assert len(entries_of(read(b"{}\n" * 10, most=10))) == 10
    for body in (b"{}\n" * 11, b"[" + b"{}," * 10 + b"{}]", b"{}" * 11, b"x\n" * 11):
        with pytest.raises(ApiError) as caught:
            read(body, most=10)
        assert caught.value.status == 413


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1}\n' + b'{"a" 1}\n' * 100_000,
        b'{"a":1}\n' + b"x\n" * 100_000,
        b'{"a":1}' * 100_000,
        b'{"a":1}' * 50_000 + b"x" + b'{"a":1}' * 50_000,
        b"{\n" * 100_000,
        b'{"a":1}\n' + b"[" * 1_000_000,
        b'{"a":1}\n{"a":"' + b'\\"' * 500_000,
        b"[" + b'{"a":"' + b'\\"' * 500_000,
        b"{\n" + b'"a":"' + b"x" * 300_000 + b'"}' * 300_000,
    ],
)
def test_no_body_takes_time_that_grows_faster_than_it(body: bytes) -> None:
    """Where an error counts the lines before it, the first takes minutes."""
    before = time.process_time()
    try:
        read(body, most=10**9)
    except ApiError as error:
        assert error.status == 400
    assert time.process_time() - before < 20


def test_others_have_a_turn_while_a_large_body_is_read() -> None:
    for body in (
        b'{"a":1}\n' * 50_000,
        b"[" + b"{},\n" * 99_999 + b"{}]",
        b"{}" * 99_999,
        b'{"a":"' + b"\xff" * 500_000 + b'"}',  # 15 s, were it 32 MiB
    ):
        steps = sum(
            1
            for _ in Records(
                body, time_keys=KEYS, now_ns=NOW_NS, most_records=10**6
            ).read()
        )
        assert steps > len(body) / 128 / 1024


# More maps than an entry may have values, of three bytes each: read they take eighty.
CROWDED = b'{"a":[' + b"{}," * 150_000 + b"1]}"


@pytest.mark.parametrize("form", [b'[{"a":1},%s,{"b":"2"}]', b'{"a":1}\n%s{"b":"2"}'])
def test_a_record_of_very_many_values_is_rejected_and_not_read(form: bytes) -> None:
    records = read(form % CROWDED)
    assert records.problems == [
        Problem(1 if form[:1] == b"[" else 2, "it has more than 131,072 values")
    ]
    first, crowded, last = entries_of(records)
    assert (first[1], last[1]) == ({"a": 1}, {"b": "2"})
    assert crowded.encode() == CROWDED


def test_so_many_values_as_an_entry_may_have_are_read() -> None:
    most = {"a": list(range(MAX_VALUES - 4))}
    assert records_of(b'{"a":1}' + json.dumps(most).encode()) == [{"a": 1}, most]


def test_what_the_end_of_what_is_read_at_once_cuts_is_all_there() -> None:
    numbers = b" 12345678901 1.5e3 -7.25E+2 true "
    values = [12345678901, 1500.0, -725.0, True, {"a": 1}]
    for shift in range(len(numbers)):
        first = b'"k":"' + b"x" * (WINDOW_CHARACTERS - 9 - shift) + b'"}' + numbers
        assert records_of(b"{" + first + b'{"a":1}')[1:] == values
        assert records_of(b"{\n" + first + b'\n{"a":1}')[1:] == values


def test_a_text_is_no_time_that_only_looks_like_one() -> None:
    assert time_of("1700000000") is None
    assert time_of("12:00") is None
    assert time_of("2023-11-14T25:00:00Z") is None
