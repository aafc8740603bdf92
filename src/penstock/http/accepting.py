"""Listening sockets, and the loop that takes connections from them.

It owns that running out of open files is survived: asyncio's own servers drop the
connection or, with uvloop, close themselves. It must not know what is spoken.
"""

import asyncio
import errno
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterable
from typing import Any

logger = logging.getLogger(__name__)

# Connections that may wait to be accepted: past them the system drops new ones, and
# a probe that meets a flood waits for a second or more.
BACKLOG = 1024
# Connections taken in one round of the loop: whoever floods us is not to keep the
# senders of logs waiting.
ACCEPTS_A_ROUND = 16
# Without files there is nothing to do but to wait until some are closed; those of
# connections that are closed for it are there in the next round of the loop.
WITHOUT_FILES_SECONDS = 0.1
WITH_ROOM_SECONDS = 0.005
_WITHOUT_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# A name may have addresses of a family that this machine does not speak.
_NO_SUCH_FAMILY = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}

# Of a socket: host and port, with IPv6 its flow and scope too.
Address = tuple[Any, ...]
Addresses = list[tuple[socket.AddressFamily, Address]]


async def addresses_of(host: str, port: int) -> Addresses:
    """Return what is to be bound for a host. Raises OSError if there is none."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return list({(family, address): None for family, *_, address in found})


def is_reachable(addresses: Addresses) -> bool:
    """Tell whether others than this machine can connect to one of the addresses."""
    return not all(
        ipaddress.ip_address(host.partition("%")[0]).is_loopback
        for _, (host, *_) in addresses
    )


def listening_sockets(addresses: Addresses) -> list[socket.socket]:
    """Listen on all addresses that this machine has, on one port.

    Raises:
        OSError: one is taken or not allowed, or none is ours.
    """
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, (host, port, *scope) in addresses:
        if sockets and port == 0:
            port = sockets[0].getsockname()[1]
        try:
            sockets.append(_listening_socket(family, (host, port, *scope)))
        except OSError as error:
            failure = error
            if error.errno not in _NO_SUCH_FAMILY:
                break
    if failure is not None and (not sockets or failure.errno not in _NO_SUCH_FAMILY):
        for each in sockets:
            each.close()
        raise failure
    return sockets


def _listening_socket(family: socket.AddressFamily, address: Address) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


class AcceptLoop:
    """Takes connections from listening sockets, until it is closed."""

    def __init__(
        self,
        sockets: Iterable[socket.socket],
        make_protocol: Callable[[], asyncio.Protocol],
        make_room: Callable[[int], bool],
    ) -> None:
        """Begin to.

        Args:
            make_room: is called when no file is left, with how many connections should
                be closed, and tells whether one has been.
        """
        self._sockets = list(sockets)
        self._make_room = make_room
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        for each in self._sockets:
            self._watch(each)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Return what is listened on."""
        return [each.getsockname()[:2] for each in self._sockets]

    async def close(self) -> None:
        """Take no more connections."""
        for pause in self._pauses.values():
            pause.cancel()
        for each in self._sockets:
            self._loop.remove_reader(each)
            each.close()
        self._sockets = []
        if self._opening:
            await asyncio.wait(self._opening)

    def _watch(self, listening: socket.socket) -> None:
        self._pauses.pop(listening, None)
        self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_A_ROUND):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _WITHOUT_FILES:
                    self._wait_for_files(listening, error)
                    return
                continue  # of that connection, gone before it was taken: accept(2)
            accepted.setblocking(False)
            task = self._loop.create_task(self._open(accepted), name="http-accept")
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, accepted)
        except OSError:  # gone meanwhile
            accepted.close()

    def _wait_for_files(self, listening: socket.socket, error: OSError) -> None:
        logger.warning(
            "the HTTP side can take no connection and tries again",
            extra={"error": error.strerror},
        )
        has_room = self._make_room(ACCEPTS_A_ROUND)
        seconds = WITH_ROOM_SECONDS if has_room else WITHOUT_FILES_SECONDS
        self._loop.remove_reader(listening)
        self._pauses[listening] = self._loop.call_later(seconds, self._watch, listening)
