"""The stop of a server: what can be committed is, the rest is kept, and in time.

It owns the order of these steps and how long each may take. It must not know how any
part does its own, nor what a stop is asked for by.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NamedTuple

from penstock.buffer.ring import Ring
from penstock.net.listener import ForwardListener
from penstock.sink.flusher import Flusher
from penstock.sink.spooler import Spooler

logger = logging.getLogger(__name__)

# Of the time that a stop may take, for what can still be committed.
DRAIN_SHARE = 0.8
# When nothing has been stored for so long, nothing more is waited for. PostgreSQL may
# be back a second later: what waits is safe either way.
GONE_SECONDS = 2.0
LOOK_SECONDS = 0.1
# For writers to roll back and say goodbye to a server that answers.
GOODBYE_SECONDS = 1.0
# It has been asked for twice, or the time is up: a server nearby answers in this.
SHORTEST_GOODBYE_SECONDS = 0.2
AGAIN_SECONDS = 0.05
# Past shutdown_timeout_seconds, for a spool on a slow disk; then a process hangs.
STOP_GRACE_SECONDS = 30.0
# For sessions to notice that their connections are cut.
SESSIONS_END_SECONDS = 0.5


class Stop:
    """When to stop, and how long that may take."""

    def __init__(
        self, timeout_seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._since = 0.0

    def ask(self) -> None:
        """Begin to stop."""
        self._since = self._clock()
        self.asked.set()

    async def unless_asked(self, start: Coroutine[Any, Any, None]) -> bool:
        """Start all parts; return False if told to stop before that was done.

        Raises what starting raises.
        """
        starting = asyncio.create_task(start, name="start")
        stopping = asyncio.create_task(self.asked.wait(), name="stop")
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if starting.done():
            starting.result()
            return True
        starting.cancel()
        await asyncio.wait((starting,))
        return False

    def seconds_left(self, share: float = 1.0) -> float:
        """Return what is left of that share of the time; none if somebody hurries."""
        if self.hurried.is_set():
            return 0.0
        took_seconds = self._clock() - self._since
        return max(0.0, share * self._timeout_seconds - took_seconds)


class Parts(NamedTuple):
    """What of a server has to be stopped in order."""

    ring: Ring
    listener: ForwardListener
    flusher: Flusher
    spooler: Spooler | None


class Ending:
    """The steps of one stop."""

    def __init__(self, stop: Stop, parts: Parts) -> None:
        self._stop = stop
        self._ring, self._listener, self._flusher, self._spooler = parts
        self._unread_senders = 0

    async def commit(self) -> bool:
        """No new senders, no new bytes, commit, ack; return whether that was all."""
        self._flusher.stopping()
        if self._spooler is not None:
            self._spooler.stopping()
        await self._listener.stop_accepting()
        # The spool needs some of the time for the rest.
        share = 1.0 if self._spooler is None else DRAIN_SHARE
        draining = asyncio.create_task(self._drain(share), name="drain")
        hurried = asyncio.create_task(self._stop.hurried.wait(), name="hurry")
        await asyncio.wait(
            (draining, hurried),
            timeout=self._stop.seconds_left(share),
            return_when=asyncio.FIRST_COMPLETED,
        )
        was_clean = _has_drained(draining)
        draining.cancel()
        hurried.cancel()
        self._unread_senders = self._listener.unread_senders
        self._listener.abort()
        was_clean = was_clean and not self._unread_senders
        if was_clean and self._spooler is not None and self._spooler.pending_events:
            logger.info("stopped; what is not committed is in the spool")
        elif was_clean:
            logger.info("stopped; all that was received is committed")
        return was_clean

    async def end_tasks(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Let writers, and others, say goodbye: at the same time, and none for long."""
        self._flusher.ending()
        most_seconds = min(GOODBYE_SECONDS, self._stop.seconds_left() / 2)
        await end_tasks(tasks, max(SHORTEST_GOODBYE_SECONDS, most_seconds))

    async def keep_rest(self) -> bool:
        """Keep on disk what nobody sends again; return whether nothing is lost.

        When nothing else moves what is in the ring.
        """
        events_left = self._ring.used_events
        # Senders are cut off; what came whole from them is still handed over.
        ended = asyncio.create_task(self._listener.ended(), name="sessions")
        unfinished = self._flusher.unfinished
        if self._spooler is None:
            await asyncio.wait((ended,), timeout=SESSIONS_END_SECONDS)
            is_kept = ended.done() and not self._ring.holds_unclaimed(unfinished)
        else:
            is_kept = await self._spooler.spool_rest(
                unfinished, lambda: not ended.done()
            )
        ended.cancel()
        is_kept = is_kept and not self._unread_senders
        _tell_of_rest(is_kept, events_left, self._unread_senders)
        return is_kept

    async def _drain(self, share: float) -> bool:
        """Return whether all is stored, and not given up."""
        await self._listener.read_last(self._stop.seconds_left(share) / 2)
        storing = asyncio.create_task(self._store_all(), name="store all")
        stored_seconds = time.monotonic()
        try:
            while not storing.done():
                if self._flusher.is_storing or not self._is_rest_safe():
                    stored_seconds = time.monotonic()
                elif time.monotonic() > stored_seconds + GONE_SECONDS:
                    return False
                await asyncio.wait((storing,), timeout=LOOK_SECONDS)
            storing.result()
            return True
        finally:
            storing.cancel()

    async def _store_all(self) -> None:
        await self._listener.ended()
        await self._flusher.drained()

    def _is_rest_safe(self) -> bool:
        """Tell whether all that waits comes again or has its place on disk."""
        if self._spooler is not None:
            return not self._spooler.is_failing
        return not self._ring.holds_unclaimed(self._flusher.unfinished)


async def end_tasks(
    tasks: Iterable[asyncio.Task[Any]], patience_seconds: float
) -> None:
    """Cancel tasks, and again those that have not ended within their patience.

    A transaction that is cancelled is rolled back and waits for the answer. From a
    server that hangs none comes: each further cancel ends one such wait.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=patience_seconds)
        patience_seconds = AGAIN_SECONDS


def _has_drained(draining: asyncio.Task[bool]) -> bool:
    if not draining.done():
        return False
    error = draining.exception()
    if error is not None:
        logger.error(
            "the stop met a bug in Penstock",
            extra={
                # Where, not what: the error's own words may be those of a record.
                "error": type(error).__name__,
                "traceback": "".join(traceback.format_tb(error.__traceback__)),
            },
        )
        return False
    return draining.result()


def _tell_of_rest(is_kept: bool, events_left: int, unread_senders: int) -> None:
    extra = {"events_not_committed": events_left}
    if unread_senders:
        extra["senders_not_read"] = unread_senders
    if is_kept:
        logger.warning(
            "stopped before all was committed: the rest is in the spool, and"
            " senders that ask for acks will send theirs again",
            extra=extra,
        )
    else:
        logger.error(
            "stopped before all was committed: senders that ask for acks will send"
            " the rest again, what others sent is lost",
            extra=extra,
        )
