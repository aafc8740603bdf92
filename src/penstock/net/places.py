"""The places that are listened on: addresses and Unix sockets.

It owns their sockets: how they are bound, and what is left when they are closed. It
must not know what becomes of a connection.
"""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple, Protocol

from penstock.accepting import (
    BACKLOG,
    PORT_TRIES,
    Addresses,
    addresses_of,
    bind_all,
    close_all,
    listen_all,
)
from penstock.errors import SettingsError, UnavailableError
from penstock.settings import Listener, ListenSettings


class Spec(NamedTuple):
    """What is asked for of one place; `settings` say the rest.

    An address, or the path of a Unix socket.
    """

    host: str
    port: int
    path: str
    mode: str
    has_heartbeats: bool
    settings: ListenSettings | Listener
    # Of a listener of the list: `listeners[0]`.
    name: str = ""

    def how_to_change(self, setting: str) -> str:
        """Return what a setting of this place is called where it is given."""
        return f"`{setting}` of {self.name}" if self.name else f"--{setting}"

    @property
    def key(self) -> tuple[str, int, str]:
        """Return what this place is known by over a reload."""
        return self.host, self.port, self.path


class ListenedOn(NamedTuple):
    """A place that is listened on, as it is told: an address, or a path."""

    host: str
    port: int
    path: str = ""


def specs_of(listen: ListenSettings) -> Iterator[Spec]:
    """Yield the places that are asked for, the one of `host` and `port` first."""
    yield Spec(listen.host, listen.port, "", "", listen.heartbeats == "on", listen)
    for number, each in enumerate(listen.listeners):
        name = f"listeners[{number}]"
        if each.path:
            yield Spec("", 0, each.path, each.mode, False, each, name)
        else:
            has_heartbeats = each.heartbeats == "on"
            yield Spec(each.host, each.port, "", "", has_heartbeats, each, name)


async def resolve(spec: Spec) -> Addresses:
    """Return what is to be bound for a place; nothing for a Unix socket.

    Raises:
        UnavailableError: its host is no name of an address.
    """
    if spec.path:
        return []
    try:
        return await addresses_of(spec.host, spec.port)
    except UnicodeError as error:  # no name can be like that
        raise UnavailableError(
            f"cannot listen on {spec.host}: not a host name"
        ) from error
    except OSError as error:
        raise cannot_listen(error, spec) from error


class Place:
    """One place that is listened on."""

    def __init__(self, spec: Spec, addresses: Addresses) -> None:
        """Bind and listen.

        Raises:
            UnavailableError: the address is taken, not ours, or not allowed.
        """
        self.spec = spec
        self.sockets: list[socket.socket] = []
        self.heartbeats: list[socket.socket] = []
        self._bound: Addresses = []  # when it was closed
        self._inode: tuple[int, int] | None = None
        if spec.path:
            self._listen_on_path()
        else:
            self._listen_on(addresses)

    @property
    def told(self) -> ListenedOn:
        """Return what is listened on."""
        spec = self.spec
        if spec.path:
            return ListenedOn("", 0, spec.path)
        port = self.sockets[0].getsockname()[1] if self.sockets else spec.port
        return ListenedOn(spec.host, port)

    @property
    def addresses(self) -> Addresses:
        """Return what is bound."""
        return [(each.family, each.getsockname()) for each in self.sockets]

    def change(self, spec: Spec) -> None:
        """Be what else is asked for of this place. Raises UnavailableError."""
        if spec.path and spec.mode != self.spec.mode:
            self._set_mode(spec)
        if spec.has_heartbeats and not self.heartbeats:
            self.heartbeats = self._bind_heartbeats(self.addresses)
        self.spec = spec

    def drop_heartbeats(self) -> list[socket.socket]:
        """Return the sockets of heartbeats that are not asked for any more."""
        if self.spec.has_heartbeats:
            return []
        dropped, self.heartbeats = self.heartbeats, []
        return dropped

    def reopen(self) -> None:
        """Listen again on what was listened on. Raises UnavailableError."""
        self._listen_on(self._bound)

    def close(self) -> None:
        """Listen no more; remove the Unix socket, if it is still ours."""
        self._bound = self.addresses
        close_all(self.sockets)
        close_all(self.heartbeats)
        self.sockets, self.heartbeats = [], []
        if self._inode is not None and self._inode == _inode_of(self.spec.path):
            with suppress(OSError):
                os.unlink(self.spec.path)
        self._inode = None

    # An address.

    def _listen_on(self, addresses: Addresses) -> None:
        tries = PORT_TRIES if self.spec.port == 0 else 1
        for left in reversed(range(tries)):
            try:
                self._listen_once(addresses)
                return
            except _HeartbeatPortError:
                if not left:  # the system's choice for TCP may be taken for UDP
                    raise

    def _listen_once(self, addresses: Addresses) -> None:
        try:
            bound = bind_all(addresses)
        except OSError as error:
            raise cannot_listen(error, self.spec) from error
        try:
            names = [(each.family, each.getsockname()) for each in bound]
            if self.spec.has_heartbeats:
                self.heartbeats = self._bind_heartbeats(names)
            listen_all(bound)
        except OSError as error:
            close_all((*bound, *self.heartbeats))
            raise cannot_listen(error, self.spec) from error
        except UnavailableError:
            close_all(bound)
            raise
        self.sockets = bound

    def _bind_heartbeats(self, addresses: Addresses) -> list[socket.socket]:
        try:
            return bind_all(addresses, socket.SOCK_DGRAM)
        except OSError as error:
            port = addresses[0][1][1]
            raise _HeartbeatPortError(
                f"cannot answer heartbeats by UDP on {self.spec.host}:{port}:"
                f" {_reason(error)}; choose another port with"
                f" {self.spec.how_to_change('port')}, or none of them with"
                f" {self.spec.how_to_change('heartbeats')} off"
            ) from error

    # A Unix socket.

    def _listen_on_path(self) -> None:
        path = self.spec.path
        _make_way(path)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            bound.setblocking(False)
            bound.bind(path)
            self._inode = _inode_of(path)
            # Before anybody can connect: until it listens, nobody can.
            self._set_mode(self.spec)
            bound.listen(BACKLOG)
        except OSError as error:
            bound.close()
            self.close()
            raise _cannot_listen_on_path(error, path) from error
        except BaseException:
            bound.close()
            self.close()
            raise
        self.sockets = [bound]

    def _set_mode(self, spec: Spec) -> None:
        try:
            os.chmod(spec.path, int(spec.mode, 8))
        except ValueError as error:
            raise SettingsError(
                f"mode of the Unix socket {spec.path} is {spec.mode}; accepted: as for"
                " chmod, 0600 or 0660"
            ) from error
        except OSError as error:
            raise _cannot_listen_on_path(error, spec.path) from error


