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
import orjson

from penstock.model import Beside, EncodedRows, RejectedEvent
from penstock.rows.copy_format import RowWriter
from penstock.rows.entries import (
    GroupMarker,
    Outcome,
    ReadEntry,
    read_entry,
    record_with_extras,
)
from penstock.rows.part import Microseconds, NotPlainError, Part
from penstock.rows.plain import read_plain
from penstock.settings import ColumnSettings, WireLimits
from penstock.wire.values import (
    ARRAY_32,
    excess_of,
    least_excessive_bytes,
    may_hold_non_finite,
    skip_to_array,
)

# A part: some hundred rows of usual size, two or three milliseconds of work. Fixed,
# not a setting: a chunk that is sent again must be cut where it was cut before.
PART_BYTES = 128 * 1024
# What metadata and log groups may add to a part's rows, each of which has a copy: a
# part ends where they have added so much. Fixed as well.
PART_BESIDE_BYTES = 1024 * 1024

# Read at once: a call for each entry costs more, and of more entries the records fall
# out of the processor's cache before they are written.
RUN_ENTRIES = 32

_decode = msgspec.msgpack.Decoder().decode
_pack_array_head = struct.Struct(">BI").pack
# What it raises for a str that is no UTF-8, a key that is no key, nesting.
_DECODE_ERRORS = (ValueError, TypeError, RecursionError)
_NO_METADATA = b"{}"


class RowEncoder:
    """Encodes entries; one for each process, shared by its connections.

    `limits` hold for the messages that are started from then on.
    """

    def __init__(
        self,
        columns: ColumnSettings,
        *,
        receiver: int,
        limits: WireLimits | None = None,
    ) -> None:
        self._writer = RowWriter(columns, receiver=receiver)
        self.limits = WireLimits() if limits is None else limits

    def start(
        self, entries: bytes, *, tag: str, metadata: bytes | None = None
    ) -> "RowStream":
        """Begin to encode one message's entries.

        `metadata` is a msgpack map that stands for every entry's own metadata.
        """
        return RowStream(self._writer, entries, tag, metadata, self.limits)


