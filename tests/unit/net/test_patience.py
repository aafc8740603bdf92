"""No ack comes so late that its sender takes it for another's (design, promise 1).

What each client does when an ack does not come is in the protocol facts, 3.2; the
clock is the test's.
"""

import asyncio
import math
from typing import NamedTuple

import pytest

from penstock.net import listener
from penstock.net.arrivals import TOGETHER_SECONDS
from penstock.net.session import LATE_ACK_SECONDS
from tests.unit.net.test_session import Peer, Server, message

# When the client has waited long enough it ...
WAITS_ON = "waits on"
CLOSES = "closes the connection, and sends again over another"
KNOWS_NAMES = "goes on, and knows by its name which chunk an ack is for"
TELLS = "tells the program, which may close the connection"
SHIFTS = "takes a later ack for that of its next chunk, and all after it"


class Client(NamedTuple):
    name: str
    patience_seconds: float
    then: str


CLIENTS = (
    Client("Fluentd out_forward", 190.0, SHIFTS),
    Client("Fluentd 0.12", 190.0, SHIFTS),
    Client("Fluent Bit out_forward", math.inf, WAITS_ON),
    Client("fluent-logger-golang, Docker", math.inf, WAITS_ON),
    Client("Docker 29, fluentd-read-timeout 10s", 10.0, CLOSES),
    Client("fluent-logger (Node.js)", 190.0, SHIFTS),
    Client("@fluent-org/logger (Node.js)", 0.5, KNOWS_NAMES),
    Client("Fluent::Logger (Perl)", 3.0, CLOSES),
    Client("fluency (Java)", 5.0, CLOSES),
    Client("fluent-forward-go", 60.0, TELLS),
)
STEP_SECONDS = 0.5


class Conversation:
    """A client sends a chunk, and PostgreSQL commits it in its time."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.server = Server()
        self.peer: Peer = self.server.connect()

    async def wait(self, seconds: float, *, is_watched: bool) -> None:
        """Let so much time pass; where nobody watches, the process stands still."""
        sent = self.server.now
        gives_up = sent + self.client.patience_seconds
        while self.server.now < sent + seconds:
            before = self.server.now
            self.server.now += STEP_SECONDS
            if self.client.then == CLOSES and before < gives_up <= self.server.now:
                await self.peer.lose()
            if is_watched:
                self.peer.session.close_if_late()


@pytest.mark.parametrize("is_watched", [True, False], ids=["watched", "stood still"])
@pytest.mark.parametrize("seconds", [1, 4, 61, 149, 151, 189, 191, 1000])
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_an_ack_is_in_time_or_the_connection_is_closed_instead(
    client: Client, seconds: int, is_watched: bool
) -> None:
    async def scenario() -> None:
        told = Conversation(client)
        await told.peer.send(message(1, "c1"))
        await told.wait(seconds, is_watched=is_watched)
        told.server.commit_all()
        has_given_up = client.then == CLOSES and seconds >= client.patience_seconds
        if has_given_up or seconds > LATE_ACK_SECONDS:
            assert told.peer.acked() == []
            assert told.peer.transport.closed, "so that it does not wait on"
        else:
            assert told.peer.acked() == ["c1"]
        if client.then == SHIFTS and seconds >= client.patience_seconds:
            assert told.peer.acked() == []
        assert told.server.numbers() == [1], "what was received is stored all the same"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "client",
    [each for each in CLIENTS if each.then == SHIFTS],
    ids=lambda client: client.name,
)
def test_who_would_be_one_ack_behind_waits_longer_than_a_late_ack_can_take(
    client: Client,
) -> None:
    """Between two looks, and with times rounded down, it is a little later."""
    latest = LATE_ACK_SECONDS + listener.LOOK_SECONDS + TOGETHER_SECONDS
    assert latest < client.patience_seconds - 30, "and the network takes some"


def test_a_late_ack_takes_none_with_it_that_is_in_time_on_another_connection() -> None:
    async def scenario() -> None:
        server = Server()
        early, late = server.connect(), server.connect()
        await late.send(message(1, "late"))
        server.now += LATE_ACK_SECONDS
        await early.send(message(2, "early"))
        server.now += 1
        server.commit_all()
        assert (late.acked(), early.acked()) == ([], ["early"])

    asyncio.run(scenario())


def test_of_pipelined_chunks_none_is_acked_when_the_first_is_late() -> None:
    """Perl's client takes acks in the order it has sent, whatever they say."""

    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(message(1, "c1"))
        server.now += LATE_ACK_SECONDS - 10
        await peer.send(message(2, "c2"))
        server.now += 11
        server.commit_all()
        assert peer.acked() == []
        assert peer.transport.aborted
        assert server.metric("penstock_late_ack_closes_total") == 1

    asyncio.run(scenario())
