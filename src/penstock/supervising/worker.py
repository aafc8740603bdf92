"""A worker: `python -m penstock.supervising.worker`, started by the parent alone.

It owns the process: one event loop with one `Flow`, told by the parent over the link
what to be and when to stop. When the link ends, so does the parent, and the worker
stops as at SIGTERM: it commits what it has. It must not read settings of its own.
"""

import asyncio
import faulthandler
import gc
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from penstock.allocation import keep_large_blocks
from penstock.errors import NotTakenError, PenstockError, SettingsError
from penstock.flow import GC_THRESHOLD, Flow
from penstock.model import Receipt
from penstock.net.given import Given, GivenPlaces
from penstock.settings import Settings
from penstock.sink.spools import make_spool
from penstock.stopping import Stop
from penstock.supervising.channel import Channel, Received
from penstock.supervising.lookers import pieces, unpacked
from penstock.supervising.messages import (
    Ask,
    Begin,
    Ended,
    Failed,
    GivenPlace,
    Hurry,
    Look,
    Looking,
    LookNoMore,
    Ready,
    Reload,
    Reloaded,
    Report,
    Seen,
    SeenItem,
    Settled,
    Submit,
    SubmitNoMore,
    ToParent,
    encode,
    read_by_worker,
    unpacked_settings,
)
from penstock.supervising.messages import Stop as StopMessage
from penstock.telemetry.logs import set_log_level, set_up_logs
from penstock.telemetry.metrics import Metrics
from penstock.telemetry.workers import families_of

if TYPE_CHECKING:
    from penstock.live.feed import Feed

# How long to wait for a row before waiting again: for nothing else.
LOOK_SECONDS = 60.0

# By its name: it is run as __main__.
logger = logging.getLogger("penstock.supervising.worker")


