"""Writers take all that waits, try until it is stored, and let acks go only then."""

import asyncio
import logging
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from penstock.buffer.books import Books
from penstock.buffer.ring import Ring
from penstock.errors import PermanentSinkError, SinkError, TransientSinkError
from penstock.model import (
    Batch,
    Delivery,
    EncodedRows,
    Outcome,
    RejectedEvent,
    Segment,
    SourceId,
)
from penstock.sink import backoff, flusher
from penstock.sink import flusher as flusher_module
from penstock.sink.flusher import Flusher, Writer
from penstock.telemetry.metrics import SinkMetrics
from penstock.telemetry.receive import DuplicateMetrics
from tests.virtual_time import LOOPS

__all__ = ["LOOPS"]

KIB = 1024
BATCH_BYTES = 16 * KIB
SECRET = "hunter2 of a record"


class FakeWriter:
    """Notes what it is given; stores when it is let."""

    def __init__(self, *, held: bool = False) -> None:
        self.is_connected = False
        self.connects = 0
        self.tried: list[Batch] = []
        self.stored: list[Batch] = []
        self.times: list[float] = []
        self.failures: list[BaseException] = []
        self.connect_failures: list[Exception] = []
        self.closed = False
        self._may_store = asyncio.Event()
        if not held:
            self._may_store.set()

    def let(self) -> None:
        self._may_store.set()

    def hold(self) -> None:
        self._may_store.clear()

    async def connect(self) -> None:
        self.connects += 1
        if self.connect_failures:
            raise self.connect_failures.pop(0)
        self.is_connected = True

    async def store(self, batch: Batch, *, now_seconds: float) -> Outcome:
        assert self.is_connected
        self.tried.append(batch)
        self.times.append(now_seconds)
        await self._may_store.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.stored.append(batch)
        events = sum(each.events for each in batch.segments)
        return Outcome(batch.rows, rejected_events=events - batch.rows)

    async def close(self) -> None:
        self.closed = True
        self.is_connected = False


class Flow:
    """A ring, a flusher with running writers, and who has been told it is settled."""

    def __init__(self, *writers: FakeWriter) -> None:
        self.writers = writers
        self.settled: list[Delivery] = []
        self.registry = CollectorRegistry()
        self.ring = Ring(
            max_bytes=1 << 20,
            max_rows=10_000,
            on_waiting=lambda: self.flusher.rows_wait(),
            on_drained=lambda: self.flusher.ring_drained(),
        )
        self.books = Books()
        real: list[Writer] = list(writers)
        self.flusher = Flusher(
            self.ring,
            real,
            batch_bytes=BATCH_BYTES,
            books=self.books,
            metrics=SinkMetrics(self.registry, DuplicateMetrics(self.registry)),
            clock=lambda: 1234.5,
        )
        self.tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Flow":
        self.tasks = [
            asyncio.create_task(self.flusher.run(number))
            for number in range(len(self.writers))
        ]
        await rounds()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def add(self, size_kib: int = 2, rows: int = 1, source: int = 1) -> Delivery:
        """Append a message of one segment."""
        delivery = Delivery(
            SourceId(source), "", "t", None, None, 0.0, self.settled.append
        )
        delivery.pending_segments = 1
        delivery.sealed = True
        data = bytes(size_kib * KIB - 1024)
        self.ring.append(Segment(EncodedRows(data, rows, frozenset()), delivery))
        return delivery

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


async def rounds(count: int = 10) -> None:
    """Let the tasks go as far as they can."""
    for _ in range(count):
        await asyncio.sleep(0)


