"""Whatever happens in whatever order: stored once, acked after, and the books balance.

The ring, the acks, the books and the spool are the real ones; the database is a set of
claims and a list of rows, and the model beside it a few sets.
"""

import itertools
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from penstock.buffer.acks import AckTracker, settle
from penstock.buffer.books import Books
from penstock.buffer.identity import chunk_identity, part_claim
from penstock.buffer.ring import SOURCE_SHARE, Ring
from penstock.model import Batch, Delivery, EncodedRows, Outcome, Segment, SourceId
from penstock.sink.spool import Spool
from penstock.sink.spool_format import SpooledPart
from penstock.sink.spool_segment import Position

KIB = 1024
RING_BYTES = 64 * KIB
SENDERS = 3
LARGEST_SEGMENT = 8 * KIB + 2 * KIB


class Database:
    """What PostgreSQL would hold: each segment's number as often as it is stored."""

    def __init__(self) -> None:
        self.claims: set[bytes] = set()
        self.batches: set[bytes] = set()
        self.stored: Counter[int] = Counter()
        self.outcomes: dict[bytes, Outcome] = {}

    def commit(self, batch: Batch) -> Outcome:
        if batch.name in self.batches:
            return self.outcomes[batch.name]
        stored = duplicate = 0
        for segment in batch.segments:
            if segment.claim is not None and segment.claim in self.claims:
                duplicate += segment.events
                continue
            if segment.claim is not None:
                self.claims.add(segment.claim)
            stored += segment.events
            self.stored[number_of(segment)] += 1
        self.batches.add(batch.name)
        self.outcomes[batch.name] = Outcome(stored, duplicate_events=duplicate)
        return self.outcomes[batch.name]


def number_of(segment: Segment) -> int:
    return int(segment.encoded.data[:8])


