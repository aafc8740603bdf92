"""The listening side of the forward protocol: its places, and what comes to them.

It owns when each place is listened on: from the start, over reloads, to the stop. How
many connections there may be, what stands before their sessions, and what is read at
the stop it leaves to others.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

from penstock.accepting import AcceptLoop, Addresses, close_all, raise_open_files
from penstock.errors import PenstockError
from penstock.model import Receipt, Submission
from penstock.net.connections import Connections
from penstock.net.entering import Doorway, OpenDoorway
from penstock.net.heartbeats import Heartbeats
from penstock.net.incoming import Intake
from penstock.net.last_words import LastWords
from penstock.net.places import (
    AddressInUseError,
    ListenedOn,
    OwnPlaces,
    Place,
    Places,
    Spec,
    specs_of,
)
from penstock.net.submitting import Submissions
from penstock.settings import Listener, ListenSettings, PeerLimits

# Between two looks at whether connections still come out of the backlog,
# and how often at most: somebody may connect all the time.
ACCEPT_SECONDS = 0.02
ACCEPT_ROUNDS = 25
# How often connections are looked at that are too late, too slow, or too silent.
LOOK_SECONDS = 1.0
# Of the files that the process may open, senders get this part at least.
LEAST_FILES_SHARE = 0.5
# Files that are ours whatever is set: the event loop's, logs, the spool's, a database
# connection for maintenance.
OWN_FILES = 64

# Makes what stands before the sessions of one place.
MakeDoorway = Callable[[ListenSettings | Listener], Doorway]


class Specified(Protocol):
    """What was asked for once."""

    spec: Spec


Known = TypeVar("Known", bound=Specified)


class ForwardListener:
    """Accepts senders on all addresses and Unix sockets.

    `reserved_files` are those that the rest of the process may need at once.
    """

    def __init__(
        self,
        settings: ListenSettings,
        intake: Intake,
        *,
        make_doorway: MakeDoorway = lambda _: OpenDoorway(),
        reserved_files: int = 0,
        places: Places | None = None,
    ) -> None:
        self._settings = settings
        self._make_doorway = make_doorway
        self._reserved_files = reserved_files
        self._connections = Connections(intake, max_files=0)
        self._heartbeats = Heartbeats(intake.metrics.answered_heartbeat)
        self._last_words = LastWords(self._connections)
        self._submissions = Submissions(intake)
        self._opening = OwnPlaces() if places is None else places
        self._places: list[Place] = []
        self._doorways: dict[Place, Doorway] = {}
        self._accepting: AcceptLoop | None = None

    @property
    def is_accepting(self) -> bool:
        """Tell whether senders can connect."""
        return bool(self._places)

    @property
    def listening(self) -> tuple[ListenedOn, ...]:
        """Return what is listened on, the address of `host` and `port` first."""
        return tuple(each.told for each in self._places)

    @property
    def port(self) -> int:
        """Return the port that is listened on, of `host` and `port`."""
        return self._places[0].told.port

    async def start(self) -> None:
        """Listen.

        Raises:
            UnavailableError: an address is taken, not ours, or not allowed.
        """
        self._allow_files()
        self._accepting = AcceptLoop(self._without_files)
        await self._listen_on(list(specs_of(self._settings)), self._make_doorway)

    async def reload(
        self,
        settings: ListenSettings,
        limits: PeerLimits,
        make_doorway: MakeDoorway,
    ) -> None:
        """Be as newly set, without dropping a connection.

        Places that stay are listened on all the while. The limits and doorways hold
        for new connections; those that are there live on.

        Raises:
            UnavailableError: a new place is not to be had; all is as it was.
        """
        await self._listen_on(list(specs_of(settings)), make_doorway)
        self._settings = settings
        connections = self._connections
        connections.intake = replace(connections.intake, peers=limits)
        connections.intake.partials.set_max_bytes(limits.max_partial_bytes)

    async def submit(self, submission: Submission) -> Receipt:
        """Store a message that came by another way; return when it is committed.

        Raises:
            NotTakenError: it is not, or not all of it, as far as is known.
        """
        return await self._submissions.submit(submission)

    async def stop_accepting(self) -> None:
        """Take the connections that were made before, and no new ones."""
        assert self._accepting is not None
        self._submissions.stop()
        sockets = [each for place in self._places for each in place.sockets]
        for _ in range(ACCEPT_ROUNDS):
            if not sum(map(self._accepting.drain, sockets)):
                break
            await asyncio.sleep(ACCEPT_SECONDS)
        for place in self._places:
            self._leave(place)
        self._places.clear()
        self._doorways.clear()
        await self._accepting.opened()

    async def watch(self) -> None:
        """Close, until cancelled, connections that are too late, or too slow."""
        looked_seconds = self._connections.intake.clock()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = self._connections.intake.clock()
            # If we stood still meanwhile it is not the peers who are slow.
            await self.look(min(now - looked_seconds, 2 * LOOK_SECONDS))
            looked_seconds = now

    async def look(self, seconds: float) -> None:
        """Close such connections now; `seconds` have passed since the last look."""
        await self._connections.look(seconds)

    async def read_last(self, timeout_seconds: float) -> None:
        """Read what is still on its way, then no more."""
        await self._last_words.read(timeout_seconds)

    @property
    def unread_senders(self) -> int:
        """Count those of whom not all has been read that they had written.

        At the stop, and of those who do not send it again.
        """
        return self._last_words.unread_senders

    async def ended(self) -> None:
        """Wait until every session has handed over what came, and ended."""
        await self._connections.all_ended()
        await self._submissions.ended()

    def abort(self) -> None:
        """End the connections that have not ended by themselves."""
        self._connections.abort()
        self._submissions.abort()

    def _allow_files(self) -> None:
        files = raise_open_files()
        ours = min(
            OWN_FILES + self._reserved_files, int(files * (1 - LEAST_FILES_SHARE))
        )
        self._connections.max_files = files - ours

    def _without_files(self, error: OSError) -> None:
        self._connections.refuse("open_files")

    # Places.

    async def _listen_on(self, specs: list[Spec], make_doorway: MakeDoorway) -> None:
        """Listen on these places and no others; if one is not to be had, as before."""
        doorways = [make_doorway(each.settings) for each in specs]
        addresses = [await self._opening.resolve(each) for each in specs]
        # From here on nobody else has a turn.
        kept, dropped = matched(specs, self._places)
        opened: dict[int, Place] = {}
        changed: list[tuple[Place, Spec]] = []
        try:
            for number, spec in enumerate(specs):
                if number in kept:
                    changed.append((kept[number], kept[number].spec))
                    kept[number].change(spec)
                else:
                    opened[number] = self._open(spec, addresses[number], dropped)
        except PenstockError:
            for place in opened.values():
                place.close()
            for place, before in changed:
                place.change(before)
                close_all(place.drop_heartbeats())
            self._restore()
            raise
        for place in dropped:
            self._leave(place)
        self._places = [(kept | opened)[number] for number in range(len(specs))]
        for place, doorway in zip(self._places, doorways, strict=True):
            self._enter(place, doorway)

    def _open(self, spec: Spec, addresses: Addresses, dropped: list[Place]) -> Place:
        """Open a place; one that is to be dropped makes way for it if it has to."""
        try:
            return self._opening.open(spec, addresses)
        except AddressInUseError:
            in_the_way = [each for each in dropped if each.told.port == spec.port]
            if spec.path or not in_the_way:
                raise
            for place in in_the_way:
                self._leave(place)
            return self._opening.open(spec, addresses)

    def _restore(self) -> None:
        """Listen again on the places that have made way for nothing."""
        for place in self._places:
            if not place.sockets:
                place.reopen()
                self._enter(place, self._doorways[place])

    def _enter(self, place: Place, doorway: Doorway) -> None:
        """Take connections that come to a place."""
        assert self._accepting is not None
        self._doorways[place] = doorway
        for listening in place.sockets:
            self._accepting.add(listening, partial(self._take, place))
        for dropped in place.drop_heartbeats():
            self._heartbeats.remove(dropped)
            dropped.close()
        for heartbeats in place.heartbeats:
            self._heartbeats.add(heartbeats)

    def _take(
        self, place: Place, accepted: socket.socket, address: Any
    ) -> asyncio.BaseProtocol | None:
        return self._connections.open(accepted, address, self._doorways[place])

    def _leave(self, place: Place) -> None:
        assert self._accepting is not None
        for listening in place.sockets:
            self._accepting.remove(listening)
        for heartbeats in place.heartbeats:
            self._heartbeats.remove(heartbeats)
        place.close()


def matched(
    specs: list[Spec], places: Sequence[Known]
) -> tuple[dict[int, Known], list[Known]]:
    """Return which places stay, by the number of their spec, and which go."""
    left = list(places)
    kept: dict[int, Known] = {}
    for number, spec in enumerate(specs):
        same = next((each for each in left if each.spec.key == spec.key), None)
        if same is not None:
            left.remove(same)
            kept[number] = same
    return kept, left