def deliveries(batch: Batch) -> list[Delivery]:
    return [segment.delivery for segment in batch.segments]


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A failed try is followed by the next one at once."""
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.0)
    yield


# --- natural batching


async def test_an_idle_writer_stores_what_comes_at_once() -> None:
    writer = FakeWriter()
    async with Flow(writer) as flow:
        for _ in range(3):
            delivery = flow.add()
            await rounds()
            assert deliveries(writer.stored[-1]) == [delivery]
        assert len(writer.stored) == 3


async def test_a_writer_that_gets_free_takes_all_that_waits() -> None:
    writer = FakeWriter(held=True)
    async with Flow(writer) as flow:
        first = flow.add()
        await rounds()
        waiting = [flow.add(source=number) for number in range(5)]
        await rounds()
        assert len(writer.tried) == 1, "it is busy"
        writer.let()
        await rounds()
        assert [deliveries(batch) for batch in writer.stored] == [[first], waiting]


async def test_a_batch_is_at_most_batch_bytes() -> None:
    writer = FakeWriter(held=True)
    async with Flow(writer) as flow:
        added = [flow.add(size_kib=7) for _ in range(5)]
        writer.let()
        await rounds(40)
        assert [len(batch.segments) for batch in writer.stored] == [2, 2, 1]
        assert max(batch.size_bytes for batch in writer.stored) <= BATCH_BYTES
        assert [each for batch in writer.stored for each in deliveries(batch)] == added


async def test_a_segment_larger_than_a_batch_is_stored_alone() -> None:
    writer = FakeWriter(held=True)
    async with Flow(writer) as flow:
        for size_kib in (2, 40, 2):
            flow.add(size_kib=size_kib)
        writer.let()
        await rounds(40)
        assert [batch.size_bytes // KIB for batch in writer.stored] == [2, 40, 2]


async def test_the_writer_is_told_the_time_that_partitions_go_by() -> None:
    writer = FakeWriter()
    async with Flow(writer) as flow:
        flow.add()
        await rounds()
        assert writer.times == [1234.5]


# --- two writers


async def test_two_writers_overlap() -> None:
    one, two = FakeWriter(held=True), FakeWriter(held=True)
    async with Flow(one, two) as flow:
        flow.add()
        await rounds()
        flow.add()
        await rounds()
        assert len(one.tried) + len(two.tried) == 2
        assert one.tried and two.tried, "the second does not wait for the first"


async def test_a_writer_leaves_the_other_its_share_of_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Senders that wait for acks send no more before one of them commits."""
    monkeypatch.setattr(flusher_module, "LEAST_SHARE_BYTES", 4 * KIB)
    one, two = FakeWriter(held=True), FakeWriter(held=True)
    async with Flow(one, two) as flow:
        added = [flow.add() for _ in range(6)]
        await rounds()
        assert [deliveries(batch) for batch in one.tried] == [added[:3]]
        assert [deliveries(batch) for batch in two.tried] == [added[3:]]


async def test_a_slow_writer_does_not_hold_up_the_other() -> None:
    slow, quick = FakeWriter(held=True), FakeWriter()
    async with Flow(slow, quick) as flow:
        first = flow.add()
        await rounds()
        assert [deliveries(batch) for batch in slow.tried] == [[first]]
        others = []
        for _ in range(5):
            others.append(flow.add())
            await rounds()
        assert flow.settled == others
        slow.let()
        await rounds()
        assert flow.settled == [*others, first]


async def test_no_segment_is_stored_by_two_writers() -> None:
    writers = [FakeWriter() for _ in range(3)]
    async with Flow(*writers) as flow:
        added = [flow.add(size_kib=9) for _ in range(20)]
        await rounds(60)
        stored = [
            delivery
            for writer in writers
            for batch in writer.stored
            for delivery in deliveries(batch)
        ]
        assert sorted(map(id, stored)) == sorted(map(id, added))


# --- committed, then settled


async def test_a_message_is_settled_and_its_room_free_after_the_commit_only() -> None:
    writer = FakeWriter(held=True)
    async with Flow(writer) as flow:
        delivery = flow.add()
        await rounds(50)
        assert writer.tried, "it is being written"
        assert flow.settled == []
        assert flow.ring.used_bytes == 2 * KIB
        writer.let()
        await rounds()
        assert flow.settled == [delivery]
        assert flow.ring.is_empty


async def test_room_is_there_when_the_ack_is_written() -> None:
    writer = FakeWriter()
    async with Flow(writer) as flow:
        room: list[int] = []
        delivery = flow.add()
        delivery.on_settled = lambda done: room.append(flow.ring.used_bytes)
        await rounds()
        assert room == [0]


# --- what fails is tried again


@pytest.mark.parametrize("error", [TransientSinkError("away"), PermanentSinkError("x")])
async def test_a_failed_batch_is_tried_again_with_the_same_content(
    error: SinkError,
) -> None:
    writer = FakeWriter(held=True)
    writer.failures = [error] * 4
    async with Flow(writer) as flow:
        delivery = flow.add()
        await rounds()
        later = flow.add()
        writer.let()
        await rounds(60)
        assert len(writer.tried) == 6
        assert all(batch is writer.tried[0] for batch in writer.tried[:5])
        assert [deliveries(batch) for batch in writer.stored] == [[delivery], [later]]


async def test_acks_wait_for_the_try_that_passes() -> None:
    writer = FakeWriter(held=True)
    writer.failures = [TransientSinkError("away")] * 3
    async with Flow(writer) as flow:
        delivery = flow.add()
        await rounds()
        writer.let()
        writer.hold()
        for tries in range(2, 5):
            writer.let()
            await asyncio.sleep(0)
            writer.hold()
            await rounds()
            assert len(writer.tried) == tries
            assert flow.settled == []
            assert flow.ring.used_bytes, "and it still counts"
        writer.let()
        await rounds()
        assert flow.settled == [delivery]


