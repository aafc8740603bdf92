r"""Writes rows in PostgreSQL's binary COPY format: one definition of a row's bytes.

It owns ids, the fields' encoding and which days the rows fall on. It must not know
msgpack: a record comes as a dict of what orjson writes, and what orjson or UTF-8
cannot write is refused by an exception, for the caller to mend.

Sources: PostgreSQL documentation, COPY, "Binary Format"; jsonb_recv takes a version
byte, 1, and the JSON text; enum_recv takes the label.
"""

import math
import struct
from typing import Any

import orjson

from penstock.model import Day, EncodedRows, RejectedEvent
from penstock.rows.columns import (
    ColumnPlan,
    level_spellings,
    plan_for,
    take_level,
    take_text,
)
from penstock.rows.times import DAY_MICROSECONDS, PG_EPOCH_MICROSECONDS
from penstock.settings import ColumnSettings

COLUMNS = ("id", "ts", "tag", "level", "service", "host", "message", "attributes")
# COPY's signature, flags and header extension, and the trailer.
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = b"\xff\xff"

# An id is 51 bits of microseconds since 2020, which last until 2091, and 12 bits
# that tell receivers apart.
ID_EPOCH_MICROSECONDS = 1_577_836_800_000_000
RECEIVER_BITS = 12

# Bounds a part whose entries are tiny; fixed for the same reason as its bytes.
PART_ROWS = 4096

# Record shapes and names of services repeat, so what was worked out for one is kept
# for the next. The bounds are for senders where they never do: a name or a shape
# past them is worked out again each time.
CACHE_ENTRIES = 4096
CACHED_CHARACTERS = 512
CACHED_KEYS = 64

_COLUMN_COUNT = len(COLUMNS)
_pack_head = struct.Struct(">hiqiq").pack  # the number of fields; id; ts
_pack_length = struct.Struct(">i").pack
_pack_jsonb_head = struct.Struct(">ib").pack
_dumps = orjson.dumps
_NULL = b"\xff\xff\xff\xff"
_JSONB_VERSION = 1

# What `Part.add_row` raises for a record that is not plain.
NOT_PLAIN_ERRORS = (TypeError, ValueError)


class RowWriter:
    """Writes the rows of one process: its ids and what it remembers between parts.

    `receiver` tells this process's ids from those of others, 0 to 4095.
    """

    def __init__(self, columns: ColumnSettings, *, receiver: int) -> None:
        assert 0 <= receiver < 1 << RECEIVER_BITS
        self.receiver = receiver
        self.last_tick = 0  # microseconds of the last id that was given
        self._columns = columns
        self.plans: dict[tuple[Any, ...], ColumnPlan] = {}
        self.text_fields: dict[str, bytes] = {}
        self.level_fields = {
            spelling: _field(label.encode())
            for spelling, label in level_spellings().items()
        }

    def plan(self, record: dict[Any, Any]) -> ColumnPlan:
        """Return where this record's columns are, and remember it by its keys."""
        keys = tuple(record)
        plan = self.plans.get(keys)
        if plan is None:
            if len(self.plans) >= CACHE_ENTRIES:
                self.plans.clear()
            plan = self.plans[keys] = plan_for(keys, self._columns)
        return plan

    def text_field(self, text: str) -> bytes:
        """Return the field of a text column whose values come again and again.

        Raises:
            ValueError: the text holds what `text` does not take.
        """
        field = self.text_fields.get(text)
        if field is None:
            raw = text.encode()
            if b"\0" in raw:
                raise ValueError("NUL")
            field = _field(raw)
            if len(text) <= CACHED_CHARACTERS:
                if len(self.text_fields) >= CACHE_ENTRIES:
                    self.text_fields.clear()
                self.text_fields[text] = field
        return field


