"""Places whose sockets somebody else has bound: a worker's, which its parent gives it.

It owns what of them is used. They are the parent's too: what waits in their backlogs
outlives the worker, and a Unix socket's path is not removed here.
"""

import socket
from typing import NamedTuple

from penstock.accepting import Addresses, close_all, listen_all
from penstock.errors import UnavailableError
from penstock.net.places import Place, Spec, cannot_listen


class Given(NamedTuple):
    """The sockets of one place; `number` is the place's own over all reloads."""

    number: int
    key: tuple[str, int, str]
    sockets: list[socket.socket]
    heartbeats: list[socket.socket]


class GivenPlaces:
    """What was given, until it is asked for."""

    def __init__(self) -> None:
        self._given: dict[int, Given] = {}
        self._in_use: set[int] = set()

    def give(self, given: list[Given]) -> None:
        """Take the sockets of all places, of those too that are in use already."""
        self._given = {each.number: each for each in given}

    def close_unused(self) -> None:
        """Close what nobody has asked for."""
        for each in self._given.values():
            close_all((*each.sockets, *each.heartbeats))
        self._given.clear()

    async def resolve(self, spec: Spec) -> Addresses:
        """Return nothing: all is bound."""
        return []

    def open(self, spec: Spec, addresses: Addresses) -> Place:
        """Listen on a place that was given.

        Raises:
            UnavailableError: none was; a bug of the parent.
        """
        for number, each in self._given.items():
            if each.key == spec.key and number not in self._in_use:
                place = GivenPlace(spec, each, self)
                each.sockets.clear()
                self._in_use.add(number)
                return place
        raise UnavailableError(f"no socket was given for {spec.host}:{spec.port}")

    def take_heartbeats(self, number: int) -> list[socket.socket]:
        """Return the sockets of a place's heartbeats."""
        if number not in self._given:
            return []
        taken = list(self._given[number].heartbeats)
        self._given[number].heartbeats.clear()
        return taken

    def left(self, number: int) -> None:
        """Be told that a place is not listened on any more."""
        self._in_use.discard(number)


class GivenPlace(Place):
    """A place whose sockets were bound by another process."""

    def __init__(self, spec: Spec, given: Given, places: GivenPlaces) -> None:
        """Listen. Raises UnavailableError."""
        self._given_by, self._number = places, given.number
        self._given_sockets = list(given.sockets)
        super().__init__(spec, [])

    def change(self, spec: Spec) -> None:
        """Be what else is asked for of this place."""
        if spec.has_heartbeats and not self.heartbeats:
            self.heartbeats = self._given_by.take_heartbeats(self._number)
        self.spec = spec

    def close(self) -> None:
        """Listen no more; others do."""
        super().close()
        self._given_by.left(self._number)

    def _listen_on(self, addresses: Addresses) -> None:
        try:
            # Again on a socket that listens already is allowed, and changes nothing.
            listen_all(self._given_sockets)
        except OSError as error:
            raise cannot_listen(error, self.spec) from error
        self.sockets, self._given_sockets = self._given_sockets, []
        if self.spec.has_heartbeats:
            self.heartbeats = self._given_by.take_heartbeats(self._number)

    def _listen_on_path(self) -> None:
        self._listen_on([])
