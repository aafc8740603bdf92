"""Guesses take time, and remembering who guesses takes little memory."""

import pytest

from penstock.net import failed_logins
from penstock.net.failed_logins import (
    FORGET_SECONDS,
    LOG_SECONDS,
    MOST_SECONDS,
    LogBook,
    SlowDown,
    host_of,
)

A, B = "192.0.2.1", "192.0.2.2"


class Attempts:
    """Logins one after the other, each looked at as it comes."""

    def __init__(self, first_seconds: float = 1.0) -> None:
        self.slow_down = SlowDown()
        self.first_seconds = first_seconds

    def fail(self, now: float, address: str = A) -> float:
        due = self.slow_down.answer_at(address, now)
        self.slow_down.failed(address, now, first_seconds=self.first_seconds)
        return due

    def succeed(self, now: float, address: str = A) -> float:
        due = self.slow_down.answer_at(address, now)
        self.slow_down.succeeded(address)
        return due


def test_nobody_waits_who_has_not_failed() -> None:
    attempts = Attempts()
    assert [attempts.succeed(100.0) for _ in range(1000)] == [100.0] * 1000
    assert len(attempts.slow_down) == 0


def test_each_failure_makes_the_next_answer_wait_twice_as_long() -> None:
    attempts, now, waits = Attempts(), 100.0, []
    for _ in range(8):
        due = attempts.fail(now)
        waits.append(due - now)
        now = due
    assert waits == [0, 1, 2, 4, 8, 16, MOST_SECONDS, MOST_SECONDS]


def test_guesses_over_many_connections_at_once_wait_for_each_other() -> None:
    attempts = Attempts()
    assert [attempts.fail(100.0) for _ in range(6)] == [100, 101, 103, 107, 115, 131]


def test_a_right_guess_waits_as_a_wrong_one_does() -> None:
    attempts = Attempts()
    attempts.fail(100.0)
    assert attempts.succeed(100.1) == 101.0


def test_a_success_ends_it_for_those_who_come_then() -> None:
    attempts = Attempts()
    for now in (100.0, 101.0, 103.0):
        attempts.fail(now)
    assert attempts.succeed(107.0) == 107.0
    assert attempts.fail(107.1) == 107.1
    assert attempts.fail(107.2) == pytest.approx(108.1)


def test_right_ones_do_not_wait_for_each_other() -> None:
    attempts = Attempts()
    attempts.fail(100.0)
    assert [attempts.succeed(100.5) for _ in range(100)] == [101.0] * 100


def test_ones_own_password_makes_no_guess_at_anothers_quicker() -> None:
    attempts, dues = Attempts(), []
    for _ in range(10):
        dues.append(attempts.fail(100.0))
        attempts.succeed(100.0)
    assert dues == [100.0 + n for n in range(10)]


def test_addresses_do_not_wait_for_each_other() -> None:
    attempts = Attempts()
    attempts.fail(100.0)
    assert attempts.fail(100.1, B) == 100.1


def test_a_host_is_one_whichever_of_its_ipv6_addresses_it_takes() -> None:
    attempts = Attempts()
    attempts.fail(100.0, "2001:db8:0:1::1")
    assert attempts.fail(100.1, "2001:db8:0:1:ffff::2") == 101.0
    assert attempts.fail(100.1, "2001:db8:0:2::1") == 100.1


def test_what_is_long_ago_does_not_count() -> None:
    attempts = Attempts()
    for _ in range(5):
        attempts.fail(100.0)
    later = 131.0 + FORGET_SECONDS + 1
    assert attempts.fail(later) == later
    assert attempts.fail(later) == later + 1


def test_it_can_be_turned_off() -> None:
    attempts = Attempts(first_seconds=0.0)
    assert [attempts.fail(100.0) for _ in range(100)] == [100.0] * 100


def test_no_number_of_failures_is_too_large() -> None:
    attempts, now = Attempts(0.001), 0.0
    for _ in range(2000):
        now = attempts.fail(now)
    assert attempts.fail(now) - now == MOST_SECONDS


def test_only_so_many_addresses_are_remembered_those_who_failed_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failed_logins, "MOST_ADDRESSES", 10)
    attempts, book = Attempts(), LogBook()
    for n in range(100):
        attempts.fail(100.0, A)
        attempts.fail(100.0, f"192.0.2.{n + 10}")
        book.news(f"192.0.2.{n}", 100.0)
    assert len(attempts.slow_down) == len(book) == 10
    assert attempts.succeed(100.0, A) > 100.0
    assert attempts.succeed(100.0, "192.0.2.10") == 100.0


def test_an_address_has_one_line_in_a_while_and_the_others_are_counted() -> None:
    book = LogBook()
    assert book.news(A, 100.0) == 0
    assert [book.news(A, 101.0) for _ in range(7)] == [None] * 7
    assert book.news(B, 101.0) == 0, "another's flood hides nobody"
    assert book.news(A, 100.0 + LOG_SECONDS) == 7
    assert book.news(A, 101.0 + LOG_SECONDS) is None


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("unix", "unix"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a:b", "a:b"),
    ],
)
def test_an_address_is_counted_as_its_host(address: str, host: str) -> None:
    assert host_of(address) == host