class Part:
    """Rows being written: the tuples, the days they fall on, what was rejected."""

    def __init__(self, writer: RowWriter, *, tag: str, now_microseconds: int) -> None:
        self.now_microseconds = now_microseconds
        self.rejected: list[RejectedEvent] = []
        self._writer = writer
        self._text_fields = writer.text_fields
        self._level_fields = writer.level_fields
        self._tag_field = writer.text_field(tag)
        self._rows = bytearray()
        self._days: set[Day] = set()
        self._day_start = self._day_end = 0
        # Ids are in the order of arrival, and none is given twice.
        first_tick = max(now_microseconds - ID_EPOCH_MICROSECONDS, writer.last_tick + 1)
        self._next_id = self._first_id = first_tick << RECEIVER_BITS | writer.receiver

    @property
    def rows(self) -> int:
        """Count the rows that were written."""
        return (self._next_id - self._first_id) >> RECEIVER_BITS

    @property
    def is_full(self) -> bool:
        """Tell whether the part has all the events it may have."""
        return self.rows + len(self.rejected) >= PART_ROWS

    def add_row(
        self, microseconds: int, record: dict[str, Any], plan: ColumnPlan
    ) -> None:
        """Write one row; the record loses the keys that fill columns.

        `microseconds` is the event's time since 1970. `record` holds what orjson
        writes, str keys only. The hottest function there is: it calls no other for
        the usual record.

        Raises:
            TypeError, ValueError: the record is not plain (`NOT_PLAIN_ERRORS`);
                nothing was written, but the record is no longer whole.
        """
        (
            level_key,
            level_paths,
            service_key,
            service_paths,
            host_key,
            host_paths,
            message_key,
            message_paths,
        ) = plan
        value = record.get(level_key)
        if (type(value) is str or type(value) is int) and value in self._level_fields:
            level = self._level_fields[value]
            del record[level_key]
        else:
            level = self._find_level(record, level_paths) if level_paths else _NULL
        value = record.get(service_key)
        if type(value) is str and value in self._text_fields:
            service = self._text_fields[value]
            del record[service_key]
        else:
            service = self._find_text(record, service_paths) if service_paths else _NULL
        value = record.get(host_key)
        if type(value) is str and value in self._text_fields:
            host = self._text_fields[value]
            del record[host_key]
        else:
            host = self._find_text(record, host_paths) if host_paths else _NULL
        value = record.get(message_key)
        if type(value) is str:
            del record[message_key]
        elif message_paths:
            value = take_text(record, message_paths)
        if value is None:
            message_head, message = _NULL, b""
        else:
            message = value.encode()
            if b"\0" in message:
                raise ValueError("NUL")
            message_head = _pack_length(len(message))
        attributes = _dumps(record)
        if (b"null" in attributes and _has_non_finite(record)) or (
            b"\\" in attributes and b"\\u0000" in attributes and _has_nul(attributes)
        ):
            raise ValueError("what JSON holds and jsonb does not")
        if not self._day_start <= microseconds < self._day_end:
            self._enter_day(microseconds)
        row_id = self._next_id
        # Joined at once, not at the end: pieces that are freed at once are made again
        # from memory that is in the cache. orjson's alone cost 2.5 us a row kept and
        # 0.2 us joined.
        self._rows += b"".join(
            (
                _pack_head(
                    _COLUMN_COUNT, 8, row_id, 8, microseconds - PG_EPOCH_MICROSECONDS
                ),
                self._tag_field,
                level,
                service,
                host,
                message_head,
                message,
                _pack_jsonb_head(len(attributes) + 1, _JSONB_VERSION),
                attributes,
            )
        )
        self._next_id = row_id + (1 << RECEIVER_BITS)

    def finish(self) -> EncodedRows:
        """Return what was written; the part is of no further use."""
        self._writer.last_tick = (self._next_id >> RECEIVER_BITS) - 1
        return EncodedRows(
            bytes(self._rows),
            self.rows,
            frozenset(self._days),
            tuple(self.rejected),
        )

    def _find_text(self, record: dict[str, Any], paths: tuple[str, ...]) -> bytes:
        text = take_text(record, paths)
        return _NULL if text is None else self._writer.text_field(text)

    def _find_level(self, record: dict[str, Any], paths: tuple[str, ...]) -> bytes:
        label = take_level(record, paths)
        return _NULL if label is None else self._level_fields[label]

    def _enter_day(self, microseconds: int) -> None:
        day = microseconds // DAY_MICROSECONDS
        self._days.add(Day(day))
        self._day_start = day * DAY_MICROSECONDS
        self._day_end = self._day_start + DAY_MICROSECONDS


def _field(raw: bytes) -> bytes:
    return _pack_length(len(raw)) + raw


def _is_small_shape(keys: tuple[Any, ...]) -> bool:
    return (
        len(keys) <= CACHED_KEYS
        and all(type(key) is str for key in keys)
        and sum(map(len, keys)) <= CACHED_CHARACTERS
    )


def _has_nul(attributes: bytes) -> bool:
    r"""Tell whether the JSON escapes a NUL: a text may itself read `\u0000`."""
    return b"\\u0000" in attributes.replace(b"\\\\", b"")


def _has_non_finite(value: Any) -> bool:
    """Tell whether a `null` in the JSON may be a NaN or an infinity."""
    if type(value) is float:
        return not math.isfinite(value)
    if type(value) is dict:
        return any(map(_has_non_finite, value.values()))
    return type(value) is list and any(map(_has_non_finite, value))
