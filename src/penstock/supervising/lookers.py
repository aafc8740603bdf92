"""Who looks on, in the parent: a feed for each, filled by all workers.

It owns which readers there are and what each looks for, so that a worker that is
started again is told. Workers look at their own rows: only what is wanted, and fits
into a feed there, goes over the link. It must not know who reads, nor how.
"""

import asyncio
import pickle
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from penstock.live.feed import Feed, Item, LiveRow, Missed
from penstock.search.cases import Cases
from penstock.search.filters import Filter
from penstock.search.matching import Matcher
from penstock.supervising.lives import Life
from penstock.supervising.messages import Look, LookNoMore, Seen, SeenItem
from penstock.telemetry.live import LiveMetrics

# Of what a worker says at once; its report waits no longer than such a piece takes.
PIECE_BYTES = 64 * 1024
# A worker answers between two turns of its loop; one that stands still has no new rows.
LOOKING_SECONDS = 1.0


class Lookers:
    """The readers of all workers' rows."""

    def __init__(self, metrics: LiveMetrics) -> None:
        self._metrics = metrics
        self._feeds: dict[int, Feed] = {}
        self._looks: dict[int, Look] = {}
        self._count = 0
        self._is_ended = False

    @property
    def looks(self) -> list[Look]:
        """Return what a worker that begins is to look for."""
        return list(self._looks.values())

    @asynccontextmanager
    async def looking(
        self, filter: Filter, cases: Cases, lives: Mapping[int, Life]
    ) -> AsyncIterator[Feed]:
        """Have a reader be shown what these workers commit from now on.

        Raises:
            FilterError: the filter cannot be asked of rows.
        """
        Matcher(filter, cases)
        self._count += 1
        look, feed = Look(self._count, pickle.dumps((filter, cases))), Feed()
        if self._is_ended:
            feed.close()
        else:
            self._looks[look.number], self._feeds[look.number] = look, feed
        try:
            await _tell(look, list(lives.values()))
            yield feed
        finally:
            self.forget(look.number)
            for life in lives.values():
                life.tell(LookNoMore(look.number))

    def forget(self, number: int) -> None:
        """Let a reader go."""
        self._looks.pop(number, None)
        feed = self._feeds.pop(number, None)
        if feed is not None:
            feed.close()

    def seen(self, seen: Seen) -> None:
        """Take what a worker has seen."""
        feed = self._feeds.get(seen.number)
        if feed is None:
            return  # it has gone meanwhile
        for item in seen.items:
            if item.missed is not None:
                feed.miss(item.number, item.missed)
            elif not feed.put(LiveRow(item.number, item.json)):
                self._metrics.missed("slow_reader", 1)

    def worker_ended(self) -> None:
        """Tell all readers that a worker may have stored what they have not seen."""
        for feed in self._feeds.values():
            feed.miss(0, "worker_ended")

    def end(self) -> None:
        """End all feeds: the server stops."""
        self._is_ended = True
        for number in list(self._feeds):
            self.forget(number)


async def _tell(look: Look, lives: Sequence[Life]) -> None:
    """Have all begin to look; wait for those that receive already."""
    for life in lives:
        if not life.is_ready:
            life.tell(look)
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOKING_SECONDS):
            await asyncio.gather(*(life.look(look) for life in lives if life.is_ready))


def unpacked(look: Look) -> tuple[Filter, Cases]:
    """Return what the parent has written; only a worker reads it."""
    filter, cases = pickle.loads(look.wanted)
    return filter, cases


def pieces(number: int, items: Sequence[Item]) -> Iterable[Seen]:
    """Return what a worker says of these items."""
    waiting: list[SeenItem] = []
    size_bytes = 0
    for item in items:
        if isinstance(item, Missed):
            waiting.append(SeenItem(item.rows, b"", item.reason))
        else:
            waiting.append(SeenItem(item.id, item.json, None))
            size_bytes += len(item.json)
        if size_bytes >= PIECE_BYTES:
            yield Seen(number, waiting)
            waiting, size_bytes = [], 0
    if waiting:
        yield Seen(number, waiting)
