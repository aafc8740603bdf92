"""The flow of events through one event loop: built, begun, and ended in order.

From the senders' sockets through the ring to PostgreSQL, with the spool beside it. It
owns how these parts are put together; `app` has one in its own process, each worker
has one in its own. It must know nothing of signals, HTTP, systemd or other processes.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from penstock.amounts import amount
from penstock.buffer.books import Books
from penstock.buffer.ring import SOURCE_SHARE, Ring
from penstock.errors import DatabaseUnavailableError, SinkError
from penstock.live.feed import Feed
from penstock.live.hub import Hub
from penstock.model import Receipt, Submission
from penstock.net.admission import Admission, terms_of
from penstock.net.incoming import Intake
from penstock.net.listener import ForwardListener
from penstock.net.opened import Opened
from penstock.net.partials import Partials
from penstock.net.places import ListenedOn, OwnPlaces, Places
from penstock.net.turns import Turns
from penstock.net.waiting import Waiting
from penstock.rows import RowEncoder
from penstock.search.cases import Cases
from penstock.search.filters import Filter
from penstock.search.matching import Matcher
from penstock.settings import Settings
from penstock.sink.claim_periods import ClaimPeriods
from penstock.sink.claims import Claims
from penstock.sink.flusher import Flusher, Writer
from penstock.sink.partitions import Partitions
from penstock.sink.postgres import PostgresWriter, next_receiver
from penstock.sink.spool import Spool
from penstock.sink.spooler import Spooler
from penstock.sink.spools import Spools
from penstock.stopping import Ending, Parts, Stop
from penstock.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

# Encoding makes and frees containers by the hundred thousand and no cycles among
# them, so the collector's default of 700 only costs time.
GC_THRESHOLD = 50_000
# Of the ring, what writers have in hand at most. It cannot go to the spool, so of one
# sender it is half of what that may hold: the rest of its share can.
IN_HAND_SHARE = 0.25


class Flow:
    """The parts that an event goes through.

    `reserved_files` are those that others in this process may need at once.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        spool: Spool | Spools | None,
        *,
        places: Places | None = None,
        reserved_files: int = 0,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._places = OwnPlaces() if places is None else places
        self._reserved_files = reserved_files
        self._terms = terms_of(settings)
        self._admission = Admission(self._terms, metrics.receive)
        self._spool = spool
        self._spooler: Spooler | None = None
        self._books = Books()
        self._hub = Hub(metrics.live)
        self._writing: list[asyncio.Task[None]] = []

    async def prepare(self) -> None:
        """Build all, and see that the spool and the database are there.

        Raises:
            UnavailableError: one of them is not.
        """
        self._build(await next_receiver(self._settings.database_url))
        try:
            if self._spooler is not None:
                await self._spooler.open()
            await self._flusher.connect()
        except SinkError as error:
            raise DatabaseUnavailableError(str(error)) from error

    async def listen(self) -> None:
        """Let senders connect.

        Raises:
            UnavailableError: an address is taken, not ours, or not allowed.
        """
        await self._listener.start()

    @property
    def listening(self) -> tuple[ListenedOn, ...]:
        """Return what is listened on, the address of `host` and `port` first."""
        return self._listener.listening

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to store what comes."""
        self._writing = [
            tasks.create_task(self._flusher.run(number), name=f"writer-{number}")
            for number in range(self._settings.copy.writers)
        ]
        self._watch = tasks.create_task(self._listener.watch(), name="watch")
        self._spooling = tasks.create_task(self._run_spooler(), name="spool")
        self._looking = tasks.create_task(self._hub.run(), name="live")

    async def submit(self, submission: Submission) -> Receipt:
        """Store a message that did not come by the forward protocol.

        Raises:
            NotTakenError: it is not, or not all of it, as far as is known.
        """
        return await self._listener.submit(submission)

    @asynccontextmanager
    async def looking(self, filter: Filter, cases: Cases) -> AsyncIterator[Feed]:
        """Be shown, for the block, the rows that are committed from its start on.

        Raises:
            FilterError: the filter cannot be asked of rows.
        """
        subscription = self._hub.subscribe(Matcher(filter, cases))
        try:
            yield subscription.feed
        finally:
            self._hub.unsubscribe(subscription)

    async def apply(self, settings: Settings) -> None:
        """Give each part what a reload has brought.

        Raises:
            PenstockError: it cannot be; nothing has changed.
        """
        terms = terms_of(settings)
        await self._listener.reload(
            settings.listen, settings.limits, self._admission.doorways(terms)
        )
        self._admission.change(terms)

    @property
    def is_begun(self) -> bool:
        """Tell whether it stores what comes, or has."""
        return bool(self._writing)

    @property
    def is_storing(self) -> bool:
        """Tell whether the database takes what there is, as far as is known."""
        return not self.is_begun or self._flusher.is_storing

    @property
    def is_alive(self) -> bool:
        """Tell whether all writers are at it."""
        # That PostgreSQL is away is no reason to be started again.
        return not any(task.done() for task in self._writing)

    def unready_reasons(self) -> list[str]:
        """Return why there should be no traffic now, nothing if there may."""
        reasons = []
        if not self._listener.is_accepting:
            reasons.append("not accepting senders")
        if self._ring.is_above_low_water and not self._flusher.is_storing:
            reasons.append("the database does not store and the ring is full")
        return reasons

    def status(self) -> str:
        """Return what `systemctl status` says."""
        in_memory, spooled = self._ring.used_events, self._books.spooled
        status = f"{amount(in_memory, 'event')} in memory, {spooled:,} in the spool"
        if in_memory and not self.is_storing:
            status += "; PostgreSQL does not store"
        return status

    async def refresh(self) -> None:
        """Nothing: what is asked for is known in this process."""

    async def end(self, stop: Stop, others: Sequence[asyncio.Task[None]]) -> bool:
        """Stop all, and these tasks too; return whether nothing is lost."""
        logger.info("stopping", extra={"events_in_memory": self._ring.used_events})
        self._hub.close()
        parts = Parts(self._ring, self._listener, self._flusher, self._spooler)
        ending = Ending(stop, parts)
        is_committed = await ending.commit()
        await ending.end_tasks((*self._writing, self._watch, self._looking, *others))
        if self._spooler is not None:
            self._spooler.end()
            await self._spooling
        return is_committed or await ending.keep_rest()

    async def close(self) -> None:
        """Let the spool go."""
        if self._spooler is not None:
            await self._spooler.close()

    def _build(self, receiver: int) -> None:
        settings, books = self._settings, self._books
        self._ring = Ring(
            max_bytes=settings.ring.ring_bytes,
            max_rows=settings.ring.ring_rows,
            on_waiting=self._something_waits,
            on_drained=lambda: self._flusher.ring_drained(),
            spool_first=settings.spool.spool_mode == "always",
        )
        self._metrics.watch_ring(self._ring)
        self._metrics.watch_books(
            books, lambda: self._ring.used_events + self._ring.given_up_events
        )
        self._flusher = Flusher(
            self._ring,
            self._make_writers(receiver),
            batch_bytes=self._batch_bytes(IN_HAND_SHARE),
            source_bytes=self._batch_bytes(SOURCE_SHARE / 2),
            books=books,
            metrics=self._metrics.sink,
        )
        self._listener = ForwardListener(
            settings.listen,
            Intake(
                self._ring,
                books,
                RowEncoder(settings.columns, receiver=receiver, limits=settings.wire),
                settings.wire,
                self._metrics.receive,
                Turns(),
                Waiting(max_bytes=int(settings.ring.ring_bytes * SOURCE_SHARE)),
                Partials(max_bytes=settings.limits.max_partial_bytes),
                Opened(max_bytes=settings.wire.max_decompressed_bytes),
                settings.limits,
            ),
            make_doorway=self._admission.doorways(self._terms),
            # Each writer has a connection to PostgreSQL.
            reserved_files=settings.copy.writers + self._reserved_files,
            places=self._places,
        )
        self._build_spooler()

    def _make_writers(self, receiver: int) -> list[Writer]:
        settings = self._settings
        partitions = Partitions(settings.partitions)
        periods = ClaimPeriods()
        return [
            PostgresWriter(
                settings.database_url,
                partitions,
                periods,
                Claims(receiver, number),
                self._hub.committed,
            )
            for number in range(settings.copy.writers)
        ]

    def _build_spooler(self) -> None:
        if self._spool is None:
            return
        self._spooler = Spooler(
            self._ring,
            self._spool,
            self._flusher,
            self._books,
            always=self._settings.spool.spool_mode == "always",
        )
        self._metrics.watch_spool(self._spooler)

    def _batch_bytes(self, ring_share: float) -> int:
        """Return the largest batch, so that all in hand take that share at most."""
        share_bytes = self._settings.ring.ring_bytes * ring_share
        most = int(share_bytes / self._settings.copy.writers)
        return min(self._settings.copy.batch_bytes, most)

    def _something_waits(self) -> None:
        self._flusher.rows_wait()
        if self._spooler is not None:
            self._spooler.wake()

    async def _run_spooler(self) -> None:
        if self._spooler is not None:
            await self._spooler.run()
