r"""The definition of a row: msgpack entries to binary COPY tuples, in plain Python.

Third in the flow. Each entry goes one of two ways. The plain way has msgpack's C
unpacker and orjson do the work, and serves what well-behaved senders send. What
they refuse, or would lose, goes the careful way: the same entry read again from
its bytes by `entries`. Both end in `Part.add_rows`, so there is one definition of a
row. It must not look at a clock: the time of arrival comes with each call.

A message is encoded in parts, cut at fixed offsets of its bytes, so that neither
the event loop nor the ring has to swallow a large one whole, and so that the same
bytes are always cut into the same parts.
"""

from itertools import islice
from typing import Any

import msgpack

from penstock.model import EncodedRows, RejectedEvent
from penstock.rows.copy_format import RowWriter
from penstock.rows.entries import (
    GROUP_KEY,
    METADATA_KEY,
    TIME_KEY,
    GroupMarker,
    ReadEntry,
    end_of_junk,
    read_entry,
)
from penstock.rows.part import Microseconds, NotPlainError, Part
from penstock.rows.plain import Plain, read_plain
from penstock.settings import ColumnSettings
from penstock.wire.values import Kind, read_header

# A part: some hundred rows of usual size, two or three milliseconds of work. Fixed,
# not a setting: a chunk that is sent again must be cut where it was cut before.
PART_BYTES = 128 * 1024

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
        while not self.exhausted and not part.events:
            self._feed_window()
            self._encode_window(part)
        return part.finish()

    def _feed_window(self) -> None:
        if self._unpacker is None:
            self._unpacker = msgpack.Unpacker(
                # As ExtType, a named tuple, an ext value costs as much as the rest of
                # an entry; slice is a pair made in C. orjson refuses both.
                ext_hook=slice,
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
        elif not self._is_drained:
            return
        window_end = (self._fed_to // PART_BYTES + 1) * PART_BYTES
        window = memoryview(self._entries)[self._fed_to : window_end]
        self._unpacker.feed(window)
        self._fed_to += len(window)

    def _encode_window(self, part: Part) -> None:
        """Encode what the unpacker has, or as much as the part may have."""
        unpacker, base = self._unpacker, self._unpacker_base
        # Each entry with its end, which is where the unpacker stands then.
        with_ends = zip(unpacker, iter(unpacker.tell, None), strict=False)
        # What stands beside a record is not put into it the plain way.
        while self._metadata is None and self._group is None:
            part.written_to = self._offset - base
            try:
                part.add_rows(islice(with_ends, part.events_left))
            except NotPlainError:
                self._offset = base + part.written_to
                if read_header(self._entries, self._offset).kind is not Kind.ARRAY:
                    break
                self._encode_carefully(part, until=self._offset + 1)
            except _UNPACK_ERRORS:
                self._offset = base + part.written_to
                break
            else:
                self._offset = base + part.written_to
                self._is_drained = part.events_left > 0
                if self._fed_to == len(self._entries):
                    self._encode_carefully(part, until=self._fed_to)  # one cut short
                return
        # The rest of the window goes the careful way, the next one gets a new unpacker:
        # behind an error this one is of no use.
        self._unpacker = None
        self._encode_carefully(part, until=self._fed_to)

    def _encode_carefully(self, part: Part, *, until: int) -> None:
        while self._offset < until and part.events_left:
            outcome, end = read_entry(
                self._entries, self._offset, part.now_microseconds
            )
            match outcome:
                case ReadEntry():
                    time = Microseconds(outcome.microseconds)
                    part.add_rows([((time, self._with_extras(outcome)), 0)])
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


def _add_beside(record: dict[str, Plain], key: str, value: Plain) -> None:
    while key in record:
        key += "_"  # the record's own key stays
    record[key] = value
