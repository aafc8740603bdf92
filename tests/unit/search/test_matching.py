"""A filter asked of a row, by hand; that SQL agrees is in integration/test_matching."""

from typing import Any

import msgpack
import pytest

from penstock.rows import RowEncoder
from penstock.rows.decoding import StoredRow, stored_rows
from penstock.search.cases import Cases, cases_of, unicode_cases
from penstock.search.language import parse
from penstock.search.matching import Matcher
from penstock.settings import ColumnSettings

ENCODER = RowEncoder(ColumnSettings(), receiver=1)
ROW = {
    "level": "warning",
    "service": "web_app",
    "message": "Connection to Straße REFUSED: 연결",
    "status": 500,
    "took": 1.5,
    "http": {"method": "GET", "tags": ["a", {"b": None}]},
    "a.b": "K",
}


def data_of(*records: dict[str, Any]) -> bytes:
    entries = b"".join(msgpack.packb([1_700_000_000, dict(each)]) for each in records)
    return ENCODER.start(entries, tag="kube.app").next_part(1).data


def row_of(record: dict[str, Any]) -> StoredRow:
    (row,) = stored_rows(data_of(record))
    return row


def matcher(text: str, cases: Cases | None = None) -> Matcher:
    return Matcher(parse(text), cases or unicode_cases())


@pytest.mark.parametrize(
    "text",
    [
        *("", "refused", "STRASSE OR straße", "연결", '"refused: 연결"', "conn*REF*"),
        *("-host:*", "-host:x", "NOT (a AND b)", "level:warn", "level:>=info", "id:>0"),
        *("service:web_*", "service:>=web", "tag:kube.*", "ts:<2030-01-01T00:00Z"),
        *("status:500.0", "status:>499", "status:5*", "took:<2", "took:=1.50"),
        *(
            "http.method:GET",
            "http.tags.0:a",
            "http.tags.-1:*",
            "-http.tags.1.b:*",
            "http.tags.1.b:null",
        ),
        *('"a.b":K', "any:get"),
        *(r"/refused: \S+$/i", "/^Conn/", "service:/^web.app$/", "any:WEB_APP"),
    ],
)
def test_it_holds_for_what_it_says(text: str) -> None:
    asked = matcher(text)

    assert asked.holds(row_of(ROW))
    assert asked.may_hold(data_of(ROW).lower())


@pytest.mark.parametrize(
    "text",
    [
        *("strasse", "host:*", "host:!=x", "-refused", "level:error", "service:web*x"),
        *("service:Web_App", "status:'500x'", "status:>500", "status:50", "took:>a"),
        *("http:GET", "http.tags.2:*", "http.tags.a:*", '"a.b":k', "a.b:K", "/^conn/"),
        *("attributes.service:*", "http.method:!=GET", "ts:>2030-01-01T00:00Z"),
    ],
)
def test_it_does_not_hold_for_anything_else(text: str) -> None:
    assert not matcher(text).holds(row_of(ROW))


def test_a_letter_has_the_cases_that_the_database_says() -> None:
    ascii_only = cases_of((n, n + 32, n) for n in range(ord("A"), ord("Z") + 1))
    row = row_of({"message": "É K \u212a"})

    assert matcher("é").holds(row)
    assert not matcher("é", ascii_only).holds(row)
    assert matcher("k k").holds(row_of({"message": "\u212a k"}))
    assert matcher("/^.{5}$/").holds(row)


def test_a_sign_that_is_a_letter_to_postgresql_is_found_among_other_rows() -> None:
    data = data_of({"message": "273 \u212a"}, {"message": "none"})

    assert matcher("k").may_hold(data.lower())
    assert not matcher("x").may_hold(data.lower())


@pytest.mark.parametrize(
    "text",
    [
        *(
            "nowhere",
            "service:web",
            "level:error",
            "nokey:1",
            "any:nowhere",
            "tag:kube",
        ),
        *("nowhere OR nothing", "refused nowhere", "http.method:POST", "nokey:/x/"),
    ],
)
def test_rows_that_cannot_have_it_are_known_without_being_decoded(text: str) -> None:
    assert not matcher(text).may_hold(data_of(ROW).lower())


def test_a_row_of_a_year_that_python_has_not_can_be_shown() -> None:
    timestamp = b"\xc7\x0c\xff" + bytes(4) + (300_000_000_000).to_bytes(8)
    entries = b"\x92" + timestamp + b"\x80"
    (row,) = stored_rows(ENCODER.start(entries, tag="t").next_part(1).data)

    assert row.ts == "300000000000"
    assert matcher("ts:<2030-01-01T00:00Z OR ts:>2000-01-01T00:00Z").holds(row)
