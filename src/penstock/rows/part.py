r"""A part of a message on its way to rows: the one definition of a row's bytes.

It owns how a row is put together, the ids, and which days the rows fall on. What
orjson, UTF-8 or jsonb cannot write is refused by an exception, for the caller to
mend. It must not read msgpack.
"""

import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson
from msgspec.msgpack import Ext

from penstock.model import Beside, Day, EncodedRows, RejectedEvent
from penstock.rows.copy_format import (
    COLUMNS,
    ID_EPOCH_MICROSECONDS,
    JSONB_VERSION,
    RECEIVER_BITS,
    FieldTooLongError,
    RowWriter,
)
from penstock.rows.entries import METADATA_KEY
from penstock.rows.key_order import in_jsonb_order
from penstock.rows.times import (
    DAY_MICROSECONDS,
    EVENT_TIME_CODE,
    GROUP_END_SECONDS,
    MICROSECONDS,
    MILLISECONDS_FROM,
    PG_EPOCH_MICROSECONDS,
)

# Bounds a part whose entries are tiny; fixed for the same reason as its bytes.
PART_ROWS = 4096

_NEXT_ID = 1 << RECEIVER_BITS
_COLUMN_COUNT = len(COLUMNS)
_pack_head = struct.Struct(">hiqiq").pack  # the number of fields; id; ts
_pack_jsonb_head = struct.Struct(">ib").pack
_unpack_event_time = struct.Struct(">II").unpack
_dumps = orjson.dumps
# msgspec reads Timestamp values as datetimes; here they are not plain.
_NO_DATETIME = orjson.OPT_PASSTHROUGH_DATETIME

# A byte is looked for as a number, and bytes by find: `b"x" in ...` first tries its
# left side as a number and formats an error each time, 0.15 us.
BACKSLASH = ord("\\")


class Microseconds(NamedTuple):
    """A time that is taken as it is: microseconds since 1970."""

    value: int


class Position(NamedTuple):
    """How far a part has come."""

    pieces: int
    rejected: int
    next_id: int


class NotPlainError(Exception):
    """A record holds what orjson, UTF-8 or jsonb refuse, or its time is unusual."""


