"""When parts go to disk, and how they come back: with a real ring and a real spool."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from penstock.buffer.acks import settle
from penstock.buffer.books import Books
from penstock.buffer.ring import Ring
from penstock.errors import SpoolError
from penstock.model import (
    TOGETHER,
    Batch,
    Delivery,
    EncodedRows,
    Outcome,
    RejectedEvent,
    Segment,
    Share,
    SourceId,
)
from penstock.sink import spooler as spooler_module
from penstock.sink.spool import Spool
from penstock.sink.spool_format import SpooledPart
from penstock.sink.spooler import SPOOL_SOURCE, Spooler

MIB = 1024 * 1024


class FakeFlusher:
    is_storing = True


class Flow:
    """A ring between senders that do not run and a writer that is told when."""

    def __init__(
        self, directory: Path, *, always: bool = False, spool_bytes: int = 8 * MIB
    ) -> None:
        self.directory, self.always = directory, always
        self.flusher = FakeFlusher()
        self.books = Books()
        self.ring = Ring(
            max_bytes=MIB,
            max_rows=10_000,
            on_waiting=lambda: self.spooler.wake(),
            on_drained=lambda: None,
            spool_first=always,
        )
        self.spool = Spool(directory, max_bytes=spool_bytes)
        self.spooler = Spooler(
            self.ring, self.spool, self.flusher, self.books, always=always
        )
        self.stored: list[Segment] = []

    async def __aenter__(self) -> "Flow":
        await self.spooler.open()
        self.task = asyncio.create_task(self.spooler.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.spooler.end()
        await self.task
        await self.spooler.close()

    def receive(self, number: int, *, ack: bytes | None = None, kib: int = 60) -> None:
        delivery = Delivery(
            SourceId(number + 1), "s", "t", None, ack, 0.0, lambda _: None
        )
        delivery.pending_segments, delivery.sealed = 1, True
        # Of bytes that no compression makes smaller.
        data = b"%06d" % number + random.Random(number).randbytes(kib * 1024)
        rejected = (RejectedEvent("no_record", b"raw"),)
        encoded = EncodedRows(data, 2, frozenset(), rejected, b"entries", 7)
        segment = Segment(encoded, delivery)
        self.books.received += segment.events
        self.ring.append(segment)

    def store(self, batch: Batch | None = None) -> None:
        """Do what a writer does with a batch that is committed."""
        while (taken := batch or self.ring.take(1 << 30)) is not None:
            self.ring.release(taken)
            self.stored += taken.segments
            events = sum(segment.events for segment in taken.segments)
            rows = sum(segment.encoded.rows for segment in taken.segments)
            self.books.settled(Outcome(rows, events - rows))
            settle(taken)
            batch = None

    def numbers(self) -> list[int]:
        return [int(segment.encoded.data[:6]) for segment in self.stored]

    def assert_balanced(self) -> None:
        buffered = self.ring.used_events + self.ring.given_up_events
        assert self.books.unaccounted(buffered) == 0

    def store_all(self) -> bool:
        """Store what is there; tell whether that was all."""
        self.store()
        return self.spool.is_empty and self.ring.is_empty


class Sender:
    """Hands over messages without acks when there is room, in its turn, as sessions."""

    def __init__(self, flow: Flow, numbers: Sequence[int]) -> None:
        self.flow, self.numbers = flow, list(numbers)
        self.source = SourceId(self.numbers[0] + 1)
        self.ask_turn()

    def ask_turn(self) -> None:
        asyncio.get_running_loop().call_soon(self.work)

    def work(self) -> None:
        if not self.numbers:
            return
        if self.flow.ring.has_room(self.source):
            self.flow.receive(self.numbers.pop(0))
            self.ask_turn()
        else:
            self.flow.ring.wait_for_room(self.source, self.ask_turn)


def no_more() -> bool:
    return False


def fail(*_: object) -> None:
    raise SpoolError("no space left on device")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooler_module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(spooler_module, "RETRY_SECONDS", 0.1)


@pytest.fixture
async def flow(tmp_path: Path) -> AsyncIterator[Flow]:
    async with Flow(tmp_path / "spool") as made:
        yield made
        made.assert_balanced()


async def test_while_postgresql_stores_nothing_is_spooled(flow: Flow) -> None:
    for number in range(14):
        flow.receive(number)
    assert flow.ring.is_above_low_water
    await asyncio.sleep(0.1)
    assert flow.spool.is_empty
    assert flow.books.spooled == 0


async def test_while_there_is_room_nothing_is_spooled(flow: Flow) -> None:
    flow.flusher.is_storing = False
    flow.receive(0)
    await asyncio.sleep(0.1)
    assert flow.spool.is_empty


async def test_who_waits_for_a_share_of_the_ring_is_spooled_before_it_is_full(
    flow: Flow,
) -> None:
    flow.flusher.is_storing = False
    flow.receive(0)
    assert not flow.ring.is_above_low_water
    flow.ring.wait_for_room(SourceId(1), lambda: None)
    await until(lambda: not flow.spool.is_empty)


async def test_when_postgresql_is_away_and_the_ring_fills_it_goes_to_disk(
    flow: Flow,
) -> None:
    flow.flusher.is_storing = False
    for number in range(14):
        flow.receive(number)
    await until(lambda: flow.ring.used_events == 0)
    assert flow.spool.pending_events == flow.books.spooled == 14 * 3
    flow.assert_balanced()


async def test_what_comes_again_stays_in_memory(flow: Flow) -> None:
    flow.flusher.is_storing = False
    for number in range(14):
        flow.receive(number, ack=b"ack" if number % 2 else None)
    await until(lambda: flow.books.spooled == 7 * 3)
    flow.store()
    assert flow.numbers() == [1, 3, 5, 7, 9, 11, 13]


async def test_it_comes_back_in_its_order_with_all_that_was_known_of_it(
    flow: Flow,
) -> None:
    flow.flusher.is_storing = False
    for number in range(14):
        flow.receive(number)
    await until(lambda: flow.ring.used_events == 0)
    flow.flusher.is_storing = True

    def store_all() -> bool:
        flow.store()
        return flow.spool.is_empty

    await until(store_all)
    assert flow.numbers() == list(range(14))
    for segment in flow.stored:
        assert (segment.delivery.sender, segment.delivery.tag) == ("s", "t")
        assert segment.encoded.rejected == (RejectedEvent("no_record", b"raw"),)
        assert (segment.encoded.entries, segment.encoded.offset) == (b"entries", 7)
    assert len({segment.claim for segment in flow.stored}) == 14
    assert None not in {segment.claim for segment in flow.stored}


async def test_what_several_senders_have_in_one_segment_comes_back_as_theirs(
    flow: Flow,
) -> None:
    flow.flusher.is_storing = False
    rejected = (RejectedEvent("no_record", b"e2"),)
    encoded = EncodedRows(b"row1row3row4", 3, frozenset(), rejected, b"e1e2e3e4")
    shares = (
        Share(SourceId(1), "s1", "t1", None, 1, 0, 4, 2, 500),
        Share(SourceId(2), "s2", "t2", None, 1, 1, 4, 4, 500),
        Share(SourceId(3), "s3", "t3", None, 1, 0, 4, 2, 1 << 20),
    )
    delivery = Delivery(TOGETHER, "", "", None, None, 0.0, lambda _: None)
    delivery.pending_segments, delivery.sealed = 1, True
    segment = Segment(encoded, delivery, shares=shares)
    flow.books.received += segment.events
    flow.ring.append(segment)
    flow.ring.wait_for_room(SourceId(3), lambda: None)
    flow.spooler.wake()
    await until(lambda: flow.ring.used_events == 0)
    flow.assert_balanced()
    flow.flusher.is_storing = True
    await until(flow.store_all)
    assert [
        (
            each.delivery.sender,
            each.delivery.tag,
            each.encoded.data,
            each.encoded.entries,
            each.encoded.rejected,
        )
        for each in flow.stored
    ] == [
        ("s1", "t1", b"row1", b"e1", ()),
        ("s2", "t2", b"row3", b"e2e3", rejected),
        ("s3", "t3", b"row4", b"e4", ()),
    ]
    flow.assert_balanced()


async def test_what_comes_back_takes_no_more_than_a_share_of_the_ring(
    flow: Flow,
) -> None:
    flow.flusher.is_storing = False
    for round_of in range(4):
        for number in range(14):
            flow.receive(100 * round_of + number)
        await until(lambda: flow.ring.used_events == 0)
    flow.flusher.is_storing = True
    await until(lambda: flow.ring.used_events > 0)
    await asyncio.sleep(0.1)
    piece_and_share = spooler_module.PIECE_BYTES + flow.ring.max_bytes / 4
    assert flow.ring.used_bytes <= piece_and_share


async def test_what_makes_room_is_not_waited_for_by_the_clock(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither way: a ring that is full moves as fast as the disk and PostgreSQL do."""
    flow.flusher.is_storing = False
    monkeypatch.setattr(spooler_module, "LOOK_SECONDS", 60)
    sender = Sender(flow, range(60))  # three times the ring
    await until(lambda: not sender.numbers)
    monkeypatch.setattr(spooler_module, "LOOK_SECONDS", 0.01)
    flow.spooler.wake()
    flow.flusher.is_storing = True
    flow.store()  # what there was room for at the end
    await until(lambda: not flow.ring.has_room(SPOOL_SOURCE))
    monkeypatch.setattr(spooler_module, "LOOK_SECONDS", 60)
    await asyncio.sleep(0.1)  # the look that has begun
    await until(flow.store_all)
    assert sorted(flow.numbers()) == list(range(60))


