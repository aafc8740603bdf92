"""The spool: parts of messages kept on disk while PostgreSQL is away, and read back.

Beside the ring in the flow. It owns what is in its directory and in which order it is
read, and that `append` returns when the parts are on disk and not before. Its methods
block and are never called at the same time: callers run them in a thread, one by one.
It must not know asyncio, the ring or PostgreSQL, nor when parts are spooled.

Why segment files and not a well-kept embedded store: a spool is a queue, written at
one end and dropped at the other, and needs none of a store's indexes. Measured by
`benchmarks/spool.py` against SQLite 3.40 (WAL, synchronous=FULL) with the same records
on the same disk, files / SQLite, medians of 3 pairs:
- Speed does not decide: 1.5, 1.2 and 1.2 times its events/s appended (1 event, 128 KiB,
  8 MiB an append, fsync included), 0.9 to 1.1 times replayed.
- Damage does. One bit or one page wrong, 60 random places each: here 99% of what was
  acknowledged comes back and the rest is logged, counted and kept; SQLite, which has no
  checksums over its database and ends its log at the first wrong one, gave 98% on
  average, 79% at worst, and in a fifth of the cases said nothing about what was gone.
  Where a file's end was cut off it gave more, 88% to 50%: it had parts of it twice.
- A full disk: a failed append is cut off, and room comes back a file at a time. SQLite
  needs room for its log and a checkpoint then, and gives none back without VACUUM.
- The price is some 500 lines of ours. A model, cuts at any byte, full disks and SIGKILL
  test them.
LMDB is no part of Python, has no checksums, gives no room back either, and maps its
file: where the disk fails, that is SIGBUS, the end of the process.
"""

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from penstock.errors import SpoolError, SpoolFullError, UnavailableError
from penstock.sink.spool_files import Cursor, SpoolFiles, write_all
from penstock.sink.spool_format import (
    MARK_BYTES,
    Damage,
    DamagedBodyError,
    Record,
    SpooledPart,
    TornTail,
    decode_body,
    encode_record,
    scan,
)
from penstock.sink.spool_segment import Position, Segment

logger = logging.getLogger(__name__)

# Room comes back a segment at a time, and each costs two fsyncs to begin.
SEGMENT_BYTES: Final = 16 * 1024 * 1024
# A drained segment smaller than this part is written on: where each message passes
# through the spool, every append would otherwise make and delete a file.
_REUSED_SHARE: Final = 1 / 16


