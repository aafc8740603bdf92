r"""From the body of a request to entries of msgpack: JSON, JSON lines, or msgpack.

It owns what a body may look like, where in it a record is, and which of its keys is the
event's time. It must not read a socket or a clock: the body is whole, the time of its
arrival an argument.

A body that begins with `[` is an array of records. Any other is one value behind the
other, with white space between them or none: an object, JSON lines, Fluent Bit's
`json_stream`. Of these a line that is no JSON costs itself: it becomes an entry that is
none, and is rejected. But an object that is spread over lines, and an array, is broken
as a whole, and so is a body without one line of JSON.
"""

import json
import re
import struct
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgpack

from penstock.http.answers import ApiError
from penstock.http.long_text import (
    WINDOW_CHARACTERS,
    LongText,
    TooManyValuesError,
)
from penstock.rows.times import (
    EVENT_TIME_CODE,
    GROUP_END_SECONDS,
    MICROSECONDS,
    microseconds_of_number,
)
from penstock.wire.json_frames import DECODER, new_packer, text_in_pieces

# Records are read for some milliseconds, then others have a turn.
STEP_CHARACTERS = 64 * 1024
# And where a text is not UTF-8, before that.
STEP_NOT_UTF_8 = 16 * 1024
# Of what is rejected, so many are named in the answer; all are in rejected_event.
MOST_NAMED = 20

_SPACE = re.compile(r"[ \t\r\n]*")
_pack_event_time = struct.Struct(">II").pack
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Problem(NamedTuple):
    """A record that is rejected: its line in the body, and why."""

    line: int
    error: str


