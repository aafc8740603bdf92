"""Guesses take time, and remembering who guesses takes little memory."""

import pytest

from penstock.net import failed_logins
from penstock.net.failed_logins import (
    FORGET_SECONDS,
    LOG_SECONDS,
    MOST_SECONDS,
    LogBook,
    SlowDown,
)
from penstock.net.peer import host_of

A, B = "192.0.2.1", "192.0.2.2"


LATEST_SECONDS = 27.0


class Attempts:
    """Logins one after the other, each looked at as it comes."""

    def __init__(self, first_seconds: float = 1.0) -> None:
        self.slow_down = SlowDown()
        self.first_seconds = first_seconds

    def due(self, now: float, address: str, name: int, patience: float) -> float | None:
        return self.slow_down.answer_at(address, name, now, now + patience)

    def fail(
        self,
        now: float,
        address: str = A,
        *,
        name: int = 1,
        patience: float = LATEST_SECONDS,
    ) -> float | None:
        due = self.due(now, address, name, patience)
        if due is not None:
            self.slow_down.failed(address, name, now, first_seconds=self.first_seconds)
        return due

    def succeed(
        self,
        now: float,
        address: str = A,
        *,
        name: int = 1,
        patience: float = LATEST_SECONDS,
    ) -> float | None:
        due = self.due(now, address, name, patience)
        if due is not None:
            self.slow_down.succeeded(address, name)
        return due


def test_nobody_waits_who_has_not_failed() -> None:
    attempts = Attempts()
    assert [attempts.succeed(100.0) for _ in range(1000)] == [100.0] * 1000
    assert len(attempts.slow_down) == 0


def test_each_failure_makes_the_next_answer_wait_twice_as_long() -> None:
    attempts, now, waits = Attempts(), 100.0, []
    for _ in range(8):
        due = attempts.fail(now, patience=100)
        assert due is not None
        waits.append(due - now)
        now = due
    assert waits == [0, 1, 2, 4, 8, 16, MOST_SECONDS, MOST_SECONDS]


def test_guesses_over_many_connections_at_once_wait_for_each_other() -> None:
    attempts = Attempts()
    dues = [attempts.fail(100.0) for _ in range(100)]
    assert dues == [100, 101, 103, 107, 115, *[None] * 95]


def test_a_right_guess_waits_as_a_wrong_one_does() -> None:
    attempts = Attempts()
    attempts.fail(100.0)
    assert attempts.succeed(100.1) == 101.0
    attempts = Attempts()
    for _ in range(5):
        attempts.fail(100.0)
    assert attempts.succeed(100.0) is None


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
    for own_name in (1, 2):
        attempts, dues = Attempts(), []
        for _ in range(5):
            dues.append(attempts.fail(100.0))
            attempts.succeed(100.0, name=own_name)
        least = [100.0 + n for n in range(5)]
        assert all((due or 1000) >= low for due, low in zip(dues, least, strict=True))


def test_one_client_set_up_wrong_does_not_keep_its_neighbours_out() -> None:
    """It tries twice a second for ever; they come and go behind the same address."""
    attempts, waits = Attempts(), []
    for tick in range(2 * 600):
        now = 100.0 + tick / 2
        attempts.fail(now, name=1)
        if tick % 7 == 0:
            due = attempts.succeed(now, name=2)
            assert due is not None
            waits.append(due - now)
    assert max(waits) <= 3.0
    assert sum(waits) / len(waits) < 0.1


def test_several_clients_set_up_wrong_leave_their_neighbours_a_way_in() -> None:
    """Each is looked at once, as anybody who is new; from then on they stand back."""
    attempts, let_in, tries = Attempts(), 0, 0
    for tick in range(2 * 3600):
        now = 100.0 + tick / 2
        for name in range(20):
            attempts.fail(now, name=name + 10)
        if tick > 2 * 600 and tick % 7 == 0:
            tries += 1
            let_in += attempts.succeed(now, name=2) is not None
    assert let_in > tries / 2


def test_another_name_for_each_guess_gains_nothing() -> None:
    attempts, looked_at = Attempts(), 0
    for tick in range(10 * 3600):
        due = attempts.fail(100.0 + tick / 10, name=tick)
        looked_at += due is not None
    assert looked_at < 3600 / MOST_SECONDS + 10


def test_a_few_names_in_turn_gain_little() -> None:
    for names in range(1, 12):
        attempts, looked_at = Attempts(), 0
        for tick in range(10 * 3600):
            due = attempts.fail(100.0 + tick / 10, name=tick % names)
            looked_at += due is not None
        assert looked_at < 3600 / 8 + 20, names


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
        now = attempts.fail(now, patience=100.0) or 0.0
    assert (attempts.fail(now, patience=100.0) or 0.0) - now == MOST_SECONDS


def test_only_so_many_addresses_are_remembered_those_who_failed_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failed_logins, "MOST_ADDRESSES", 10)
    attempts, book = Attempts(), LogBook()
    for n in range(100):
        attempts.slow_down.failed(A, n, 100.0, first_seconds=1.0)
        attempts.fail(100.0, f"192.0.2.{n + 10}")
        book.line_for(f"192.0.2.{n}", 100.0)
    assert len(attempts.slow_down) == len(book) == 10
    assert attempts.succeed(100.0, A) is None
    assert attempts.succeed(100.0, "192.0.2.10") == 100.0


def test_an_address_has_one_line_in_a_while_and_the_others_are_counted() -> None:
    book = LogBook()
    assert book.line_for(A, 100.0) == {"peer": A}
    assert [book.line_for(A, 101.0) for _ in range(7)] == [None] * 7
    assert book.line_for(B, 101.0) == {"peer": B}, "another's flood hides nobody"
    later = 100.0 + LOG_SECONDS
    assert book.line_for(A, later) == {"peer": A, "failures_without_a_line": 7}
    assert book.line_for(A, later + 1) is None


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
