"""The hub: a reader is shown what is committed and its own, or is told how much not."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.live.feed import Feed, LiveRow, Missed
from penstock.live.hub import (
    BUSY_SHARE,
    IDLE_SHARE,
    MAX_WAITING_SECONDS,
    SLICE_SECONDS,
    Hub,
    Subscription,
)
from penstock.model import Committed, Delivery, Segment, SourceId
from penstock.rows import RowEncoder
from penstock.rows.decoding import StoredRow
from penstock.search.cases import unicode_cases
from penstock.search.language import parse
from penstock.search.matching import Matcher
from penstock.settings import ColumnSettings
from penstock.telemetry.metrics import Metrics

ENCODER = RowEncoder(ColumnSettings(), receiver=1)
ALL = Matcher(parse(""), unicode_cases())


def segment_of(numbers: Iterable[int]) -> Segment:
    entries = b"".join(msgpack.packb([1_700_000_000, {"n": each}]) for each in numbers)
    delivery = Delivery(SourceId(1), "s", "tag", None, None, 0.0, lambda done: None)
    return Segment(ENCODER.start(entries, tag="tag").next_part(1), delivery)


def committed(
    *segments: Iterable[int], refused: dict[int, frozenset[int]] | None = None
) -> Committed:
    return Committed(tuple(map(segment_of, segments)), refused or {})


def new_hub(metrics: Metrics | None = None, **limits: Any) -> Hub:
    """A hub to which no time passes, however busy the machine is."""
    return Hub((metrics or Metrics()).live, clock=lambda: 0.0, **limits)


@asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[Hub]:
    task = asyncio.create_task(hub.run())
    try:
        yield hub
    finally:
        task.cancel()
        await asyncio.wait((task,))


class Reader:
    """Takes what a feed has, at once."""

    def __init__(self, subscription: Subscription) -> None:
        self._feed = subscription.feed
        self.numbers: list[int] = []
        self.missed = 0

    async def read(self) -> None:
        """Read to the end of the feed."""
        while (items := await self._feed.take(60.0)) is not None:
            for item in items:
                if isinstance(item, Missed):
                    self.missed += item.rows
                else:
                    self.numbers.append(json.loads(item.json)["attributes"]["n"])


async def looked_at(hub: Hub) -> None:
    """Wait until the hub has looked at all that was committed."""
    for _ in range(100_000):
        if not hub.waiting_bytes:
            return
        await asyncio.sleep(0.0001)
    raise AssertionError("not looked at")


BATCHES = st.lists(
    st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=3), max_size=5
)
REFUSED = st.frozensets(st.integers(0, 4), max_size=2)


@settings(max_examples=60, deadline=None)
@given(batches=BATCHES, refused=REFUSED, least=st.integers(0, 9))
def test_a_fast_reader_gets_exactly_what_was_stored_and_is_its_own(
    batches: list[list[list[int]]], refused: frozenset[int], least: int
) -> None:
    expected: list[int] = []

    async def run() -> Reader:
        async with running(new_hub()) as hub:
            hub.committed(committed([least + 1]))  # nobody looked yet
            subscription = hub.subscribe(Matcher(parse(f"n:>{least}"), unicode_cases()))
            reader = Reader(subscription)
            reading = asyncio.create_task(reader.read())
            for batch in batches:
                hub.committed(committed(*batch, refused=dict.fromkeys([0], refused)))
                for place, numbers in enumerate(batch):
                    expected.extend(
                        number
                        for row, number in enumerate(numbers)
                        if number > least and not (place == 0 and row in refused)
                    )
                await asyncio.sleep(0)
            await looked_at(hub)
            hub.unsubscribe(subscription)
            await reading
            return reader

    reader = asyncio.run(run())

    assert reader.numbers == expected
    assert reader.missed == 0


async def test_a_reader_that_does_not_read_is_told_how_many_it_missed() -> None:
    metrics = Metrics()
    async with running(new_hub(metrics)) as hub:
        slow = hub.subscribe(ALL, max_bytes=2_000)
        fast = Reader(hub.subscribe(ALL))
        reading = asyncio.create_task(fast.read())
        for start in range(0, 100, 10):
            hub.committed(committed(range(start, start + 10)))
        await looked_at(hub)
        hub.close()
        await reading
        late = Reader(slow)
        await late.read()

    assert fast.numbers == list(range(100)), "others are not held up"
    assert late.numbers == list(range(len(late.numbers))), "the first ones, in order"
    assert len(late.numbers) + late.missed == 100
    assert missed_of(metrics, "slow_reader") == late.missed > 0


async def test_what_nobody_has_looked_at_yet_is_bounded_and_told() -> None:
    metrics = Metrics()
    hub = new_hub(metrics, max_waiting_bytes=5_000)
    reader = Reader(hub.subscribe(ALL))
    for start in range(0, 1_000, 10):
        hub.committed(committed(range(start, start + 10)))
    assert hub.waiting_bytes <= 5_000
    async with running(hub):
        await looked_at(hub)
        hub.close()
        await reader.read()

    assert reader.numbers[-1] == 999, "the newest are shown"
    assert len(reader.numbers) + reader.missed == 1_000
    assert missed_of(metrics, "busy") == reader.missed > 0


async def test_what_cannot_be_a_readers_is_not_told_as_missed() -> None:
    now = [0.0]
    hub = Hub(Metrics().live, clock=lambda: now[0], kept_bytes=0)
    some = Reader(hub.subscribe(Matcher(parse("nowhere"), unicode_cases())))
    hub.committed(committed(range(10), range(10)))
    now[0] += MAX_WAITING_SECONDS + 0.1
    async with running(hub):
        await looked_at(hub)
        hub.close()
        await some.read()

    assert some.missed == 0


async def test_without_readers_nothing_is_kept() -> None:
    hub = Hub(Metrics().live)
    hub.committed(committed(range(10)))
    assert hub.waiting_bytes == 0
    reader = hub.subscribe(ALL)
    hub.committed(committed(range(10)))
    assert hub.waiting_bytes > 0
    hub.unsubscribe(reader)
    assert hub.waiting_bytes == 0


@pytest.mark.parametrize(
    ("late", "share"), [(0.0, IDLE_SHARE), (0.003, BUSY_SHARE)], ids=["idle", "busy"]
)
async def test_looking_takes_no_more_than_its_share_of_the_loop(
    late: float, share: float
) -> None:
    now = [0.0]
    slept: list[float] = []

    class Slow:
        def may_hold(self, lowered: bytes) -> bool:
            return True

        def candidates(self, lowered: bytes, starts: Sequence[int]) -> Sequence[int]:
            return range(len(starts))

        def holds(self, row: StoredRow) -> bool:
            now[0] += 0.0005
            return False

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds + late

    hub = Hub(Metrics().live, clock=lambda: now[0], worked=lambda: now[0], sleep=sleep)
    hub.subscribe(Slow())
    hub.committed(committed(range(100)))
    async with running(hub):
        await looked_at(hub)

    assert len(slept) > 10, "in slices"
    slices = len(slept) - 1  # what is left after the last one is not waited for here
    assert slices * SLICE_SECONDS / sum(slept[:-1]) <= share / (1 - share) + 0.05


async def test_what_has_waited_for_long_is_told_and_not_shown() -> None:
    now = [0.0]
    hub = Hub(Metrics().live, clock=lambda: now[0], kept_bytes=200)
    reader = Reader(hub.subscribe(ALL))
    hub.committed(committed(range(10), refused={0: frozenset([3])}))
    hub.committed(committed(range(10, 12)))
    now[0] += MAX_WAITING_SECONDS + 0.1
    hub.committed(committed(range(12, 14)))
    async with running(hub):
        await looked_at(hub)
        hub.close()
        await reader.read()

    assert (reader.missed, reader.numbers) == (9, [10, 11, 12, 13])


async def test_a_matcher_with_a_bug_ends_its_readers_and_nobody_else() -> None:
    class Broken:
        def may_hold(self, lowered: bytes) -> bool:
            return True

        def candidates(self, lowered: bytes, starts: Sequence[int]) -> Sequence[int]:
            return range(len(starts))

        def holds(self, row: StoredRow) -> bool:
            raise ValueError("a bug")

    async with running(new_hub()) as hub:
        broken = hub.subscribe(Broken())
        hub.committed(committed(range(3)))
        assert await broken.feed.take(60.0) is None
        again = hub.subscribe(ALL)
        hub.committed(committed(range(3)))
        items = await again.feed.take(60.0)

    assert items


async def test_a_stopped_server_has_no_feeds() -> None:
    hub = Hub(Metrics().live)
    before = hub.subscribe(ALL)
    hub.close()

    assert await before.feed.take(60.0) is None
    assert await hub.subscribe(ALL).feed.take(60.0) is None


async def test_a_feed_tells_what_was_missed_where_it_was_missed() -> None:
    feed = Feed(max_bytes=300)
    for number in range(5):
        feed.put(LiveRow(number, b"x"))
    first = await feed.take(0)
    feed.put(LiveRow(5, b"x"))

    assert first == [LiveRow(0, b"x"), LiveRow(1, b"x"), Missed(3, "slow_reader")]
    assert await feed.take(0) == [LiveRow(5, b"x")]
    assert await feed.take(0) == []


@pytest.mark.parametrize("size", [1, 10_000])
async def test_a_row_is_taken_however_large_it_is(size: int) -> None:
    feed = Feed(max_bytes=10)

    assert feed.put(LiveRow(1, b"x" * size))
    assert not feed.put(LiveRow(2, b"x"))


def missed_of(metrics: Metrics, reason: str) -> float:
    name = "penstock_tail_missed_rows_total"
    return metrics.registry.get_sample_value(name, {"reason": reason}) or 0.0
