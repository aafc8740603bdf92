"""Workers that hang, or do not start: the others go on, and none is given up."""

import asyncio
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock.settings import (
    ListenSettings,
    ProcessSettings,
    SecuritySettings,
    Settings,
)
from penstock.stopping import Stop
from penstock.supervising import workers as workers_module
from penstock.supervising.workers import Workers
from penstock.telemetry.workers import MetricsOfAll
from tests.integration.conftest import (
    PATIENCE_SECONDS,
    POLL_SECONDS,
    Database,
    Sender,
    numbers_in,
)

COUNT = 2


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE_SECONDS / POLL_SECONDS)):
        if condition():
            return
        await asyncio.sleep(POLL_SECONDS)
    raise TimeoutError


def ends(metrics: MetricsOfAll, how: str) -> float:
    name = "penstock_worker_ends_total"
    return metrics.registry.get_sample_value(name, {"how": how}) or 0.0


@asynccontextmanager
async def running(
    database: Database, metrics: MetricsOfAll, spool_dir: Path
) -> AsyncIterator[Workers]:
    settings = Settings(
        database_url=database.url,
        listen=ListenSettings(port=0),
        process=ProcessSettings(workers=COUNT, log_level="error"),
    )
    workers = Workers(settings, metrics, spool_dir, COUNT)
    await workers.prepare()
    await workers.listen()
    try:
        async with asyncio.TaskGroup() as tasks:
            workers.begin(tasks)
            yield workers
            stop = Stop(PATIENCE_SECONDS)
            stop.ask()
            assert await workers.end(stop, ())
    finally:
        await workers.close()


def send(port: int, number: int) -> None:
    """Send an event and have its ack, whichever worker it is."""
    with Sender(port) as sender:
        sender.send(range(number, number + 1), f"c{number}")
        assert sender.acks(1) == [f"c{number}"]


async def test_a_worker_that_hangs_is_ended_and_started_again(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "MOST_SILENT_LOOKS", 2)
    monkeypatch.setattr(workers_module, "ABORT_LOOKS", 0)
    metrics = MetricsOfAll()
    async with running(database, metrics, tmp_path / "spool") as workers:
        hanging = workers._lives[1]
        os.kill(hanging.pid, signal.SIGSTOP)
        await until(lambda: ends(metrics, "silent") == 1)
        await until(lambda: workers.unready_reasons() == [])
        assert workers._lives[1].pid != hanging.pid


async def test_while_a_worker_does_not_start_the_others_have_its_connections(
    database: Database, tmp_path: Path
) -> None:
    spool_dir, metrics = tmp_path / "spool", MetricsOfAll()
    async with running(database, metrics, spool_dir) as workers:
        port = workers.listening[0].port
        own = spool_dir / "worker-1"
        own.rename(tmp_path / "kept")
        own.write_text("no directory")
        os.kill(workers._lives[1].pid, signal.SIGKILL)
        listens = workers._doors.all[0]._of_worker
        await until(lambda: ends(metrics, "signal") == 1 and 1 not in listens)
        assert workers.unready_reasons() == ["worker 1 does not run"]
        for number in range(8):
            await asyncio.to_thread(send, port, number)
        own.unlink()
        await until(lambda: workers.unready_reasons() == [])
    assert numbers_in(database) == list(range(8))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


async def test_a_worker_for_which_there_are_no_files_is_started_when_there_are(
    database: Database, tmp_path: Path
) -> None:
    metrics = MetricsOfAll()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with running(database, metrics, tmp_path / "spool") as workers:
        os.kill(workers._lives[1].pid, signal.SIGKILL)
        # As where others on the machine have taken what there is: files, processes.
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            await until(lambda: ends(metrics, "signal") == 1)
            for _ in range(3):  # looks at the worker that is left
                await workers.refresh()
            assert workers.is_alive
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await until(lambda: workers.unready_reasons() == [])
    assert ends(metrics, "signal") == 1


async def test_a_reload_reaches_a_worker_that_is_just_starting(
    database: Database, tmp_path: Path
) -> None:
    metrics = MetricsOfAll()
    async with running(database, metrics, tmp_path / "spool") as workers:
        fallen = workers._lives[1]
        os.kill(fallen.pid, signal.SIGKILL)
        await until(lambda: workers._lives.get(1, fallen) is not fallen)
        starting = workers._lives[1]
        os.kill(starting.pid, signal.SIGSTOP)
        try:
            other = Settings(
                database_url=database.url,
                listen=ListenSettings(port=0),
                process=ProcessSettings(workers=COUNT, log_level="error"),
                security=SecuritySettings(shared_key="new"),
            )
            await workers.apply(other)
            assert not starting.is_ready
        finally:
            os.kill(starting.pid, signal.SIGCONT)
        await until(lambda: workers.unready_reasons() == [])
        port = workers.listening[0].port
        for _ in range(16):
            assert await asyncio.to_thread(speaks_first, port), "it asks for no key"


def speaks_first(port: int) -> bool:
    """Tell whether a server says HELO, as one does that asks for a key."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as link:
        return b"HELO" in link.recv(100)
