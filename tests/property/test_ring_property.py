"""Ring and acks against a model that is too simple to be wrong, in any order of events.

The model keeps every segment in a plain list and counts anew each time it is asked.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from penstock.buffer.acks import AckTracker, settle
from penstock.buffer.ring import Ring
from penstock.model import Batch, Delivery, EncodedRows, RejectedEvent, Segment
from penstock.model import SourceId as Source

MAX_BYTES = 64 * 1024
MAX_EVENTS = 400
MOST_BYTES = 16 * 1024  # of a segment's rows
SOURCES = [Source(number) for number in range(1, 8)]

sources = st.sampled_from(SOURCES)


@dataclass
class Connection:
    """One sender as `net` drives it, and what it should see."""

    source: Source
    acks: AckTracker = field(default_factory=AckTracker)
    open: Delivery | None = None  # its message, not yet whole
    expected: list[bytes] = field(default_factory=list)  # acks owed, in order
    written: list[bytes] = field(default_factory=list)
    is_waiting: bool = False

    def settled(self, delivery: Delivery) -> None:
        self.written += [each.ack or b"" for each in self.acks.due()]


class RingMachine(RuleBasedStateMachine):
    """Connections that come and go on, writers that take and commit, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = Ring(
            max_bytes=MAX_BYTES,
            max_rows=MAX_EVENTS,
            on_waiting=self._on_waiting,
            on_drained=self._on_drained,
        )
        self.connections = {source: Connection(source) for source in SOURCES}
        # The model.
        self.appended: list[Segment] = []
        self.waiting: list[Segment] = []
        self.in_flight: list[Batch] = []
        self.committed: list[Segment] = []
        self.queue: list[Source] = []  # who waits for room, longest first
        self.gone_on: list[Source] = []
        self.told_waiting = self.told_drained = 0
        self.expected_drained = 0

    def _on_waiting(self) -> None:
        self.told_waiting += 1

    def _on_drained(self) -> None:
        self.told_drained += 1

    # What the model knows by counting.

    def held(self) -> list[Segment]:
        taken = [each for batch in self.in_flight for each in batch.segments]
        return self.waiting + taken

    def fits(self, part: float, source: Source) -> bool:
        mine = [each for each in self.held() if each.delivery.source == source]
        others = [each for each in self.held() if not each.comes_again]
        again = [each for each in self.held() if each.comes_again]
        return (
            size_of(others) < part * (MAX_BYTES - size_of(again))
            and events_of(others) < part * (MAX_EVENTS - events_of(again))
            and size_of(mine) < part / 4 * MAX_BYTES
            and events_of(mine) < part / 4 * MAX_EVENTS
        )

    # What may happen.

    def begin_message(self, source: Source, asks: bool) -> Delivery:
        connection = self.connections[source]
        number = len(connection.expected)
        ack = b"%d/%d" % (source, number) if asks else None
        connection.open = Delivery(
            source, "", "t", ack, ack, 0.0, lambda done: connection.settled(done)
        )
        connection.acks.expect(connection.open)
        if ack is not None:
            connection.expected.append(ack)
        return connection.open

    @rule(
        source=sources,
        asks=st.booleans(),
        data_bytes=st.sampled_from((100, 3_000, 8_000)) | st.integers(0, MOST_BYTES),
        rows=st.sampled_from((1, 40)) | st.integers(0, 90),
        rejected=st.sampled_from((0, 0, 1, 3)),
    )
    def encode_segment(
        self, source: Source, asks: bool, data_bytes: int, rows: int, rejected: int
    ) -> None:
        delivery = self.connections[source].open or self.begin_message(source, asks)
        if not rows + rejected:
            return
        has_room = self.ring.has_room(source)
        assert has_room == self.fits(1.0, source)
        if not has_room:
            self._wait(source)
            return
        used_bytes, used_events = self.ring.used_bytes, self.ring.used_events
        assert used_bytes < MAX_BYTES and used_events < MAX_EVENTS
        events = (RejectedEvent("no_record", b"raw"),) * rejected
        segment = Segment(
            EncodedRows(bytes(data_bytes), rows, frozenset(), events), delivery
        )
        delivery.pending_segments += 1
        self.ring.append(segment)
        self.appended.append(segment)
        self.waiting.append(segment)

    def _wait(self, source: Source) -> None:
        connection = self.connections[source]
        if not connection.is_waiting:
            self.queue.append(source)
        connection.is_waiting = True

        def go_on() -> None:
            assert connection.is_waiting
            connection.is_waiting = False
            self.gone_on.append(source)

        self.ring.wait_for_room(source, go_on)

    @rule(source=sources, data_bytes=st.sampled_from((200, 1_500, 4_500)))
    def encode_until_told_to_wait(self, source: Source, data_bytes: int) -> None:
        while source not in self.queue:
            self.encode_segment(source, True, data_bytes, rows=10, rejected=0)

    @rule(source=sources)
    def end_message(self, source: Source) -> None:
        connection = self.connections[source]
        delivery, connection.open = connection.open, None
        if delivery is not None:
            delivery.sealed = True
            if delivery.is_settled:
                delivery.on_settled(delivery)

    @precondition(lambda self: len(self.queue) > 2)
    @rule(source=sources)
    def lose_connection(self, source: Source) -> None:
        """The one who waits for room is gone; what it brought stays."""
        self.ring.forget(source)
        if source in self.queue:
            self.queue.remove(source)
        self.connections[source].is_waiting = False

    @rule(max_bytes=st.integers(1, MAX_BYTES // 4))
    def take(self, max_bytes: int) -> None:
        batch = self.ring.take(max_bytes)
        if not self.waiting:
            assert batch is None
            return
        assert batch is not None
        count = len(batch.segments)
        assert list(batch.segments) == self.waiting[:count], "not first in, first out"
        assert batch.size_bytes == size_of(batch.segments)
        assert batch.rows == sum(each.encoded.rows for each in batch.segments)
        assert batch.size_bytes <= max_bytes or count == 1
        # Nothing more would have fitted.
        rest = self.waiting[count:]
        assert not rest or batch.size_bytes + rest[0].size_bytes > max_bytes
        self.waiting = rest
        self.in_flight.append(batch)

    @precondition(lambda self: self.in_flight)
    @rule(writer=st.integers(0, 9))
    def commit(self, writer: int) -> None:
        batch = self.in_flight.pop(writer % len(self.in_flight))
        self.gone_on.clear()
        self.ring.release(batch)
        going_on = [each for each in self.queue if self.fits(0.75, each)]
        assert self.gone_on == going_on, "who goes on, and in which order"
        self.queue = [each for each in self.queue if each not in going_on]
        if not self.held():
            self.expected_drained += 1
        settle(batch)
        self.committed += batch.segments

    # What is always so.

    @invariant()
    def the_counts_are_those_of_the_model(self) -> None:
        held = self.held()
        assert self.ring.used_bytes == size_of(held)
        assert self.ring.used_events == events_of(held)
        assert self.ring.waiting_bytes == size_of(self.waiting)
        assert self.ring.is_empty == (not held)
        assert self.ring.blocked_sources == len(self.queue)
        assert self.told_waiting == len(self.appended)
        assert self.told_drained == self.expected_drained

    @invariant()
    def the_bounds_are_passed_by_less_than_one_segment(self) -> None:
        held = self.held()
        largest_bytes = max((each.size_bytes for each in held), default=0)
        largest_events = max((each.events for each in held), default=0)
        assert self.ring.used_bytes < MAX_BYTES + largest_bytes
        assert self.ring.used_events < MAX_EVENTS + largest_events

    @invariant()
    def nothing_is_lost_and_nothing_is_twice(self) -> None:
        there = [*self.committed, *self.held()]
        assert len(there) == len(self.appended)
        assert set(map(id, there)) == set(map(id, self.appended))

    @invariant()
    def acks_are_those_of_committed_messages_in_order(self) -> None:
        held = {each.delivery.ack for each in self.held()}
        for connection in self.connections.values():
            unfinished = held | {connection.open.ack if connection.open else None}
            due: list[bytes] = []
            for ack in connection.expected:
                if ack in unfinished:
                    break
                due.append(ack)
            assert connection.written == due
            assert connection.acks.pending == len(connection.expected) - len(due)

    def teardown(self) -> None:
        """Whatever has happened, in the end all is committed, acked and let go on."""
        for source in SOURCES:
            self.end_message(source)
        while self.waiting:
            self.take(MAX_BYTES)
        while self.in_flight:
            batch = self.in_flight.pop()
            self.ring.release(batch)
            settle(batch)
            self.committed += batch.segments
        assert self.ring.is_empty
        assert self.ring.used_bytes == self.ring.waiting_bytes == 0
        assert self.ring.blocked_sources == 0
        for connection in self.connections.values():
            assert connection.written == connection.expected
            assert not connection.is_waiting
        assert sorted(map(id, self.committed)) == sorted(map(id, self.appended))


def size_of(segments: Iterable[Segment]) -> int:
    return sum(each.size_bytes for each in segments)


def events_of(segments: Iterable[Segment]) -> int:
    return sum(each.events for each in segments)


RingMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None
)
TestRing = RingMachine.TestCase
