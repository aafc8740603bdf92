"""The ring: its bounds in bytes and events, each source's share, and who waits."""

from collections.abc import Callable

import pytest

from penstock.buffer.ring import LOW_WATER, SOURCE_SHARE, Ring
from penstock.model import (
    SEGMENT_OVERHEAD_BYTES,
    TOGETHER,
    Batch,
    Delivery,
    EncodedRows,
    RejectedEvent,
    Segment,
    Share,
    SourceId,
)

KIB = 1024
MAX_BYTES = 100 * KIB
SHARE_BYTES = 25 * KIB
MAX_ROWS = 1000
SHARE_ROWS = 250


class Watched:
    """A ring, and what it has called back."""

    def __init__(
        self,
        *,
        max_bytes: int = MAX_BYTES,
        max_rows: int = MAX_ROWS,
        spool_first: bool = False,
    ) -> None:
        self.waiting = self.drained = 0
        self.gone_on: list[int] = []
        self.ring = Ring(
            max_bytes=max_bytes,
            max_rows=max_rows,
            on_waiting=self._waits,
            on_drained=self._drains,
            spool_first=spool_first,
        )

    def _waits(self) -> None:
        self.waiting += 1

    def _drains(self) -> None:
        self.drained += 1

    def add(self, source: int, size_bytes: int = 2 * KIB, rows: int = 1) -> Segment:
        added = segment(source, size_bytes, rows)
        self.ring.append(added)
        return added

    def fill(self, sources: range, each_bytes: int, rows: int = 1) -> list[Batch]:
        """Let each source add a segment; return what a writer takes of it, one by one.

        Nothing waits any more then, and all of it is still counted.
        """
        for source in sources:
            self.add(source, each_bytes, rows)
        return [taken(self.ring, 1) for _ in sources]

    def wait(self, source: int) -> None:
        self.ring.wait_for_room(SourceId(source), lambda: self.gone_on.append(source))

    def has_room(self, source: int) -> bool:
        return self.ring.has_room(SourceId(source))


@pytest.fixture
def watched() -> Watched:
    return Watched()


def segment(
    source: int,
    size_bytes: int = 2 * KIB,
    rows: int = 1,
    rejected: int = 0,
    ack: bytes | None = None,
) -> Segment:
    """Make a segment of exactly that size, as the ring counts it."""
    delivery = Delivery(SourceId(source), "", "t", None, ack, 0.0, lambda done: None)
    events = (RejectedEvent("no_record", b""),) * rejected
    empty = Segment(EncodedRows(b"", rows, frozenset(), events), delivery)
    data = bytes(size_bytes - empty.size_bytes)
    made = Segment(EncodedRows(data, rows, frozenset(), events), delivery)
    assert made.size_bytes == size_bytes
    return made


def taken(ring: Ring, max_bytes: int = 1 << 30) -> Batch:
    batch = ring.take(max_bytes)
    assert batch is not None
    return batch


def shared(*shares: tuple[int, int, int]) -> Segment:
    """Make a segment of several sources: each with so many bytes and events."""
    whose = tuple(
        Share(SourceId(source), "", "t", None, rows, 0, 0, 0, size_bytes)
        for source, size_bytes, rows in shares
    )
    delivery = Delivery(TOGETHER, "", "", None, None, 0.0, lambda done: None)
    rows = sum(share.rows for share in whose)
    return Segment(EncodedRows(b"", rows, frozenset()), delivery, shares=whose)


# --- several sources in one segment


def test_each_source_is_counted_with_its_share_of_a_segment(watched: Watched) -> None:
    quarter = watched.ring.max_bytes // 4
    watched.ring.append(shared((1, quarter, 1), (2, KIB, 1), (1, KIB, 1), (3, 1, 1)))
    assert [watched.has_room(source) for source in (1, 2, 3, 4)] == [
        False,
        True,
        True,
        True,
    ]
    assert watched.ring.used_events == 4
    watched.wait(1)
    watched.ring.append(shared((1, KIB, 1), (2, quarter, 1)))
    first, second = taken(watched.ring, 1), taken(watched.ring, 1)
    assert not watched.has_room(2)
    watched.ring.release(first)
    assert watched.gone_on == [1], "what it still has is little"
    assert not watched.has_room(2)
    watched.ring.release(second)
    assert watched.has_room(2)
    assert (watched.ring.used_bytes, watched.ring.used_events) == (0, 0)
    assert watched.ring.is_empty


