"""What a sender's time means, in every form of section 1.10 of the protocol facts."""

import math
import random
import struct

import pytest

from penstock.rows.times import (
    EventTime,
    is_finer_than_seconds,
    microseconds_of_number,
    read_ext_time,
)
from tests.msgpack_bytes import T, time_payload

SECOND = 1_000_000


def timestamp64(seconds: int, nanoseconds: int) -> bytes:
    return struct.pack(">Q", nanoseconds << 34 | seconds)


def timestamp96(seconds: int, nanoseconds: int) -> bytes:
    return struct.pack(">Iq", nanoseconds, seconds)


@pytest.mark.parametrize(
    ("code", "data", "time"),
    [
        (0, time_payload(T, 5), EventTime(T, 5)),
        (0, time_payload(0, 0), EventTime(0, 0)),
        # Seconds are unsigned: 2106, not 1969.
        (0, time_payload(0xFFFFFFFD), EventTime(0xFFFFFFFD, 0)),
        (0, time_payload(1, 0xFFFFFFFF), EventTime(1, 0xFFFFFFFF)),
        (-1, struct.pack(">I", T), EventTime(T, 0)),
        (-1, struct.pack(">I", 2**32 - 1), EventTime(2**32 - 1, 0)),
        (-1, timestamp64(T, 999_999_999), EventTime(T, 999_999_999)),
        (-1, timestamp64(2**34 - 1, 1), EventTime(2**34 - 1, 1)),
        (-1, timestamp96(T, 7), EventTime(T, 7)),
        (-1, timestamp96(-1, 7), EventTime(-1, 7)),
        (-1, timestamp96(-(2**63), 0), EventTime(-(2**63), 0)),
    ],
)
def test_event_times_and_timestamps_are_read(
    code: int, data: bytes, time: EventTime
) -> None:
    assert read_ext_time(code, data) == time


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 7, 9, 11, 12, 13, 16])
def test_an_event_time_of_another_length_is_none(length: int) -> None:
    assert read_ext_time(0, bytes(length)) is None


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 7, 9, 11, 13, 16])
def test_a_timestamp_of_another_length_is_none(length: int) -> None:
    assert read_ext_time(-1, bytes(length)) is None


@pytest.mark.parametrize("code", [-128, -2, 1, 2, 127])
def test_another_ext_value_is_no_time(code: int) -> None:
    for length in (4, 8, 12):
        assert read_ext_time(code, bytes(length)) is None


@pytest.mark.parametrize(
    ("time", "microseconds"),
    [
        (EventTime(T, 0), T * SECOND),
        (EventTime(T, 999), T * SECOND),  # a microsecond that has begun
        (EventTime(T, 1000), T * SECOND + 1),
        (EventTime(T, 999_999_999), T * SECOND + 999_999),
        (EventTime(T, 1_500_000_000), (T + 1) * SECOND + 500_000),
        (EventTime(T, 4_294_967_295), (T + 4) * SECOND + 294_967),
        (EventTime(-1, 500_000_000), -500_000),
    ],
)
def test_nanoseconds_past_a_second_carry_over(
    time: EventTime, microseconds: int
) -> None:
    assert time.microseconds == microseconds


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (EventTime(T, 5), "2015-09-07T01:23:04.000000005Z"),
        (EventTime(0, 0), "1970-01-01T00:00:00.000000000Z"),
        (EventTime(T, 1_500_000_000), "2015-09-07T01:23:05.500000000Z"),
        (EventTime(0xFFFFFFFF, 0), "2106-02-07T06:28:15.000000000Z"),
        (EventTime(-1, 1), "1969-12-31T23:59:59.000000001Z"),
        # RFC 3339 wants four digits of year.
        (EventTime(-62_135_596_800, 0), "0001-01-01T00:00:00.000000000Z"),
        (EventTime(-46_388_678_400, 0), "0500-01-01T00:00:00.000000000Z"),
        (EventTime(253_402_300_799, 0), "9999-12-31T23:59:59.000000000Z"),
    ],
)
def test_a_time_in_a_record_is_written_with_all_its_digits(
    time: EventTime, text: str
) -> None:
    assert time.rfc3339() == text


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (EventTime(253_402_300_800, 0), "253402300800.000000000"),
        (EventTime(-62_135_596_801, 9), "-62135596801.000000009"),
        (EventTime(2**63 - 1, 1), "9223372036854775807.000000001"),
        (EventTime(-(2**63), 0), "-9223372036854775808.000000000"),
    ],
)
def test_a_time_past_the_calendar_is_written_as_seconds(
    time: EventTime, text: str
) -> None:
    assert time.rfc3339() == text


@pytest.mark.parametrize(
    ("number", "microseconds"),
    [
        (T, T * SECOND),
        (1, SECOND),
        (-5, -5 * SECOND),
        (T + 0.25, T * SECOND + 250_000),
        (0.000001, 1),
        (-0.25, -250_000),
        # Each unit from where it begins; the last of the one before.
        (10**11 - 1, (10**11 - 1) * SECOND),
        (10**11, 10**11 * 1000),
        (1_700_000_000_123, 1_700_000_000_123_000),
        (1_700_000_000_123.0, 1_700_000_000_123_000),
        (1_700_000_000_123.456, 1_700_000_000_123_456),
        (10**14 - 1, (10**14 - 1) * 1000),
        (10**14, 10**14),
        (1_700_000_000_123_456, 1_700_000_000_123_456),
        (1_700_000_000_123_456.0, 1_700_000_000_123_456),
        (10**17 - 1, 10**17 - 1),
        (10**17, 10**14),
        (1_700_000_000_123_456_789, 1_700_000_000_123_456),
        (-1_700_000_000_123, -1_700_000_000_123_000),
        (-(10**17), -(10**14)),
        (2**64 - 1, 18_446_744_073_709_551),
        (-(2**63), -9_223_372_036_854_776),
    ],
)
def test_a_number_is_seconds_or_the_unit_its_size_tells(
    number: int | float, microseconds: int
) -> None:
    assert microseconds_of_number(number) == microseconds


def test_a_float_of_microseconds_is_taken_to_the_microsecond() -> None:
    rng = random.Random(20260102)
    for _ in range(2000):
        microseconds = rng.randrange(1_000_000_000, 2_000_000_000) * SECOND
        microseconds += rng.randrange(SECOND)
        assert microseconds_of_number(microseconds / SECOND) == microseconds
        assert microseconds_of_number(microseconds / 1000) == microseconds


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_time(number: float) -> None:
    assert microseconds_of_number(number) is None


@pytest.mark.parametrize("number", [1e300, -1e300, 5e-324, 1.7976931348623157e308])
def test_any_finite_float_is_a_number_of_microseconds(number: float) -> None:
    assert type(microseconds_of_number(number)) is int


def test_a_unit_finer_than_seconds_is_known_by_its_size() -> None:
    for number in (0, T, 10**11 - 1, -(10**11) + 1, 99_999_999_999.9):
        assert not is_finer_than_seconds(number)
    for number in (10**11, -(10**11), 1.7e12, 2**64 - 1):
        assert is_finer_than_seconds(number)
