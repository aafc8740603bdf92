"""What systemd is told, over a real datagram socket."""

import asyncio
import contextlib
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import config
from penstock.telemetry.systemd import Systemd
from tests.virtual_time import LOOPS

__all__ = ["LOOPS"]

NOTIFIED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@contextlib.contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    """Be the service manager at this address, as sd_notify(3) writes it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = "\0" + address[1:] if address.startswith("@") else address
        manager.bind(name)
        manager.setblocking(False)
        yield manager


@pytest.fixture(params=["a path", "abstract"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    # Not tmp_path, which is longer than the name of a socket may be on macOS.
    with tempfile.TemporaryDirectory(prefix="penstock-") as directory:
        path = str(Path(directory) / "notify")
        if request.param == "abstract" and not hasattr(socket, "SOCK_CLOEXEC"):
            pytest.skip("abstract sockets are Linux's")
        yield path if request.param == "a path" else f"@{path}"


def heard(manager: socket.socket) -> list[str]:
    """Return the datagrams that have come."""
    messages = []
    with contextlib.suppress(BlockingIOError):
        while True:
            messages.append(manager.recv(4096).decode())
    return messages


def test_it_is_told_of_the_start_and_of_the_stop(address: str) -> None:
    with listening(address) as manager:
        systemd = Systemd(address, None)
        systemd.ready("0 events")
        systemd.stopping("3 events")
        assert heard(manager) == [
            "READY=1\nSTATUS=0 events",
            "STOPPING=1\nSTATUS=3 events",
        ]


async def test_the_watchdog_hears_of_it_twice_in_its_time_while_it_is_alive(
    address: str,
) -> None:
    is_alive = True
    with listening(address) as manager:
        systemd = Systemd(address, 0.1)
        telling = asyncio.create_task(
            systemd.keep_told(is_alive=lambda: is_alive, status=lambda: "well")
        )
        await asyncio.sleep(0.29)
        told = heard(manager)
        assert len(told) == 6
        assert set(told) == {"STATUS=well\nWATCHDOG=1"}
        is_alive = False
        await asyncio.sleep(0.1)
        heard(manager)
        await asyncio.sleep(0.2)
        assert set(heard(manager)) == {"STATUS=well"}
        telling.cancel()


async def test_without_a_watchdog_no_sign_of_life_is_sent(address: str) -> None:
    with listening(address) as manager:
        telling = asyncio.create_task(
            Systemd(address, None).keep_told(
                is_alive=lambda: True, status=lambda: "well"
            )
        )
        await asyncio.sleep(0.05)
        assert heard(manager) == ["STATUS=well"]
        telling.cancel()


async def test_without_systemd_nothing_is_done() -> None:
    systemd = Systemd(None, None)
    systemd.ready("")
    await systemd.keep_told(is_alive=lambda: True, status=lambda: "")
    systemd.stopping("")


def test_a_manager_that_is_gone_is_logged_and_costs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        Systemd("/nowhere/notify", 1.0).ready("")
    (record,) = caplog.records
    assert record.getMessage() == "systemd cannot be told"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (None, None)),
        ({"NOTIFY_SOCKET": ""}, (None, None)),
        ({"NOTIFY_SOCKET": "/run/n"}, ("/run/n", None)),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "30000000"}, ("@n", 30.0)),
        (
            {"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "me"},
            ("@n", 1.5),
        ),
        (
            {"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"},
            ("@n", None),
        ),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "0"}, ("@n", None)),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "soon"}, ("@n", None)),
    ],
)
def test_the_environment_says_where_systemd_is_and_how_long_it_waits(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    expected: tuple[str | None, float | None],
) -> None:
    for name in NOTIFIED:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(os.getpid()) if value == "me" else value)
    assert config.service_manager() == expected