async def test_a_writer_that_has_lost_its_connection_opens_another() -> None:
    writer = FakeWriter()
    async with Flow(writer) as flow:
        for _ in range(3):
            flow.add()
            await rounds()
        assert writer.connects == 1, "an open connection is kept"
        writer.is_connected = False
        delivery = flow.add()
        await rounds()
        assert writer.connects == 2
        assert flow.settled[-1] is delivery
        assert flow.metric("penstock_database_reconnects_total") == 2


async def test_a_database_that_is_away_is_tried_until_it_is_back() -> None:
    writer = FakeWriter()
    writer.connect_failures = [TransientSinkError("connection refused")] * 7
    async with Flow(writer) as flow:
        delivery = flow.add()
        await rounds(80)
        assert writer.connects == 8
        assert flow.settled == [delivery]


async def test_the_waits_between_tries_are_those_of_the_backoff(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.1)
    waits: list[float] = []
    really_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await really_sleep(0)

    writer = FakeWriter(held=True)
    writer.failures = [TransientSinkError("away")] * 5
    async with Flow(writer) as flow:
        flow.add()
        await rounds()
        monkeypatch.setattr(asyncio, "sleep", sleep)
        writer.let()
        while not flow.settled:
            await really_sleep(0)
        failed_once = list(waits)
        writer.failures = [TransientSinkError("away")]
        flow.add()
        while len(flow.settled) < 2:
            await really_sleep(0)
        monkeypatch.undo()
    for wait, full in zip(failed_once, (0.1, 0.2, 0.4, 0.8, 1.6), strict=True):
        assert full / 2 <= wait <= full
    assert 0.05 <= waits[-1] <= 0.1, "short again after a success"


async def test_a_failure_is_told_without_a_word_of_the_data(
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer = FakeWriter(held=True)
    error = PermanentSinkError("PostgreSQL refused a batch, SQLSTATE 22021")
    error.__cause__ = ValueError(SECRET)
    writer.failures = [error]
    with caplog.at_level(logging.DEBUG):
        async with Flow(writer) as flow:
            flow.add(rows=3)
            writer.let()
            await rounds(20)
    (record,) = caplog.records
    fields = vars(record)
    assert (fields["rows"], fields["error"]) == (3, str(error))
    assert record.exc_info is None
    assert SECRET not in str(fields)


async def test_a_bug_of_ours_keeps_the_batch_and_is_told_without_a_word_of_the_data(
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer = FakeWriter()
    writer.failures = [RuntimeError(SECRET)]
    async with Flow(writer) as flow:
        flow.add()
        await asyncio.sleep(0.15)  # the first wait between two tries is 0.1 s at most
        assert flow.settled
        assert writer.connects == 2, "a connection it has met is not trusted"
    (record,) = caplog.records
    fields = str(vars(record))
    assert "RuntimeError" in fields and "test_flusher.py" in fields
    assert SECRET not in fields


async def test_a_writer_without_work_comes_back_to_a_database_that_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flusher_module, "IDLE_SECONDS", 0.01)
    writer = FakeWriter()
    async with Flow(writer) as flow:
        writer.connect_failures = [TransientSinkError("away")] * 2
        await asyncio.sleep(0.2)
        assert writer.is_connected
        assert flow.flusher.is_storing
        assert writer.connects == 3


async def test_a_bug_while_an_idle_writer_connects_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(flusher_module, "IDLE_SECONDS", 0.01)
    writer = FakeWriter()
    async with Flow(writer) as flow:
        writer.connect_failures = [RuntimeError(SECRET)]
        await asyncio.sleep(0.1)
        assert writer.is_connected
        delivery = flow.add()
        await rounds()
        assert flow.settled == [delivery]
    (record,) = caplog.records
    fields = str(vars(record))
    assert "RuntimeError" in fields and "test_flusher.py" in fields
    assert SECRET not in fields


# --- stopping


class LosingWriter(FakeWriter):
    """When its batch is cancelled, that ends with the error of a lost connection."""

    async def store(self, batch: Batch, *, now_seconds: float) -> Outcome:
        try:
            return await super().store(batch, now_seconds=now_seconds)
        except asyncio.CancelledError:
            if len(self.tried) > 1:
                raise
            raise TransientSinkError("the connection is closed") from None


async def test_a_writer_ends_whose_cancelled_batch_has_another_error() -> None:
    writer = LosingWriter(held=True)
    async with Flow(writer) as flow:
        delivery = flow.add()
        await rounds()
        flow.flusher.ending()
        (task,) = flow.tasks
        task.cancel()
        await asyncio.wait([task], timeout=1)
        assert task.done() and writer.closed
        (batch,) = flow.flusher.unfinished
        assert deliveries(batch) == [delivery]


async def test_a_writer_ends_that_is_cancelled_when_rows_have_just_come() -> None:
    writer = FakeWriter(held=True)
    async with Flow(writer) as flow:
        flow.add()
        flow.flusher.ending()
        (task,) = flow.tasks
        await asyncio.sleep(0)  # its wait is over, and it has not gone on
        task.cancel()
        await asyncio.wait([task], timeout=1)
        assert task.done()
        assert not writer.tried


async def test_what_is_in_hand_is_unfinished_until_it_is_stored() -> None:
    writer = FakeWriter(held=True)
    async with Flow(writer) as flow:
        delivery = flow.add()
        await rounds()
        assert [deliveries(each) for each in flow.flusher.unfinished] == [[delivery]]
        writer.let()
        await rounds()
        assert flow.flusher.unfinished == []


async def test_a_cancelled_writer_closes_its_connection() -> None:
    idle, busy = FakeWriter(), FakeWriter(held=True)
    async with Flow(busy, idle) as flow:
        flow.add()
        await rounds()
        for task in flow.tasks:
            task.cancel()
        await asyncio.wait(flow.tasks)
        assert all(task.cancelled() for task in flow.tasks)
        assert busy.closed and idle.closed
        assert flow.settled == [], "what was not committed is not acked"
        assert not flow.ring.is_empty


async def test_a_writer_is_cancelled_while_it_waits_to_try_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 60.0)
    writer = FakeWriter()
    writer.failures = [TransientSinkError("away")]
    async with Flow(writer) as flow:
        flow.add()
        await rounds()
        (task,) = flow.tasks
        task.cancel()
        await asyncio.wait([task], timeout=1)
        assert task.cancelled()


