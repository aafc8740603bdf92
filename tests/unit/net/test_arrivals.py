"""When bytes came: of what was taken the last, of what is left the first."""

import pytest

from penstock.net.arrivals import Arrivals


@pytest.fixture
def arrivals() -> Arrivals:
    made = Arrivals()
    for seconds in (10.0, 20.0, 30.0):
        made.received(100, seconds)
    return made


@pytest.mark.parametrize(
    ("left_bytes", "seconds"),
    [(299, 10), (200, 10), (199, 20), (100, 20), (99, 30), (0, 30)],
)
def test_a_message_came_with_its_last_byte(
    arrivals: Arrivals, left_bytes: int, seconds: float
) -> None:
    assert arrivals.last_taken_seconds(left_bytes) == seconds
    assert arrivals.last_taken_seconds(left_bytes) == seconds


@pytest.mark.parametrize(
    ("left_bytes", "seconds"),
    [(300, 10), (201, 10), (200, 20), (101, 20), (100, 30), (1, 30), (0, None)],
)
def test_what_is_left_has_waited_since_its_first_byte(
    arrivals: Arrivals, left_bytes: int, seconds: float | None
) -> None:
    assert arrivals.oldest_left_seconds(left_bytes) == seconds


def test_looking_at_what_is_left_does_not_forget_when_the_taken_came(
    arrivals: Arrivals,
) -> None:
    arrivals.oldest_left_seconds(0)
    assert arrivals.last_taken_seconds(0) == 30
    arrivals.received(1, 40.0)
    assert arrivals.oldest_left_seconds(1) == 40
    assert arrivals.last_taken_seconds(0) == 40


def test_a_byte_at_a_time_is_remembered_by_the_second() -> None:
    arrivals = Arrivals()
    for n in range(10_000):
        arrivals.received(1, n / 1000)
    assert len(arrivals._marks) <= 11
    assert arrivals.oldest_left_seconds(10_000) == 0
    assert 4 < (arrivals.oldest_left_seconds(5_000) or 0) <= 5
