"""Heartbeats by UDP: one byte for any datagram, and nothing to use against others."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from penstock.net import heartbeats as heartbeats_module
from penstock.net.heartbeats import ANSWERS_A_SOURCE, Heartbeats
from penstock.settings import Listener
from tests.unit.net.test_listener import Listening, anywhere, listening, until
from tests.unit.net.test_session import LOOPS

HERE = "127.0.0.1"
# For what must not come. Nothing is waited for: an answer on loopback is there before.
SILENCE_SECONDS = 0.05


@pytest.fixture(params=list(LOOPS))
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield runner


class Client:
    def __init__(self, own: socket.socket) -> None:
        self.own = own

    def send(self, data: bytes, to: Any) -> None:
        self.own.sendto(data, to)

    async def answer(self) -> tuple[bytes, Any]:
        answers: list[tuple[bytes, Any]] = []

        def has_answer() -> bool:
            with suppress(BlockingIOError):
                answers.append(self.own.recvfrom(100))
            return bool(answers)

        await until(has_answer)
        return answers[0]

    async def is_answered(self) -> bool:
        await asyncio.sleep(SILENCE_SECONDS)
        try:
            self.own.recv(100)
        except BlockingIOError:
            return False
        return True


@asynccontextmanager
async def client(
    address: str = HERE, port: int = 0, family: int = socket.AF_INET
) -> AsyncIterator[Client]:
    with socket.socket(family, socket.SOCK_DGRAM) as own:
        own.setblocking(False)
        own.bind((address, port))
        yield Client(own)


@pytest.mark.parametrize(
    "data", [b"\0", b"", b"x" * 1400], ids=["B03", "B04-empty", "long"]
)
def test_any_datagram_is_answered_by_one_byte_from_where_it_was_sent_to(
    runner: asyncio.Runner, data: bytes
) -> None:
    async def scenario() -> None:
        async with listening(anywhere()) as it, client() as sender:
            sender.send(data, (HERE, it.port))
            assert await sender.answer() == (b"\0", (HERE, it.port))
            assert it.server.metric("penstock_heartbeats_total") == 1
            assert not await sender.is_answered(), "one answer"

    runner.run(scenario())


def test_an_answer_comes_from_the_address_that_was_asked_of_many(
    runner: asyncio.Runner,
) -> None:
    more = (Listener(host="0.0.0.0", port=0),)

    async def scenario() -> None:
        async with listening(anywhere(listeners=more)) as it, client() as sender:
            port = it.listener.listening[1].port
            for address in ("127.0.0.1", "127.0.0.9"):
                sender.send(b"\0", (address, port))
                assert await sender.answer() == (b"\0", (address, port))

    runner.run(scenario())


def test_heartbeats_can_be_off_and_are_switched_by_a_reload(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        async with listening(anywhere(heartbeats="off")) as it, client() as sender:
            sender.send(b"\0", (HERE, it.port))
            assert not await sender.is_answered()
            await it.reload(anywhere(heartbeats="on"))
            sender.send(b"\0", (HERE, it.port))
            await sender.answer()
            await it.reload(anywhere(heartbeats="off"))
            sender.send(b"\0", (HERE, it.port))
            assert not await sender.is_answered()

    runner.run(scenario())


def test_our_own_ports_and_those_of_servers_are_not_answered(
    runner: asyncio.Runner,
) -> None:
    """A forged sender would make two of ours answer each other, or hit a server."""
    more = (Listener(host="127.0.0.2", port=0),)

    async def scenario() -> None:
        async with listening(anywhere(listeners=more)) as it:
            ports = [each.port for each in it.listener.listening]
            async with client("127.0.0.7", ports[1]) as forged:
                forged.send(b"\0", (HERE, ports[0]))
                assert not await forged.is_answered()
            assert it.server.metric("penstock_heartbeats_total") == 0

    runner.run(scenario())
    answering = Heartbeats(lambda: None)
    assert not answering._may_answer(("192.0.2.1", 53))
    assert answering._may_answer(("192.0.2.1", 1024))


def most_answers(*servers: Listening) -> float:
    name = "penstock_heartbeats_total"
    return max(each.server.metric(name) for each in servers)


def test_two_servers_do_not_answer_each_other_without_end(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        async with listening(anywhere()) as one, listening(anywhere()) as two:
            # As somebody would who forges the sender: a first answer, to the other.
            place = two.listener._places[0]
            place.heartbeats[0].sendto(b"\0", (HERE, one.port))
            before, answers = -1.0, 0.0
            while before < answers:  # until it has come to its end
                await asyncio.sleep(SILENCE_SECONDS)
                before, answers = answers, most_answers(one, two)
            assert 0 < answers <= ANSWERS_A_SOURCE

    runner.run(scenario())


def test_a_flood_is_answered_in_part_and_the_rest_is_dropped(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats_module, "DATAGRAMS_A_SECOND", 20)
    now = 5.0

    async def scenario() -> None:
        nonlocal now
        answered = 0

        def count() -> None:
            nonlocal answered
            answered += 1

        answering = Heartbeats(count, clock=lambda: now)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
            bound.setblocking(False)
            bound.bind((HERE, 0))
            answering.add(bound)
            async with client() as one, client() as two:
                for _ in range(30):
                    one.send(b"", bound.getsockname())
                for _ in range(30):
                    two.send(b"", bound.getsockname())
                await until(lambda: answered >= ANSWERS_A_SOURCE)
                await asyncio.sleep(SILENCE_SECONDS)
                assert answered == ANSWERS_A_SOURCE, "20 were looked at"
            answering.remove(bound)
            now += 1.0
            answering._go_on()

    runner.run(scenario())


def test_a_port_that_is_taken_for_udp_is_a_clear_error(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        # An address of its own: on HERE another test's TCP may have the same number.
        async with client("127.0.0.3") as other:
            here, port = other.own.getsockname()
            from penstock.errors import UnavailableError
            from penstock.settings import ListenSettings

            with pytest.raises(
                UnavailableError, match=f"UDP on {here}:{port}: it is in"
            ):
                async with listening(ListenSettings(host=here, port=port)):
                    pass
            settings = ListenSettings(host=here, port=port, heartbeats="off")
            async with listening(settings) as it:
                assert it.port == port

    runner.run(scenario())
