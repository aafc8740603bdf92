"""COPY's constants, and that what is remembered of records is right and bounded."""

import tracemalloc
from copy import deepcopy
from typing import Any

import pytest

from penstock.rows import copy_format, key_order
from penstock.rows.copy_format import COLUMNS, COPY_HEADER, COPY_TRAILER, RowWriter
from penstock.settings import ColumnSettings
from tests import msgpack_bytes as m
from tests.copy_tuples import Row, decode_rows
from tests.pure_core import Encoder, new_encoder, parts_of


def rows_of(*records: dict[str, Any], encoder: Encoder | None = None) -> list[Row]:
    entries = b"".join(map(m.entry, records))
    parts = parts_of(entries, encoder=encoder)
    return [row for part in parts for row in decode_rows(part.data)]


def test_the_fields_are_the_columns_in_their_order() -> None:
    assert COLUMNS == tuple(name for name in Row._fields if name != "json")


def test_copys_header_and_trailer_are_postgresqls() -> None:
    assert COPY_HEADER == bytes.fromhex("5047434f50590aff0d0a00 00000000 00000000")
    assert COPY_TRAILER == (-1).to_bytes(2, signed=True)


@pytest.mark.parametrize("receiver", [-1, 4096])
def test_a_receiver_past_its_bits_is_our_own_mistake(receiver: int) -> None:
    with pytest.raises(AssertionError):
        RowWriter(ColumnSettings(), receiver=receiver)


def test_what_is_remembered_of_one_record_does_not_show_in_another() -> None:
    records: list[dict[str, Any]] = [
        {"level": "info", "service": "a", "x": 1},
        {"level": 5, "service": "b", "x": 2},
        {"level": "loud", "service": None, "x": 3},
        {"service": "a", "level": "error", "x": 4},
        {"level": {"a": 1}, "service": {"name": "c"}, "x": 5},
        {"level": "error", "service": "info", "host": "error", "x": 6},
        {"level": "info", "service": "a", "x": 1},
    ]
    alone = [rows_of(deepcopy(record))[0]._replace(id=0) for record in records]
    together = rows_of(*deepcopy(records))
    assert [row._replace(id=0) for row in together] == alone


def test_a_service_is_not_taken_for_a_host_nor_the_tag_for_either() -> None:
    (row,) = rows_of({"service": "t", "host": "t", "message": "t"})
    assert (row.tag, row.service, row.host, row.message) == ("t", "t", "t", "t")


def test_names_and_shapes_that_never_repeat_are_written_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copy_format, "CACHE_ENTRIES", 10)
    encoder = new_encoder()
    for i in range(100):
        record = {"service": f"s{i}", "host": f"h{i // 7}", f"k{i}": i}
        (row,) = rows_of(record, encoder=encoder)
        assert (row.service, row.host) == (f"s{i}", f"h{i // 7}")
        assert row.attributes == {f"k{i}": i}


def kept_bytes(records: list[dict[str, Any]]) -> int:
    """Measure what an encoder keeps of records once they are encoded."""
    encoder = new_encoder()
    rows_of(records[0], encoder=encoder)
    entries = [m.entry(record) for record in records[1:]]
    tracemalloc.start()
    try:
        for entry in entries:
            parts_of(entry, encoder=encoder)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return kept


@pytest.mark.parametrize(
    "record_of",
    [
        pytest.param(lambda i: {"service": f"{i}" + "s" * 50_000}, id="service"),
        pytest.param(lambda i: {"host": f"{i}" + "h" * 50_000}, id="host"),
        pytest.param(lambda i: {f"{i}" + "k" * 50_000: 1}, id="key"),
        pytest.param(
            lambda i: {f"{i}{n}" + "k" * 500: 1 for n in range(100)}, id="keys"
        ),
    ],
)
def test_long_names_are_not_remembered(record_of: Any) -> None:
    assert kept_bytes([record_of(i) for i in range(40)]) < 200_000, "of two million"


@pytest.mark.parametrize(
    "record_of",
    [
        pytest.param(lambda i: {"service": f"service-{i}"}, id="services"),
        pytest.param(lambda i: {f"key-{i}": 1}, id="shapes"),
    ],
)
def test_names_without_end_are_forgotten(
    record_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_format, "CACHE_ENTRIES", 20)
    monkeypatch.setattr(key_order, "KEPT_ORDERS", 20)
    assert kept_bytes([record_of(i) for i in range(1000)]) < 60_000