class Part:
    """Rows being written: the tuples, the days they fall on, what was rejected."""

    def __init__(self, writer: RowWriter, *, tag: str, now_microseconds: int) -> None:
        self.now_microseconds = now_microseconds
        self.rejected: list[RejectedEvent] = []
        self._writer = writer
        self._take_columns = writer.take_columns
        self.begin_message(tag)
        self._pieces: list[bytes | bytearray] = []
        self._days: set[Day] = set()
        # Ids are in the order of arrival, and none is given twice.
        first_tick = max(now_microseconds - ID_EPOCH_MICROSECONDS, writer.last_tick + 1)
        self._next_id = self._first_id = first_tick << RECEIVER_BITS | writer.receiver

    def begin_message(self, tag: str) -> None:
        """Have the rows from here on carry this tag."""
        self.tag_field = self._writer.text_field(tag)

    @property
    def position(self) -> Position:
        """Return how far the part has come."""
        return Position(len(self._pieces), len(self.rejected), self._next_id)

    def since(self, start: Position) -> tuple[int, int, int]:
        """Return how many rows, rejected events and bytes of rows there are since."""
        return (
            (self._next_id - start.next_id) // _NEXT_ID,
            len(self.rejected) - start.rejected,
            sum(map(len, self._pieces[start.pieces :])),
        )

    def take_back(self, start: Position) -> None:
        """Be as it was then."""
        del self._pieces[start.pieces :], self.rejected[start.rejected :]
        self._next_id = start.next_id

    @property
    def rows(self) -> int:
        """Count the rows that were written."""
        return (self._next_id - self._first_id) // _NEXT_ID

    @property
    def events(self) -> int:
        """Count the rows and what was rejected."""
        return self.rows + len(self.rejected)

    @property
    def events_left(self) -> int:
        """Count the events that the part still has room for."""
        return PART_ROWS - self.events

    def add_rows(self, entries: Iterable[Any]) -> None:
        """Write a row for each entry, `(time, record)`, as msgspec decodes them.

        A time is an EventTime as `Ext`, whole seconds or `Microseconds`, or a list of
        one of these and a map of metadata. A record holds what orjson writes, str
        keys and finite numbers only; it loses the keys that fill columns.

        The hottest code there is: one frame for all rows, local names, and for the
        usual record one call into Python.

        Raises:
            NotPlainError: an entry is not as above. Those before it are rows, it
                and those behind it are not.
            FieldTooLongError: the same, of one that COPY cannot write.
        """
        rows, tag_field, take_columns = bytearray(), self.tag_field, self._take_columns
        orders, row_id = self._writer.key_orders, self._next_id
        max_attributes_bytes = self._writer.max_field_bytes  # with their version
        day_start = day_end = 0
        try:
            for entry in entries:
                try:
                    time, record = entry
                    if type(time) is list:
                        time = _without_metadata(time, record)
                    if type(time) is Ext and time.code == EVENT_TIME_CODE:
                        seconds, nanoseconds = _unpack_event_time(time.data)
                        if not 0 < seconds < GROUP_END_SECONDS:
                            raise ValueError("no time, or a group marker")
                        microseconds = seconds * MICROSECONDS + nanoseconds // 1000
                    else:
                        microseconds = _microseconds_of(time)
                    level, service, host, message = take_columns(record)
                    record = in_jsonb_order(record, orders)
                    attributes = _dumps(record, None, _NO_DATETIME)
                    if BACKSLASH in attributes and _has_nul(attributes):
                        raise ValueError("what JSON holds and jsonb does not")
                    if len(attributes) >= max_attributes_bytes:
                        raise FieldTooLongError
                    if not day_start <= microseconds < day_end:
                        day = microseconds // DAY_MICROSECONDS
                        day_start = day * DAY_MICROSECONDS
                        day_end = day_start + DAY_MICROSECONDS
                        self._days.add(Day(day))
                    # Joined at once, not at the end: pieces that are freed at once are
                    # made again from memory that is in the cache. orjson's alone cost
                    # 2.5 us a row when kept, 0.2 us when joined.
                    rows += b"".join(
                        (
                            _pack_head(
                                _COLUMN_COUNT,
                                8,
                                row_id,
                                8,
                                microseconds - PG_EPOCH_MICROSECONDS,
                            ),
                            tag_field,
                            level,
                            service,
                            host,
                            message,
                            _pack_jsonb_head(len(attributes) + 1, JSONB_VERSION),
                            attributes,
                        )
                    )
                    row_id += _NEXT_ID
                except (TypeError, ValueError, AttributeError, struct.error) as error:
                    raise NotPlainError from error
        finally:
            self._next_id = row_id
            self._pieces.append(rows)

    @property
    def next_id(self) -> int:
        """Return the id of the row that is written next."""
        return self._next_id

    def take_rows(self, data: bytes, rows: int, days: Iterable[int]) -> None:
        """Take rows that were written elsewhere, with ids from `next_id` on."""
        if rows:
            self._pieces.append(data)
            self._next_id += rows * _NEXT_ID
            self._days.update(map(Day, days))

    def finish(
        self, entries: bytes = b"", *, offset: int = 0, beside: Beside | None = None
    ) -> EncodedRows:
        """Return what was written, and of what; the part is of no further use."""
        self._writer.last_tick = self._next_id // _NEXT_ID - 1
        return EncodedRows(
            b"".join(self._pieces),  # of one bytes no copy is made
            self.rows,
            frozenset(self._days),
            tuple(self.rejected),
            entries,
            offset,
            self.now_microseconds,
            beside,
        )


def _without_metadata(time: list[Any], record: dict[str, Any]) -> Any:
    """Move the metadata of `[time, metadata]` into the record; return the time."""
    event_time, metadata = time
    if metadata:
        if METADATA_KEY in record:
            raise ValueError("two of one key")
        record[METADATA_KEY] = metadata
    return event_time


def _microseconds_of(time: Any) -> int:
    """Return microseconds since 1970 of a time that is no EventTime."""
    if type(time) is int and 0 < time < MILLISECONDS_FROM:
        return time * MICROSECONDS
    if type(time) is Microseconds:
        return time.value
    raise ValueError("an unusual time")


def _has_nul(attributes: bytes) -> bool:
    r"""Tell whether the JSON escapes a NUL: a text may itself read `\u0000`."""
    return b"\\u0000" in attributes.replace(b"\\\\", b"")
