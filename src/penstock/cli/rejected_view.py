"""A rejected event for reading: its bytes decoded as far as they are msgpack.

It owns what `penstock rejected show` prints. It must not talk to the database.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from penstock.cli.output import SHOWN_CONTROLS
from penstock.rows.entries import ReadEntry, read_entry
from penstock.rows.plain import read_plain
from penstock.rows.times import MICROSECONDS, EventTime
from penstock.sink.rejected import Whole
from penstock.wire.compression import sniff
from penstock.wire.values import IncompleteValueError, InvalidValueError

# Bytes in hex on the terminal: enough to see what they are. JSON has all of them.
SHOWN_BYTES = 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def as_dict(event: Whole) -> dict[str, Any]:
    """Return all there is of an event, for JSON: `raw` in hex and decoded."""
    return {
        "id": event.id,
        "received_at": event.received_at,
        "sender": event.sender,
        "tag": event.tag,
        "chunk": chunk_text(event.chunk),
        "reason": event.reason,
        "sqlstate": event.sqlstate,
        **_decoded(event),
        "raw": event.raw.hex(),
    }


def as_lines(event: Whole) -> str:
    """Return all there is of an event, for a person."""
    lines = []
    for name, value in as_dict(event).items():
        if name == "raw":
            value = f"{len(event.raw)} bytes"
        elif name == "undecoded":
            value = _shortened(value)
        elif not isinstance(value, str | int | datetime | None):
            value = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
        lines.append(f"{name:12} {'-' if value is None else value}")
    return "\n".join(lines).translate(SHOWN_CONTROLS)


def chunk_text(chunk: bytes | None) -> str | None:
    """Return a chunk's name, msgpack, as text."""
    if chunk is None:
        return None
    values, rest = _values_of(chunk)
    return str(values[0]) if len(values) == 1 and not rest else chunk.hex()


def _decoded(event: Whole) -> dict[str, Any]:
    """Return an entry as time and record, else values, else what is no value."""
    raw = event.raw
    if sniff(raw) is not None:  # each byte of it is a value, and means nothing
        return {"undecoded": raw.hex()}
    arrival = (event.received_at - _EPOCH) // timedelta(microseconds=1)
    entry, end = read_entry(raw, 0, arrival)
    if isinstance(entry, ReadEntry) and end == len(raw):
        seconds, rest = divmod(entry.microseconds, MICROSECONDS)
        sent = {"sent_time": entry.raw_time} if entry.time_was_replaced else {}
        beside = {"metadata": entry.metadata} if entry.metadata else {}
        time = EventTime(seconds, rest * 1000).rfc3339()
        return {"time": time, **sent, **beside, "record": entry.record}
    values, undecoded = _values_of(raw)
    decoded: dict[str, Any] = {"values": values} if values else {}
    return decoded | ({"undecoded": undecoded.hex()} if undecoded else {})


def _values_of(raw: bytes) -> tuple[list[Any], bytes]:
    """Return the msgpack values that are whole, and the bytes behind them."""
    values: list[Any] = []
    offset = 0
    try:
        while offset < len(raw):
            value, offset = read_plain(raw, offset)
            values.append(value)
    except (IncompleteValueError, InvalidValueError):
        pass
    return values, raw[offset:]


def _shortened(digits: str) -> str:
    if len(digits) <= 2 * SHOWN_BYTES:
        return digits
    return f"{digits[: 2 * SHOWN_BYTES]}... ({len(digits) // 2} bytes; -o json has all)"
