"""PostgreSQL's binary COPY format, and the fields that come again and again.

It owns the format's constants and what one process remembers between parts: where
records of one shape keep their columns, the fields of names it has seen, the last
id. It must not know msgpack, nor how a row is put together: `part` does.

Sources: PostgreSQL documentation, COPY, "Binary Format"; jsonb_recv takes a version
byte, 1, and the JSON text; enum_recv takes the label.
"""

import struct
from typing import Any

from penstock.rows.columns import (
    ColumnPlan,
    level_spellings,
    plan_for,
    take_level,
    take_text,
)
from penstock.settings import ColumnSettings

COLUMNS = ("id", "ts", "tag", "level", "service", "host", "message", "attributes")
# COPY's signature, flags and header extension, and the trailer.
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = b"\xff\xff"

# An id is 51 bits of microseconds since 2020, which last until 2091, and 12 bits
# that tell receivers apart.
ID_EPOCH_MICROSECONDS = 1_577_836_800_000_000
RECEIVER_BITS = 12

# Record shapes and names of services repeat, so what was worked out for one is kept
# for the next. The bounds are for senders where they never do: a name or a shape
# past them is worked out again each time.
CACHE_ENTRIES = 4096
CACHED_CHARACTERS = 512
CACHED_KEYS = 64

NULL = b"\xff\xff\xff\xff"
JSONB_VERSION = 1
_pack_length = struct.Struct(">i").pack
_unpack_length_from = struct.Struct(">i").unpack_from
_unpack_count_from = struct.Struct(">h").unpack_from


class RowWriter:
    """Writes the rows of one process: its ids and what it remembers between parts.

    `receiver` tells this process's ids from those of others, 0 to 4095.
    """

    def __init__(self, columns: ColumnSettings, *, receiver: int) -> None:
        assert 0 <= receiver < 1 << RECEIVER_BITS
        self.receiver = receiver
        self.last_tick = 0  # microseconds of the last id that was given
        self._columns = columns
        self._plans: dict[tuple[Any, ...], ColumnPlan] = {}
        self._text_fields: dict[str, bytes] = {}
        self.key_orders: dict[tuple[Any, ...], tuple[str, ...]] = {}  # of `key_order`
        self._level_fields = {
            spelling: _field_of(label.encode())
            for spelling, label in level_spellings().items()
        }

    def _plan(self, record: dict[Any, Any]) -> ColumnPlan:
        """Return where this record's columns are, and remember it by its keys."""
        keys = tuple(record)
        plan = self._plans.get(keys)
        if plan is None:
            plan = plan_for(keys, self._columns)
            if _is_small_shape(keys):
                if len(self._plans) >= CACHE_ENTRIES:
                    self._plans.clear()
                self._plans[keys] = plan
        return plan

    def text_field(self, text: str) -> bytes:
        """Return the field of a text column whose values come again and again.

        Raises:
            ValueError: the text holds what `text` does not take.
        """
        field = self._text_fields.get(text)
        if field is None:
            raw = text.encode()
            if 0 in raw:
                raise ValueError("NUL")
            field = _field_of(raw)
            if len(text) <= CACHED_CHARACTERS:
                if len(self._text_fields) >= CACHE_ENTRIES:
                    self._text_fields.clear()
                self._text_fields[text] = field
        return field

    def take_columns(self, record: dict[str, Any]) -> tuple[bytes, bytes, bytes, bytes]:
        """Take what fills columns out of the record.

        Returns the fields of level, service, host and message.

        Raises:
            TypeError, ValueError, AttributeError: no dict of str keys and texts that
                PostgreSQL takes; the record is no longer whole.
        """
        if type(record) is not dict:
            raise TypeError("no record")
        (
            level_key,
            level_paths,
            service_key,
            service_paths,
            host_key,
            host_paths,
            message_key,
            message_paths,
        ) = self._plans.get(tuple(record)) or self._plan(record)
        text_fields, level_fields = self._text_fields, self._level_fields
        level = service = host = NULL
        if level_paths:
            value = record.get(level_key)
            if (type(value) is str or type(value) is int) and value in level_fields:
                level = level_fields[value]
                del record[level_key]
            else:
                level = self._find_level(record, level_paths)
        if service_paths:
            value = record.get(service_key)
            if type(value) is str and value in text_fields:
                service = text_fields[value]
                del record[service_key]
            else:
                service = self._find_text(record, service_paths)
        if host_paths:
            value = record.get(host_key)
            if type(value) is str and value in text_fields:
                host = text_fields[value]
                del record[host_key]
            else:
                host = self._find_text(record, host_paths)
        if not message_paths:
            return level, service, host, NULL
        value = record.get(message_key)
        if type(value) is str:
            del record[message_key]
        else:
            value = take_text(record, message_paths)
            if value is None:
                return level, service, host, NULL
        message = value.encode()
        if 0 in message:  # as a number: bytes in bytes costs an error formatted
            raise ValueError("NUL")
        return level, service, host, _pack_length(len(message)) + message

    def _find_text(self, record: dict[str, Any], paths: tuple[str, ...]) -> bytes:
        text = take_text(record, paths)
        return NULL if text is None else self.text_field(text)

    def _find_level(self, record: dict[str, Any], paths: tuple[str, ...]) -> bytes:
        label = take_level(record, paths)
        return NULL if label is None else self._level_fields[label]


def row_bounds(data: bytes) -> list[tuple[int, int]]:
    """Return where each tuple of `data` begins and ends; no header, no trailer."""
    bounds: list[tuple[int, int]] = []
    start = 0
    while start < len(data):
        end = start + 2
        for _ in range(_unpack_count_from(data, start)[0]):
            length = _unpack_length_from(data, end)[0]
            end += 4 + max(length, 0)  # -1 is NULL
        bounds.append((start, end))
        start = end
    return bounds


def _field_of(raw: bytes) -> bytes:
    """Return a field: its length and its bytes."""
    return _pack_length(len(raw)) + raw


def _is_small_shape(keys: tuple[Any, ...]) -> bool:
    return (
        len(keys) <= CACHED_KEYS
        and all(type(key) is str for key in keys)
        and sum(map(len, keys)) <= CACHED_CHARACTERS
    )
