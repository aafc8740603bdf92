"""What all workers listen on: bound by the parent, given to each worker.

It owns the sockets. On Linux each worker has one of its own for each address, by
SO_REUSEPORT, and the system spreads connections over them; elsewhere, and for Unix
sockets and heartbeats by UDP, all workers take from one. The parent keeps them all:
what waits in the backlog of a worker that has fallen is taken by its successor.

SO_REUSEPORT would let in a second Penstock of the same user, which would get some of
the connections: so each place is bound and listened on for itself first, as a single
process does, and from then on a socket that shares it with nobody's probe is kept.
"""

import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from penstock.accepting import Addresses, bind_all, close_all
from penstock.errors import PenstockError, UnavailableError
from penstock.net.listener import matched
from penstock.net.places import (
    ListenedOn,
    Place,
    Spec,
    cannot_listen,
    resolve,
    specs_of,
)
from penstock.settings import ListenSettings

# socket(7): connections are spread over the sockets since Linux 3.9. The BSDs, macOS
# among them, take such sockets too, but give all connections to one of them.
SPREADS = sys.platform == "linux"
_numbers = count(1)


class Door:
    """One place, with the sockets of all workers."""

    def __init__(self, spec: Spec, addresses: Addresses, *, is_ours: bool) -> None:
        """Bind.

        Args:
            spec: what is asked for.
            addresses: what that is, to be bound.
            is_ours: another door has the port, and will be closed.

        Raises:
            UnavailableError: the address is taken, not ours, or not allowed.
        """
        self.number = next(_numbers)
        self.spec = spec
        self._of_worker: dict[int, list[socket.socket]] = {}
        self._guard: list[socket.socket] = []
        self._heartbeats: list[socket.socket] = []
        self._is_spread = SPREADS and not spec.path
        self._place: Place | None = None
        if self._is_spread and is_ours:
            self._share(addresses)
            return
        self._place = place = Place(spec, addresses)
        self._heartbeats = place.heartbeats
        if self._is_spread:
            bound = place.addresses
            place.close()
            self._share(bound)

    @property
    def told(self) -> ListenedOn:
        """Return what is listened on."""
        if self._guard:
            return ListenedOn(self.spec.host, self._guard[0].getsockname()[1])
        assert self._place is not None
        return self._place.told

    def sockets(self, worker: int) -> tuple[list[socket.socket], list[socket.socket]]:
        """Return what a worker listens on, and answers heartbeats on.

        Raises:
            UnavailableError: it cannot be bound again.
        """
        if not self._is_spread:
            assert self._place is not None
            return self._place.sockets, self._heartbeats
        if worker not in self._of_worker:
            self._of_worker[worker] = self._bind(_addresses(self._guard))
        return self._of_worker[worker], self._heartbeats

    def turn_away(self, worker: int) -> None:
        """Let no connection wait for a worker that may not come back soon."""
        close_all(self._of_worker.pop(worker, []))

    def change(self, spec: Spec) -> None:
        """Be what else is asked for of this place. Raises UnavailableError."""
        if self._is_spread:
            self._change_heartbeats(spec)
        else:
            assert self._place is not None
            self._place.change(spec)
            close_all(self._place.drop_heartbeats())
            self._heartbeats = self._place.heartbeats
        self.spec = spec

    def close(self) -> None:
        """Let go of it: workers that have it go on; a Unix socket's path is removed."""
        for sockets in self._of_worker.values():
            close_all(sockets)
        self._of_worker.clear()
        close_all((*self._guard, *self._heartbeats))
        self._guard, self._heartbeats = [], []
        if self._place is not None:
            self._place.close()

    def _share(self, addresses: Addresses) -> None:
        self._guard = self._bind(addresses)
        for each in self._guard:
            # Whoever binds the port for himself is refused from now on, also while no
            # worker listens.
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        self._heartbeats = []
        self._change_heartbeats(self.spec)

    def _change_heartbeats(self, spec: Spec) -> None:
        if spec.has_heartbeats and not self._heartbeats:
            bound = _addresses(self._guard)
            self._heartbeats = self._bind(bound, socket.SOCK_DGRAM)
        elif not spec.has_heartbeats:
            close_all(self._heartbeats)
            self._heartbeats = []

    def _bind(
        self, addresses: Addresses, kind: socket.SocketKind = socket.SOCK_STREAM
    ) -> list[socket.socket]:
        try:
            return bind_all(addresses, kind, is_shared=True)
        except OSError as error:
            raise cannot_listen(error, self.spec) from error


@dataclass
class Change:
    """What a reload makes of the doors, until it is in force or taken back."""

    doors: list[Door]
    opened: list[Door] = field(default_factory=list)
    dropped: list[Door] = field(default_factory=list)
    changed: list[tuple[Door, Spec]] = field(default_factory=list)


class Doors:
    """All places, in the order of the settings."""

    def __init__(self) -> None:
        self.all: list[Door] = []

    @property
    def listening(self) -> tuple[ListenedOn, ...]:
        """Return what is listened on, the address of `host` and `port` first."""
        return tuple(each.told for each in self.all)

    async def prepare(self, listen: ListenSettings) -> Change:
        """Bind what is new; what is old is there until `commit`.

        Raises:
            UnavailableError: a place is not to be had; all is as it was.
        """
        specs = list(specs_of(listen))
        addresses = [await resolve(each) for each in specs]
        kept, dropped = matched(specs, self.all)
        change = Change([], dropped=dropped)
        try:
            for number, spec in enumerate(specs):
                if number in kept:
                    door = kept[number]
                    change.changed.append((door, door.spec))
                    door.change(spec)
                else:
                    ports = {each.told.port for each in dropped}
                    is_ours = bool(spec.port) and spec.port in ports
                    door = Door(spec, addresses[number], is_ours=is_ours)
                    change.opened.append(door)
                change.doors.append(door)
        except PenstockError:
            self.take_back(change)
            raise
        return change

    def commit(self, change: Change) -> None:
        """Have the new places, and let go of the old ones."""
        for door in change.dropped:
            door.close()
        self.all = change.doors

    def take_back(self, change: Change) -> None:
        """Have the places as they were."""
        for door in change.opened:
            door.close()
        for door, before in change.changed:
            try:
                door.change(before)
            except UnavailableError:  # its heartbeats; somebody else has them by now
                continue

    def turn_away(self, worker: int) -> None:
        """Let no connection wait for a worker that may not come back soon."""
        for each in self.all:
            each.turn_away(worker)

    def close(self) -> None:
        """Let go of all."""
        for each in self.all:
            each.close()
        self.all = []


def _addresses(bound: Sequence[socket.socket]) -> Addresses:
    return [(each.family, each.getsockname()) for each in bound]
