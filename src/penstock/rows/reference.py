r"""The definition of a row: msgpack entries to binary COPY tuples, in plain Python.

Third in the flow. msgpack's C skipper finds the entries; then each goes one of two
ways. The plain way has msgspec and orjson do the work, and serves what well-behaved
senders send. What they refuse, or would lose, goes the careful way: the same entry
read again from its bytes by `entries`. Both end in `Part.add_rows`, so there is one
definition of a row. It must not look at a clock: the time of arrival comes with each
call.

A message is encoded in parts, cut at fixed offsets of its bytes, so that neither
the event loop nor the ring has to swallow a large one whole, and so that the same
bytes are always cut into the same parts.
"""

import struct
from typing import Any

import msgpack
import msgspec

from penstock.model import Beside, EncodedRows, RejectedEvent
from penstock.rows.copy_format import RowWriter
from penstock.rows.entries import (
    GroupMarker,
    ReadEntry,
    end_of_junk,
    read_entry,
    record_with_extras,
)
from penstock.rows.part import Microseconds, NotPlainError, Part
from penstock.rows.plain import Plain, read_plain
from penstock.settings import ColumnSettings
from penstock.wire.values import ARRAY_32, may_hold_non_finite

# A part: some hundred rows of usual size, two or three milliseconds of work. Fixed,
# not a setting: a chunk that is sent again must be cut where it was cut before.
PART_BYTES = 128 * 1024

# Read at once: a call for each entry costs more, and of more entries the records fall
# out of the processor's cache before they are written.
RUN_ENTRIES = 32

_decode = msgspec.msgpack.Decoder().decode
_pack_array_head = struct.Struct(">BI").pack
# What it raises for a str that is no UTF-8, a key that is no key, nesting.
_DECODE_ERRORS = (ValueError, TypeError, RecursionError)


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
        self._skipper: Any = None
        self._skipper_base = 0
        self._fed_to = 0
        self._is_drained = True  # the skipper has no whole entry left

    @property
    def exhausted(self) -> bool:
        """Tell whether all entries have been encoded."""
        return self._offset >= len(self._entries)

    def next_part(self, now_microseconds: int) -> EncodedRows:
        """Encode the next part; `now_microseconds` is the time of arrival.

        The part may be empty at the end of the message.
        """
        part = Part(self._writer, tag=self._tag, now_microseconds=now_microseconds)
        start, group = self._offset, self._group
        while not self.exhausted and not part.events:
            if self._is_drained:
                self._feed_window()
            self._encode(part, self._find_ends(part.events_left))
            is_last = self._is_drained and self._fed_to == len(self._entries)
            if self._skipper is None or is_last:
                # What is left of the window the skipper could not take: bytes that
                # are no msgpack, nesting too deep for it, an entry cut short.
                while self._offset < self._fed_to and part.events_left:
                    self._encode_carefully(part, until=self._fed_to)
        has_beside = bool(self._metadata) or group is not None
        return part.finish(
            self._entries[start : self._offset],
            offset=start,
            beside=Beside(self._metadata, group) if has_beside else None,
        )

    def _feed_window(self) -> None:
        if self._skipper is None:
            self._skipper = msgpack.Unpacker(max_buffer_size=0)
            self._skipper_base = self._fed_to = self._offset
        window_end = (self._fed_to // PART_BYTES + 1) * PART_BYTES
        window = memoryview(self._entries)[self._fed_to : window_end]
        self._skipper.feed(window)
        self._fed_to += len(window)
        self._is_drained = False

    def _find_ends(self, most: int) -> list[int]:
        """Return where the next entries end, as far as they are in the window."""
        base, skip, tell = self._skipper_base, self._skipper.skip, self._skipper.tell
        ends: list[int] = []
        try:
            while len(ends) < most:
                skip()
                ends.append(base + tell())
        except msgpack.OutOfData:
            self._is_drained = True
        except (ValueError, msgpack.UnpackException):
            self._is_drained, self._skipper = True, None
        return ends

    def _encode(self, part: Part, ends: list[int]) -> None:
        """Encode the entries that end there: by runs, and where one fails, singly."""
        for first in range(0, len(ends), RUN_ENTRIES):
            run = ends[first : first + RUN_ENTRIES]
            if self._encode_plainly(part, run):
                continue
            for end in run:
                if self._offset < end and not self._encode_plainly(part, [end]):
                    self._encode_carefully(part, until=ends[-1])

    def _encode_plainly(self, part: Part, ends: list[int]) -> bool:
        """Encode a run of entries; return False at the first that is not plain."""
        if self._metadata is not None or self._group is not None:
            return False  # what stands beside a record is not put into it this way
        packed = self._entries[self._offset : ends[-1]]
        if may_hold_non_finite(packed):
            return False  # orjson writes them as null
        rows_before = part.rows
        try:
            part.add_rows(_decode(_pack_array_head(ARRAY_32, len(ends)) + packed))
        except (NotPlainError, *_DECODE_ERRORS):
            if part.rows > rows_before:
                self._offset = ends[part.rows - rows_before - 1]
            return False
        self._offset = ends[-1]
        return True

    def _encode_carefully(self, part: Part, *, until: int) -> None:
        """Encode one entry, or reject it; junk goes on to `until` at most."""
        outcome, end = read_entry(self._entries, self._offset, part.now_microseconds)
        match outcome:
            case ReadEntry():
                time = Microseconds(outcome.microseconds)
                record = record_with_extras(outcome, self._metadata, self._group)
                part.add_rows([(time, record)])
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
