"""Binary COPY tuples back into rows, read as PostgreSQL's documentation describes them.

Written from COPY, "Binary Format", and from what the types' receive functions take;
it shares nothing with the code that writes the tuples.
"""

import json
import struct
from typing import Any, NamedTuple

LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
SECONDS_1970_TO_2000 = 946_684_800


class Row(NamedTuple):
    """A row of `logs`; `ts` in microseconds since 1970, `json` as it was written."""

    id: int
    ts: int
    tag: str
    level: str | None
    service: str | None
    host: str | None
    message: str | None
    attributes: dict[str, Any]
    json: str


def decode_rows(data: bytes) -> list[Row]:
    """Read tuples up to the end of `data`; whatever PostgreSQL would refuse fails."""
    rows = []
    offset = 0
    while offset < len(data):
        fields, offset = _read_tuple(data, offset)
        rows.append(_row(fields))
    return rows


def _read_tuple(data: bytes, offset: int) -> tuple[list[bytes | None], int]:
    (count,) = struct.unpack_from("!h", data, offset)
    assert count == 8, f"a tuple of {count} fields at {offset}"
    offset += 2
    fields: list[bytes | None] = []
    for _ in range(count):
        (length,) = struct.unpack_from("!i", data, offset)
        offset += 4
        if length == -1:
            fields.append(None)
            continue
        assert 0 <= length <= len(data) - offset, f"a field of {length} at {offset}"
        fields.append(data[offset : offset + length])
        offset += length
    return fields, offset


def _row(fields: list[bytes | None]) -> Row:
    row_id, ts, tag, level, service, host, message, attributes = fields
    assert row_id is not None and len(row_id) == 8
    assert ts is not None and len(ts) == 8
    assert tag is not None and attributes is not None
    assert attributes[0] == 1, "jsonb's version"
    level_label = _text(level)
    assert level_label is None or level_label in LEVELS
    json_text = attributes[1:].decode()
    return Row(
        id=int.from_bytes(row_id, signed=True),
        ts=int.from_bytes(ts, signed=True) + SECONDS_1970_TO_2000 * 1_000_000,
        tag=_not_null(_text(tag)),
        level=level_label,
        service=_text(service),
        host=_text(host),
        message=_text(message),
        attributes=read_jsonb(json_text),
        json=json_text,
    )


def _text(raw: bytes | None) -> str | None:
    if raw is None:
        return None
    text = raw.decode()  # PostgreSQL's UTF8 and Python's take the same
    assert "\0" not in text
    return text


def _not_null(text: str | None) -> str:
    assert text is not None
    return text


def read_jsonb(text: str) -> dict[str, Any]:
    """Read JSON, refusing what jsonb does, and a key that comes twice."""
    value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)
    assert type(value) is dict
    _check_strings(value)
    return value


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    assert len(found) == len(pairs), "a key comes twice"
    return found


def _check_strings(value: Any) -> None:
    if type(value) is str:
        assert "\0" not in value, "jsonb refuses \\u0000"
        value.encode()  # no lone surrogate
    elif type(value) is dict:
        for key, item in value.items():
            _check_strings(key)
            _check_strings(item)
    elif type(value) is list:
        for item in value:
            _check_strings(item)
