"""The listening side, with real sockets on loopback: places, limits, reloads, the stop.

What sessions hand over is committed as `test_session` does it.
"""

import asyncio
import resource
import socket
import stat
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock import accepting
from penstock.errors import PenstockError, UnavailableError
from penstock.net import connections as connections_module
from penstock.net import listener as listener_module
from penstock.net.entering import Entrant, OpenDoorway
from penstock.net.listener import ForwardListener, MakeDoorway
from penstock.settings import Listener, ListenSettings, PeerLimits
from tests.ports import free_port
from tests.unit.net.test_session import LOOPS, Server, message

# Nothing waits so long unless something is wrong.
PATIENCE_SECONDS = 30.0
HERE = "127.0.0.1"
OFF = "off"


@pytest.fixture(params=list(LOOPS))
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    debug = request.param == "asyncio"
    with asyncio.Runner(debug=debug, loop_factory=LOOPS[request.param]) as runner:
        yield runner


def anywhere(**more: Any) -> ListenSettings:
    return ListenSettings(host=HERE, port=0, **more)


async def until(condition: Callable[[], Any]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        await asyncio.sleep(0.005)


class Listening:
    """A server that listens."""

    def __init__(
        self, settings: ListenSettings, limits: PeerLimits, make: MakeDoorway
    ) -> None:
        self.server = Server()
        self.settings, self.limits, self.make = settings, limits, make
        self.now = 0.0  # besides the time that passes
        intake = replace(
            self.server.intake,
            peers=limits,
            clock=lambda: self.now + time.monotonic(),
        )
        self.listener = ForwardListener(settings, intake, make_doorway=make)

    @property
    def port(self) -> int:
        return self.listener.port

    async def reload(self, settings: ListenSettings, **more: Any) -> None:
        await self.listener.reload(
            settings,
            more.get("limits", self.limits),
            more.get("make", self.make),
        )

    def refused(self, reason: str) -> float:
        return self.server.metric("penstock_connections_refused_total", reason=reason)

    def connections(self) -> float:
        return self.server.metric("penstock_connections")

    async def stored(self, *numbers: int) -> None:
        """Wait until these are committed."""

        def are_stored() -> bool:
            self.server.commit_all()
            return sorted(self.server.numbers()) == sorted(numbers)

        await until(are_stored)


@asynccontextmanager
async def listening(
    settings: ListenSettings | None = None,
    limits: PeerLimits | None = None,
    make: MakeDoorway = lambda _: OpenDoorway(),
) -> AsyncIterator[Listening]:
    it = Listening(settings or anywhere(), limits or PeerLimits(), make)
    await it.listener.start()
    try:
        yield it
    finally:
        await it.listener.stop_accepting()
        it.listener.abort()
        it.server.commit_all()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await it.listener.ended()


class Sender:
    """One connection to the server."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def rest(self) -> bytes:
        """Return all that comes until the connection is closed."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    def close(self) -> None:
        self.writer.close()


@asynccontextmanager
async def sender(port: int, host: str = HERE, **more: Any) -> AsyncIterator[Sender]:
    it = Sender(*await asyncio.open_connection(host, port, **more))
    try:
        yield it
    finally:
        it.close()


@asynccontextmanager
async def unix_sender(path: Path) -> AsyncIterator[Sender]:
    it = Sender(*await asyncio.open_unix_connection(path))
    try:
        yield it
    finally:
        it.close()


# --- places


def test_several_places_are_listened_on_at_once(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    path = tmp_path / "sock"
    more = (Listener(host="127.0.0.2", port=0), Listener(path=str(path)))

    async def scenario() -> None:
        async with listening(anywhere(listeners=more)) as it:
            first, second, third = it.listener.listening
            assert (first.host, second.host, third.path) == (
                HERE,
                "127.0.0.2",
                str(path),
            )
            for n, place in enumerate((first, second)):
                async with sender(place.port, place.host) as client:
                    await client.send(message(n))
            async with unix_sender(path) as client:
                await client.send(message(2))
            await it.stored(0, 1, 2)
            senders = [each.delivery.sender for each in it.server.committed]
            assert sorted(senders) == [HERE, HERE, "unix"]

    runner.run(scenario())


def test_all_addresses_of_a_name_are_listened_on_with_one_port(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        async with listening(ListenSettings(host="localhost", port=0)) as it:
            found = socket.getaddrinfo("localhost", it.port, type=socket.SOCK_STREAM)
            for n, (_, _, _, _, address) in enumerate(found):
                async with sender(it.port, str(address[0])) as client:
                    await client.send(message(n))
                await it.stored(*range(n + 1))

    runner.run(scenario())


def test_an_address_that_is_taken_is_refused_with_one_line(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        async with listening() as it:
            settings = ListenSettings(host=HERE, port=it.port)
            with pytest.raises(UnavailableError, match=f"{HERE}:{it.port} is in use"):
                async with listening(settings):
                    pass

    runner.run(scenario())


def test_a_taken_address_of_the_list_is_named_as_it_is_set(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        async with listening() as it:
            taken = anywhere(listeners=(Listener(host=HERE, port=it.port),))
            with pytest.raises(UnavailableError, match=r"`port` of listeners\[0\]$"):
                async with listening(taken):
                    pass

    runner.run(scenario())


# --- Unix sockets


def at(path: Path, mode: str = "0660") -> ListenSettings:
    return anywhere(listeners=(Listener(path=str(path), mode=mode),))


def test_a_unix_socket_has_its_mode_and_goes_at_the_stop(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    path = tmp_path / "sock"

    async def scenario() -> None:
        async with listening(at(path, "0600")) as it:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            await it.reload(at(path, "0666"))
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
        assert not path.exists()

    runner.run(scenario())


def test_a_stale_unix_socket_makes_way_and_nothing_else_does(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    path = tmp_path / "sock"

    async def scenario() -> None:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        async with listening(at(path)):
            with pytest.raises(UnavailableError, match="sock is in use"):
                async with listening(at(path)):
                    pass
            assert path.exists(), "it is another's"
        path.write_text("precious")
        with pytest.raises(UnavailableError, match="no socket"):
            async with listening(at(path)):
                pass
        assert path.read_text() == "precious"
        with pytest.raises(UnavailableError, match="cannot listen on"):
            async with listening(at(tmp_path / "missing" / "sock")):
                pass

    runner.run(scenario())


def test_a_unix_socket_that_is_anothers_by_now_is_left_at_the_stop(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    path = tmp_path / "sock"

    async def scenario() -> None:
        async with listening(at(path)):
            path.unlink()
            async with listening(at(path)):
                pass
            path.write_text("another's")
        assert path.read_text() == "another's"

    runner.run(scenario())


# --- limits


def test_connections_are_counted_when_they_open_and_when_they_end(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        async with listening() as it:
            async with sender(it.port), sender(it.port):
                await until(lambda: it.connections() == 2)
            await until(lambda: it.connections() == 0)
            assert it.server.metric("penstock_connections_accepted_total") == 2

    runner.run(scenario())


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (PeerLimits(max_connections=2), "max_connections"),
        (PeerLimits(max_connections_per_address=2), "max_connections_per_address"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_a_connection_past_a_limit_is_closed_without_a_byte_and_counted(
    runner: asyncio.Runner,
    limits: PeerLimits,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with listening(limits=limits) as it:
            async with sender(it.port) as kept, sender(it.port):
                await until(lambda: it.connections() == 2)
                for count in range(1, 4):
                    async with sender(it.port) as refused:
                        assert await refused.rest() == b""
                    assert it.refused(reason) == count
                await kept.send(message(1))
                await it.stored(1)
            await until(lambda: it.connections() == 0)
            async with sender(it.port) as welcome:
                await welcome.send(message(2))
                await it.stored(1, 2)

    runner.run(scenario())
    said = [each for each in caplog.records if "has met a limit" in each.message]
    assert len(said) == 1, "not a line for each"


def test_another_address_is_let_in_though_one_has_all_it_may(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        async with listening(limits=PeerLimits(max_connections_per_address=1)) as it:
            async with (
                sender(it.port),
                sender(it.port, local_addr=("127.0.0.3", 0)) as other,
            ):
                await other.send(message(1))
                await it.stored(1)

    runner.run(scenario())


def test_all_addresses_of_one_host_count_as_one(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host has 2**64 of IPv6, and loopback has one: what it is seen as is made up."""
    addresses = iter(["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"])
    monkeypatch.setattr(
        connections_module, "_address_of", lambda accepted, address: next(addresses)
    )

    async def scenario() -> None:
        async with listening(limits=PeerLimits(max_connections_per_address=1)) as it:
            async with sender(it.port):
                await until(lambda: it.connections() == 1)
                async with sender(it.port) as refused:
                    assert await refused.rest() == b""
                assert it.refused("max_connections_per_address") == 1
                async with sender(it.port) as other:
                    await other.send(message(1))
                    await it.stored(1)

    runner.run(scenario())


def test_unix_sockets_have_no_limit_of_one_address(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    path = tmp_path / "sock"

    async def scenario() -> None:
        limits = PeerLimits(max_connections_per_address=1)
        async with listening(at(path), limits) as it:
            async with unix_sender(path), unix_sender(path) as second:
                await second.send(message(1))
                await it.stored(1)

    runner.run(scenario())


def test_files_are_a_limit_too(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Half of them are for the rest of the process.
    monkeypatch.setattr(listener_module, "raise_open_files", lambda: 4)

    async def scenario() -> None:
        async with listening() as it:
            async with sender(it.port) as kept, sender(it.port):
                await until(lambda: it.connections() == 2)
                async with sender(it.port) as refused:
                    assert await refused.rest() == b""
                assert it.refused("open_files") == 1
                await kept.send(message(1))
                await it.stored(1)

    runner.run(scenario())


def test_a_sender_that_was_gone_before_it_was_accepted_has_its_address(
    runner: asyncio.Runner,
) -> None:
    """A resend of its chunk, over another connection, is known by it."""

    async def scenario() -> None:
        async with listening() as it:
            with socket.socket() as gone:
                gone.bind(("127.0.0.4", 0))
                gone.connect((HERE, it.port))
                gone.sendall(message(1, "c"))
                linger = struct.pack("ii", 1, 0)
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            accepted = "penstock_connections_accepted_total"
            await until(lambda: it.server.metric(accepted) == 1)
            await until(lambda: it.connections() == 0)
            async with sender(it.port, local_addr=("127.0.0.4", 0)) as again:
                await again.send(message(1, "c"))
                await it.stored(1)
            senders = {each.delivery.sender for each in it.server.committed}
            assert senders == {"127.0.0.4"}

    runner.run(scenario())


# --- stages


class Stage(asyncio.Protocol):
    """Lets a connection in after its first byte, which is not the session's."""

    def __init__(self, entrant: Entrant, log: list[str]) -> None:
        self.entrant = entrant
        self.log = log
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        session = self.entrant.begin(replace(self.entrant.peer, user="ann"))
        transport, self.transport = self.transport, None
        transport.set_protocol(session)
        session.connection_made(transport)
        if data[1:]:
            session.data_received(data[1:])

    def connection_lost(self, exc: Exception | None) -> None:
        self.log.append("lost")
        self.entrant.lost(self)


class StageDoorway:
    def __init__(self) -> None:
        self.log: list[str] = []

    def open(self, entrant: Entrant) -> asyncio.Protocol:
        return Stage(entrant, self.log)


class ShutDoorway:
    def open(self, entrant: Entrant) -> None:
        return None


def test_a_stage_stands_before_the_session_and_knows_the_peer_better(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        doorway = StageDoorway()
        async with listening(make=lambda _: doorway) as it:
            async with sender(it.port) as client, sender(it.port) as other:
                await client.send(b"!" + message(1, "c"))
                await client.send(message(2))
                await other.send(b"!")
                await it.stored(1, 2)
                assert it.server.committed[0].delivery.sender == f"user:ann@{HERE}"
                assert it.connections() == 2
            await until(lambda: it.connections() == 0)
            assert doorway.log == [], "it was not their stage any more"
            async with sender(it.port):
                await until(lambda: it.connections() == 1)
            await until(lambda: doorway.log == ["lost"])
            assert it.connections() == 0

    runner.run(scenario())


def test_a_doorway_may_refuse(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        async with listening(make=lambda _: ShutDoorway()) as it:
            async with sender(it.port) as client:
                assert await client.rest() == b""
            assert it.connections() == 0

    runner.run(scenario())


def test_who_does_not_come_in_in_time_is_closed_and_who_is_silent_inside_is_not(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        doorway = StageDoorway()
        limits = PeerLimits(handshake_seconds=5)
        async with listening(limits=limits, make=lambda _: doorway) as it:
            async with sender(it.port) as inside, sender(it.port) as slow:
                await inside.send(b"!" + message(1))
                await it.stored(1)
                await until(lambda: it.connections() == 2)
                it.now += 5.5
                await it.listener.look(1.0)
                assert await slow.rest() == b""
                it.now += 100_000
                await it.listener.look(1.0)
                assert it.refused("handshake_timeout") == 1
                await inside.send(message(2))
                await it.stored(1, 2)

    runner.run(scenario())


# --- a stop


def test_a_stop_lets_in_who_has_written_and_gone(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        doorway = StageDoorway()
        async with listening(make=lambda _: doorway) as it:
            async with sender(it.port) as early:
                await until(lambda: it.connections() == 1)
                for n in range(3):
                    with socket.create_connection((HERE, it.port)) as gone:
                        gone.sendall(b"!" + message(n))
                early.writer.write(b"!" + message(3))
                await it.listener.stop_accepting()
                await it.listener.read_last(PATIENCE_SECONDS)
                assert it.listener.unread_senders == 0
                it.server.commit_all()
                await it.stored(0, 1, 2, 3)

    runner.run(scenario())


def test_a_stop_does_not_wait_for_who_says_nothing_on_the_way_in(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        doorway = StageDoorway()
        async with listening(make=lambda _: doorway) as it:
            async with sender(it.port) as silent:
                await until(lambda: it.connections() == 1)
                began = time.monotonic()
                await it.listener.stop_accepting()
                await it.listener.read_last(PATIENCE_SECONDS)
                await it.listener.ended()
                assert time.monotonic() - began < PATIENCE_SECONDS / 2
                assert await silent.rest() == b""
                assert it.listener.unread_senders == 0

    runner.run(scenario())


# --- reloads


def test_a_reload_keeps_connections_and_the_places_that_stay(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    path = tmp_path / "sock"

    async def scenario() -> None:
        async with listening(at(path)) as it:
            before = it.listener.listening
            async with sender(it.port) as old, unix_sender(path) as gone:
                await old.send(message(1))
                await gone.send(message(2))
                await it.stored(1, 2)
                again = Listener(host="127.0.0.2", port=0)
                await it.reload(anywhere(listeners=(again,)))
                first, second = it.listener.listening
                assert first == before[0]
                assert not path.exists()
                await old.send(message(3))
                await gone.send(message(4))
                async with sender(second.port, second.host) as new:
                    await new.send(message(5))
                    await it.stored(1, 2, 3, 4, 5)

    runner.run(scenario())


def test_a_reload_that_cannot_be_leaves_all_as_it_was(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    kept, new = tmp_path / "kept", tmp_path / "new"

    async def scenario() -> None:
        async with listening() as other, listening(at(kept)) as it:
            before = it.listener.listening
            bad = Listener(host=HERE, port=other.port)
            with pytest.raises(PenstockError):
                await it.reload(
                    anywhere(listeners=(Listener(path=str(new)), bad)),
                    make=lambda _: ShutDoorway(),
                )
            assert it.listener.listening == before
            assert not new.exists() and kept.exists()
            async with sender(it.port) as first, unix_sender(kept) as second:
                await first.send(message(1))
                await second.send(message(2))
                await it.stored(1, 2)

    runner.run(scenario())


def test_an_address_can_become_a_wider_one_on_the_same_port(
    runner: asyncio.Runner,
) -> None:
    port = free_port()

    async def scenario() -> None:
        async with listening(ListenSettings(host=HERE, port=port)) as it:
            async with sender(port) as old:
                await it.reload(ListenSettings(host="0.0.0.0", port=port))
                async with sender(port, "127.0.0.2") as new:
                    await old.send(message(1))
                    await new.send(message(2))
                    await it.stored(1, 2)
                with socket.create_server(("127.0.0.2", 0)) as other:
                    taken = Listener(host="127.0.0.2", port=other.getsockname()[1])
                    narrow = ListenSettings(host=HERE, port=port, listeners=(taken,))
                    with pytest.raises(UnavailableError):
                        await it.reload(narrow)
                async with sender(port, "127.0.0.2") as new:
                    await new.send(message(3))
                    await it.stored(1, 2, 3)

    runner.run(scenario())


def test_limits_and_doorways_of_a_reload_hold_for_new_connections(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        async with listening() as it:
            async with sender(it.port) as old:
                await old.send(message(1))
                await it.stored(1)
                await it.reload(it.settings, limits=PeerLimits(max_connections=1))
                async with sender(it.port) as new:
                    assert await new.rest() == b""
                assert it.refused("max_connections") == 1
                await it.reload(it.settings, make=lambda _: ShutDoorway())
                async with sender(it.port) as new:
                    assert await new.rest() == b""
                await old.send(message(2))
                await it.stored(1, 2)

    runner.run(scenario())


# --- files


def test_without_files_no_connection_is_lost_and_accepting_goes_on(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "EXHAUSTED_SECONDS", 0.05)
    monkeypatch.setattr(listener_module, "raise_open_files", lambda: 1 << 20)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def scenario() -> None:
        async with listening() as it:
            with socket.socket() as client:
                client.setblocking(False)
                client.connect_ex((HERE, it.port))
                resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno(), hard))
                try:
                    await until(lambda: it.refused("open_files") >= 2)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                await until(lambda: it.connections() == 1)
                client.sendall(message(1))
                await it.stored(1)

    runner.run(scenario())
