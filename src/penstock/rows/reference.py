r"""The definition of a row: msgpack entries to binary COPY tuples, in plain Python.

Third in the flow. Each entry goes one of two ways. The plain way has msgpack's C
unpacker and orjson do the work, and serves what well-behaved senders send. What
they refuse, or would lose, goes the careful way: the same entry read again from
its bytes by `entries`. Both end in `Part.add_row`, so there is one definition of a
row. It must not look at a clock: the time of arrival comes with each call.

A message is encoded in parts, cut at fixed offsets of its bytes, so that neither
the event loop nor the ring has to swallow a large one whole, and so that the same
bytes are always cut into the same parts.
"""

import struct
from itertools import islice
from typing import Any

import msgpack

from penstock.model import EncodedRows, RejectedEvent
from penstock.rows.copy_format import NOT_PLAIN_ERRORS, PART_ROWS, Part, RowWriter
from penstock.rows.entries import (
    GROUP_KEY,
    METADATA_KEY,
    TIME_KEY,
    GroupMarker,
    ReadEntry,
    end_of_junk,
    read_entry,
)
from penstock.rows.plain import Plain, read_plain
from penstock.rows.times import GROUP_END_SECONDS, MICROSECONDS, MILLISECONDS_FROM
from penstock.settings import ColumnSettings

# A part: about a thousand rows of usual size, some milliseconds of work. Fixed,
# not a setting: a chunk that is sent again must be cut where it was cut before.
PART_BYTES = 256 * 1024

_unpack_event_time = struct.Struct(">II").unpack
# What the C unpacker raises for bytes it does not take; MemoryError because it
# allocates by declared length.
_UNPACK_ERRORS = (ValueError, TypeError, msgpack.UnpackException, MemoryError)


class RowEncoder:
    """Encodes entries; one for each process, shared by its connections."""

    def __init__(self, columns: ColumnSettings, *, receiver: int) -> None:
        self._writer = RowWriter(columns, receiver=receiver)

    def start(
        self, entries: bytes, *, tag: str, metadata: bytes | None = None
    ) -> "RowStream":
        """Begin to encode one message's entries.

        `metadata` is a msgpack map that stands for every entry's own metadata.
        """
        return RowStream(self._writer, entries, tag, metadata)