class Records:
    """The records of one body, as entries.

    `read` goes through all of it, in steps; then `entries` are the records as msgpack,
    `[time, record]`, and `problems` the first of what is no JSON object.
    """

    def __init__(
        self, body: bytes, *, time_keys: tuple[str, ...], now_ns: int, most_records: int
    ) -> None:
        self._body = body
        self._time_keys = time_keys
        self._now = _event_time(*divmod(now_ns, 10**9))
        self._packer: Callable[[Any], bytes] = new_packer().pack
        self._entries = bytearray()
        self._records = 0
        self._most_records = most_records
        self._text = ""
        self._spread = LongText("")
        self._good = 0
        self._line_of = (0, 1)  # an offset, and the line it is in
        self.problems: list[Problem] = []

    @property
    def entries(self) -> bytes:
        """Return the entries, one behind the other."""
        return bytes(self._entries)

    def read(self) -> Iterator[None]:
        """Read all records; between two steps somebody else may have a turn.

        Raises:
            ApiError: the body is broken as a whole; it says where.
        """
        pieces: list[str] = []
        for piece in text_in_pieces(self._body, STEP_NOT_UTF_8):
            pieces.append(piece)
            yield
        self._text, self._body = "".join(pieces), b""
        del pieces
        begin = _skip_space(self._text, 1 if self._text[:1] == "\ufeff" else 0)
        if begin == len(self._text):
            raise ApiError(400, "the body has no record in it")
        is_array = self._text[begin] == "["
        yield from self._read_array(begin) if is_array else self._read_values(begin)
        if not self._good and self.problems:
            line, error = self.problems[0]
            where = "" if f"line {line} " in error else f"line {line}: "
            raise ApiError(400, f"{where}{error}; nothing is stored")
        self._text, self._spread = "", LongText("")

    def _read_array(self, begin: int) -> Iterator[None]:
        text, end = self._text, _skip_space(self._text, begin + 1)
        long, stepped = LongText(text), end
        if text[end : end + 1] == "]":
            raise ApiError(400, "the array has no record in it")
        while True:
            try:
                value, value_end = yield from long.decode(end)
                self._add(value, end)
            except TooManyValuesError as error:
                value_end = error.end
                self._reject(end, text[end:value_end], str(error))
            except (ValueError, RecursionError) as error:
                raise self._broken(*_error_of(error, end)) from error
            end = _skip_space(text, value_end)
            sign = text[end : end + 1]
            if sign == "]":
                break
            if sign != ",":
                raise self._broken("expected , or ]", end)
            end = _skip_space(text, end + 1)
            if end - stepped > STEP_CHARACTERS:
                stepped = end
                yield
        end = _skip_space(text, end + 1)
        if end != len(text):
            raise self._broken("something stands behind the array", end)

    def _read_values(self, begin: int) -> Iterator[None]:
        self._spread, stepped = LongText(self._text), begin
        while begin < len(self._text):
            begin = yield from self._read_line(begin)
            begin = _skip_space(self._text, begin)
            if begin - stepped > STEP_CHARACTERS:
                stepped = begin
                yield

    def _read_line(self, begin: int) -> Generator[None, None, int]:
        """Read the values that begin in a line; return where to go on.

        The line alone is looked at: what says where an error is counts all lines
        before it, for each error.
        """
        line = self._text[begin : _line_end(self._text, begin)]
        long = LongText(line) if len(line) > WINDOW_CHARACTERS else None
        at = stepped = 0
        while at < len(line):
            try:
                if long is None:
                    value, end = DECODER.raw_decode(line, at)
                else:
                    value, end = yield from long.decode(at)
                self._add(value, begin + at)
            except TooManyValuesError as error:
                end = error.end
                self._reject(begin + at, line[at:end], str(error))
            except (ValueError, RecursionError) as error:
                message, where = _error_of(error, at)
                if line[at] == "{" and self._is_spread(begin + len(line)):
                    return (yield from self._read_spread(begin + at))
                self._reject(begin + at, line[at:], message, begin + where)
                break
            at = _skip_space(line, end)
            if at - stepped > STEP_CHARACTERS:
                stepped = at
                yield
        return begin + len(line)

    def _is_spread(self, line_end: int) -> bool:
        """Tell whether what stands behind a line goes on with it."""
        following = _skip_space(self._text, line_end)
        return following < len(self._text) and self._text[following] != "{"

    def _read_spread(self, begin: int) -> Generator[None, None, int]:
        """Read an object that is spread over lines; return where it ends."""
        try:
            value, end = yield from self._spread.decode(begin)
            self._add(value, begin)
        except TooManyValuesError as error:
            end = error.end
            self._reject(begin, self._text[begin:end], str(error))
        except (ValueError, RecursionError) as error:
            raise self._broken(*_error_of(error, begin)) from error
        return end

    def _reject(
        self, begin: int, raw: str, message: str, at: int | None = None
    ) -> None:
        """Reject a value, or what is left of a line; `at` is where it is no JSON."""
        self._count()
        self._entries += self._packer(raw.rstrip("\r"))
        if len(self.problems) < MOST_NAMED:
            error = message if at is None else self._where(message, at)
            self.problems.append(Problem(self._line(begin), error))

    def _add(self, value: Any, begin: int) -> None:
        time = self._now
        if type(value) is dict:
            for key in self._time_keys:
                found = time_of(value.get(key))
                if found is not None:
                    time = found
                    del value[key]
                    break
        self._count()
        self._entries += b"\x92" + time + self._packer(value)
        if type(value) is dict:
            self._good += 1
        elif len(self.problems) < MOST_NAMED:
            self.problems.append(Problem(self._line(begin), "it is no JSON object"))

    def _count(self) -> None:
        self._records += 1
        if self._records > self._most_records:
            raise ApiError(
                413, f"the body has more than {self._most_records:,} records"
            )

    def _where(self, message: str, at: int) -> str:
        column = at - self._text.rfind("\n", 0, at)
        return f"no JSON at line {self._line(at)} column {column}: {message}"

    def _broken(self, message: str, at: int) -> ApiError:
        return ApiError(400, f"{self._where(message, at)}; nothing is stored")

    def _line(self, offset: int) -> int:
        """Return an offset's line; lines are counted once, asked for in their order."""
        known, line = self._line_of
        if offset < known:
            known, line = 0, 1
        line += self._text.count("\n", known, offset)
        self._line_of = offset, line
        return line


def time_of(value: Any) -> bytes | None:
    """Return a value as an EventTime, as msgpack, or None if it is no time.

    A number of seconds or of a finer unit, or a text: ISO 8601, and with a space for
    its T. Without an offset it is UTC, as Fluent Bit writes it.
    """
    microseconds: int | None = None
    if type(value) is int or type(value) is float:
        microseconds = microseconds_of_number(value)
    elif type(value) is str:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        since = moment - _EPOCH
        microseconds = (since.days * 86_400 + since.seconds) * MICROSECONDS
        microseconds += since.microseconds
    if microseconds is None:
        return None
    seconds, microseconds = divmod(microseconds, MICROSECONDS)
    if not 0 < seconds < GROUP_END_SECONDS:
        return None
    return _event_time(seconds, microseconds * 1000)


def _event_time(seconds: int, nanoseconds: int) -> bytes:
    packed: bytes = msgpack.packb(
        msgpack.ExtType(EVENT_TIME_CODE, _pack_event_time(seconds, nanoseconds))
    )
    return packed


def _skip_space(text: str, begin: int) -> int:
    found = _SPACE.match(text, begin)
    assert found is not None
    return found.end()


def _line_end(text: str, begin: int) -> int:
    end = text.find("\n", begin)
    return len(text) if end < 0 else end


def _error_of(error: Exception, begin: int) -> tuple[str, int]:
    """Return what is wrong with JSON, without a word of it, and where."""
    if isinstance(error, json.JSONDecodeError):
        return error.msg, error.pos
    return "it is nested too deep", begin
