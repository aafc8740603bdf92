"""A reload that comes to no end costs itself, and neither the next one nor the stop."""

import asyncio
import itertools
import logging
import threading

import pytest
from prometheus_client import CollectorRegistry

from penstock import reloading
from penstock.reloading import Reloading
from penstock.settings import Settings
from penstock.telemetry.reload import ReloadMetrics


def test_files_that_hang_keep_neither_the_next_reload_nor_the_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reloading, "LOAD_SECONDS", 0.05)
    settings = Settings(database_url="postgresql://u@h/d")
    loop: asyncio.AbstractEventLoop
    loads = itertools.count()
    hangs = threading.Event()
    begun, applied = asyncio.Event(), asyncio.Event()

    def load() -> Settings:
        if next(loads) == 0:
            loop.call_soon_threadsafe(begun.set)
            hangs.wait()  # as open(2) of a file on a network that is away
        return settings

    async def apply(settings: Settings) -> None:
        applied.set()

    async def scenario() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        metrics = ReloadMetrics(CollectorRegistry())
        reloads = Reloading(settings, load, apply, metrics, None)
        running = asyncio.create_task(reloads.run())
        reloads.hung_up()
        await begun.wait()
        reloads.hung_up()
        await applied.wait()
        running.cancel()

    with caplog.at_level(logging.INFO):
        asyncio.run(scenario())  # which ends although the thread does not
    assert "is refused" in caplog.records[0].message
    hangs.set()