class Spool:
    """A bounded queue of parts in a directory, safe against SIGKILL at any moment.

    A segment is closed when it has passed `segment_bytes`, so it may be longer by one
    append. Memory does not grow with what is spooled: a segment is a few numbers, and
    what is done out of turn. Its properties may be read from any thread at any time.
    """

    def __init__(
        self, directory: Path, *, max_bytes: int, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self.max_bytes = max_bytes
        self.cut_bytes = 0
        self.damaged_bytes = 0
        self.damaged_events = 0  # of those that were pending here
        self._segment_bytes = segment_bytes
        self._files = SpoolFiles(directory)
        self._segments: dict[int, Segment] = {}  # oldest first
        self._current: Segment | None = None  # the one that is appended to
        self._current_fd = -1
        self._next_number = 1
        self._mark = b""  # of all records that this process writes
        self._written_cursor = Cursor(0, 0)

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all segments."""
        return sum(each.size_bytes for each in self._all())

    @property
    def pending_parts(self) -> int:
        """Count the parts that are not done."""
        return sum(each.pending_parts for each in self._all())

    @property
    def pending_events(self) -> int:
        """Count the events of the parts that are not done."""
        return sum(each.pending_events for each in self._all())

    @property
    def is_empty(self) -> bool:
        """Tell whether all parts are done."""
        return not any(each.pending_parts for each in self._all())

    def open(self) -> None:
        """Take the directory, and look through what an earlier process left there.

        Raises:
            UnavailableError: another process has the directory, it cannot be used, or
                a later version of Penstock wrote what is there.
        """
        self._segments.clear()
        try:
            self._files.open()
            cursor = self._written_cursor = self._files.read_cursor()
            marks = self._files.marks()
            last = max([cursor.segment, *marks])
            self._next_number = last + 1
            self._mark = os.urandom(MARK_BYTES)
            for number, mark in marks.items():
                self._adopt(Segment(number, mark), cursor, is_last=number == last)
            self._drop_drained()
        except OSError as error:
            self._files.close()
            raise UnavailableError(
                f"the spool in {self._files.directory} cannot be used:"
                f" {error.strerror}; look at its permissions and its disk"
            ) from error
        except BaseException:
            self._files.close()
            raise

    def append(self, parts: Sequence[SpooledPart]) -> None:
        """Take the parts: when it returns they are on disk, all of them.

        Raises:
            SpoolFullError: they would pass `max_bytes`.
            SpoolError: the disk is full or fails. In both cases none of them is there.
        """
        data = b"".join(encode_record(part, self._mark) for part in parts)
        if not data:
            return
        with self._told_as_spool_error():
            self._make_room(len(data))
            segment = self._current or self._start_segment()
            try:
                write_all(self._current_fd, data)
                os.fsync(self._current_fd)
            except BaseException:
                self._take_back(segment)
                raise
        events = sum(part.events for part in parts)
        segment.appended(len(data), parts=len(parts), events=events)
        if segment.size_bytes >= self._segment_bytes:
            self._close_current()

    def read(
        self, after: Position | None, max_bytes: int
    ) -> list[tuple[Position, SpooledPart]]:
        """Return the oldest parts behind `after` that are not done, in order.

        As many as come to `max_bytes` of memory, and one at least if there is one;
        with None as `after`, from the oldest on. What turns out to be damaged is set
        aside.

        Raises:
            SpoolError: the disk fails.
        """
        found: list[tuple[Position, SpooledPart]] = []
        taken_bytes = 0
        with self._told_as_spool_error():
            for segment, record in self._records_behind(after):
                taken_bytes += record.inflated_bytes
                if found and taken_bytes > max_bytes:
                    break
                position = Position(
                    segment.number, record.offset, record.end, record.events
                )
                try:
                    found.append((position, decode_body(record)))
                    segment.taken[record.offset] = record.events
                except DamagedBodyError:
                    self._lose(segment, Damage(record.offset, record.end))
            self._drop_drained()
        return found

    def done(self, positions: Iterable[Position]) -> None:
        """Note that these parts are committed; never fails, for that is so.

        What cannot be noted on disk now is replayed after a crash, and recognised.
        """
        for position in positions:
            segment = self._segments.get(position.segment)
            if segment is not None:
                segment.mark_done(position.offset, position.end, position.events)
        try:
            self._drop_drained()
            self._note_cursor()
        except OSError as error:
            logger.warning(
                "the spool could not note what is done", extra={"error": error.strerror}
            )

    def close(self) -> None:
        """Let the directory go; what is not done waits there for the next process."""
        self._close_current()
        try:
            self._drop_drained()
            self._files.write_cursor(self._cursor(), is_synced=True)
        except OSError as error:
            logger.warning(
                "the spool could not note what is done", extra={"error": error.strerror}
            )
        finally:
            self._files.close()

    def remove_directory(self) -> None:
        """Close, and remove the directory where nothing is in it that is to be kept."""
        self.close()
        with contextlib.suppress(OSError):  # what is damaged is kept
            self._files.remove_directory()

    # Appending.

    def _make_room(self, size_bytes: int) -> None:
        if self.size_bytes + size_bytes <= self.max_bytes:
            return
        if self._current is not None and not self._current.pending_parts:
            self._close_current()
            self._drop_drained()
        used_bytes = self.size_bytes
        if used_bytes + size_bytes > self.max_bytes:
            raise SpoolFullError(
                f"no room in the spool for {size_bytes} bytes: it holds {used_bytes} of"
                f" {self.max_bytes}, and gets room back by replay"
            )

    def _start_segment(self) -> Segment:
        number = self._next_number
        self._next_number += 1
        self._current_fd = self._files.create(number, self._mark)
        self._current = self._segments[number] = Segment(number, self._mark)
        return self._current

    def _take_back(self, segment: Segment) -> None:
        """Undo an append that failed, and never append to that file again.

        After a failed fsync the kernel takes the pages for written, and the next fsync
        would say that all is well. If the cut fails too, a crash brings the parts
        back, with their claims.
        """
        with contextlib.suppress(OSError):
            os.ftruncate(self._current_fd, segment.size_bytes)
            os.fsync(self._current_fd)
        self._close_current()
        with contextlib.suppress(OSError):
            self._drop_drained()

    def _close_current(self) -> None:
        if self._current is not None:
            self._current = None
            with contextlib.suppress(OSError):  # all of it has been fsynced
                os.close(self._current_fd)

    # Reading.

    def _records_behind(
        self, after: Position | None
    ) -> Iterator[tuple[Segment, Record]]:
        for segment in self._all():
            for found in self._scan(segment, segment.first_behind(after)):
                if segment.is_done(found.offset):
                    continue
                if isinstance(found, Record):
                    yield segment, found
                else:
                    self._lose(segment, found)

    def _scan(
        self, segment: Segment, start: int
    ) -> Iterator[Record | Damage | TornTail]:
        if start < segment.size_bytes:
            with self._files.reader(segment.number) as read_at:
                yield from scan(
                    read_at, segment.mark, offset=start, end=segment.size_bytes
                )

    # What is left, what is damaged, what is done.

    def _adopt(self, segment: Segment, cursor: Cursor, *, is_last: bool) -> None:
        """Take a segment of an earlier process over, for reading."""
        segment.size_bytes = self._files.size_bytes(segment.number)
        if segment.number < cursor.segment:
            segment.done_until = segment.size_bytes
        elif segment.number == cursor.segment:
            segment.done_until = cursor.offset
        for found in self._scan(segment, segment.done_until):
            if isinstance(found, Record):
                segment.pending_parts += 1
                segment.pending_events += found.events
            elif isinstance(found, TornTail) and is_last:
                # A segment is begun when the one before it is whole.
                self._cut(segment, found)
            else:
                self._set_aside(segment, found)
                segment.mark_lost(found.offset, found.end)
        self._segments[segment.number] = segment

    def _lose(self, segment: Segment, damage: Damage | TornTail) -> None:
        """Leave damage out, and count anew what is pending in its segment."""
        if segment is self._current:
            self._close_current()
        self._set_aside(segment, damage)
        segment.mark_lost(damage.offset, damage.end)
        parts, events = len(segment.taken), sum(segment.taken.values())
        for found in self._scan(segment, segment.done_until):
            is_known = segment.is_done(found.offset) or found.offset in segment.taken
            if isinstance(found, Record) and not is_known:
                parts += 1
                events += found.events
        self.damaged_events += segment.pending_events - events
        segment.pending_parts, segment.pending_events = parts, events

    def _cut(self, segment: Segment, torn: TornTail) -> None:
        cut_bytes = torn.end - torn.offset
        self._files.cut(segment.number, torn.offset)
        segment.size_bytes = torn.offset
        self.cut_bytes += cut_bytes
        logger.warning(
            "the spool's torn tail was cut: a crash ended an append that nobody was"
            " told of",
            extra={
                "file": str(self._files.path(segment.number)),
                "offset": torn.offset,
                "cut_bytes": cut_bytes,
            },
        )

    def _set_aside(self, segment: Segment, damage: Damage | TornTail) -> None:
        kept = self._files.set_aside(segment.number)
        damaged_bytes = damage.end - damage.offset
        self.damaged_bytes += damaged_bytes
        logger.error(
            "a damaged part of the spool was left out; its file is kept",
            extra={
                "file": str(kept),
                "offset": damage.offset,
                "damaged_bytes": damaged_bytes,
            },
        )

    def _drop_drained(self) -> None:
        for segment in self._all():
            is_reused = (
                segment is self._current
                and segment.size_bytes < _REUSED_SHARE * self._segment_bytes
            )
            if not segment.pending_parts and not is_reused:
                if segment is self._current:
                    self._close_current()
                self._files.remove(segment.number)
                del self._segments[segment.number]

    def _all(self) -> list[Segment]:
        # One call into C: another thread that counts sees no dict that changes.
        return list(self._segments.values())

    def _cursor(self) -> Cursor:
        for segment in self._all():
            return Cursor(segment.number, segment.done_until)
        return Cursor(self._next_number, 0)

    def _note_cursor(self) -> None:
        cursor = self._cursor()
        if cursor != self._written_cursor:
            self._files.write_cursor(cursor)
            self._written_cursor = cursor

    @contextlib.contextmanager
    def _told_as_spool_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SpoolError(
                f"the spool in {self._files.directory} failed: {error.strerror}"
            ) from error
