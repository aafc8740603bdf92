"""Halves of messages are bounded, and nobody waits for ever for the rest of his."""

import random

import pytest

from penstock.net.partials import (
    FREE_BYTES,
    SCARCE_FREE_BYTES,
    STEP_BYTES,
    Partials,
)

MIB = 1024 * 1024
BUDGET = 16 * MIB


class Connection:
    """Reads its messages when it may."""

    def __init__(self, partials: Partials, address: str = "192.0.2.1") -> None:
        self.partials, self.address = partials, address
        self.held = 0
        self.may_read = True

    def read_on(self) -> None:
        self.may_read = True

    def read(self, count: int) -> None:
        assert self.may_read
        self._hold(self.held + count)

    def take(self, count: int | None = None, *, is_whole: bool = False) -> None:
        self._hold(self.held - (self.held if count is None else count), is_whole)

    def rest(self) -> None:
        self._hold(self.held, True)

    def _hold(self, now: int, is_whole: bool = False) -> None:
        before, self.held = self.held, now
        self.may_read = self.partials.hold(
            self, self.address, before, now, is_whole=is_whole
        )

    def lose(self) -> None:
        self.partials.forget(self, self.held)
        self.held = 0


def fill(connections: list[Connection], most: int) -> None:
    """Let all read in turn until they have so much, or may not."""
    is_moving = True
    while is_moving:
        is_moving = False
        for each in connections:
            if each.may_read and each.held < most:
                each.read(min(64 * 1024, most - each.held))
                is_moving = True


def test_small_halves_need_no_grant() -> None:
    partials = Partials(max_bytes=BUDGET)
    connections = [Connection(partials) for _ in range(20)]
    fill(connections, FREE_BYTES)
    assert all(each.may_read for each in connections)
    assert partials.granted_bytes == 0


def test_halves_of_one_address_are_half_of_all_and_one_message_more() -> None:
    partials = Partials(max_bytes=BUDGET)
    connections = [Connection(partials) for _ in range(30)]
    fill(connections, 4 * MIB - 1)
    held = sum(each.held for each in connections)
    # Each is over its allowance by a read at most before it waits for the first time.
    assert held <= BUDGET / 2 + 4 * MIB + 30 * (FREE_BYTES + 64 * 1024)
    other = Connection(partials, "192.0.2.2")
    fill([other], 4 * MIB)
    assert other.held == 4 * MIB, "another address does not notice"


def test_halves_of_all_addresses_are_bounded() -> None:
    partials = Partials(max_bytes=BUDGET)
    connections = [Connection(partials, f"192.0.2.{n}") for n in range(40)]
    fill(connections, 4 * MIB - 1)
    held = sum(each.held for each in connections)
    assert held <= BUDGET + 4 * MIB + 40 * (FREE_BYTES + 64 * 1024)


def test_many_halves_below_the_allowance_are_bounded_too() -> None:
    partials = Partials(max_bytes=BUDGET)
    connections = [Connection(partials, f"192.0.2.{n}") for n in range(400)]
    fill(connections, FREE_BYTES)
    held = sum(each.held for each in connections)
    read = 64 * 1024
    assert held <= 1.5 * BUDGET + MIB + 400 * (SCARCE_FREE_BYTES + read)
    small = Connection(partials, "198.51.100.1")
    fill([small], SCARCE_FREE_BYTES)
    assert small.held == SCARCE_FREE_BYTES, "a small message is not held up"


@pytest.mark.parametrize("addresses", [1, 2, 30])
def test_honest_senders_of_large_messages_all_come_through(addresses: int) -> None:
    partials = Partials(max_bytes=BUDGET)
    connections = [Connection(partials, f"192.0.2.{n % addresses}") for n in range(30)]
    left = dict.fromkeys(connections, 3)
    while left:
        before = dict(left), sum(each.held for each in connections)
        for each in list(left):
            if each.may_read:
                each.read(256 * 1024)
            if each.held >= 8 * MIB:
                each.take()
                left[each] -= 1
                if not left[each]:
                    del left[each]
        now = left, sum(each.held for each in connections)
        assert before != now, "nobody can go on"
    assert partials.granted_bytes == 0


