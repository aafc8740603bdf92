"""Several workers, to be used as the one flow of a single process is.

It owns their number, who of them is started again and when, and the order in which all
of them start, reload and stop. What each does is in `flow`; the parent's own side, HTTP
and signals and maintenance, in `app`.
"""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from penstock.errors import (
    NotTakenError,
    PenstockError,
    SettingsError,
    UnavailableError,
)
from penstock.live.feed import Feed
from penstock.model import Receipt, Submission
from penstock.net.admission import terms_of
from penstock.net.places import ListenedOn
from penstock.search.cases import Cases
from penstock.search.filters import Filter
from penstock.settings import Settings
from penstock.settings.shares import share_of
from penstock.stopping import STOP_GRACE_SECONDS, Stop, end_tasks
from penstock.supervising.doors import Doors
from penstock.supervising.lives import HowEnded, Life
from penstock.supervising.lookers import Lookers
from penstock.supervising.messages import (
    Begin,
    GivenPlace,
    Hurry,
    Reload,
    packed_settings,
)
from penstock.supervising.messages import Stop as StopMessage
from penstock.telemetry.workers import MetricsOfAll

logger = logging.getLogger(__name__)

# Reports are had this often, so that little is not counted of a worker that is killed.
LOOK_SECONDS = 1.0
# A worker that has not answered so often hangs: its loop has stood still for 30 s, as
# long as the watchdog of our systemd unit waits. Such a look takes two seconds.
MOST_SILENT_LOOKS = 15
# From SIGABRT, at which it leaves in the log where it hangs, to SIGKILL.
ABORT_LOOKS = 5
# Before a fallen worker is started again: at once the first time, for its senders wait.
BACKOFF_SECONDS = (0.0, 0.5, 1.0, 2.0, 5.0)
# One that has lived for so long does not fall because it was started.
STEADY_SECONDS = 30.0
NONE_RUNS = "no worker runs"


