"""What an entry's time means, in microseconds.

It owns the conversions between a sender's notion of time and PostgreSQL's
`timestamptz`; it reads no clock, the time of arrival comes in as an argument.
What senders send is listed in the protocol facts, section 1.10.
"""

import math
import struct
from datetime import datetime, timedelta
from typing import NamedTuple

MICROSECONDS = 1_000_000
DAY_MICROSECONDS = 86_400 * MICROSECONDS
# 2000-01-01, where PostgreSQL counts from (documentation, section 8.5).
PG_EPOCH_MICROSECONDS = 946_684_800 * MICROSECONDS

EVENT_TIME_CODE = 0  # forward specification, "EventTime Ext Format"
TIMESTAMP_CODE = -1  # msgpack specification, "Timestamp extension type"
# Fluent Bit's log groups travel as entries with these seconds and no nanoseconds.
GROUP_START_SECONDS = 0xFFFFFFFF
GROUP_END_SECONDS = 0xFFFFFFFE

# A number of seconds past the year 5138 is a finer unit in the seconds' place
# (fluent-logger-node sends milliseconds so). Each bound is 1000 times the last.
MILLISECONDS_FROM = 10**11
MICROSECONDS_FROM = 10**14
NANOSECONDS_FROM = 10**17

_EVENT_TIME = struct.Struct(">II")


class EventTime(NamedTuple):
    """Seconds and nanoseconds since 1970, as an ext value carries them."""

    seconds: int
    nanoseconds: int

    @property
    def microseconds(self) -> int:
        """Return microseconds since 1970; nanoseconds past a second carry over."""
        return self.seconds * MICROSECONDS + self.nanoseconds // 1000

    def rfc3339(self) -> str:
        """Return the time as text, with all nine digits."""
        seconds, nanoseconds = divmod(
            self.seconds * 10**9 + self.nanoseconds, 1_000_000_000
        )
        try:
            whole = datetime(1970, 1, 1) + timedelta(seconds=seconds)
        except OverflowError:
            return f"{seconds}.{nanoseconds:09d}"
        return f"{whole.isoformat()}.{nanoseconds:09d}Z"


def read_ext_time(code: int, data: bytes) -> EventTime | None:
    """Read an EventTime or a msgpack Timestamp; None if the ext value is neither."""
    if code == EVENT_TIME_CODE and len(data) == 8:
        return EventTime(*_EVENT_TIME.unpack(data))
    if code != TIMESTAMP_CODE:
        return None
    if len(data) == 4:
        return EventTime(int.from_bytes(data), 0)
    if len(data) == 8:
        packed = int.from_bytes(data)
        return EventTime(packed & 0x3FFFFFFFF, packed >> 34)
    if len(data) == 12:
        seconds = int.from_bytes(data[4:], signed=True)
        return EventTime(seconds, int.from_bytes(data[:4]))
    return None


def microseconds_of_number(number: int | float) -> int | None:
    """Return microseconds since 1970 for a number of seconds, or of a finer unit.

    None if the number is no time: NaN or infinite.
    """
    if isinstance(number, float):
        if not math.isfinite(number):
            return None
        # Through the shortest decimal the float stands for: 1700000000.123456 is
        # meant, not the binary fraction next to it.
        return round(number * (MICROSECONDS / _units_per_second(number)))
    units = _units_per_second(number)
    return number * MICROSECONDS // units


def is_finer_than_seconds(number: int | float) -> bool:
    """Tell whether a number in the seconds' place is taken for a finer unit."""
    return abs(number) >= MILLISECONDS_FROM


def _units_per_second(number: int | float) -> int:
    magnitude = abs(number)
    if magnitude >= NANOSECONDS_FROM:
        return 10**9
    if magnitude >= MICROSECONDS_FROM:
        return 10**6
    return 10**3 if magnitude >= MILLISECONDS_FROM else 1