class RowStream:
    """One message's entries on their way to rows, part by part."""

    def __init__(
        self, writer: RowWriter, entries: bytes, tag: str, metadata: bytes | None
    ) -> None:
        self._writer = writer
        self._entries = entries
        self._tag = tag
        self._metadata = None if metadata is None else read_plain(metadata, 0, 2)[0]
        self._group: Plain = None
        self._offset = 0  # where the next entry begins
        self._unpacker: Any = None
        self._unpacker_base = 0
        self._fed_to = 0
        self._is_drained = True  # the unpacker has no whole entry left

    @property
    def exhausted(self) -> bool:
        """Tell whether all entries have been encoded."""
        return self._offset >= len(self._entries)

    def next_part(self, now_microseconds: int) -> EncodedRows:
        """Encode the next part; `now_microseconds` is the time of arrival.

        The part may be empty at the end of the message.
        """
        part = Part(self._writer, tag=self._tag, now_microseconds=now_microseconds)
        while not self.exhausted and not part.rows and not part.rejected:
            self._feed_window()
            try:
                self._encode_window(part)
            except _UNPACK_ERRORS:
                # Behind an error the unpacker is of no use. The rest of its window
                # goes the careful way, the next window gets a new one.
                self._unpacker = None
                self._encode_carefully(part, until=self._fed_to)
        return part.finish()

    def _feed_window(self) -> None:
        if self._unpacker is None:
            self._unpacker = msgpack.Unpacker(
                ext_hook=_ext_pair,
                strict_map_key=False,
                unicode_errors="surrogateescape",
                max_buffer_size=0,
                # It allocates by declared length; more cannot be there.
                max_array_len=len(self._entries),
                max_map_len=len(self._entries),
                max_str_len=len(self._entries),
                max_bin_len=len(self._entries),
                max_ext_len=len(self._entries),
            )
            self._unpacker_base = self._fed_to = self._offset
            self._is_drained = True
        if self._is_drained:
            window_end = (self._fed_to // PART_BYTES + 1) * PART_BYTES
            window = memoryview(self._entries)[self._fed_to : window_end]
            self._unpacker.feed(window)
            self._fed_to += len(window)
            self._is_drained = False

    def _encode_window(self, part: Part) -> None:
        """Encode the whole entries of the window, or as many as a part may have."""
        unpacker, base, plans = self._unpacker, self._unpacker_base, self._writer.plans
        tell, add_row = unpacker.tell, part.add_row
        has_extras = self._metadata is not None or self._group is not None
        for entry in islice(unpacker, PART_ROWS):
            end = base + tell()
            try:
                if type(entry) is not list:
                    raise msgpack.UnpackException("not in step with the entries")
                time, record = entry[0], entry[1]
                if type(record) is not dict or has_extras:
                    raise TypeError
                plan = plans.get(tuple(record)) or self._writer.plan(record)
                if type(time) is list:
                    time, metadata = time
                    if metadata:
                        if METADATA_KEY in record:
                            raise TypeError
                        record[METADATA_KEY] = metadata
                add_row(_plain_microseconds(time), record, plan)
            except (*NOT_PLAIN_ERRORS, LookupError):
                self._encode_carefully(part, until=end)
                has_extras = self._metadata is not None or self._group is not None
            self._offset = end
        if part.is_full:
            return
        self._is_drained = True
        if self._fed_to == len(self._entries):
            self._encode_carefully(part, until=self._fed_to)  # an entry cut short

    def _encode_carefully(self, part: Part, *, until: int) -> None:
        while self._offset < until and not part.is_full:
            outcome, end = read_entry(
                self._entries, self._offset, part.now_microseconds
            )
            match outcome:
                case ReadEntry():
                    record = self._with_extras(outcome)
                    part.add_row(
                        outcome.microseconds, record, self._writer.plan(record)
                    )
                case GroupMarker():
                    self._group = outcome.body
                case RejectedEvent(reason="not_an_entry"):
                    # One thing gone wrong, not one for each value of a run: a text
                    # in the place of the entries would be one for each character.
                    end = end_of_junk(self._entries, end, until)
                    raw = self._entries[self._offset : end]
                    part.rejected.append(RejectedEvent(outcome.reason, raw))
                case RejectedEvent():
                    part.rejected.append(outcome)
            self._offset = end

    def _with_extras(self, entry: ReadEntry) -> dict[str, Plain]:
        """Put what is the event's but not its record's beside the record's keys."""
        record = entry.record
        if self._metadata or entry.metadata:
            _add_beside(record, METADATA_KEY, entry.metadata or self._metadata)
        if self._group is not None:
            _add_beside(record, GROUP_KEY, self._group)
        if entry.time_was_replaced:
            _add_beside(record, TIME_KEY, entry.raw_time)
        return record


def _ext_pair(code: int, data: bytes) -> tuple[int, bytes]:
    # msgpack.ExtType costs as much as the rest of an entry. orjson refuses the
    # bytes in the pair, so an ext value inside a record is noticed.
    return code, data


def _plain_microseconds(time: Any) -> int:
    """Return microseconds since 1970 of the times that most senders send.

    Raises:
        TypeError, ValueError: another kind of time, a group marker among them.
    """
    if type(time) is tuple and time[0] == 0 and len(time[1]) == 8:
        seconds, nanoseconds = _unpack_event_time(time[1])
        if 0 < seconds < GROUP_END_SECONDS:
            microseconds: int = seconds * MICROSECONDS + nanoseconds // 1000
            return microseconds
    elif type(time) is int and 0 < time < MILLISECONDS_FROM:
        return time * MICROSECONDS
    raise TypeError


def _add_beside(record: dict[str, Plain], key: str, value: Plain) -> None:
    while key in record:
        key += "_"  # the record's own key stays
    record[key] = value
