"""The link between the parent and a worker: messages, and sockets beside them.

It owns how they are framed on a Unix socket: two lengths, the message; file descriptors
travel with its first bytes (unix(7), SCM_RIGHTS). It must not know what they say.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

_HEAD = struct.Struct("=II")  # bytes of the message, file descriptors beside it
_READ_BYTES = 65_536
# Linux takes 253 at once, and some at least with each byte.
_MOST_FILES = 64


class Received(NamedTuple):
    """A message, and the file descriptors beside it, which are the receiver's now."""

    body: bytes
    files: list[int]


class Channel:
    """One end of the link."""

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._files: list[int] = []
        self._sending = asyncio.Lock()

    async def send(self, body: bytes, files: Sequence[int] = ()) -> None:
        """Send a message.

        Raises:
            OSError: the other end is gone.
        """
        async with self._sending:
            data = memoryview(_HEAD.pack(len(body), len(files)) + body)
            left = list(files)
            while data:
                block = left[:_MOST_FILES]
                # Each block needs a byte to go with, and the rest one more.
                piece = data[:1] if len(left) > _MOST_FILES else data
                try:
                    if block:
                        sent = socket.send_fds(self._link, [piece], block)
                    else:
                        sent = self._link.send(piece)
                except (BlockingIOError, InterruptedError):
                    await self._until_writable()
                    continue
                data, left = data[sent:], left[len(block) :]

    async def receive(self) -> Received | None:
        """Wait for a message; None when the other end is gone."""
        while (found := self._whole()) is None:
            try:
                data, files, _, _ = socket.recv_fds(
                    self._link, _READ_BYTES, 4 * _MOST_FILES
                )
            except (BlockingIOError, InterruptedError):
                await self._until_readable()
                continue
            except OSError:
                return None
            for each in files:
                os.set_inheritable(each, False)
            self._files += files
            if not data:
                return None
            self._received += data
        return found

    def close(self) -> None:
        """Close this end, with what has come and nobody has read."""
        if self._link.fileno() < 0:
            return
        for each in self._files:
            with suppress(OSError):
                os.close(each)
        self._files.clear()
        self._loop.remove_reader(self._link)
        self._loop.remove_writer(self._link)
        self._link.close()

    def _whole(self) -> Received | None:
        if len(self._received) < _HEAD.size:
            return None
        length, count = _HEAD.unpack_from(self._received)
        end = _HEAD.size + length
        if len(self._received) < end:
            return None
        body = bytes(self._received[_HEAD.size : end])
        files, self._files = self._files[:count], self._files[count:]
        del self._received[:end]
        return Received(body, files)

    async def _until_readable(self) -> None:
        ready = self._loop.create_future()
        self._loop.add_reader(self._link, _set, ready)
        try:
            await ready
        finally:
            self._loop.remove_reader(self._link)

    async def _until_writable(self) -> None:
        ready = self._loop.create_future()
        self._loop.add_writer(self._link, _set, ready)
        try:
            await ready
        finally:
            self._loop.remove_writer(self._link)


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
