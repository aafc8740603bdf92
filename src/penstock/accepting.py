"""Listening sockets, and the loop that takes connections from them.

It owns that the backlog is emptied a bounded number at a time, and that running out of
files or memory is survived: asyncio's own servers log without end then, uvloop's close
themselves. It must not know what is spoken, nor decide who is taken: it calls back.
"""

import asyncio
import errno
import ipaddress
import resource
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

# Connections that may wait to be accepted: a fleet of senders that reconnects at
# once, after a restart, is not to be refused.
BACKLOG = 1024
# Connections taken in one round of the loop: a fleet is in soon, and what others have
# sent does not wait for longer than some milliseconds.
ACCEPTS_A_ROUND = 64
# Without files there is nothing to do but to wait until some are closed.
EXHAUSTED_SECONDS = 1.0
# accept(2): the process's files, the system's files, its memory for sockets.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# A name may have addresses of a family that this machine does not speak.
_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
# On one port for all addresses of a name: the system's choice for the first may be
# taken on the next.
PORT_TRIES = 8
# No more files than this are asked for: Linux's own bound (fs.nr_open).
MAX_OPEN_FILES = 1_048_576

# Of a socket: host and port, with IPv6 its flow and scope too.
Address = tuple[Any, ...]
Addresses = list[tuple[socket.AddressFamily, Address]]
# Makes the protocol of an accepted connection, whose peer's address is the second; None
# closes it. Must not raise but for a bug.
Open = Callable[[socket.socket, Any], asyncio.BaseProtocol | None]


async def addresses_of(host: str, port: int) -> Addresses:
    """Return what is to be bound for a host, all of its addresses.

    Raises:
        OSError: there is none.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return list({(family, address): None for family, *_, address in found})


def addresses_now(host: str, port: int = 0) -> Addresses | None:
    """Return what would be bound for a host; None if there is no such host.

    It blocks until the name is looked up.
    """
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):  # the latter: no name can be like that
        return None
    return list({(family, address): None for family, *_, address in found})


def is_reachable(addresses: Addresses) -> bool:
    """Tell whether others than this machine can connect to one of the addresses."""
    return not all(
        ipaddress.ip_address(host.partition("%")[0]).is_loopback
        for _, (host, *_) in addresses
    )


def bind_all(
    addresses: Addresses,
    kind: socket.SocketKind = socket.SOCK_STREAM,
    *,
    is_shared: bool = False,
) -> list[socket.socket]:
    """Bind all addresses that this machine has, on one port.

    Others of the same user who say that it `is_shared` may bind them too (socket(7),
    SO_REUSEPORT), and nobody else.

    Raises:
        OSError: one is taken or not allowed, or none is ours.
    """
    is_free_choice = all(address[1] == 0 for _, address in addresses)
    for _ in range(PORT_TRIES if is_free_choice and len(addresses) > 1 else 1):
        try:
            return _bind_once(addresses, kind, is_shared)
        except OSError as error:
            failure = error
            if error.errno != errno.EADDRINUSE:
                break
    raise failure


def _bind_once(
    addresses: Addresses, kind: socket.SocketKind, is_shared: bool
) -> list[socket.socket]:
    bound: list[socket.socket] = []
    failure: OSError | None = None
    try:
        for family, (host, port, *scope) in addresses:
            if bound and port == 0:
                port = bound[0].getsockname()[1]
            try:
                where = (host, port, *scope)
                bound.append(_bind(family, kind, where, is_shared))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                failure = error
        if failure is not None and not bound:
            raise failure
    except OSError:
        close_all(bound)
        raise
    return bound


def _bind(
    family: socket.AddressFamily,
    kind: socket.SocketKind,
    address: Address,
    is_shared: bool,
) -> socket.socket:
    bound = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            # A restart need not wait for connections of the last life.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # As asyncio has it: `::` is IPv6 alone, 0.0.0.0 has a socket of its own.
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.setblocking(False)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def listen_all(bound: Iterable[socket.socket]) -> None:
    """Let peers connect. Raises OSError as listen(2) does."""
    for each in bound:
        each.listen(BACKLOG)


def close_all(sockets: Iterable[socket.socket]) -> None:
    """Close them."""
    for each in sockets:
        each.close()


def raise_open_files() -> int:
    """Let the process open as many files as it may; return how many that are.

    getrlimit(2): the soft limit is often 1,024 only for the sake of select(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else hard
    wanted = min(wanted, MAX_OPEN_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MAX_OPEN_FILES if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):  # macOS takes less than it says
        return soft
    return wanted


class AcceptLoop:
    """Takes connections from listening sockets.

    `exhausted` is called with the error each time that there are no files, or no
    memory, for a connection; a second later it is tried again.
    """

    def __init__(self, exhausted: Callable[[OSError], None]) -> None:
        self._exhausted = exhausted
        self._loop = asyncio.get_running_loop()
        self._opens: dict[socket.socket, Open] = {}
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._opening: set[asyncio.Task[None]] = set()

    def add(self, listening: socket.socket, open_connection: Open) -> None:
        """Take connections from this socket; if it is known, open them so from now."""
        is_new = listening not in self._opens
        self._opens[listening] = open_connection
        if is_new:
            self._loop.add_reader(listening, self._take_some, listening)

    def remove(self, listening: socket.socket) -> None:
        """Take what waits in its backlog, then no more; closing it is the caller's."""
        if listening not in self._opens:
            return
        self.drain(listening)
        del self._opens[listening]
        if (pause := self._pauses.pop(listening, None)) is not None:
            pause.cancel()
        else:
            self._loop.remove_reader(listening)

    def drain(self, listening: socket.socket) -> int:
        """Take all that waits in the backlog; return how many these are."""
        taken = 0
        while (count := self._take(listening, BACKLOG)) and taken < 2 * BACKLOG:
            taken += count
        return taken

    async def opened(self) -> None:
        """Wait until what was taken has its protocol connected."""
        if self._opening:
            await asyncio.wait(self._opening)

    def _take_some(self, listening: socket.socket) -> None:
        self._take(listening, ACCEPTS_A_ROUND)

    def _take(self, listening: socket.socket, most: int) -> int:
        for count in range(most):
            try:
                accepted, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return count
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._exhausted(error)
                    self._pause(listening)
                    return count
                continue  # of that connection, gone before it was taken: accept(2)
            self._open(listening, accepted, address)
        return most

    def _open(
        self, listening: socket.socket, accepted: socket.socket, address: Any
    ) -> None:
        protocol = None
        try:
            accepted.setblocking(False)
            protocol = self._opens[listening](accepted, address)
        finally:
            if protocol is None:
                accepted.close()
        if protocol is not None:
            task = self._loop.create_task(self._connect(accepted, protocol))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect(
        self, accepted: socket.socket, protocol: asyncio.BaseProtocol
    ) -> None:
        is_connected = False
        try:
            with suppress(OSError):  # gone meanwhile
                await self._loop.connect_accepted_socket(lambda: protocol, accepted)
                is_connected = True
        finally:
            if not is_connected:
                accepted.close()
                protocol.connection_lost(None)

    def _pause(self, listening: socket.socket) -> None:
        if listening not in self._pauses:
            self._loop.remove_reader(listening)
            self._pauses[listening] = self._loop.call_later(
                EXHAUSTED_SECONDS, self._resume, listening
            )

    def _resume(self, listening: socket.socket) -> None:
        del self._pauses[listening]
        self._loop.add_reader(listening, self._take_some, listening)
