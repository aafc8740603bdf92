r"""One message's entries on their way to rows, part by part.

Third in the flow. It owns how a message is cut into parts, what an entry may cost, and
the careful way of an entry that is not plain. What is plain is left to one of two that
write the same bytes: `reference`, or the compiled `_native`. It must not look at a
clock: the time of arrival comes with each call.

A message is encoded in parts, cut at fixed offsets of its bytes, so that neither
the event loop nor the ring has to swallow a large one whole, and so that the same
bytes are always cut into the same parts.
"""

from typing import NamedTuple, Protocol

import msgpack
import orjson

from penstock.errors import ProtocolError
from penstock.model import Beside, EncodedRows, RejectedEvent
from penstock.rows.copy_format import FieldTooLongError, RowWriter
from penstock.rows.entries import (
    GroupMarker,
    Outcome,
    ReadEntry,
    read_entry,
    record_with_extras,
)
from penstock.rows.key_order import in_jsonb_order
from penstock.rows.part import Microseconds, Part
from penstock.rows.plain import read_plain
from penstock.settings import WireLimits
from penstock.wire.values import (
    excess_of,
    least_excessive_bytes,
    skip_to_array,
    skip_value,
)

# A part: several hundred rows of usual size, half a millisecond of work. Larger ones
# cost less around them (docs/decisions/batches-and-settings.md), but two that writers
# have in hand must leave their sender room in the smallest ring, of which it may hold a
# quarter (test_a_stop_while_postgresql_hangs...). Fixed, not a setting: a chunk that is
# sent again must be cut where it was cut before.
PART_BYTES = 256 * 1024
# What metadata and log groups may add to a part's rows, each of which has a copy: a
# part ends where they have added so much. Fixed as well.
PART_BESIDE_BYTES = 1024 * 1024

_NO_METADATA = b"{}"


class Reach(NamedTuple):
    """How far the plain entries of a part go, and what stands beside them.

    They end at `window_end` at the latest, and are `most` at most; if the first one
    ends later, the window may be made longer by steps of `step_bytes`, unless these are
    0. `metadata` and `group` are JSON.
    """

    window_end: int
    step_bytes: int
    most: int
    metadata: bytes | None
    group: bytes | None
    beside_left_bytes: int
    part_beside_left_bytes: int


class Reached(NamedTuple):
    """Where the plain entries of a part have ended.

    `end` is that of the entry which stands at `offset`, as far as it is known: 0 if it
    is not, -1 where all that is known is that the window ends before it does.
    `window_end` is where the window ends that was made longer, else 0.
    """

    offset: int
    end: int = 0
    beside_bytes: int = 0
    window_end: int = 0


class PlainRows(Protocol):
    """Encodes the plain entries of one message: those that hold nothing unusual."""

    def encode(self, part: Part, offset: int, reach: Reach) -> Reached:
        """Write rows from `offset` on, up to the first entry that is not plain."""