def test_who_has_waited_longest_goes_on_and_then_another_address() -> None:
    partials = Partials(max_bytes=BUDGET)
    one = [Connection(partials, "192.0.2.1") for _ in range(8)]
    two = [Connection(partials, "192.0.2.2") for _ in range(8)]
    fill([*one, *two], 4 * MIB - 1)
    whole = [each for each in (*one, *two) if each.held == 4 * MIB - 1]
    assert len(whole) == 1, "one goes on to its end"
    held = [each.held for each in one]
    whole[0].take()
    fill([*one, *two], 4 * MIB - 1)
    ended = [each for each in (*one, *two) if each.held == 4 * MIB - 1]
    assert {each.address for each in ended} != {whole[0].address}
    assert held


def test_a_message_that_is_whole_and_waits_for_the_database_lets_no_other_begin() -> (
    None
):
    """Each that may always go on would be one more that waits, whole."""
    partials = Partials(max_bytes=BUDGET)
    connections = [Connection(partials, f"192.0.2.{n}") for n in range(40)]
    for _ in range(40):
        fill(connections, 4 * MIB)
        for each in connections:
            if each.held == 4 * MIB:
                each.rest()
    held = sum(each.held for each in connections)
    assert held <= BUDGET + 4 * MIB + 40 * (FREE_BYTES + 64 * 1024)
    for each in connections:
        if each.held == 4 * MIB:
            each.take()
    assert any(each.may_read and each.held for each in connections)


def test_who_is_lost_makes_room() -> None:
    partials = Partials(max_bytes=BUDGET)
    connections = [Connection(partials, f"192.0.2.{n}") for n in range(40)]
    fill(connections, 4 * MIB - 1)
    assert partials.waiting
    for each in connections:
        each.lose()
    assert (partials.granted_bytes, partials.waiting) == (0, 0)
    late = Connection(partials)
    fill([late], 4 * MIB)
    assert late.held == 4 * MIB


def test_another_bound_holds_at_once() -> None:
    partials = Partials(max_bytes=BUDGET)
    connections = [Connection(partials, f"192.0.2.{n % 2}") for n in range(40)]
    fill(connections, 4 * MIB - 1)
    held = sum(each.held for each in connections)
    partials.set_max_bytes(4 * BUDGET)
    fill(connections, 4 * MIB - 1)
    assert sum(each.held for each in connections) > 2 * held
    assert partials.waiting
    partials.set_max_bytes(40 * BUDGET)
    assert not partials.waiting


@pytest.mark.parametrize("seed", range(6))
def test_whatever_they_do_the_books_hold(seed: int) -> None:
    random_ = random.Random(seed)
    partials = Partials(max_bytes=BUDGET)
    connections = [
        Connection(partials, f"192.0.2.{random_.randrange(4)}") for _ in range(30)
    ]
    for _ in range(3000):
        each = random_.choice(connections)
        match random_.randrange(10):
            case 0 if each.held:
                each.take()
            case 1 if each.held:
                each.take(random_.randrange(each.held))
            case 2:
                each.lose()
                connections[connections.index(each)] = Connection(
                    partials, each.address
                )
            case _ if each.may_read and each.held < 8 * MIB:
                each.read(random_.randrange(1, 256_000))
            case _ if each.may_read:
                each.take()
        largest = max(each.held for each in connections)
        slack = 30 * (FREE_BYTES + 256_000 + STEP_BYTES)
        assert sum(each.held for each in connections) <= BUDGET + largest + slack
        is_stuck = not any(each.may_read for each in connections)
        assert not is_stuck
    for each in connections:
        each.lose()
    assert (partials.granted_bytes, partials.waiting) == (0, 0)