# --- first in, first out


def test_a_writer_takes_all_that_waits_in_the_order_it_came(watched: Watched) -> None:
    added = [watched.add(source, 2 * KIB, rows=source) for source in (3, 1, 2)]
    batch = taken(watched.ring)
    assert list(batch.segments) == added
    assert (batch.size_bytes, batch.rows) == (6 * KIB, 6)
    assert watched.ring.take(1 << 30) is None


def test_nothing_to_take_from_an_empty_ring(watched: Watched) -> None:
    assert watched.ring.take(1 << 30) is None


@pytest.mark.parametrize(
    ("max_bytes", "sizes"),
    [
        (6 * KIB, [2, 4]),
        (6 * KIB - 1, [2]),
        (1, [2]),
        (15 * KIB, [2, 4, 9]),
    ],
)
def test_a_batch_holds_at_most_so_many_bytes_or_one_segment(
    watched: Watched, max_bytes: int, sizes: list[int]
) -> None:
    for kib in (2, 4, 9):
        watched.add(1, kib * KIB)
    batch = taken(watched.ring, max_bytes)
    assert [each.size_bytes // KIB for each in batch.segments] == sizes
    assert watched.ring.waiting_bytes == (15 - sum(sizes)) * KIB


def test_a_batch_holds_at_most_so_much_of_one_source_or_one_segment(
    watched: Watched,
) -> None:
    for source, kib in ((1, 9), (2, 4), (1, 1), (2, 4), (2, 1), (3, 4)):
        watched.add(source, kib * KIB)

    def sizes() -> list[int]:
        batch = watched.ring.take(99 * KIB, max_source_bytes=8 * KIB)
        assert batch is not None
        return [each.size_bytes // KIB for each in batch.segments]

    assert sizes() == [9, 4], "the first source has its part, and nobody overtakes it"
    assert sizes() == [1, 4, 1, 4]


def test_a_small_segment_does_not_overtake_one_that_does_not_fit(
    watched: Watched,
) -> None:
    big, small = watched.add(1, 2 * KIB), watched.add(1, 9 * KIB)
    last = watched.add(2, 2 * KIB)
    assert taken(watched.ring, 4 * KIB).segments == (big,)
    assert taken(watched.ring, 99 * KIB).segments == (small, last)


# --- what is counted


def test_what_a_writer_has_taken_still_counts_until_it_is_released(
    watched: Watched,
) -> None:
    ring = watched.ring
    watched.add(1, 10 * KIB, rows=7)
    batch = taken(ring)
    assert (ring.used_bytes, ring.used_events, ring.waiting_bytes) == (10 * KIB, 7, 0)
    assert not ring.is_empty
    ring.release(batch)
    assert (ring.used_bytes, ring.used_events, ring.waiting_bytes) == (0, 0, 0)
    assert ring.is_empty


def test_rejected_events_and_their_bytes_count(watched: Watched) -> None:
    raw = RejectedEvent("no_record", bytes(5000))
    delivery = segment(1).delivery
    watched.ring.append(Segment(EncodedRows(b"", 0, frozenset(), (raw,)), delivery))
    assert watched.ring.used_events == 1
    assert watched.ring.used_bytes >= 5000 + SEGMENT_OVERHEAD_BYTES
    batch = taken(watched.ring)
    assert (batch.rows, batch.segments[0].events) == (0, 1)
    watched.ring.release(batch)
    assert watched.ring.is_empty


def test_each_segment_costs_something_however_small_its_rows_are(
    watched: Watched,
) -> None:
    delivery = segment(1).delivery
    watched.ring.append(Segment(EncodedRows(b"r", 1, frozenset()), delivery))
    assert watched.ring.used_bytes == 1 + SEGMENT_OVERHEAD_BYTES


# --- what nobody sends again


def mixed(ring: Ring) -> tuple[list[Segment], list[Segment]]:
    """Append what comes again and what does not, by turns; return the two."""
    again = [segment(number, ack=b"ack") for number in (1, 3, 5)]
    once = [segment(number) for number in (2, 4, 6)]
    for pair in zip(again, once, strict=True):
        for each in pair:
            ring.append(each)
    return again, once


def test_writers_take_what_waits_for_the_spool_while_it_is_not_first() -> None:
    watched = Watched(spool_first=True)
    again, once = mixed(watched.ring)
    told = watched.waiting
    watched.ring.put_spool_first(False)
    assert not watched.ring.is_spool_first
    assert watched.waiting == told + 1, "writers are told"
    late = watched.add(7)
    assert list(taken(watched.ring).segments) == [*again, *once, late]
    assert watched.ring.waiting_bytes == 0


def test_what_no_writer_has_taken_waits_for_the_spool_when_it_is_first_again() -> None:
    watched = Watched(spool_first=True)
    again, once = mixed(watched.ring)
    watched.ring.put_spool_first(False)
    watched.ring.put_spool_first(True)
    late = watched.add(7)
    assert list(taken(watched.ring).segments) == again
    for_spool = watched.ring.take_unclaimed(1 << 30)
    assert for_spool is not None
    assert list(for_spool.segments) == [*once, late]


@pytest.mark.parametrize("spool_first", [True, False])
def test_what_comes_again_is_given_up_and_no_longer_keeps_others_out(
    spool_first: bool,
) -> None:
    watched = Watched(max_bytes=12 * KIB, spool_first=spool_first)
    _, once = mixed(watched.ring)
    watched.wait(7)
    watched.ring.give_up_what_comes_again()
    assert watched.gone_on == [7]
    assert (watched.ring.used_events, watched.ring.given_up_events) == (3, 3)
    assert watched.ring.waiting_bytes == watched.ring.used_bytes == 6 * KIB
    left = watched.ring.take_unclaimed(1 << 30)
    assert left is not None
    assert list(left.segments) == once


# --- the bounds


def test_a_ring_full_of_bytes_has_room_for_nobody(watched: Watched) -> None:
    watched.fill(range(1, 5), SHARE_BYTES - 1)
    assert watched.has_room(5)
    watched.add(5, 2 * KIB)
    assert not watched.has_room(5)
    assert not watched.has_room(6), "nor has one that holds nothing"


def test_a_ring_full_of_rows_has_room_for_nobody(watched: Watched) -> None:
    watched.fill(range(1, 5), 2 * KIB, rows=SHARE_ROWS - 1)
    assert watched.has_room(5)
    watched.add(5, 2 * KIB, rows=4)
    assert not watched.has_room(5)
    assert not watched.has_room(6)


def test_rejected_events_fill_the_ring_as_rows_do(watched: Watched) -> None:
    for source in range(1, 5):
        watched.ring.append(segment(source, 20 * KIB, rows=200, rejected=50))
    assert not watched.has_room(5)


def test_what_comes_again_leaves_room_for_what_does_not(watched: Watched) -> None:
    for source in range(1, 5):
        watched.ring.append(segment(source, 3 * SHARE_BYTES // 4, ack=b"ack"))
    assert not watched.ring.has_room(SourceId(5), comes_again=True)
    assert watched.has_room(5)
    gone_on: list[str] = []
    watched.ring.wait_for_room(
        SourceId(5), lambda: gone_on.append("again"), comes_again=True
    )
    watched.fill(range(6, 8), SHARE_BYTES // 2)
    watched.ring.wait_for_room(SourceId(8), lambda: gone_on.append("once"))
    assert not watched.has_room(8)
    once = watched.ring.take_unclaimed(SHARE_BYTES // 2)
    assert once is not None
    watched.ring.release(once)
    assert gone_on == ["once"], "the spool makes room for what it takes"
    watched.ring.release(taken(watched.ring))
    assert gone_on == ["once", "again"]


def test_the_bounds_are_those_that_were_set() -> None:
    watched = Watched(max_bytes=4 * KIB, max_rows=10)
    assert (watched.ring.max_bytes, watched.ring.max_rows) == (4 * KIB, 10)
    watched.add(1, 4 * KIB)
    assert not watched.has_room(2)


@pytest.mark.parametrize(
    ("size_bytes", "rows"), [(SHARE_BYTES, 1), (2 * KIB, SHARE_ROWS)]
)
def test_a_source_that_holds_a_quarter_waits_while_others_have_room(
    watched: Watched, size_bytes: int, rows: int
) -> None:
    assert SOURCE_SHARE == 0.25
    watched.add(1, size_bytes, rows)
    assert not watched.has_room(1)
    assert watched.has_room(2)


@pytest.mark.parametrize(
    ("size_bytes", "rows"), [(SHARE_BYTES - 1, 1), (2 * KIB, SHARE_ROWS - 1)]
)
def test_a_source_that_holds_less_than_a_quarter_may_add(
    watched: Watched, size_bytes: int, rows: int
) -> None:
    watched.add(1, size_bytes, rows)
    assert watched.has_room(1)


def test_what_a_writer_has_taken_still_counts_for_the_share(watched: Watched) -> None:
    watched.add(1, SHARE_BYTES)
    batch = taken(watched.ring)
    assert not watched.has_room(1)
    watched.ring.release(batch)
    assert watched.has_room(1)


def test_a_source_without_segments_costs_no_memory(watched: Watched) -> None:
    for source in range(1, 500):
        watched.add(source)
        watched.ring.release(taken(watched.ring))
    assert not watched.ring._held, "nothing is kept of those that came and went"


# --- who waits


def test_who_waits_goes_on_once_when_there_is_room(watched: Watched) -> None:
    watched.add(1, SHARE_BYTES)
    watched.wait(1)
    assert watched.ring.blocked_sources == 1
    batch = taken(watched.ring)
    assert watched.gone_on == [], "what is taken is not free"
    watched.ring.release(batch)
    assert watched.gone_on == [1]
    assert watched.ring.blocked_sources == 0
    watched.add(2)
    watched.ring.release(taken(watched.ring))
    assert watched.gone_on == [1]


@pytest.mark.parametrize(
    ("each_bytes", "rows"), [(10 * KIB, 1), (2 * KIB, MAX_ROWS // 10)]
)
def test_a_full_ring_lets_go_on_below_its_low_water_only(
    watched: Watched, each_bytes: int, rows: int
) -> None:
    assert LOW_WATER == 0.75
    batches = watched.fill(range(1, 11), each_bytes, rows)
    watched.wait(99)
    for part_left, batch in zip((0.9, 0.8), batches, strict=False):
        watched.ring.release(batch)
        assert watched.gone_on == [], f"{part_left} of the ring are still in use"
        assert watched.ring.is_above_low_water
    watched.ring.release(batches[2])
    assert watched.gone_on == [99]
    assert not watched.ring.is_above_low_water


@pytest.mark.parametrize(
    ("size_bytes", "rows"), [(5 * KIB, 1), (2 * KIB, SHARE_ROWS // 5)]
)
def test_a_full_share_lets_go_on_below_its_low_water_only(
    watched: Watched, size_bytes: int, rows: int
) -> None:
    batches = []
    for _ in range(5):
        watched.add(1, size_bytes, rows)
        batches.append(taken(watched.ring))
    watched.wait(1)
    watched.ring.release(batches[0])
    assert watched.gone_on == [], "0.8 of the share are in use"
    watched.ring.release(batches[1])
    assert watched.gone_on == [1]


def test_who_has_waited_longest_goes_on_first(watched: Watched) -> None:
    (batch,) = watched.fill(range(1, 2), MAX_BYTES)
    for source in (7, 2, 5, 3):
        watched.wait(source)
    watched.ring.release(batch)
    assert watched.gone_on == [7, 2, 5, 3]


def test_to_wait_again_keeps_the_place(watched: Watched) -> None:
    (batch,) = watched.fill(range(1, 2), MAX_BYTES)
    for source in (7, 2, 7):
        watched.wait(source)
    assert watched.ring.blocked_sources == 2
    watched.ring.release(batch)
    assert watched.gone_on == [7, 2]


def test_a_source_past_its_share_does_not_hold_up_those_behind_it(
    watched: Watched,
) -> None:
    batches = []
    for source, kib in ((1, 26), (2, 20), (3, 20), (4, 20)):
        watched.add(source, kib * KIB)
        batches.append(taken(watched.ring))
    for source in (1, 5):
        watched.wait(source)
    watched.ring.release(batches[1])
    assert watched.gone_on == [5], "1 holds more than its share still"
    watched.ring.release(batches[0])
    assert watched.gone_on == [5, 1]


def test_one_that_goes_on_and_fills_the_ring_leaves_the_next_waiting(
    watched: Watched,
) -> None:
    (batch,) = watched.fill(range(1, 2), MAX_BYTES)
    watched.ring.wait_for_room(SourceId(2), lambda: refill())
    watched.wait(3)

    def refill() -> None:
        watched.add(2, MAX_BYTES)

    watched.ring.release(batch)
    assert watched.gone_on == []
    assert watched.ring.blocked_sources == 1
    assert watched.drained == 0, "the ring holds something again"


def test_one_that_is_forgotten_is_not_called(watched: Watched) -> None:
    (batch,) = watched.fill(range(1, 2), MAX_BYTES)
    watched.wait(1)
    watched.wait(2)
    watched.ring.forget(SourceId(1))
    watched.ring.forget(SourceId(3))  # has no place: nothing happens
    watched.ring.release(batch)
    assert watched.gone_on == [2]


def test_one_that_waits_again_when_called_is_not_called_twice(
    watched: Watched,
) -> None:
    (batch,) = watched.fill(range(1, 2), MAX_BYTES)
    calls = 0

    def wait_again() -> None:
        nonlocal calls
        calls += 1
        watched.ring.wait_for_room(SourceId(2), wait_again)

    wait_again()
    watched.ring.release(batch)
    assert calls == 2


# --- what the flusher is told


def test_each_segment_that_comes_to_wait_is_told(watched: Watched) -> None:
    for number in range(1, 4):
        watched.add(number)
        assert watched.waiting == number


def test_the_segment_is_there_when_it_is_told() -> None:
    seen: list[Batch | None] = []
    ring = Ring(
        max_bytes=MAX_BYTES,
        max_rows=MAX_ROWS,
        on_waiting=lambda: seen.append(ring.take(1)),
        on_drained=lambda: None,
    )
    ring.append(segment(1))
    assert seen[0] is not None


def test_drained_is_told_when_the_last_batch_is_released(watched: Watched) -> None:
    first = watched.add(1)
    batch_one = taken(watched.ring)
    assert batch_one.segments == (first,)
    watched.add(2)
    watched.ring.release(batch_one)
    assert watched.drained == 0, "a segment waits"
    batch_two = taken(watched.ring)
    assert watched.drained == 0, "a batch is being written"
    watched.ring.release(batch_two)
    assert watched.drained == 1


def test_the_freed_room_is_there_when_a_waiter_is_called() -> None:
    room: list[bool] = []
    ring = Ring(
        max_bytes=MAX_BYTES,
        max_rows=MAX_ROWS,
        on_waiting=_nothing,
        on_drained=_nothing,
    )
    ring.append(segment(1, MAX_BYTES))
    ring.wait_for_room(SourceId(1), lambda: room.append(ring.has_room(SourceId(1))))
    ring.release(taken(ring))
    assert room == [True]


_nothing: Callable[[], None] = lambda: None  # noqa: E731