class RowStream:
    """One message's entries on their way to rows, part by part."""

    __slots__ = (
        "_beside_left_bytes",
        "_entries",
        "_entries_left",
        "_group",
        "_max_map_keys",
        "_metadata",
        "_offset",
        "_part_beside_left_bytes",
        "_plain",
        "_tag",
        "_writer",
    )

    def __init__(
        self,
        writer: RowWriter,
        plain: PlainRows,
        entries: bytes,
        tag: str,
        metadata: bytes | None,
        limits: WireLimits,
    ) -> None:
        self._writer = writer
        self._plain = plain
        self._entries = entries
        self._tag = tag
        self._metadata: bytes | None = None  # as JSON
        if metadata is not None:
            plain_metadata = read_plain(metadata, 0, 2)[0]
            self._metadata = orjson.dumps(in_jsonb_order(plain_metadata, {}, 2))
        self._group: bytes | None = None  # as JSON
        self._max_map_keys = limits.max_map_keys
        # The tag stands in each row: it inflates a message as much as gzip does.
        most_by_tag = limits.max_decompressed_bytes // max(len(tag.encode()), 1)
        self._entries_left = min(limits.max_chunk_entries, max(most_by_tag, 1))
        # And so does a copy beside each record.
        self._beside_left_bytes = limits.max_decompressed_bytes
        self._part_beside_left_bytes = 0
        self._offset = 0  # where the next entry begins

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
        start, group = self._offset, self._group
        self.write_part(part)
        metadata = None if self._metadata == _NO_METADATA else self._metadata
        has_beside = metadata is not None or group is not None
        return part.finish(
            self._entries[start : self._offset],
            offset=start,
            beside=Beside(metadata, group) if has_beside else None,
        )

    def write_part(self, part: Part) -> None:
        """Encode the next part into one that may hold other messages' rows already."""
        start, size = self._offset, len(self._entries)
        self._part_beside_left_bytes = PART_BESIDE_BYTES
        window_end = _window_of(start, size)
        while self._offset < window_end and self._has_room(part):
            if not self._entries_left:
                self._reject_the_rest(part)
                break
            reached = self._encode_plainly(part, start, window_end)
            end, window_end = reached.end, reached.window_end or window_end
            if (
                self._offset >= window_end
                or not self._entries_left
                or not self._has_room(part)
            ):
                continue
            if end == 0 or (end < 0 and self._offset == start):
                end = end_of(self._entries, self._offset)
            # What has no end goes as far as there is anything.
            needs = end if end > 0 else size if end == 0 else window_end + 1
            if min(needs, size) <= window_end:
                self._encode_carefully(part, until=window_end, end=max(end, 0))
            elif self._offset > start:
                break  # the next part begins with it
            else:
                window_end = _window_of(min(needs, size) - 1, size)

    def _has_room(self, part: Part) -> bool:
        return part.events_left > 0 and self._part_beside_left_bytes > 0

    def _reject_the_rest(self, part: Part) -> None:
        rest = self._entries[self._offset :]
        part.rejected.append(RejectedEvent("too_many_entries", rest))
        self._offset = len(self._entries)

    def _encode_plainly(self, part: Part, start: int, window_end: int) -> Reached:
        """Encode what is plain of a part that began at `start`."""
        rows_before = part.rows
        reached = self._plain.encode(
            part,
            self._offset,
            Reach(
                window_end,
                PART_BYTES if self._offset == start else 0,
                min(part.events_left, self._entries_left),
                self._metadata,
                self._group,
                self._beside_left_bytes,
                self._part_beside_left_bytes,
            ),
        )
        self._offset = reached.offset
        self._entries_left -= part.rows - rows_before
        self._beside_left_bytes -= reached.beside_bytes
        self._part_beside_left_bytes -= reached.beside_bytes
        return reached

    def _encode_carefully(self, part: Part, *, until: int, end: int) -> None:
        """Encode one entry, or reject it; junk goes on to `until` at most.

        `end` is where the entry ends, 0 if it has no end.
        """
        self._entries_left -= 1
        outcome, end = self._read(part.now_microseconds, end)
        match outcome:
            case ReadEntry():
                raw = self._entries[self._offset : end]
                if self._take_beside(outcome):
                    self._add_row(part, outcome, raw)
                else:
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

    def _add_row(self, part: Part, entry: ReadEntry, raw: bytes) -> None:
        time = Microseconds(entry.microseconds)
        record = record_with_extras(entry, self._metadata, self._group)
        try:
            part.add_rows([(time, record)])
        except FieldTooLongError:
            part.rejected.append(RejectedEvent("field_limit", raw))

    def _read(self, now_microseconds: int, end: int) -> tuple[Outcome, int]:
        # Before it is read: to read it is what costs.
        if end and (excess := self._excess_of(end)) is not None:
            return RejectedEvent(excess, self._entries[self._offset : end]), end
        return read_entry(self._entries, self._offset, now_microseconds)

    def _excess_of(self, end: int) -> str | None:
        """Tell what the entry that ends there has too much of."""
        least_bytes = least_excessive_bytes(max_map_keys=self._max_map_keys)
        if end - self._offset < least_bytes:
            return None
        entry = self._entries[self._offset : end]
        return excess_of(entry, max_map_keys=self._max_map_keys)

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


def _window_of(offset: int, size: int) -> int:
    """Return where the window ends that an offset is in."""
    return min((offset // PART_BYTES + 1) * PART_BYTES, size)


def end_of(entries: bytes, offset: int) -> int:
    """Return where the entry at `offset` ends, 0 if it has no end that is found.

    Of values without number msgpack's skipper finds the end; it goes some thousand
    levels deep, what is deeper is walked over one by one, up to a limit.
    """
    skipper = msgpack.Unpacker(max_buffer_size=0)
    fed_to = offset
    try:
        while fed_to < len(entries):
            # By windows: a large message has many entries that cross from one into
            # the next.
            more = memoryview(entries)[fed_to : fed_to + PART_BYTES]
            skipper.feed(more)
            fed_to += len(more)
            try:
                skipper.skip()
            except msgpack.OutOfData:
                continue
            skipped: int = skipper.tell()
            return offset + skipped
        return 0
    except (ValueError, msgpack.UnpackException):
        pass
    try:
        return skip_value(entries, offset)
    except ProtocolError:
        return 0
