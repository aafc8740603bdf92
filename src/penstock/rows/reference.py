r"""The definition of a plain row: msgpack entries to COPY tuples, in plain Python.

msgpack's C skipper finds the entries, msgspec and orjson do the work, which serves what
well-behaved senders send. What they refuse, or would lose, is not plain: it goes the
careful way, read from its bytes by `entries`. Both end in `Part.add_rows`, so there is
one definition of a row. It must not cut a message into parts: `stream` does.
"""

import struct
from contextlib import suppress

import msgpack
import msgspec

from penstock.rows.copy_format import FieldTooLongError
from penstock.rows.part import NotPlainError, Part
from penstock.rows.stream import Reach, Reached
from penstock.settings import WireLimits
from penstock.wire.values import (
    ARRAY_32,
    excess_of,
    least_excessive_bytes,
    may_hold_non_finite,
)

# Read at once: a call for each entry costs more, and of more entries the records fall
# out of the processor's cache before they are written.
RUN_ENTRIES = 32

_decode = msgspec.msgpack.Decoder().decode
_pack_array_head = struct.Struct(">BI").pack
# What it raises for a str that is no UTF-8, a key that is no key, nesting.
_DECODE_ERRORS = (ValueError, TypeError, RecursionError)


class ReferenceRows:
    """Encodes the plain entries of one message; see `stream.PlainRows`."""

    def __init__(self, entries: bytes, limits: WireLimits) -> None:
        self._entries = entries
        self._max_map_keys = limits.max_map_keys
        self._least_excessive_bytes = least_excessive_bytes(
            max_map_keys=limits.max_map_keys
        )
        self._ends: list[int] = []  # of the entries that were found, the last one first
        self._window_end = 0  # that of the window they were found in
        self._what_follows = 0  # what is known of the end of the one behind them

    def encode(self, part: Part, offset: int, reach: Reach) -> Reached:
        """Write rows from `offset` on, up to the first entry that is not plain.

        What stands beside a record is not put into it here: those are not plain.
        """
        has_beside = reach.metadata is not None or reach.group is not None
        left = reach.most
        while left > 0 and offset < reach.window_end:
            ends = self._next_ends(offset, reach.window_end, min(left, RUN_ENTRIES))
            if not ends:
                return Reached(offset, self._what_follows)
            if has_beside:
                self._ends.extend(reversed(ends))
                return Reached(offset, ends[0])
            count = self._encode_run(part, offset, ends)
            if count < len(ends):
                self._ends.extend(reversed(ends[count:]))
                start = ends[count - 1] if count else offset
                return Reached(start, ends[count])
            offset = ends[-1]
            left -= count
        return Reached(offset)

    def _next_ends(self, offset: int, window_end: int, most: int) -> list[int]:
        """Return where the next entries end, none if none does in the window."""
        ends = self._ends
        while ends and ends[-1] <= offset:  # the careful way has gone past it
            ends.pop()
        if not ends and (self._what_follows >= 0 or window_end != self._window_end):
            self._find_ends(offset, window_end)
        found = ends[-most:]
        del ends[-most:]
        return found[::-1]

    def _find_ends(self, offset: int, window_end: int) -> None:
        """Find where the entries end that the window holds."""
        skipper = msgpack.Unpacker(max_buffer_size=0)
        skipper.feed(memoryview(self._entries)[offset:window_end])
        ends: list[int] = []
        self._window_end = window_end
        try:
            while True:
                skipper.skip()
                ends.append(offset + skipper.tell())
        except msgpack.OutOfData:
            self._what_follows = -1
        except (ValueError, msgpack.UnpackException):
            self._what_follows = 0
        self._ends[:] = reversed(ends)

    def _encode_run(self, part: Part, start: int, ends: list[int]) -> int:
        """Encode entries together, or else singly up to the first that is not plain.

        Returns how many are rows now.
        """
        done = self._encode_plainly(part, start, ends)
        while done < len(ends):
            begin = ends[done - 1] if done else start
            if not self._encode_plainly(part, begin, [ends[done]]):
                break
            done += 1
        return done

    def _encode_plainly(self, part: Part, start: int, ends: list[int]) -> int:
        """Encode entries; return how many are rows before the first that is not plain.

        That may be too few, if there are more of them than one.
        """
        packed = self._entries[start : ends[-1]]
        if len(packed) >= self._least_excessive_bytes and self._has_excess(start, ends):
            return 0
        if may_hold_non_finite(packed):
            return 0  # orjson writes them as null
        rows_before = part.rows
        with suppress(NotPlainError, FieldTooLongError, *_DECODE_ERRORS):
            part.add_rows(_decode(_pack_array_head(ARRAY_32, len(ends)) + packed))
        return part.rows - rows_before

    def _has_excess(self, start: int, ends: list[int]) -> bool:
        for end in ends:
            if end - start >= self._least_excessive_bytes:
                entry = self._entries[start:end]
                if excess_of(entry, max_map_keys=self._max_map_keys) is not None:
                    return True
            start = end
        return False