class RowStream:
    """One message's entries on their way to rows, part by part."""

    def __init__(
        self,
        writer: RowWriter,
        entries: bytes,
        tag: str,
        metadata: bytes | None,
        limits: WireLimits,
    ) -> None:
        self._writer = writer
        self._entries = entries
        self._tag = tag
        self._metadata: bytes | None = None  # as JSON
        if metadata is not None:
            self._metadata = orjson.dumps(read_plain(metadata, 0, 2)[0])
        self._group: bytes | None = None  # as JSON
        self._max_map_keys = limits.max_map_keys
        self._least_excessive_bytes = least_excessive_bytes(
            max_map_keys=limits.max_map_keys
        )
        # The tag stands in each row: it inflates a message as much as gzip does.
        most_by_tag = limits.max_decompressed_bytes // max(len(tag.encode()), 1)
        self._entries_left = min(limits.max_chunk_entries, max(most_by_tag, 1))
        # And so does a copy beside each record.
        self._beside_left_bytes = limits.max_decompressed_bytes
        self._part_beside_left_bytes = 0
        self._offset = 0  # where the next entry begins
        self._ends: list[int] = []  # of the entries that were found
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

        The part may be empty at the end of the message, and where there is nothing
        but markers of log groups.
        """
        part = Part(self._writer, tag=self._tag, now_microseconds=now_microseconds)
        start, group, entries_left = self._offset, self._group, self._entries_left
        self._part_beside_left_bytes = PART_BESIDE_BYTES
        while not self.exhausted and self._entries_left == entries_left:
            if not self._entries_left:
                self._reject_the_rest(part)
                break
            if not self._ends:
                if self._is_drained:
                    self._feed_window()
                self._find_ends(min(part.events_left, self._entries_left))
            self._encode(part)
            is_last = self._is_drained and self._fed_to == len(self._entries)
            if not self._ends and (self._skipper is None or is_last):
                # What is left of the window the skipper could not take: bytes that
                # are no msgpack, nesting too deep for it, an entry cut short.
                while self._offset < self._fed_to and self._has_room(part):
                    self._encode_carefully(part, until=self._fed_to)
        metadata = None if self._metadata == _NO_METADATA else self._metadata
        has_beside = metadata is not None or group is not None
        return part.finish(
            self._entries[start : self._offset],
            offset=start,
            beside=Beside(metadata, group) if has_beside else None,
        )

    def _has_room(self, part: Part) -> bool:
        return (
            part.events_left > 0
            and self._entries_left > 0
            and self._part_beside_left_bytes > 0
        )

    def _reject_the_rest(self, part: Part) -> None:
        rest = self._entries[self._offset :]
        part.rejected.append(RejectedEvent("too_many_entries", rest))
        self._offset = len(self._entries)

    def _feed_window(self) -> None:
        if self._skipper is None:
            self._skipper = msgpack.Unpacker(max_buffer_size=0)
            self._skipper_base = self._fed_to = self._offset
        window_end = (self._fed_to // PART_BYTES + 1) * PART_BYTES
        window = memoryview(self._entries)[self._fed_to : window_end]
        self._skipper.feed(window)
        self._fed_to += len(window)
        self._is_drained = False

    def _find_ends(self, most: int) -> None:
        """Find where the next entries end, as far as they are in the window."""
        base, skip, tell = self._skipper_base, self._skipper.skip, self._skipper.tell
        ends = self._ends
        try:
            while len(ends) < most:
                skip()
                ends.append(base + tell())
        except msgpack.OutOfData:
            self._is_drained = True
        except (ValueError, msgpack.UnpackException):
            self._is_drained, self._skipper = True, None

    def _encode(self, part: Part) -> None:
        """Encode the entries that were found: by runs, and where one fails, singly."""
        ends, done = self._ends, 0
        while done < len(ends) and self._part_beside_left_bytes > 0:
            run = ends[done : done + RUN_ENTRIES]
            if self._encode_plainly(part, run):
                done += len(run)
                continue
            for end in run:
                if self._part_beside_left_bytes <= 0:
                    break
                if self._offset < end and not self._encode_plainly(part, [end]):
                    self._encode_carefully(part, until=ends[-1], end=end)
                done += 1
        self._ends = ends[done:]

    def _encode_plainly(self, part: Part, ends: list[int]) -> bool:
        """Encode a run of entries; return False at the first that is not plain."""
        if self._metadata is not None or self._group is not None:
            return False  # what stands beside a record is not put into it this way
        packed = self._entries[self._offset : ends[-1]]
        if len(packed) >= self._least_excessive_bytes and self._find_excess(ends):
            return False
        if may_hold_non_finite(packed):
            return False  # orjson writes them as null
        rows_before = part.rows
        try:
            part.add_rows(_decode(_pack_array_head(ARRAY_32, len(ends)) + packed))
        except (NotPlainError, *_DECODE_ERRORS):
            if part.rows > rows_before:
                self._entries_left -= part.rows - rows_before
                self._offset = ends[part.rows - rows_before - 1]
            return False
        self._entries_left -= len(ends)
        self._offset = ends[-1]
        return True

    def _find_excess(self, ends: list[int]) -> str | None:
        """Tell what the first of the entries has too much of that has it."""
        start = self._offset
        for end in ends:
            if end - start >= self._least_excessive_bytes:
                entry = self._entries[start:end]
                excess = excess_of(entry, max_map_keys=self._max_map_keys)
                if excess is not None:
                    return excess
            start = end
        return None

    def _encode_carefully(self, part: Part, *, until: int, end: int = 0) -> None:
        """Encode one entry, or reject it; junk goes on to `until` at most.

        `end` is where the entry ends, if that is known.
        """
        self._entries_left -= 1
        outcome, end = self._read(part.now_microseconds, end)
        match outcome:
            case ReadEntry():
                if self._take_beside(outcome):
                    time = Microseconds(outcome.microseconds)
                    record = record_with_extras(outcome, self._metadata, self._group)
                    part.add_rows([(time, record)])
                else:
                    raw = self._entries[self._offset : end]
                    part.rejected.append(RejectedEvent("beside_limit", raw))
            case GroupMarker():
                self._group = outcome.body
            case RejectedEvent(reason="not_an_entry"):
                # One thing gone wrong, not one for each value of a run: a text
                # in the place of the entries would be one for each character.
                end = skip_to_array(self._entries, end, until)
                raw = self._entries[self._offset : end]
                part.rejected.append(RejectedEvent(outcome.reason, raw))
            case RejectedEvent():
                part.rejected.append(outcome)
        self._offset = end

    def _read(self, now_microseconds: int, end: int) -> tuple[Outcome, int]:
        start = self._offset
        # Before it is read: to read it is what costs.
        if end and (excess := self._find_excess([end])) is not None:
            return RejectedEvent(excess, self._entries[start:end]), end
        outcome, end = read_entry(self._entries, start, now_microseconds)
        if not isinstance(outcome, RejectedEvent):
            excess = self._find_excess([end])
            if excess is not None:
                return RejectedEvent(excess, self._entries[start:end]), end
        return outcome, end

    def _take_beside(self, entry: ReadEntry) -> bool:
        """Count what is put beside a record; False if it is more than is left."""
        group_bytes = 0 if self._group is None else len(self._group)
        has_own = bool(entry.metadata) or self._metadata is None
        added_bytes = group_bytes + (0 if has_own else len(self._metadata or b""))
        if added_bytes > self._beside_left_bytes:
            return False
        self._beside_left_bytes -= added_bytes
        self._part_beside_left_bytes -= added_bytes
        return True
