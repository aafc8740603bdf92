"""The input of `penstock send`: blocks of a file into lines, a line into an entry.

Owns what a line means, its time, and which line is bad. Must not know chunks, rates
or the server.
"""

import gzip
import io
import json
import os
import re
import stat
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from decimal import Decimal

import msgpack
import orjson

from penstock.errors import PenstockError

# Bounds memory when the input has no line ends (a device, a binary by mistake).
MAX_LINE_BYTES = 64 * 1024 * 1024
READ_BYTES = 256 * 1024
# Up to 2106 less two: in the seconds 0xFFFFFFFE and 0xFFFFFFFF Fluent Bit marks
# groups (forward-protocol.md 1.8).
TIME_LIMIT_NS = 0xFFFFFFFE * 10**9

RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):([0-5]\d|60)(?:\.(\d+))?"
    r"(?:[Zz]|([+-]\d\d:\d\d))",
    re.ASCII,
)
# orjson makes a float of an integer past 64 bits (19 digits or more); the standard
# parser does not. To search all digits as zeros takes a fifth of a regex's time.
ALL_ZEROS, LONG_NUMBER = bytes.maketrans(b"123456789", b"0" * 9), b"0" * 19


def parse_time_ns(value: object) -> int:
    """Read an RFC 3339 time or epoch seconds as nanoseconds since 1970.

    Raises:
        ValueError, ArithmeticError: it is neither.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        # By its decimal digits: the binary fraction is off by up to 120 ns.
        return int(Decimal(repr(value)) * 10**9)
    match = RFC_3339.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("no time")
    day, minute, second, fraction, offset = match.groups(default="")
    # By whole minutes, because datetime has no leap second (:60) and no nanoseconds.
    start = datetime.fromisoformat(f"{day}T{minute}:00{offset or '+00:00'}")
    seconds = int(start.timestamp()) + int(second)
    return seconds * 10**9 + int(fraction[:9].ljust(9, "0"))


def parse_object(line: bytes) -> dict[str, object] | None:
    """Read a line as a JSON object; None if it is none."""
    record: dict[str, object]
    if line.lstrip()[:1] != b"{":
        return None
    if LONG_NUMBER not in line.translate(ALL_ZEROS):
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            pass  # what loggers write and orjson refuses: NaN, bytes that are no UTF-8
        else:
            return record
    try:
        text = line.decode("utf-8", "surrogateescape")
        record = json.loads(text, parse_int=_whole_number)
    except (ValueError, RecursionError):
        return None
    return record


def _whole_number(digits: str) -> int | str:
    """An integer past 64 bits travels as its digits: msgpack has none so wide."""
    if len(digits) > 20:
        return digits
    return n if -(2**63) <= (n := int(digits)) < 2**64 else digits


class BadInputError(PenstockError):
    """The input has something that cannot be sent; the message names the line."""


class LineEncoder:
    """Makes a line the msgpack of one entry, `[EventTime, record]`."""

    def __init__(
        self,
        line_format: str,
        time_key: str | None,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._format = line_format
        self._time_key = time_key
        self._clock_ns = clock_ns
        self._packer = msgpack.Packer(unicode_errors="surrogateescape")

    def encode(self, line: bytes) -> bytes:
        """Return the entry. Raises ValueError, whose text says what is wrong."""
        record = None if self._format == "lines" else parse_object(line)
        try:
            packed = b"" if record is None else self._packer.pack(record)
        except ValueError:  # nested too deep for msgpack, or a lone surrogate
            packed = b""
        if record is None or not packed:
            if self._format == "json" or self._time_key is not None:
                raise ValueError("not a JSON object")
            record = {"message": line.decode("utf-8", "surrogateescape")}
            packed = self._packer.pack(record)
        seconds, ns = divmod(self._time_ns(record), 10**9)
        # Specification v1, "EventTime": ext type 0, seconds and nanoseconds in u32.
        return struct.pack(">3sII", b"\x92\xd7\x00", seconds, ns) + packed

    def _time_ns(self, record: dict[str, object]) -> int:
        key = self._time_key
        if key is None:
            return self._clock_ns()
        if key not in record:
            raise ValueError(f"no {key!r} to take the time from")
        with suppress(ValueError, ArithmeticError):
            time_ns = parse_time_ns(record[key])
            if 0 <= time_ns < TIME_LIMIT_NS:
                return time_ns
        raise ValueError(
            f"{key!r} is neither an RFC 3339 time (with offset)"
            " nor seconds since 1970 (before 2106)"
        )


class InputFile:
    """One input, read in blocks, and how far the reading has come."""

    def __init__(self, path: str) -> None:
        self.name = "stdin" if path == "-" else path
        self.line_number = 0
        try:
            self._raw = io.FileIO(0 if path == "-" else path, closefd=path != "-")
        except OSError as exc:
            raise BadInputError(f"{self.name}: {exc.strerror}") from exc
        regular = stat.S_ISREG(os.fstat(self._raw.fileno()).st_mode)
        self._gzip = gzip.GzipFile(fileobj=self._raw) if path.endswith(".gz") else None
        # What a person, or a pipe, may keep us waiting for.
        self.slow_fd = None if regular or self._gzip else self._raw.fileno()
        self.size_bytes = os.fstat(self._raw.fileno()).st_size if regular else None

    def position_bytes(self) -> int:
        """Return how much of `size_bytes` is read."""
        return 0 if self.size_bytes is None else self._raw.tell()

    def close(self) -> None:
        """Close the file; stdin stays open."""
        self._raw.close()

    def bad(self, reason: str) -> BadInputError:
        """Return the error that names this file and the line last read."""
        return BadInputError(f"{self.name}:{self.line_number}: {reason}")

    def lines(self, before_read: Callable[[], object]) -> Iterator[bytes]:
        """Yield the lines without their ends, one more block in memory at most."""
        line = bytearray()
        while (block := self._read(before_read)) != b"":
            first, *others = (block or b"").split(b"\n")
            line += first
            for following in others:  # each began after a line end
                self.line_number += 1
                yield bytes(line.removesuffix(b"\r"))
                line = bytearray(following)
            if len(line) > MAX_LINE_BYTES:
                self.line_number += 1
                raise self.bad(f"longer than {MAX_LINE_BYTES:,} bytes")
        self.line_number += 1
        if line:
            yield bytes(line)

    def _read(self, before_read: Callable[[], object]) -> bytes | None:
        before_read()
        try:
            if self._gzip is not None:
                return self._gzip.read1(READ_BYTES)
            return self._raw.read(READ_BYTES)  # None: a non-blocking pipe, empty
        except (OSError, EOFError, zlib.error) as exc:
            self.line_number += 1
            raise self.bad(f"cannot be read further: {exc}") from exc