async def test_what_is_not_committed_is_there_after_the_end(tmp_path: Path) -> None:
    async with Flow(tmp_path / "spool") as first:
        first.flusher.is_storing = False
        first.receive(0)
        in_hand = first.ring.take(1 << 30)
        first.receive(1)
        first.receive(2, ack=b"ack")
        assert in_hand is not None
        assert await first.spooler.spool_rest([in_hand], no_more)
        first.assert_balanced()
    async with Flow(tmp_path / "spool") as second:
        assert second.books.recovered == 6

        def store_all() -> bool:
            second.store()
            return second.spool.is_empty

        await until(store_all)
        assert second.numbers() == [0, 1]
        second.assert_balanced()


async def test_what_was_replayed_and_not_committed_is_replayed_with_its_claim(
    tmp_path: Path,
) -> None:
    claims = []
    async with Flow(tmp_path / "spool") as first:
        first.receive(0)
        assert await first.spooler.spool_rest([], no_more)
        await until(lambda: first.ring.used_events > 0)
        batch = first.ring.take(1 << 30)
        assert batch is not None
        claims += [segment.claim for segment in batch.segments]
    async with Flow(tmp_path / "spool") as second:
        await until(lambda: second.ring.used_events > 0)
        second.store()
        claims += [segment.claim for segment in second.stored]
    assert claims[0] == claims[1]