class Delivering(RuleBasedStateMachine):
    """Senders, a process that may die, a database that may not answer."""

    @initialize(always=st.booleans())
    def begin(self, always: bool) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="penstock-test-"))
        self.always = always
        self.numbers = itertools.count()
        self.names = itertools.count()
        self.database = Database()
        self.unacked: dict[int, tuple[SourceId, int]] = {}  # to be sent again
        self.acked: set[int] = set()
        self.believed: set[int] = set()  # sent without an ack, and read by us
        self.lost_in_memory: set[int] = set()
        self.start()

    def start(self) -> None:
        self.ring = Ring(
            max_bytes=RING_BYTES,
            max_rows=1000,
            on_waiting=lambda: None,
            on_drained=lambda: None,
            spool_first=self.always,
        )
        self.books = Books()
        self.trackers = {SourceId(n): AckTracker() for n in range(1, SENDERS + 1)}
        self.in_hand: list[Batch] = []
        self.read_to: Position | None = None
        self.replayed: list[Position] = []
        self.in_ring: set[int] = set()
        self.spool = Spool(self.home / "spool", max_bytes=1 << 20)
        self.spool.open()
        self.books.recovered = self.books.spooled = self.spool.pending_events

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            self.end_well()
            self.spool.close()
            shutil.rmtree(self.home)

    # Senders.

    def receive(self, source: SourceId, number: int, size: int, wants: bool) -> None:
        data = b"%08d" % number + bytes(size)
        ack = b"%d" % number if wants else None
        delivery = Delivery(source, "s", "t", ack, ack, 0.0, self.settled)
        encoded = EncodedRows(data, 2, frozenset())
        claim = None
        if wants:
            identity = chunk_identity(
                sender="s", tag="t", chunk=ack or b"", metadata=None, entries=data
            )
            claim = part_claim(identity, encoded)
        delivery.pending_segments, delivery.sealed = 1, True
        self.trackers[source].expect(delivery)
        segment = Segment(encoded, delivery, claim)
        self.books.received += segment.events
        self.in_ring.add(number)
        self.ring.append(segment)

    @rule(
        sender=st.integers(1, SENDERS),
        size=st.integers(0, 3 * KIB),
        wants=st.booleans(),
    )
    def send(self, sender: int, size: int, wants: bool) -> None:
        source = SourceId(sender)
        if not self.ring.has_room(source):
            return
        number = next(self.numbers)
        if wants:
            self.unacked[number] = (source, size)
        else:
            self.believed.add(number)
        self.receive(source, number, size, wants)

    @precondition(lambda self: self.unacked)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        """From another connection, while the first try may still be on its way."""
        number = data.draw(st.sampled_from(sorted(self.unacked)))
        source, size = self.unacked[number]
        if self.ring.has_room(source):
            self.receive(source, number, size, True)

    def settled(self, delivery: Delivery) -> None:
        for due in self.trackers[delivery.source].due():
            assert due.ack is not None
            number = int(due.ack)
            assert self.database.stored[number] == 1, "an ack means committed"
            self.acked.add(number)
            self.unacked.pop(number, None)

    # Writers.

    @rule(max_bytes=st.integers(1, RING_BYTES))
    def take(self, max_bytes: int) -> None:
        batch = self.ring.take(max_bytes, b"%d" % next(self.names))
        if batch is not None:
            self.in_hand.append(batch)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data(), is_answered=st.booleans())
    def commit(self, data: st.DataObject, is_answered: bool) -> None:
        """An answer that does not come: the batch stays in hand, and is tried again."""
        batch = data.draw(st.sampled_from(self.in_hand))
        outcome = self.database.commit(batch)
        if not is_answered:
            return
        self.in_hand.remove(batch)
        self.ring.release(batch)
        self.in_ring -= {number_of(segment) for segment in batch.segments}
        self.books.settled(outcome)
        settle(batch)

    # The spool.

    @rule(max_bytes=st.integers(1, RING_BYTES))
    def spool_out(self, max_bytes: int) -> None:
        batch = self.ring.take_unclaimed(max_bytes)
        if batch is None:
            return
        parts = [
            SpooledPart(
                b"%016d" % number_of(each),
                each.delivery.sender,
                each.delivery.tag,
                each.encoded,
            )
            for each in batch.segments
        ]
        self.spool.append(parts)
        self.books.spooled += sum(part.events for part in parts)
        self.ring.release(batch)
        self.in_ring -= {number_of(segment) for segment in batch.segments}

    @precondition(lambda self: self.always)
    @rule(is_first=st.booleans())
    def spool_takes_none_or_takes_again(self, is_first: bool) -> None:
        """While it takes none, writers are given what waits for it."""
        self.ring.put_spool_first(is_first)

    @rule(max_bytes=st.integers(1, RING_BYTES))
    def replay(self, max_bytes: int) -> None:
        if not self.ring.has_room(SourceId(0)):
            return
        for position, part in self.spool.read(self.read_to, max_bytes):
            self.read_to = position
            delivery = self.replayed_delivery(position, part)
            segment = Segment(part.encoded, delivery, part.claim)
            self.books.spooled -= segment.events
            self.ring.append(segment)

    def replayed_delivery(self, position: Position, part: SpooledPart) -> Delivery:
        def on_settled(_: Delivery) -> None:
            self.replayed.append(position)

        delivery = Delivery(
            SourceId(0), part.sender, part.tag, None, None, 0.0, on_settled
        )
        delivery.pending_segments, delivery.sealed = 1, True
        return delivery

    @rule()
    def note_replayed(self) -> None:
        self.spool.done(self.replayed)
        self.replayed = []

    # The process.

    @rule()
    def die_and_start(self) -> None:
        """What is in memory is gone; the lock on the spool goes with the process."""
        gone = {number for number in self.in_ring if number in self.believed}
        self.lost_in_memory |= gone - set(self.database.stored)
        self.spool.close()
        self.start()

    # What is always so.

    @invariant()
    def the_books_balance(self) -> None:
        if hasattr(self, "ring"):
            assert self.books.unaccounted(self.ring.used_events) == 0

    @invariant()
    def the_ring_is_bounded(self) -> None:
        if hasattr(self, "ring"):
            share = RING_BYTES * SOURCE_SHARE
            spool_piece = RING_BYTES * 1.5
            assert self.ring.used_bytes <= (
                SENDERS * (share + LARGEST_SEGMENT) + share + spool_piece
            )

    @invariant()
    def nothing_is_there_twice(self) -> None:
        if hasattr(self, "database"):
            assert all(count == 1 for count in self.database.stored.values())

    def end_well(self) -> None:
        """Everything comes back, and all that waits is stored."""
        for _ in range(1000):
            if not self.in_hand and self.ring.is_empty and self.spool.is_empty:
                break
            self.spool_out(RING_BYTES)
            self.replay(RING_BYTES)
            self.take(RING_BYTES)
            for batch in list(self.in_hand):
                self.in_hand.remove(batch)
                outcome = self.database.commit(batch)
                self.ring.release(batch)
                self.books.settled(outcome)
                settle(batch)
            self.note_replayed()
        else:
            raise AssertionError("something waits for ever")
        assert self.acked <= set(self.database.stored)
        assert self.believed - self.lost_in_memory <= set(self.database.stored)
        self.nothing_is_there_twice()
        self.the_books_balance()


TestDelivering = Delivering.TestCase
TestDelivering.settings = settings(
    max_examples=80, stateful_step_count=60, deadline=None
)
