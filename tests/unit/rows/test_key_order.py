"""The attributes of a row have their keys in the order that jsonb keeps them in."""

import json
from typing import Any

import pytest

from penstock.rows.key_order import in_jsonb_order, sorted_keys
from penstock.rows.plain import MAX_DEPTH
from tests import msgpack_bytes as m
from tests.pure_core import rows_and_rejected

# Each is before the next: by the length in bytes, then by the bytes.
KEYS = ["", "B", "a", "z", "\x7f", "aa", "ab", "é", "zzz", "日"]
KEYS += ["key1", "key2", "abcdefg", "abcdefgh", "abcdefgi", "abcdefgha", "abcdefghb"]


def _in_order(keys: list[str]) -> list[str]:
    return sorted(
        dict.fromkeys(keys), key=lambda key: (len(key.encode()), key.encode())
    )


def as_text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def test_attributes_keys_come_in_jsonbs_order() -> None:
    ordered = {key: number for number, key in enumerate(_in_order(KEYS))}
    backwards = dict(reversed(ordered.items()))
    record = {**backwards, "z": [backwards, [backwards]], "nested": backwards}
    (row,), _ = rows_and_rejected(m.entry(record))
    expected = {key: record[key] for key in _in_order(list(record))}
    expected |= {"z": [ordered, [ordered]], "nested": ordered}
    assert [*row.attributes] == [*expected]
    assert as_text(row.attributes) == as_text(expected)


@pytest.mark.parametrize("count", [2, 7, 8, 9, 16, 17, 33, 100, 1000])
@pytest.mark.parametrize("step", [1, 7, 11, -1])
def test_many_keys_come_in_that_order_too(count: int, step: int) -> None:
    keys = [f"k{number * step % 1009}" * (1 + number % 3) for number in range(count)]
    pairs = [(m.str8(key.encode()), b"\x01") for key in keys]
    record = m.map16(*pairs, (m.fixstr(b"in"), m.map16(*pairs)))
    (row,), _ = rows_and_rejected(m.fixarray(m.uint32(m.T), record))
    assert [*row.attributes] == _in_order([*keys, "in"])
    assert [*row.attributes["in"]] == _in_order(keys)


def test_the_order_is_that_of_the_text_that_is_written() -> None:
    keys = [m.fixstr(b"\xff"), m.fixstr(b"abc"), m.fixstr(b"abcde"), m.bin8(b"zz\0")]
    keys += [b"\x07", m.NIL, m.float64(0.5), m.fixstr(b'"'), m.fixstr(b"\\\\"), b"\x90"]
    inner = m.fixmap(*[(key, b"\x01") for key in keys])
    for record in (inner, m.fixmap((m.fixstr(b"k"), inner))):
        (row,), _ = rows_and_rejected(m.fixarray(m.uint32(m.T), record))
        attributes = row.attributes.get("k", row.attributes)
        assert len(attributes) == len(keys)
        assert [*attributes] == _in_order([*attributes])


def test_of_a_key_that_comes_twice_the_last_is_the_one_in_its_place() -> None:
    keys = [b"b", b"aa", b"b", b"a", b"aa", b"b"]
    pairs = [(m.fixstr(key), bytes([at])) for at, key in enumerate(keys)]
    record = m.fixmap(*pairs, (m.fixstr(b"in"), m.fixmap(*pairs)))
    (row,), _ = rows_and_rejected(m.fixarray(m.uint32(m.T), record))
    assert row.json == '{"a":3,"b":5,"aa":4,"in":{"a":3,"b":5,"aa":4}}'


def test_what_stands_beside_a_record_is_among_its_keys_in_that_order() -> None:
    record = {"zzzzzz": 1, "a": 2, "zzzzz": 3, "_zzzzzzzz": 4, "_aaaaaaaa": 5}
    metadata = m.fixmap((m.fixstr(b"zz"), b"\x01"), (m.fixstr(b"a"), b"\x02"))
    start = m.fixarray(m.fixarray(m.event_time(0xFFFFFFFF), b"\x80"), metadata)
    entry = m.fixarray(b"\x00", m.pack(record))
    own = m.fixarray(m.fixarray(b"\x00", metadata), m.pack(record))
    for entries, of_message in ((entry, metadata), (own, None)):
        (row,), _ = rows_and_rejected(start + entries, metadata=of_message)
        assert [*row.attributes] == _in_order([*record, "_time", "_group", "_metadata"])
        assert [*row.attributes["_metadata"]] == ["a", "zz"]
        assert [*row.attributes["_group"]] == ["a", "zz"]


def test_a_record_of_the_same_keys_in_another_order_is_sorted_as_well() -> None:
    records = [{"b": 1, "a": {"y": 1, "x": 2}}, {"a": {"x": 2, "y": 1}, "b": 1}]
    rows, _ = rows_and_rejected(b"".join(map(m.entry, records * 3)))
    assert {row.json for row in rows} == {'{"a":{"x":2,"y":1},"b":1}'}


def test_more_levels_than_are_written_are_refused() -> None:
    value: Any = {}
    for _ in range(MAX_DEPTH):
        value = [value]
    with pytest.raises(ValueError, match="levels"):
        in_jsonb_order(value, {})


def test_the_orders_that_are_kept_are_bounded() -> None:
    orders: dict[tuple[Any, ...], tuple[str, ...]] = {}
    for number in range(5_000):
        in_jsonb_order({f"{number}": 1, "a": 2}, orders)
    in_jsonb_order({f"{number}": 1 for number in range(1000)}, orders)
    in_jsonb_order({"a" * 1000: 1}, orders)
    assert len(orders) <= 4096
    assert max(map(len, orders)) == 2


def test_keys_are_sorted_by_the_length_of_their_utf_8() -> None:
    assert sorted_keys(["é", "bbb", "a", "aa"]) == ["a", "aa", "é", "bbb"]