async def test_a_disk_that_fails_loses_nothing_and_is_tried_again(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    append = flow.spool.append
    monkeypatch.setattr(flow.spool, "append", fail)
    flow.flusher.is_storing = False
    for number in range(14):
        flow.receive(number)
    await until(lambda: "the spool fails" in caplog.text)
    flow.assert_balanced()
    assert flow.ring.used_events == 14 * 3
    assert flow.spooler.is_failing
    monkeypatch.setattr(flow.spool, "append", append)
    await until(lambda: flow.books.spooled == 14 * 3)
    await until(lambda: not flow.spooler.is_failing)


async def test_always_means_that_disk_comes_first(tmp_path: Path) -> None:
    async with Flow(tmp_path / "spool", always=True) as flow:
        flow.receive(0)
        flow.receive(1, ack=b"ack")
        flow.store()
        assert flow.numbers() == [1], "the other one is not there for a writer yet"
        await until(lambda: not flow.spool.is_empty)

        def store_all() -> bool:
            flow.store()
            return flow.spool.is_empty

        await until(store_all)
        assert flow.numbers() == [1, 0]
        await until(lambda: flow.spool.is_empty)
        flow.assert_balanced()


# --- a spool that takes no more


async def fill_spool_and_ring(flow: Flow) -> int:
    """Receive, with PostgreSQL away, until nobody has room; return how many parts."""
    flow.flusher.is_storing = False
    received = 0
    while not flow.spooler.is_failing or flow.ring.has_room(SourceId(received + 1)):
        if flow.ring.has_room(SourceId(received + 1)):
            flow.receive(received)
            received += 1
        else:
            await asyncio.sleep(0.01)
    assert not flow.ring.has_room(spooler_module.SPOOL_SOURCE)
    return received


async def test_always_goes_on_after_an_outage_that_has_filled_spool_and_ring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Flow(tmp_path / "spool", always=True, spool_bytes=2 * MIB) as flow:
        # Senders are quicker than replay: the ring holds nothing of the spool.
        with monkeypatch.context() as patched:
            patched.setattr(flow.spool, "read", lambda *_: [])
            received = await fill_spool_and_ring(flow)
        assert not flow.spool.is_empty
        assert flow.ring.is_spool_first, "with PostgreSQL away it is the disk's still"
        flow.flusher.is_storing = True
        await until(flow.store_all)
        assert sorted(flow.numbers()) == list(range(received))
        flow.assert_balanced()


async def test_always_goes_on_with_a_full_spool_on_a_disk_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Flow(tmp_path / "spool", always=True, spool_bytes=2 * MIB) as flow:
        received = await fill_spool_and_ring(flow)

        def ring_is_stored() -> bool:
            flow.store()
            return flow.ring.is_empty

        with monkeypatch.context() as patched:
            patched.setattr(flow.spool, "append", fail)
            patched.setattr(flow.spool, "read", fail)
            flow.flusher.is_storing = True
            await until(ring_is_stored)
            settled = flow.books.stored + flow.books.rejected
            assert settled + flow.books.spooled == 3 * received
            flow.receive(received)
            await until(ring_is_stored)
            assert flow.numbers()[-1] == received
        await until(flow.store_all)
        assert sorted(flow.numbers()) == list(range(received + 1))
        flow.assert_balanced()


async def test_always_means_the_disk_again_when_the_disk_is_well_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooler_module, "RETRY_SECONDS", 0.02)
    async with Flow(tmp_path / "spool", always=True) as flow:
        append = flow.spool.append
        monkeypatch.setattr(flow.spool, "append", fail)
        flow.receive(0)
        await until(lambda: not flow.ring.is_spool_first)
        monkeypatch.setattr(flow.spool, "append", append)
        await until(lambda: flow.ring.is_spool_first)
        flow.receive(1)
        flow.receive(2, ack=b"ack")
        flow.store()
        assert 1 not in flow.numbers()
        await until(flow.store_all)
        assert sorted(flow.numbers()) == [0, 1, 2]


