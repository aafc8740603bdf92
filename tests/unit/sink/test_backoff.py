"""Waits before another try: longer each time up to a limit, never all in step."""

from itertools import pairwise

import pytest

from penstock.sink.backoff import FIRST_SECONDS, LAST_SECONDS, Backoff


def waits(backoff: Backoff, failures: int, random_fraction: float = 1.0) -> list[float]:
    return [backoff.after_failure(random_fraction) for _ in range(failures)]


def test_the_first_wait_is_shorter_than_a_restart_of_postgresql() -> None:
    assert 0 < waits(Backoff(), 1)[0] <= FIRST_SECONDS <= 0.5


def test_waits_double_up_to_the_limit_and_stay_there() -> None:
    found = waits(Backoff(), 200)
    for before, after in pairwise(found):
        assert after == pytest.approx(min(2 * before, LAST_SECONDS))
    assert found[-1] == LAST_SECONDS


def test_jitter_takes_up_to_half_of_a_wait() -> None:
    for random_fraction in (0.0, 0.25, 0.999):
        for full, jittered in zip(
            waits(Backoff(), 20), waits(Backoff(), 20, random_fraction), strict=True
        ):
            assert jittered == pytest.approx(full * (0.5 + random_fraction / 2))
            assert full / 2 <= jittered <= full


def test_jitter_does_not_make_later_waits_shorter() -> None:
    backoff = Backoff()
    waits(backoff, 5, random_fraction=0.0)
    assert backoff.after_failure(1.0) == pytest.approx(waits(Backoff(), 6)[-1])


def test_a_success_begins_with_short_waits_again() -> None:
    backoff = Backoff()
    waits(backoff, 30)
    backoff.after_success()
    assert waits(backoff, 8) == waits(Backoff(), 8)


def test_two_backoffs_do_not_know_of_each_other() -> None:
    waits(Backoff(), 30)
    assert waits(Backoff(), 1) == [FIRST_SECONDS]
