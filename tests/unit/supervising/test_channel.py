"""Messages come whole and in order, with the sockets that belong to each."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from penstock.settings import Settings, User
from penstock.settings.receive import SecuritySettings
from penstock.supervising.channel import Channel
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
    Stop,
    encode,
    packed_settings,
    read_by_parent,
    read_by_worker,
    unpacked_settings,
)
from penstock.telemetry.metrics import Metrics
from penstock.telemetry.workers import families_of

Ends = tuple[Channel, Channel]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    one, other = map(Channel, socket.socketpair())
    yield one, other
    one.close()
    other.close()


def new_file() -> int:
    reading, writing = os.pipe()
    os.close(writing)
    return reading


def inode(file: int) -> int:
    return os.fstat(file).st_ino


async def test_messages_of_any_size_come_whole_and_in_order(ends: Ends) -> None:
    one, other = ends
    bodies = [b"", b"a", os.urandom(3_000_000), b"b" * 70_000, b"c"]

    async def send_all() -> None:
        for body in bodies:
            await one.send(body)

    sending = asyncio.create_task(send_all())
    found = [await other.receive() for _ in bodies]
    await sending
    assert [each.body for each in found if each is not None] == bodies


@pytest.mark.parametrize("count", [1, 64, 65, 300])
async def test_each_message_comes_with_its_own_files(ends: Ends, count: int) -> None:
    one, other = ends
    files = [new_file() for _ in range(count)]
    last = new_file()

    async def send_all() -> None:
        await one.send(b"before")
        await one.send(b"x" * 1_000, files)
        await one.send(b"behind", [last])

    sending = asyncio.create_task(send_all())
    found = [await other.receive() for _ in range(3)]
    await sending
    inodes = [[inode(file) for file in each.files] for each in found if each]
    assert inodes == [[], [inode(file) for file in files], [inode(last)]]
    for file in (
        *files,
        last,
        *(file for each in found if each for file in each.files),
    ):
        os.close(file)


async def test_the_other_ends_end_is_heard_behind_its_last_message(ends: Ends) -> None:
    one, other = ends
    await one.send(b"last")
    one.close()
    found = await other.receive()
    assert found is not None and found.body == b"last"
    assert await other.receive() is None
    with pytest.raises(OSError):
        await other.send(b"nobody reads it")


async def test_files_that_nobody_has_received_are_closed(ends: Ends) -> None:
    one, other = ends
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with suppress(TimeoutError):
        # Of a message that does not come to its end.
        socket.send_fds(one._link, [b"\x10\0\0\0\1\0\0\0half"], [writing])
        os.close(writing)
        await asyncio.wait_for(other.receive(), 0.05)
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)
    other.close()
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_what_is_said_is_what_is_heard() -> None:
    settings = Settings(
        database_url="postgresql://a:b@c/d",
        security=SecuritySettings(users=(User(name="web", password="hush"),)),
    )
    packed = packed_settings(settings)
    assert unpacked_settings(packed) == settings
    places = [GivenPlace(1, ("127.0.0.1", 0, ""), 2, 1)]
    for to_worker in (
        Begin(0, 2, packed, "/spool", places, [Look(7, b"wanted")]),
        *(Look(8, b"wanted"), LookNoMore(8)),
        Reload(packed, places),
        *(Ask(), Stop(), Hurry()),
    ):
        assert read_by_worker(encode(to_worker)) == to_worker
    report = Report(families_of(Metrics()), ["not accepting senders"], False)
    for to_parent in (
        *(Ready(), Failed(3, ("a", "b")), Reloaded(()), report),
        Ended(True, report),
        Looking(8),
        Seen(8, [SeenItem(1, b"{}", None), SeenItem(3, b"", "busy")]),
    ):
        assert read_by_parent(encode(to_parent)) == to_parent
