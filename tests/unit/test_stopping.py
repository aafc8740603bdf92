"""A stop takes the time it may, gives up what is safe, and says what is lost."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from penstock import stopping
from penstock.model import Batch
from penstock.stopping import Ending, Parts, Stop, end_tasks
from tests.virtual_time import LOOPS

__all__ = ["LOOPS"]

TIMEOUT_SECONDS = 2.0
SECRET = "hunter2 of a record"


class FakeRing:
    used_events = 3

    def __init__(self) -> None:
        self.is_unclaimed = False

    def holds_unclaimed(self, taken: list[Batch]) -> bool:
        return self.is_unclaimed


class FakeListener:
    unread_senders = 0

    def __init__(self) -> None:
        self.reading_failure: Exception | None = None
        self.has_ended = asyncio.Event()
        self.has_ended.set()
        self.was_aborted = False

    async def stop_accepting(self) -> None: ...

    async def read_last(self, timeout_seconds: float) -> None:
        if self.reading_failure:
            raise self.reading_failure

    async def ended(self) -> None:
        await self.has_ended.wait()

    def abort(self) -> None:
        self.was_aborted = True


class FakeFlusher:
    def __init__(self) -> None:
        self.is_storing = True
        self.unfinished: list[Batch] = []
        self.all_is_stored = asyncio.Event()
        self.is_ending = False

    def stopping(self) -> None: ...

    def ending(self) -> None:
        self.is_ending = True

    async def drained(self) -> None:
        await self.all_is_stored.wait()


class FakeSpooler:
    is_failing = False
    pending_events = 0

    def __init__(self) -> None:
        self.more_came: list[bool] = []

    def stopping(self) -> None: ...

    async def spool_rest(self, unfinished: list[Batch], is_more_to_come: Any) -> bool:
        self.more_came.append(is_more_to_come())
        return True


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture(autouse=True)
def of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "time", SimpleNamespace(monotonic=now))


class Server:
    """What is stopped, and the stop."""

    def __init__(self, *, has_spool: bool = True) -> None:
        self.ring, self.listener = FakeRing(), FakeListener()
        self.flusher = FakeFlusher()
        self.spooler = FakeSpooler() if has_spool else None
        parts = (self.ring, self.listener, self.flusher, self.spooler)
        self.stop = Stop(TIMEOUT_SECONDS, clock=now)
        self.ending = Ending(self.stop, Parts(*cast("tuple[Any, ...]", parts)))
        self.stop.ask()


@asynccontextmanager
async def took(least_seconds: float, most_seconds: float) -> AsyncIterator[None]:
    began = now()
    yield
    assert least_seconds <= now() - began <= most_seconds


async def test_a_stop_is_clean_when_all_is_stored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    server.flusher.all_is_stored.set()
    with caplog.at_level(logging.INFO):
        async with took(0, 0.5):
            assert await server.ending.commit()
    assert server.listener.was_aborted
    assert "all that was received is committed" in caplog.text


async def test_a_stop_that_meets_a_bug_is_not_clean_and_says_where_not_what(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    server.listener.reading_failure = RuntimeError(SECRET)
    assert not await server.ending.commit()
    assert server.listener.was_aborted
    (record,) = caplog.records
    fields = str(vars(record))
    assert "RuntimeError" in fields and "test_stopping.py" in fields
    assert SECRET not in fields


async def test_what_can_be_stored_is_waited_for_in_its_share_of_the_time() -> None:
    server = Server()
    async with took(1.5, 1.9):
        assert not await server.ending.commit()


async def test_a_second_signal_ends_the_wait() -> None:
    server = Server()
    asyncio.get_running_loop().call_later(0.1, server.stop.hurried.set)
    async with took(0.1, 0.5):
        assert not await server.ending.commit()
    assert server.stop.seconds_left() == 0


async def test_nothing_is_waited_for_when_nobody_stores_and_the_rest_is_safe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopping, "GONE_SECONDS", 0.2)
    server = Server()
    server.flusher.is_storing = False
    async with took(0.2, 0.8):
        assert not await server.ending.commit()


@pytest.mark.parametrize("has_spool", [True, False])
async def test_all_the_time_is_waited_for_what_would_be_lost(
    monkeypatch: pytest.MonkeyPatch, has_spool: bool
) -> None:
    monkeypatch.setattr(stopping, "GONE_SECONDS", 0.2)
    server = Server(has_spool=has_spool)
    server.flusher.is_storing = False
    if server.spooler is not None:
        server.spooler.is_failing = True
    else:
        server.ring.is_unclaimed = True
    async with took(1.5, 2.3):
        assert not await server.ending.commit()


async def test_postgresql_that_is_away_for_a_moment_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopping, "GONE_SECONDS", 0.5)
    server = Server()
    server.flusher.is_storing = False

    def comes_back() -> None:
        server.flusher.is_storing = True

    loop = asyncio.get_running_loop()
    loop.call_later(0.2, comes_back)
    loop.call_later(1.0, server.flusher.all_is_stored.set)
    assert await server.ending.commit()


async def hang(times: int) -> None:
    """Wait for ever, and when cancelled again, as a ROLLBACK that is not answered."""
    for _ in range(times):
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            pass


async def test_tasks_that_hang_take_no_more_than_what_is_left_of_the_stop() -> None:
    server = Server()
    tasks = [asyncio.create_task(hang(times)) for times in (1, 2, 3, 4)]
    await asyncio.sleep(TIMEOUT_SECONDS - 0.5)
    async with took(0.2, 0.5):
        await server.ending.end_tasks(tasks)
    assert server.flusher.is_ending
    assert all(task.done() for task in tasks)


async def test_tasks_that_end_are_not_cancelled_twice() -> None:
    cancelled = 0

    async def say_goodbye() -> None:
        nonlocal cancelled
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            cancelled += 1
            await asyncio.sleep(0.1)

    task = asyncio.create_task(say_goodbye())
    await asyncio.sleep(0)
    await end_tasks([task], 1.0)
    assert cancelled == 1 and not task.cancelled()


async def test_the_spooler_is_told_whether_sessions_have_yet_to_hand_over() -> None:
    server = Server()
    assert server.spooler is not None
    server.listener.has_ended.clear()
    assert await server.ending.keep_rest()
    assert server.spooler.more_came == [True]


@pytest.mark.parametrize("lost", ["a session's", "the ring's"])
async def test_without_a_spool_what_does_not_come_again_is_lost_and_said_to_be(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lost: str
) -> None:
    monkeypatch.setattr(stopping, "SESSIONS_END_SECONDS", 0.05)
    server = Server(has_spool=False)
    assert await server.ending.keep_rest()
    if lost == "the ring's":
        server.ring.is_unclaimed = True
    else:
        server.listener.has_ended.clear()
    assert not await server.ending.keep_rest()
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
