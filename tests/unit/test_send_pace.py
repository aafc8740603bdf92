"""The pacer keeps the rate by an injected clock; the backoff grows with jitter."""

import random

import pytest

from penstock.cli.send import Pacer
from penstock.net.client import LONGEST_PAUSE_SECONDS, backoff_seconds


def send_for(seconds: float, rate: float, *, slow: float = 0.0) -> list[float]:
    """Return when each event went out; `slow` is the time a chunk takes to write."""
    now, times, pacer = 50.0, [], Pacer(rate, 50.0)
    while now < 50.0 + seconds:
        now += pacer.wait_seconds(now)
        times += [now - 50.0] * pacer.chunk_events
        pacer.sent(pacer.chunk_events, now)
        now += slow
    return times


@pytest.mark.parametrize("rate", [0.5, 1, 7, 50, 999.5, 200_000])
def test_the_rate_is_kept(rate: float) -> None:
    times = send_for(10, rate)
    assert len(times) == pytest.approx(10 * rate, abs=2 + rate * 0.11)


@pytest.mark.parametrize("rate", [3, 50, 5000])
def test_events_are_even_within_a_tenth_of_a_second(rate: float) -> None:
    times = send_for(3, rate)
    for number, time in enumerate(times):
        assert time == pytest.approx(number / rate, abs=0.1 + 1 / rate)


def test_a_small_delay_is_caught_up() -> None:
    assert len(send_for(10, 100, slow=0.09)) == pytest.approx(1000, abs=11)


def test_a_pause_is_not_followed_by_a_burst() -> None:
    pacer = Pacer(100, 0.0)
    pacer.sent(10, 0.0)
    now, burst = 60.0, 0
    while pacer.wait_seconds(now) == 0:
        pacer.sent(10, now)
        burst += 10
    assert burst <= 20


def test_backoff_doubles_with_jitter_up_to_its_limit() -> None:
    rng = random.Random(1)
    for failures in range(2000):
        full = min(LONGEST_PAUSE_SECONDS, 0.1 * 2 ** min(failures, 10))
        assert full / 2 <= backoff_seconds(failures, rng) <= full
    assert backoff_seconds(3, rng) != backoff_seconds(3, rng)
