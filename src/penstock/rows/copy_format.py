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
    ColumnPaths,
    level_spellings,
    paths_for,
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

# Record shapes and names of services repeat, so what was worked out for one is kept
# for the next. The bounds are for senders where they never do: a name or a shape
# past them is worked out again each time.
CACHE_ENTRIES = 4096
CACHED_CHARACTERS = 512
CACHED_KEYS = 64

_ROW_HEAD = struct.Struct(">hiqiq")  # 8 fields; id; ts
_LENGTH = struct.Struct(">i")
_JSONB_HEAD = struct.Struct(">ib")
_NULL_FIELD = b"\xff\xff\xff\xff"
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
        self._paths: dict[tuple[Any, ...], ColumnPaths] = {}
        self._text_fields: dict[str, bytes] = {}
        self.level_fields = {
            spelling: _field(label.encode())
            for spelling, label in level_spellings().items()
        }

    def paths(self, record: dict[Any, Any]) -> ColumnPaths:
        """Return where this record's columns may be, remembered by its keys."""
        keys = tuple(record)
        paths = self._paths.get(keys)
        if paths is None:
            paths = paths_for(keys, self._columns)
            if _is_small_shape(keys):
                if len(self._paths) >= CACHE_ENTRIES:
                    self._paths.clear()
                self._paths[keys] = paths
        return paths

    def text_field(self, text: str) -> bytes:
        """Return the field of a text column whose values come again and again.

        Raises:
            ValueError: the text holds what `text` does not take.
        """
        field = self._text_fields.get(text)
        if field is None:
            raw = text.encode()
            if b"\0" in raw:
                raise ValueError("NUL")
            field = _field(raw)
            if len(text) <= CACHED_CHARACTERS:
                if len(self._text_fields) >= CACHE_ENTRIES:
                    self._text_fields.clear()
                self._text_fields[text] = field
        return field


class Part:
    """Rows being written: the tuples, the days they fall on, what was rejected."""

    def __init__(self, writer: RowWriter, *, tag: str, now_microseconds: int) -> None:
        self.now_microseconds = now_microseconds
        self.rows = 0
        self.rejected: list[RejectedEvent] = []
        self._writer = writer
        self._tag_field = writer.text_field(tag)
        self._pieces: list[bytes] = []
        self._days: set[Day] = set()
        self._day_start = self._day_end = 0
        # Ids are in the order of arrival, and none is given twice.
        self._tick = max(now_microseconds - ID_EPOCH_MICROSECONDS, writer.last_tick + 1)

    def add_row(
        self, microseconds: int, record: dict[str, Any], paths: ColumnPaths
    ) -> None:
        """Write one row; the record loses the keys that fill columns.

        `microseconds` is the event's time since 1970. `record` holds what orjson
        writes, str keys only.

        Raises:
            TypeError, ValueError: the record is not plain (`NOT_PLAIN_ERRORS`);
                nothing was written, but the record is no longer whole.
        """
        level_paths, service_paths, host_paths, message_paths = paths
        level = self._level(record, level_paths) if level_paths else _NULL_FIELD
        service = self._text(record, service_paths) if service_paths else _NULL_FIELD
        host = self._text(record, host_paths) if host_paths else _NULL_FIELD
        message = take_text(record, message_paths) if message_paths else None
        if message is None:
            message_head, message_raw = _NULL_FIELD, b""
        else:
            message_raw = message.encode()
            if b"\0" in message_raw:
                raise ValueError("NUL")
            message_head = _LENGTH.pack(len(message_raw))
        attributes = orjson.dumps(record)
        if (b"null" in attributes and _has_non_finite(record)) or (
            b"\\" in attributes and b"\\u0000" in attributes and _has_nul(attributes)
        ):
            raise ValueError("what JSON holds and jsonb does not")
        if not self._day_start <= microseconds < self._day_end:
            self._enter_day(microseconds)
        self._pieces += (
            _ROW_HEAD.pack(
                len(COLUMNS),
                8,
                self._tick << RECEIVER_BITS | self._writer.receiver,
                8,
                microseconds - PG_EPOCH_MICROSECONDS,
            ),
            self._tag_field,
            level,
            service,
            host,
            message_head,
            message_raw,
            _JSONB_HEAD.pack(len(attributes) + 1, _JSONB_VERSION),
            attributes,
        )
        self._tick += 1
        self.rows += 1

    def finish(self) -> EncodedRows:
        """Return what was written; the part is of no further use."""
        self._writer.last_tick = self._tick - 1
        return EncodedRows(
            b"".join(self._pieces),
            self.rows,
            frozenset(self._days),
            tuple(self.rejected),
        )

    def _text(self, record: dict[str, Any], paths: tuple[str, ...]) -> bytes:
        text = record.get(paths[0])
        if type(text) is str:
            del record[paths[0]]
        else:
            text = take_text(record, paths)
        return _NULL_FIELD if text is None else self._writer.text_field(text)

    def _level(self, record: dict[str, Any], paths: tuple[str, ...]) -> bytes:
        level = record.get(paths[0])
        if type(level) is str or type(level) is int:
            field = self._writer.level_fields.get(level)
            if field is not None:
                del record[paths[0]]
                return field
        label = take_level(record, paths)
        return _NULL_FIELD if label is None else self._writer.level_fields[label]

    def _enter_day(self, microseconds: int) -> None:
        day = microseconds // DAY_MICROSECONDS
        self._days.add(Day(day))
        self._day_start = day * DAY_MICROSECONDS
        self._day_end = self._day_start + DAY_MICROSECONDS


def _field(raw: bytes) -> bytes:
    return _LENGTH.pack(len(raw)) + raw


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