class Worker:
    """One worker."""

    def __init__(self, channel: Channel, begin: Begin, files: list[int]) -> None:
        settings = unpacked_settings(begin.settings)
        set_up_logs_of(begin.worker, settings)
        self._channel = channel
        self._metrics = Metrics()
        self._places = GivenPlaces()
        self._places.give(_given(begin.places, files))
        self._stop = Stop(settings.process.shutdown_timeout_seconds)
        self._submitting: set[asyncio.Task[None]] = set()
        self._storing: dict[int, asyncio.Task[Receipt]] = {}
        self._looks = begin.looks
        self._wanted: dict[int, Feed | None] = {}  # by reader; None until it is there
        self._looking: set[asyncio.Task[None]] = set()
        spool = None
        if settings.spool.spool_mode != "off":
            spool = make_spool(
                Path(begin.spool_dir),
                worker=begin.worker,
                workers=begin.workers,
                max_bytes=settings.spool.spool_max_bytes,
            )
        self._flow = Flow(settings, self._metrics, spool, places=self._places)

    async def run(self) -> int:
        """Be a worker until told to stop; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # A second one does not hurry: systemd, and a person who is not patient,
            # send theirs to the parent too, which tells.
            loop.add_signal_handler(number, self._ask_to_stop)
        for look in self._looks:
            self._begin_to_look(look)
        hearing = asyncio.create_task(self._hear_all(), name="parent")
        try:
            if not await self._stop.unless_asked(self._start()):
                await self._say(Ended(True, self._report()))
                return 0
            gc.freeze()
            await self._say(Ready())
            try:
                async with asyncio.TaskGroup() as tasks:
                    self._flow.begin(tasks)
                    await self._stop.asked.wait()
                    was_clean = await self._flow.end(self._stop, ())
            finally:
                await self._flow.close()
            # Of all of them it is known by now, and said before the last word.
            await asyncio.gather(*self._submitting)
            await self._say(Ended(was_clean, self._report()))
            return 0 if was_clean else 1
        except PenstockError as error:
            await self._say(Failed(error.exit_code, _problems(error)))
            return error.exit_code
        finally:
            hearing.cancel()
            for reader in list(self._wanted):
                self._look_no_more(reader)
            await asyncio.wait((hearing, *self._looking))

    async def _start(self) -> None:
        await self._flow.prepare()
        await self._flow.listen()
        self._places.close_unused()

    # What the parent says.

    async def _hear_all(self) -> None:
        try:
            while (received := await self._channel.receive()) is not None:
                await self._hear(received)
            logger.error("the parent process is gone; this worker stops")
        except Exception:
            logger.exception("what the parent says met a bug; this worker stops")
        self._ask_to_stop()

    async def _hear(self, received: Received) -> None:
        match read_by_worker(received.body):
            case Ask():
                await self._say(self._report())
            case StopMessage():
                self._ask_to_stop()
            case Hurry():
                self._stop.hurried.set()
            case Reload() as reload:
                given = _given(reload.places, received.files)
                await self._say(Reloaded(await self._reload(reload, given)))
            case Submit() as submit:
                self._begin_to_submit(submit)
            case SubmitNoMore(number):
                if number in self._storing:
                    self._storing[number].cancel()
            case Look() as look:
                self._begin_to_look(look)
            case LookNoMore(number):
                self._look_no_more(number)
            case Begin():
                raise AssertionError("a worker begins once")

    async def _reload(self, reload: Reload, given: list[Given]) -> tuple[str, ...]:
        settings = unpacked_settings(reload.settings)
        self._places.give(given)
        try:
            await self._flow.apply(settings)
        except PenstockError as error:
            return _problems(error)
        finally:
            self._places.close_unused()
        set_log_level(settings.process.log_level)
        return ()

    def _begin_to_submit(self, submit: Submit) -> None:
        # Not here: it is as long as a COMMIT, and more is to be heard.
        storing = asyncio.create_task(self._flow.submit(submit.submission))
        self._storing[submit.number] = storing
        # Another task says what came of it: one that is cancelled may say half of it.
        task = asyncio.create_task(self._submit(submit.number, storing), name="submit")
        self._submitting.add(task)
        task.add_done_callback(self._submitting.discard)

    async def _submit(self, number: int, storing: asyncio.Task[Receipt]) -> None:
        receipt, problem = None, ""
        try:
            receipt = await storing
        except asyncio.CancelledError:
            return  # nobody waits for it any more
        except NotTakenError as error:
            problem = str(error)
        except Exception:
            logger.exception("a message met a bug in Penstock")
            problem = "it met a bug in Penstock"
        finally:
            del self._storing[number]
        await self._say(Settled(number, receipt, problem))

    def _begin_to_look(self, look: Look) -> None:
        self._wanted[look.number] = None
        task = asyncio.create_task(self._look(look), name=f"look-{look.number}")
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    def _look_no_more(self, number: int) -> None:
        # Its task is not cancelled: it may have said half of something.
        feed = self._wanted.pop(number, None)
        if feed is not None:
            feed.close()

    async def _look(self, look: Look) -> None:
        """Tell the parent what is wanted, as fast as it listens."""
        async with self._flow.looking(*unpacked(look)) as feed:
            if look.number not in self._wanted:  # it has gone meanwhile
                return
            self._wanted[look.number] = feed
            await self._say(Looking(look.number))
            while (items := await feed.take(LOOK_SECONDS)) is not None:
                for seen in pieces(look.number, items):
                    await self._say(seen)
        if look.number in self._wanted:  # it is not told to end
            ended = SeenItem(0, b"", "worker_ended")
            await self._say(Seen(look.number, [ended]))

    async def _say(self, message: ToParent) -> None:
        with suppress(OSError):  # the parent is gone
            await self._channel.send(encode(message))

    def _ask_to_stop(self) -> None:
        if not self._stop.asked.is_set():
            self._stop.ask()

    def _report(self) -> Report:
        flow = self._flow
        reasons = flow.unready_reasons() if flow.is_begun else ["it starts"]
        return Report(families_of(self._metrics), reasons, flow.is_storing)


def set_up_logs_of(worker: int, settings: Settings) -> None:
    """Write log lines as the settings say, with the worker's number in each."""

    def add_worker(record: logging.LogRecord) -> bool:
        record.worker = worker
        return True

    process = settings.process
    set_up_logs(process.log_format, process.log_level).addFilter(add_worker)


def _given(places: Sequence[GivenPlace], files: list[int]) -> list[Given]:
    sockets = iter([socket.socket(fileno=each) for each in files])

    def take(count: int) -> list[socket.socket]:
        return [next(sockets) for _ in range(count)]

    return [
        Given(each.number, each.key, take(each.sockets), take(each.heartbeats))
        for each in places
    ]


def _problems(error: PenstockError) -> tuple[str, ...]:
    return error.problems if isinstance(error, SettingsError) else (str(error),)


async def _run(link: socket.socket) -> int:
    channel = Channel(link)
    try:
        received = await channel.receive()
        if received is None:  # the parent has ended meanwhile
            return 0
        begin = read_by_worker(received.body)
        if not isinstance(begin, Begin):  # it stops already
            return 0
        return await Worker(channel, begin, received.files).run()
    finally:
        channel.close()


def main(arguments: Sequence[str]) -> int:
    """Be a worker of the parent at the other end of this file descriptor."""
    # They are the parent's to hear, until there is a loop.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    gc.set_threshold(GC_THRESHOLD)
    keep_large_blocks()
    faulthandler.enable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(socket.socket(fileno=int(arguments[0]))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