async def test_always_replays_while_more_keeps_coming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Flow(tmp_path / "spool", always=True, spool_bytes=64 * MIB) as flow:
        take_unclaimed = flow.ring.take_unclaimed
        received = 0

        def take_when_more_has_come(max_bytes: int) -> Batch | None:
            nonlocal received
            flow.receive(received, kib=1)
            received += 1
            return take_unclaimed(max_bytes)

        monkeypatch.setattr(flow.ring, "take_unclaimed", take_when_more_has_come)
        flow.spooler.wake()

        def some_is_stored() -> bool:
            flow.store()
            return bool(flow.stored)

        await until(some_is_stored)


async def test_a_spool_that_cannot_be_read_takes_what_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Flow(tmp_path / "spool", always=True) as flow:
        monkeypatch.setattr(flow.spool, "read", fail)
        flow.receive(0)
        await until(lambda: flow.spooler.is_failing)
        flow.receive(1)
        await until(lambda: flow.books.spooled == 6)
        assert flow.ring.is_spool_first


# --- the rest, at the end


async def ended(flow: Flow) -> None:
    """Let `run` come to its end, as a stop does before it spools the rest."""
    flow.spooler.end()
    await flow.task


async def test_the_rest_is_all_that_senders_hand_over_in_their_turns(
    flow: Flow,
) -> None:
    await ended(flow)
    senders = [Sender(flow, range(n, n + 10)) for n in range(0, 80, 10)]
    await until(lambda: flow.ring.blocked_sources == len(senders))
    assert await flow.spooler.spool_rest([], lambda: any(s.numbers for s in senders))
    assert flow.spool.pending_parts == 80


async def test_the_rest_is_not_kept_out_by_what_comes_again(flow: Flow) -> None:
    await ended(flow)
    number = 100
    while flow.ring.has_room(SourceId(number + 1)):
        flow.receive(number, ack=b"ack")
        number += 1
    sender = Sender(flow, range(3))
    await until(lambda: flow.ring.blocked_sources == 1)
    assert await flow.spooler.spool_rest([], lambda: bool(sender.numbers))
    assert flow.spool.pending_parts == 3


async def test_the_rest_is_not_waited_for_when_nobody_hands_over(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooler_module, "QUIET_SECONDS", 0.05)
    await ended(flow)
    flow.receive(0)
    assert await flow.spooler.spool_rest([], lambda: True)
    assert flow.spool.pending_parts == 1


async def test_a_nearly_full_spool_takes_what_fits_of_the_rest_and_tells_what_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Flow(tmp_path / "spool", spool_bytes=310 * 1024) as flow:
        await ended(flow)
        for number in range(8):
            flow.receive(number)
        assert not await flow.spooler.spool_rest([], no_more)
        assert flow.spool.pending_parts == 5
        (record,) = [each for each in caplog.records if hasattr(each, "events")]
        assert vars(record)["events"] == 3 * 3
        flow.assert_balanced()


async def test_a_disk_that_fails_is_not_tried_for_each_part_of_the_rest(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await ended(flow)
    tries = 0

    def fail_and_count(parts: Sequence[SpooledPart]) -> None:
        nonlocal tries
        tries += 1
        fail()

    monkeypatch.setattr(flow.spool, "append", fail_and_count)
    for number in range(64):
        flow.receive(number, kib=1)
    assert not await flow.spooler.spool_rest([], no_more)
    assert tries == 7
    (record,) = [each for each in caplog.records if hasattr(each, "events")]
    assert vars(record)["events"] == 64 * 3
