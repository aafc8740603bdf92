"""From encoded rows back to the msgpack entries that they were made of.

Behind the flow: a row that PostgreSQL refuses is kept as an entry that, encoded alone,
is that row again. It owns which entry a row comes from, and how an entry is written
that carries what stood beside it. It must not say what a row is: `entries` does.
"""

import struct
from collections import deque

import msgpack

from penstock.model import EncodedRows, RejectedEvent
from penstock.rows.entries import (
    GroupMarker,
    ReadEntry,
    read_entry,
    record_with_extras,
)
from penstock.rows.times import (
    EVENT_TIME_CODE,
    GROUP_END_SECONDS,
    MICROSECONDS,
    MILLISECONDS_FROM,
    TIMESTAMP_CODE,
    read_ext_time,
)
from penstock.wire.values import Kind, read_bytes, read_header

_ENTRY_HEAD = b"\x92"  # an array of two
_FIXEXT_8, _EXT_8 = 0xD7, 0xC7
_pack_event_time = struct.Struct(">BbII").pack
_pack_timestamp_96 = struct.Struct(">BBbIq").pack


def entries_of_rows(encoded: EncodedRows) -> list[bytes]:
    """Return the entry of each row, in their order.

    An entry that nothing stood beside is returned to the byte. What a row has from its
    message, its log group or its time of arrival is written into its entry.
    """
    entries = _plain_entries(encoded)
    if entries is None:
        entries = _careful_entries(encoded)
    assert len(entries) == encoded.rows
    return entries


def _plain_entries(encoded: EncodedRows) -> list[bytes] | None:
    """Return the entries if each value is a row; a hundred times as quick.

    Senders wait meanwhile, and one row in a thousand may be refused.
    """
    if encoded.beside is not None or encoded.rejected:
        return None
    data = encoded.entries
    skipper = msgpack.Unpacker(max_buffer_size=0)
    skipper.feed(data)
    entries: list[bytes] = []
    start = 0
    try:
        while len(entries) <= encoded.rows:
            skipper.skip()
            end = skipper.tell()
            entries.append(data[start:end])
            start = end
    except msgpack.OutOfData:
        pass
    except (ValueError, msgpack.UnpackException):
        return None  # too deep for it
    # A marker of a group is neither a row nor rejected.
    if len(entries) != encoded.rows or start != len(data):
        return None
    return [
        entry if _has_usual_time(entry) else _with_its_time(entry, encoded)
        for entry in entries
    ]


def _has_usual_time(entry: bytes) -> bool:
    time = read_header(entry, read_header(entry, 0).body)
    if time.kind is Kind.ARRAY:  # [time, metadata]
        time = read_header(entry, time.body)
    if time.kind is Kind.INT:
        assert isinstance(time.argument, int)
        return 0 < time.argument < MILLISECONDS_FROM
    if time.kind is not Kind.EXT:
        return False
    event_time = read_ext_time(time.code, read_bytes(entry, time))
    return event_time is not None and event_time.seconds > 0


def _with_its_time(entry: bytes, encoded: EncodedRows) -> bytes:
    outcome, _ = read_entry(entry, 0, encoded.received_microseconds)
    assert isinstance(outcome, ReadEntry)
    return _rebuilt(outcome, None, None) if outcome.time_was_replaced else entry


def _careful_entries(encoded: EncodedRows) -> list[bytes]:
    """Walk the entries as `RowStream` does; groups begin and end among them."""
    metadata, group = encoded.beside or (None, None)
    data = encoded.entries
    rejected = deque(encoded.rejected)
    entries: list[bytes] = []
    offset = 0
    while offset < len(data):
        if rejected and _stands_at(rejected[0], data, offset):
            offset += len(rejected.popleft().raw)
            continue
        outcome, end = read_entry(data, offset, encoded.received_microseconds)
        if isinstance(outcome, GroupMarker):
            group = outcome.body
        elif isinstance(outcome, ReadEntry):
            from_message = None if outcome.metadata else metadata
            if from_message or group is not None or outcome.time_was_replaced:
                entries.append(_rebuilt(outcome, metadata, group))
            else:
                entries.append(data[offset:end])
        offset = end
    return entries


def _stands_at(event: RejectedEvent, data: bytes, offset: int) -> bool:
    """Tell whether what was rejected stands here.

    It is known by its bytes: some is rejected for a limit, which may be another one by
    now. No value of msgpack begins with another whole one, and what need not be whole
    reaches to the end.
    """
    if event.reason in ("truncated_entry", "too_many_entries"):
        return offset + len(event.raw) == len(data)
    return data.startswith(event.raw, offset)


def _rebuilt(entry: ReadEntry, metadata: bytes | None, group: bytes | None) -> bytes:
    """Write an entry whose record and time are the row's."""
    record: bytes = msgpack.packb(record_with_extras(entry, metadata, group))
    return _ENTRY_HEAD + _time_of(entry.microseconds) + record


def _time_of(microseconds: int) -> bytes:
    """Return the time as a value that is taken as it stands."""
    seconds, rest = divmod(microseconds, MICROSECONDS)
    if 0 < seconds < GROUP_END_SECONDS:
        return _pack_event_time(_FIXEXT_8, EVENT_TIME_CODE, seconds, rest * 1000)
    # A second less, and carried over: seconds of zero would say that there is no time,
    # others without nanoseconds that a group begins.
    nanoseconds = (rest + MICROSECONDS) * 1000
    return _pack_timestamp_96(_EXT_8, 12, TIMESTAMP_CODE, nanoseconds, seconds - 1)
