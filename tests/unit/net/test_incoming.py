"""A message on its way: what is left of it when its rows are in the ring."""

import asyncio
import gc
from collections.abc import Iterator
from weakref import WeakMethod

import pytest

from penstock.model import SourceId
from penstock.net.incoming import Incoming, Origin
from penstock.settings import WireLimits
from penstock.wire.messages import MessageReader
from tests import msgpack_bytes as m
from tests.unit.net.test_session import Server, message, packed


@pytest.fixture
def no_collector() -> Iterator[None]:
    """A server's collector comes seldom (app.py): nothing may be left to it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> int:
    return sum(isinstance(each, Incoming) for each in gc.get_objects())


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("chunk", [None, "c"])
def test_nothing_of_a_message_but_its_rows_waits_for_the_commit(
    chunk: str | None,
) -> None:
    async def scenario() -> None:
        server = Server()
        first, again = server.connect(), server.connect()
        before = alive()
        for n in range(20):
            await first.send(message(n, chunk and f"{chunk}{n}"))
            await again.send(message(n, chunk and f"{chunk}{n}"))  # a twin, if named
        assert alive() == before, "they wait in the ring"
        server.commit_all()
        assert alive() == before
        assert len(first.acks) == len(again.acks) == (20 if chunk else 0)

    asyncio.run(scenario())


class Sender:
    def told(self) -> None:
        """Be told that a message is settled."""


def hand_over(server: Server, data: bytes, tags: tuple[str, ...]) -> Incoming:
    """Take one message of a sender that may send these tags to the ring."""
    reader = MessageReader(WireLimits())
    reader.receive_data(data)
    whole = reader.next_message()
    assert whole is not None
    sender = Sender()
    origin = Origin(SourceId(1), "192.0.2.7", 0.0, WeakMethod(sender.told), tags)
    incoming = Incoming(server.intake, whole, origin)
    while not incoming.is_whole:
        incoming.hand_over_part()
    incoming.seal()
    return incoming


@pytest.mark.parametrize("tags", [(), ("app",), ("other", "a*")])
def test_what_has_a_tag_that_the_sender_may_send_is_stored(
    tags: tuple[str, ...],
) -> None:
    server = Server()
    hand_over(server, message(1), tags)
    server.commit_all()
    assert server.numbers() == [1]


def test_what_has_another_tag_is_rejected_event_by_event_and_acked() -> None:
    server = Server()
    data = packed([{"n": n} for n in range(3)], "c", tag="root")
    incoming = hand_over(server, data, ("app.*",))
    batch = server.take()
    (segment,) = batch.segments
    assert segment.encoded.rows == 0
    assert [event.reason for event in segment.encoded.rejected] == [
        *["tag_not_allowed"] * 3
    ]
    raw = b"".join(event.raw for event in segment.encoded.rejected)
    assert raw in data and m.pack({"n": 2}) in raw
    server.commit(batch)
    assert incoming.delivery.is_settled
    rejected = "penstock_rejected_events_total"
    assert server.metric(rejected, reason="tag_not_allowed") == 3
    assert server.books.received == 3


def test_each_part_knows_what_was_rejected_of_its_message_before_it() -> None:
    server = Server()
    hand_over(server, m.pack(["app", m.entry(5) * 10_000]), ())
    batch = server.ring.take(max_bytes=1 << 30)
    assert batch is not None
    assert len(batch.segments) > 2
    before = 0
    for segment in batch.segments:
        assert segment.rejected_before == before
        before += len(segment.encoded.rejected)
    assert before == 10_000