async def test_drained_at_once_when_nothing_was_received() -> None:
    async with Flow(FakeWriter()) as flow:
        await asyncio.wait_for(flow.flusher.drained(), 1)


async def test_drained_waits_for_all_that_was_received_to_be_committed() -> None:
    one, two = FakeWriter(held=True), FakeWriter(held=True)
    async with Flow(one, two) as flow:
        flow.add(size_kib=12)
        flow.add(size_kib=12)
        flow.add(size_kib=12)
        drained = asyncio.create_task(flow.flusher.drained())
        await rounds()
        one.let()
        await rounds()
        assert not drained.done(), "the other still writes"
        two.let()
        await rounds()
        assert drained.done()
        flow.add()
        assert not flow.ring.is_empty
        one.hold()
        two.hold()
        flow.add()
        again = asyncio.create_task(flow.flusher.drained())
        await rounds()
        assert not again.done(), "more has come since"


# --- what is told


async def test_storing_means_that_a_writer_is_connected() -> None:
    one, two = FakeWriter(), FakeWriter()
    flow = Flow(one, two)
    assert not flow.flusher.is_storing
    await flow.flusher.connect()
    assert one.is_connected and two.is_connected
    one.is_connected = False
    assert flow.flusher.is_storing
    two.is_connected = False
    assert not flow.flusher.is_storing


async def test_a_writer_that_is_stuck_with_its_batch_does_not_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stuck, other = FakeWriter(held=True), FakeWriter(held=True)
    async with Flow(stuck, other) as flow:
        await flow.flusher.connect()
        flow.add()
        await rounds()
        assert flow.flusher.is_storing, "it has only just begun"
        monkeypatch.setattr(flusher, "STALLED_SECONDS", 0.0)
        assert flow.flusher.is_storing, "the other is idle"
        flow.add()
        await rounds()
        assert not flow.flusher.is_storing
        other.let()
        await rounds()
        assert flow.flusher.is_storing, "the other is idle again"


async def test_opening_the_connections_at_the_start_is_no_reconnect() -> None:
    flow = Flow(FakeWriter(), FakeWriter())
    await flow.flusher.connect()
    assert flow.metric("penstock_database_reconnects_total") == 0


async def test_batches_are_counted_when_they_are_stored_failures_when_they_fail() -> (
    None
):
    writer = FakeWriter(held=True)
    writer.failures = [TransientSinkError("away"), PermanentSinkError("bad")]
    async with Flow(writer) as flow:
        delivery = flow.add(size_kib=5, rows=7)
        rejected = (RejectedEvent("no_record", b"raw"),) * 2
        delivery.pending_segments += 1
        flow.ring.append(Segment(EncodedRows(b"", 0, frozenset(), rejected), delivery))
        await rounds()
        assert flow.metric("penstock_copy_rows_total") == 0
        writer.let()
        await rounds(30)
        assert flow.metric("penstock_copy_batches_total") == 1
        assert flow.metric("penstock_copy_rows_total") == 7
        assert flow.metric("penstock_copy_bytes_total") == 4 * KIB
        assert flow.metric("penstock_copy_rejected_events_total") == 2
        assert flow.metric("penstock_copy_duration_seconds_count") == 1
        for kind in ("transient", "data"):
            assert flow.metric("penstock_copy_failures_total", kind=kind) == 1