class Places(Protocol):
    """Where the places that are asked for come from."""

    async def resolve(self, spec: Spec) -> Addresses:
        """Return what is to be bound. Raises UnavailableError."""

    def open(self, spec: Spec, addresses: Addresses) -> Place:
        """Listen there. Raises UnavailableError."""


class OwnPlaces:
    """Places that this process binds itself."""

    async def resolve(self, spec: Spec) -> Addresses:
        """Return what is to be bound. Raises UnavailableError."""
        return await resolve(spec)

    def open(self, spec: Spec, addresses: Addresses) -> Place:
        """Bind and listen. Raises UnavailableError."""
        return Place(spec, addresses)


class AddressInUseError(UnavailableError):
    """Somebody listens there, which may be we."""


class _HeartbeatPortError(AddressInUseError):
    """The port is to be had by TCP, and not by UDP."""


def _make_way(path: str) -> None:
    """Remove the socket of a server that is gone; nothing else is ever removed.

    Raises:
        UnavailableError: something is there that is no such socket.
    """
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _cannot_listen_on_path(error, path) from error
    if not is_socket:
        raise UnavailableError(
            f"cannot listen on {path}: a file is there that is no socket; choose"
            " another path, or remove it"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with suppress(FileNotFoundError):
                os.unlink(path)
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass  # its backlog is full
        except OSError as error:
            raise _cannot_listen_on_path(error, path) from error
    raise UnavailableError(
        f"{path} is in use; stop what listens there, or choose another path"
    )


def _inode_of(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "it is in use"
    number = error.errno
    return os.strerror(number) if number and number > 0 else str(error)


def _cannot_listen_on_path(error: OSError, path: str) -> UnavailableError:
    return UnavailableError(f"cannot listen on {path}: {_reason(error)}")


def cannot_listen(error: OSError, spec: Spec) -> UnavailableError:
    """Return the one line for a socket that could not be bound."""
    host, where = spec.host, f"{spec.host}:{spec.port}"
    port_flag, host_flag = spec.how_to_change("port"), spec.how_to_change("host")
    match error.errno:
        case errno.EADDRINUSE:
            return AddressInUseError(
                f"{where} is in use; stop what listens there, or choose another"
                f" port with {port_flag}"
            )
        case errno.EACCES:
            return UnavailableError(
                f"no permission to listen on {where}; choose a port of 1024 or"
                f" more with {port_flag}"
            )
        case errno.EADDRNOTAVAIL:
            return UnavailableError(
                f"{host} is no address of this machine; choose one with {host_flag}"
            )
        case number:
            reason = os.strerror(number) if number and number > 0 else str(error)
            return UnavailableError(f"cannot listen on {where}: {reason}")
