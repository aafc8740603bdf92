"""Reads one entry from its bytes, the careful way: every form a sender may give it.

It knows what an entry is, `[time, record]` and `[[time, metadata], record]`, what a
time may be, what a log group's markers are, and under which keys a row has what stood
beside its record. It must not know what becomes of the record's own keys.

Forward specification v1.5, "Entry"; Fluent Bit's group markers are described in the
protocol facts, section 1.8.
"""

from dataclasses import dataclass
from typing import cast

import orjson

from penstock.model import RejectedEvent
from penstock.rows.key_order import in_jsonb_order
from penstock.rows.plain import Plain, read_plain
from penstock.rows.times import (
    GROUP_END_SECONDS,
    GROUP_START_SECONDS,
    EventTime,
    is_finer_than_seconds,
    microseconds_of_number,
    read_ext_time,
)
from penstock.wire.values import (
    Header,
    IncompleteValueError,
    InvalidValueError,
    Kind,
    TooManyValuesError,
    length_of,
    read_bytes,
    read_header,
    skip_value,
)

# Where a time that was not taken as it stood, the sender's metadata and a log
# group are kept among the attributes.
TIME_KEY = "_time"
METADATA_KEY = "_metadata"
GROUP_KEY = "_group"


@dataclass(frozen=True, slots=True)
class ReadEntry:
    """An entry that becomes a row; what is not the record's own is kept beside it."""

    microseconds: int
    record: dict[str, Plain]
    metadata: Plain = None
    raw_time: Plain = None
    time_was_replaced: bool = False


@dataclass(frozen=True, slots=True)
class GroupMarker:
    """The start of a log group with what it says of its events, or the end of one.

    `body` is JSON. Kept so it takes the memory that its bytes do, and each record gets
    a copy: a key within it that fills a column leaves the record's.
    """

    body: bytes | None


Outcome = ReadEntry | GroupMarker | RejectedEvent


def read_entry(
    entries: bytes, offset: int, now_microseconds: int
) -> tuple[Outcome, int]:
    """Read the entry at `offset`; return what it is and the offset behind it.

    Never raises: what cannot be read is a RejectedEvent with its bytes, and where
    no further entry can be found it takes all the rest with it.
    """
    try:
        end = skip_value(entries, offset)
        return _read_whole_entry(entries, offset, end, now_microseconds), end
    except IncompleteValueError:
        return RejectedEvent("truncated_entry", entries[offset:]), len(entries)
    except (InvalidValueError, TooManyValuesError) as error:
        return RejectedEvent(error.reason, entries[offset:]), len(entries)


def record_with_extras(
    entry: ReadEntry, metadata: bytes | None, group: bytes | None
) -> dict[str, Plain]:
    """Put what is the event's but not its record's beside the record's keys.

    `metadata` is the message's, for an entry without its own; it and `group` are JSON.
    """
    record = entry.record
    own_metadata = entry.metadata or (metadata and orjson.loads(metadata))
    if own_metadata:
        _add_beside(record, METADATA_KEY, own_metadata)
    if group is not None:
        _add_beside(record, GROUP_KEY, orjson.loads(group))
    if entry.time_was_replaced:
        _add_beside(record, TIME_KEY, entry.raw_time)
    return record


def _add_beside(record: dict[str, Plain], key: str, value: Plain) -> None:
    while key in record:
        key += "_"  # the record's own key stays
    record[key] = value


def _read_whole_entry(
    entries: bytes, offset: int, end: int, now_microseconds: int
) -> Outcome:
    raw = entries[offset:end]
    entry = read_header(raw, 0)
    if entry.kind is not Kind.ARRAY:
        return RejectedEvent("not_an_entry", raw)
    if length_of(entry) < 2:
        return RejectedEvent("no_record", raw)
    time_offset = entry.body
    record_offset = skip_value(raw, time_offset)
    metadata_offset = 0
    time = read_header(raw, time_offset)
    if time.kind is Kind.ARRAY:  # v1.5: [time, metadata] in the time's place
        elements = length_of(time)
        if elements == 0:
            return RejectedEvent("invalid_time", raw)
        time_offset = time.body
        time = read_header(raw, time_offset)
        if elements > 1:
            metadata_offset = skip_value(raw, time_offset)
    record_header = read_header(raw, record_offset)
    group = _group_marker(raw, time, record_header, record_offset, metadata_offset)
    if group is not None:
        return group
    if record_header.kind is not Kind.MAP:
        return RejectedEvent("record_not_a_map", raw)
    record, _ = read_plain(raw, record_offset)
    metadata = read_plain(raw, metadata_offset, 2)[0] if metadata_offset else None
    return _timed(
        raw,
        time,
        ReadEntry(now_microseconds, cast("dict[str, Plain]", record), metadata),
        read_plain(raw, time_offset)[0],
    )


def _group_marker(
    raw: bytes, time: Header, record: Header, record_offset: int, metadata_offset: int
) -> GroupMarker | None:
    if time.kind is not Kind.EXT or record.kind is not Kind.MAP:
        return None
    event_time = read_ext_time(time.code, read_bytes(raw, time))
    if event_time == EventTime(GROUP_END_SECONDS, 0):
        return GroupMarker(None)
    if event_time != EventTime(GROUP_START_SECONDS, 0):
        return None
    body = cast("dict[str, Plain]", read_plain(raw, record_offset, 2)[0])
    if metadata_offset and (metadata := read_plain(raw, metadata_offset, 3)[0]):
        _add_beside(body, METADATA_KEY, metadata)
    return GroupMarker(orjson.dumps(in_jsonb_order(body, {}, 2)))


def _timed(raw: bytes, time: Header, entry: ReadEntry, raw_time: Plain) -> Outcome:
    """Give the entry its time, or reject it if it has none.

    A time of zero or nil means that the sender has none: the time of arrival is
    taken, and a finer unit than seconds is read as what it is. In both cases the
    value that was sent is kept.
    """
    microseconds: int | None = None
    finer = False
    match time.kind:
        case Kind.NIL:
            microseconds = 0
        case Kind.INT | Kind.FLOAT:
            number = cast("int | float", time.argument)
            microseconds = microseconds_of_number(number)
            finer = is_finer_than_seconds(number)
        case Kind.EXT:
            event_time = read_ext_time(time.code, read_bytes(raw, time))
            if event_time is not None:
                has_time = event_time.seconds != 0
                microseconds = event_time.microseconds if has_time else 0
        case _:
            pass
    if microseconds is None or not _in_range(microseconds):
        return RejectedEvent("invalid_time", raw)
    is_missing = microseconds == 0
    return ReadEntry(
        entry.microseconds if is_missing else microseconds,
        entry.record,
        entry.metadata,
        raw_time,
        is_missing or finer,
    )


def _in_range(microseconds: int) -> bool:
    # timestamptz ends in 294276 and begins 4713 BC (documentation, section 8.5).
    return -210_866_803_200_000_000 <= microseconds < 9_224_318_016_000_000_000