class Workers:
    """The workers of one parent."""

    def __init__(
        self, settings: Settings, metrics: MetricsOfAll, spool_dir: Path, count: int
    ) -> None:
        """Prepare.

        Raises:
            SettingsError: the limits of the whole are too small for so many.
        """
        terms_of(settings)
        share_of(settings, count)
        self._settings = settings
        self._metrics = metrics
        self._spool_dir = spool_dir
        self._count = count
        self._doors = Doors()
        self._lives: dict[int, Life] = {}
        self._keeping: list[asyncio.Task[None]] = []
        self._lookers = Lookers(metrics.live)
        self._submissions = 0
        self._is_ending = False
        # A worker that starts during a reload waits for what comes of it.
        self._reloading = asyncio.Lock()
        metrics.expect(count)

    # As a flow.

    async def prepare(self) -> None:
        """Bind what workers will listen on.

        Raises:
            UnavailableError: an address is not to be had.
        """
        self._doors.commit(await self._doors.prepare(self._settings.listen))

    async def listen(self) -> None:
        """Start all workers; return when senders can connect.

        Raises:
            PenstockError: one does not start; none is left.
        """
        starting = [
            asyncio.create_task(self._start(number)) for number in range(self._count)
        ]
        try:
            await asyncio.gather(*starting)
        except BaseException:
            for task in starting:
                task.cancel()
            # Those that are ready may have received something.
            await self.close()
            raise

    @property
    def listening(self) -> tuple[ListenedOn, ...]:
        """Return what is listened on, the address of `host` and `port` first."""
        return self._doors.listening

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to look after them."""
        self._keeping = [
            tasks.create_task(self._keep(number), name=f"keep-{number}")
            for number in range(self._count)
        ]
        self._keeping.append(tasks.create_task(self._watch(), name="watch"))

    async def apply(self, settings: Settings) -> None:
        """Give all workers what a reload has brought, or none.

        Raises:
            PenstockError: it cannot be; all is as it was.
        """
        async with self._reloading:
            await self._apply(settings)

    async def _apply(self, settings: Settings) -> None:
        share_of(settings, self._count)
        terms_of(settings)
        change = await self._doors.prepare(settings.listen)
        before, self._settings = self._settings, settings
        doors, self._doors.all = self._doors.all, change.doors
        problems = await self._reload_all()
        self._doors.all = doors
        if problems:
            self._settings = before
            self._doors.take_back(change)
            await self._reload_all()
            raise SettingsError(*dict.fromkeys(problems))
        self._doors.commit(change)

    @property
    def is_alive(self) -> bool:
        """Tell whether this process is at it; it looks after the others itself."""
        return not any(task.done() for task in self._keeping)

    async def submit(self, submission: Submission) -> Receipt:
        """Have a worker store a message, each in its turn.

        Raises:
            NotTakenError: it is not stored, as far as is known.
        """
        ready = [life for life in self._lives.values() if life.is_ready]
        if not ready or self._is_ending:
            raise NotTakenError("the server stops" if self._is_ending else NONE_RUNS)
        self._submissions += 1
        return await ready[self._submissions % len(ready)].submit(submission)

    @asynccontextmanager
    async def looking(self, filter: Filter, cases: Cases) -> AsyncIterator[Feed]:
        """Be shown, for the block, the rows that workers commit from its start on.

        Raises:
            FilterError: the filter cannot be asked of rows.
        """
        async with self._lookers.looking(filter, cases, self._lives) as feed:
            yield feed

    def unready_reasons(self) -> list[str]:
        """Return why there should be no traffic now, nothing if there may."""
        reasons = []
        for number in range(self._count):
            life = self._lives.get(number)
            if life is None or not life.is_ready:
                reasons.append(f"worker {number} does not run")
            elif life.silent_looks > 1:
                reasons.append(f"worker {number} does not answer")
            elif life.report is not None:
                of_it = life.report.unready_reasons
                reasons += [f"worker {number}: {each}" for each in of_it]
        return reasons

    def status(self) -> str:
        """Return what `systemctl status` says."""
        in_memory = self._metrics.level("penstock_ring_events")
        spooled = self._metrics.level("penstock_spooled_events")
        status = f"{in_memory:,.0f} events in memory, {spooled:,.0f} in the spool"
        reports = [each.report for each in self._lives.values() if each.report]
        if in_memory and not all(each.is_storing for each in reports):
            status += "; PostgreSQL does not store"
        ready = self._ready_count()
        if ready < self._count:
            status += f"; {ready} of {self._count} workers run"
        return status

    async def refresh(self) -> None:
        """Have the reports of all workers, of those that answer in time."""
        asked = [life for life in self._lives.values() if life.is_ready]
        await asyncio.gather(*(life.ask() for life in asked))
        for life in asked:
            self._note_report(life)
        self._metrics.are_ready(self._ready_count())

    async def end(self, stop: Stop, others: Sequence[asyncio.Task[None]]) -> bool:
        """Stop all workers, and end these tasks; return whether nothing is lost."""
        self._is_ending = True
        self._lookers.end()
        in_memory = int(self._metrics.level("penstock_ring_events"))
        logger.info("stopping", extra={"events_in_memory": in_memory})
        await end_tasks((*self._keeping, *others), LOOK_SECONDS)
        # The workers have them still: they take what waits there, then none has.
        self._doors.close()
        self._stop_all()
        hurrying = asyncio.create_task(self._hurry(stop), name="hurry")
        ended = await asyncio.gather(
            *(self._end(life, stop) for life in self._lives.values())
        )
        hurrying.cancel()
        was_clean = all(ended)
        if was_clean:
            logger.info("stopped; all workers have ended as they should")
        else:
            logger.error("stopped; not all workers have ended as they should")
        return was_clean

    async def close(self) -> None:
        """End what is left: there is some if this process has met a bug."""
        self._doors.close()
        ending = [
            asyncio.create_task(life.ended(), name="end") for life in self._stop_all()
        ]
        if ending:
            timeout_seconds = self._settings.process.shutdown_timeout_seconds
            await asyncio.wait(ending, timeout=timeout_seconds + STOP_GRACE_SECONDS)
            for life in self._lives.values():
                life.kill()
            await asyncio.wait(ending)

    # Their lives.

    async def _start(self, number: int) -> None:
        """Start a worker; return when it takes connections. Raises PenstockError."""
        settings = self._settings
        places, files = self._places(number)
        life = self._lives[number] = Life(number, self._lookers.seen)
        message = Begin(
            worker=number,
            workers=self._count,
            settings=packed_settings(share_of(settings, self._count)),
            spool_dir=str(self._spool_dir),
            places=places,
            looks=self._lookers.looks,
        )
        await life.begin(message, files)
        async with self._reloading:
            if self._settings is not settings:
                problems = await self._reload(life)
                if problems:
                    raise SettingsError(*problems)
            life.is_ready = True

    def _places(self, number: int) -> tuple[list[GivenPlace], list[int]]:
        places, files = [], []
        for door in self._doors.all:
            sockets, heartbeats = door.sockets(number)
            key = door.spec.key
            places.append(GivenPlace(door.number, key, len(sockets), len(heartbeats)))
            files += [each.fileno() for each in (*sockets, *heartbeats)]
        return places, files

    async def _keep(self, number: int) -> None:
        """Start a worker again whenever it has ended, until cancelled."""
        falls = 0
        while True:
            life = self._lives[number]
            since_seconds = time.monotonic()
            ended = await life.ended()
            has_been_steady = time.monotonic() > since_seconds + STEADY_SECONDS
            falls = 1 if has_been_steady else falls + 1
            self._note_end(life, ended)
            while not await self._start_again(number, falls):
                falls += 1

    async def _start_again(self, number: int, falls: int) -> bool:
        if falls > 1:
            # Its senders need not wait for it: the others take them.
            self._doors.turn_away(number)
        await asyncio.sleep(BACKOFF_SECONDS[min(falls, len(BACKOFF_SECONDS)) - 1])
        try:
            await self._start(number)
        except PenstockError as error:
            logger.error(
                "a worker does not start, and is started again",
                extra={"worker": number, "error": str(error)},
            )
            life = self._lives.pop(number, None)
            if life is not None:
                life.tell(StopMessage())
                await life.ended()
            return False
        pid = self._lives[number].pid
        logger.info("a worker runs again", extra={"worker": number, "pid": pid})
        return True

    def _note_end(self, life: Life, ended: HowEnded) -> None:
        how = "error" if ended.exit_code else "stopped"
        if life.is_hanging:
            how = "silent"
        elif ended.exit_code < 0:
            how = "signal"
        self._note_report(life)
        self._lookers.worker_ended()
        del self._lives[life.worker]
        self._metrics.ended(life.worker, how)
        self._metrics.are_ready(self._ready_count())
        logger.error(
            "a worker has ended and is started again",
            extra={"worker": life.worker, "pid": life.pid, "ended": ended.in_words()},
        )

    def _note_report(self, life: Life) -> None:
        is_its_last = self._lives.get(life.worker) is life
        if life.report is not None and is_its_last:
            self._metrics.told(life.worker, life.report.families)

    def _ready_count(self) -> int:
        return sum(life.is_ready for life in self._lives.values())

    async def _watch(self) -> None:
        """Ask how they are, and end those that hang, until cancelled."""
        while True:
            for life in self._lives.values():
                life.silent_looks += life.is_ready
            await self.refresh()
            for life in list(self._lives.values()):
                self._end_if_it_hangs(life)
            await asyncio.sleep(LOOK_SECONDS)

    def _end_if_it_hangs(self, life: Life) -> None:
        if life.silent_looks == MOST_SILENT_LOOKS:
            logger.error(
                "a worker hangs and is ended",
                extra={"worker": life.worker, "pid": life.pid},
            )
            life.is_hanging = True
            life.kill(signal.SIGABRT)
        elif life.silent_looks > MOST_SILENT_LOOKS + ABORT_LOOKS:
            life.kill()

    async def _reload_all(self) -> list[str]:
        lives = [life for life in self._lives.values() if life.is_ready]
        found = await asyncio.gather(*map(self._reload, lives))
        return [problem for problems in found for problem in problems]

    async def _reload(self, life: Life) -> tuple[str, ...]:
        settings = packed_settings(share_of(self._settings, self._count))
        try:
            places, files = self._places(life.worker)
        except UnavailableError as error:
            return (str(error),)
        return await life.reload(Reload(settings, places), files)

    # Their end.

    async def _end(self, life: Life, stop: Stop) -> bool:
        """Wait for a worker's end; return whether nothing is lost."""
        ending = asyncio.create_task(life.ended())
        while not ending.done():
            await asyncio.wait((ending,), timeout=stop.seconds_left())
            # Who hurries leaves no time: only then does this come round again.
            if not ending.done():
                await asyncio.wait((ending,), timeout=STOP_GRACE_SECONDS)
            if not ending.done():
                logger.error("a worker does not stop", extra={"worker": life.worker})
                life.kill()
        self._note_report(life)
        ended = ending.result()
        if not ended.was_clean:
            logger.error(
                "a worker has not ended as it should",
                extra={"worker": life.worker, "ended": ended.in_words()},
            )
        return ended.was_clean

    def _stop_all(self) -> list[Life]:
        lives = list(self._lives.values())
        for life in lives:
            life.tell(StopMessage())
        return lives

    async def _hurry(self, stop: Stop) -> None:
        await stop.hurried.wait()
        for life in self._lives.values():
            life.tell(Hurry())
