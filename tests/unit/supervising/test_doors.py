"""One port for all workers, and for nobody else."""

import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.accepting import close_all, listen_all
from penstock.errors import UnavailableError
from penstock.net.given import Given, GivenPlaces
from penstock.net.places import OwnPlaces, Place, specs_of
from penstock.settings import Listener, ListenSettings
from penstock.supervising.doors import Doors

LOOPBACK = "127.0.0.1"
ANY_PORT = ListenSettings(host=LOOPBACK, port=0)
spreads = pytest.mark.skipif(
    sys.platform != "linux", reason="all workers take from one socket here"
)


@pytest.fixture
async def doors() -> AsyncIterator[Doors]:
    doors = Doors()
    yield doors
    doors.close()


async def open_doors(doors: Doors, listen: ListenSettings) -> int:
    """Have the doors be these; return the port of the first."""
    doors.commit(await doors.prepare(listen))
    return doors.listening[0].port


def connects(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection((LOOPBACK, port)):
        return True
    return False


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def second(listen: ListenSettings) -> None:
    """Be another Penstock of one worker, on the same places."""
    places = OwnPlaces()
    for spec in specs_of(listen):
        place: Place = places.open(spec, await places.resolve(spec))
        place.close()


@pytest.mark.parametrize("heartbeats", ["on", "off"])
async def test_a_second_penstock_is_refused_also_while_no_worker_listens(
    doors: Doors, heartbeats: str
) -> None:
    port = await open_doors(doors, replace(ANY_PORT, heartbeats=heartbeats))
    same = ListenSettings(host=LOOPBACK, port=port, heartbeats=heartbeats)
    words = f"{LOOPBACK}:{port} is in use; stop what listens there"
    with pytest.raises(UnavailableError, match=words):
        await second(same)
    others = Doors()
    with pytest.raises(UnavailableError, match=words):
        await others.prepare(same)
    for worker in range(2):
        listen_all(doors.all[0].sockets(worker)[0])
    with pytest.raises(UnavailableError, match=words):
        await others.prepare(same)
    with pytest.raises(UnavailableError, match=words):
        await second(same)
    doors.close()
    await second(same)


@spreads
async def test_connections_are_spread_over_the_workers(doors: Doors) -> None:
    port = await open_doors(doors, ANY_PORT)
    own = [doors.all[0].sockets(worker)[0] for worker in range(2)]
    for each in own:
        listen_all(each)
    taken = [0, 0]
    links = [socket.create_connection((LOOPBACK, port)) for _ in range(64)]
    for number, (listening,) in enumerate(own):
        with suppress(BlockingIOError):
            while True:
                link, _ = listening.accept()
                links.append(link)
                taken[number] += 1
    close_all(links)
    assert sum(taken) == 64
    assert min(taken) > 0


@spreads
async def test_what_waits_for_a_worker_that_has_fallen_is_taken_by_the_next(
    doors: Doors, stack: ExitStack
) -> None:
    port = await open_doors(doors, ANY_PORT)
    fallen = [each.dup() for each in doors.all[0].sockets(0)[0]]
    listen_all(fallen)
    link = stack.enter_context(socket.create_connection((LOOPBACK, port)))
    close_all(fallen)
    (listening,) = doors.all[0].sockets(0)[0]
    accepted, address = listening.accept()
    with closing(accepted):
        assert address == link.getsockname()


@spreads
async def test_nobody_waits_for_a_worker_that_does_not_come_back(doors: Doors) -> None:
    port = await open_doors(doors, ANY_PORT)
    for worker in range(2):
        listen_all(doors.all[0].sockets(worker)[0])
    doors.turn_away(0)
    links = [socket.create_connection((LOOPBACK, port)) for _ in range(32)]
    (listening,) = doors.all[0].sockets(1)[0]
    links += [listening.accept()[0] for _ in range(32)]
    close_all(links)
    doors.turn_away(1)
    assert not connects(port)
    listen_all(doors.all[0].sockets(0)[0])
    assert connects(port)


async def test_a_reload_opens_what_is_new_and_closes_what_is_gone(
    doors: Doors, tmp_path: Path
) -> None:
    port = await open_doors(doors, ANY_PORT)
    first = doors.all[0]
    path = str(tmp_path / "socket")
    more = (Listener(path=path), Listener(host=LOOPBACK, port=0))
    await open_doors(doors, replace(ANY_PORT, listeners=more))
    assert doors.all[0] is first
    assert [each.path for each in doors.listening] == ["", path, ""]
    assert Path(path).exists()
    assert await open_doors(doors, ANY_PORT) == port
    assert not Path(path).exists()
    assert doors.all == [first]


@spreads
async def test_a_reload_may_take_another_address_on_the_same_port(
    doors: Doors,
) -> None:
    port = await open_doors(doors, replace(ANY_PORT, host="0.0.0.0"))
    await open_doors(doors, ListenSettings(host=LOOPBACK, port=port))
    assert doors.listening[0][:2] == (LOOPBACK, port)
    listen_all(doors.all[0].sockets(0)[0])
    assert connects(port)


async def test_a_reload_that_cannot_be_leaves_all_as_it_was(
    doors: Doors, stack: ExitStack
) -> None:
    port = await open_doors(doors, ANY_PORT)
    before = list(doors.all)
    taken = stack.enter_context(socket.socket())
    taken.bind((LOOPBACK, 0))
    taken.listen()
    listeners = (
        Listener(host=LOOPBACK, port=0),
        Listener(host=LOOPBACK, port=taken.getsockname()[1]),
    )
    changed = ListenSettings(
        host=LOOPBACK, port=0, heartbeats="off", listeners=listeners
    )
    with pytest.raises(UnavailableError, match="is in use"):
        await doors.prepare(changed)
    assert doors.all == before
    assert doors.listening[0].port == port
    assert doors.all[0].sockets(0)[1], "heartbeats are answered as before"


async def test_a_worker_listens_on_what_it_is_given_and_no_more(doors: Doors) -> None:
    port = await open_doors(
        doors, replace(ANY_PORT, listeners=(Listener(host=LOOPBACK, port=0),))
    )
    given = [
        Given(
            door.number,
            door.spec.key,
            [each.dup() for each in door.sockets(0)[0]],
            [each.dup() for each in door.sockets(0)[1]],
        )
        for door in doors.all
    ]
    places = GivenPlaces()
    places.give(given)
    (first,) = specs_of(ANY_PORT)
    place = places.open(first, await places.resolve(first))
    other = places.open(first, [])
    assert place.told.port == port == doors.listening[0].port
    assert other.told.port == doors.listening[1].port
    with pytest.raises(UnavailableError, match="no socket was given"):
        places.open(first, [])
    assert len(place.heartbeats) == 1
    for each in (place, other):
        each.close()
    places.close_unused()
    # It is the doors' still.
    assert connects(port)
