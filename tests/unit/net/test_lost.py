"""What a lost connection leaves behind: its rows, and nothing else.

A sender that is not acked tries again, each time over a new connection, for as long as
the database is away: what each try left would pile up.
"""

import asyncio
import gc
from collections.abc import Iterator
from weakref import ref

import pytest

from penstock.buffer.acks import AckTracker
from penstock.model import Delivery, SourceId
from penstock.net import inbox
from penstock.net.session import ForwardSession
from penstock.wire.messages import MessageReader
from tests import msgpack_bytes as m
from tests.unit.net.test_session import KIB, Peer, Server, big, message, packed, turns

TRIES = 20
BIG_FRAME_BYTES = 512 * KIB


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """A server's collector comes seldom (app.py): nothing may be left to it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive(*kinds: type) -> int:
    """Count what there is of these; of one session there is one of each."""
    kinds = kinds or (ForwardSession, MessageReader, AckTracker)
    return sum(isinstance(each, kinds) for each in gc.get_objects())


async def lose(server: Server, peer: Peer) -> None:
    await peer.lose(ConnectionResetError())
    assert server.lost == [peer.session]
    server.lost.clear()


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


# --- resends


def test_resends_over_lost_connections_leave_nothing_while_their_chunk_waits(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        await lose(server, await sent(server, message(1, "c")))
        before = alive(), alive(Delivery)
        for _ in range(TRIES):
            await lose(server, await sent(server, message(1, "c")))
        assert (alive(), alive(Delivery)) == before
        last = await sent(server, message(1, "c"))
        server.commit_all()
        assert last.acked() == ["c"]
        assert server.numbers() == [1]

    runner.run(scenario())


def test_a_chunk_whose_rows_wait_does_not_keep_its_lost_connection(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        before = alive()
        for n in range(TRIES):
            await lose(server, await sent(server, message(n, f"c{n}")))
            await lose(server, await sent(server, message(n)))
        assert alive() == before
        server.commit_all()
        assert server.numbers() == [n for n in range(TRIES) for _ in range(2)]
        seconds = "penstock_receive_to_commit_seconds_count"
        assert server.metric(seconds) == 2 * TRIES, "though nobody is told"

    runner.run(scenario())


def test_resends_that_were_not_taken_leave_nothing_while_the_ring_is_full(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = await with_full_ring()
        before = alive(), server.ring.blocked_sources
        for _ in range(TRIES):
            await lose(server, await sent(server, message(1, "c")))
        assert (alive(), server.ring.blocked_sources) == before

    runner.run(scenario())


def test_more_resends_than_may_be_pending_leave_nothing(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "MAX_PENDING_ACKS", 5)

    async def scenario() -> None:
        server = Server()
        await lose(server, await sent(server, message(1, "c")))
        before = alive(), alive(Delivery)
        for _ in range(TRIES):
            await lose(server, await sent(server, message(1, "c") * 12))
        assert (alive(), alive(Delivery)) == before

    runner.run(scenario())


def test_a_connection_that_we_close_is_not_kept_for_its_last_acks_once_it_is_lost(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        peer.session.eof_received()
        assert peer.transport.closed
        await lose(server, peer)
        session = ref(peer.session)
        del peer
        assert session() is None

    runner.run(scenario())


# --- half a message


@pytest.mark.parametrize("chunk", ["c", None])
def test_half_a_message_goes_with_its_connection_while_others_wait_for_the_commit(
    runner: asyncio.Runner, chunk: str | None
) -> None:
    async def scenario() -> None:
        server = Server()
        before = held_bytes()
        peer = await sent(server, message(1, chunk), half_a_frame())
        assert held_bytes() - before > BIG_FRAME_BYTES / 2
        await lose(server, peer)
        del peer
        assert held_bytes() == before
        server.commit_all()
        assert server.numbers() == [1]

    runner.run(scenario())


def test_half_a_message_is_not_kept_for_the_acks_that_a_half_closed_peer_is_owed(
    runner: asyncio.Runner,
) -> None:
    """A peer that has closed its end is seen as gone when an ack is written."""

    async def scenario() -> None:
        server = Server()
        before = held_bytes()
        peer = await sent(server, message(1, "c"), half_a_frame())
        peer.session.eof_received()
        assert held_bytes() == before
        server.commit_all()
        assert peer.acked() == ["c"]
        assert peer.transport.closed

    runner.run(scenario())


def test_half_a_message_of_a_half_closed_peer_does_not_wait_for_room(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * KIB)
        peer = await sent(server, message(1, "c"))
        await fill(server)
        before = held_bytes(), server.ring.blocked_sources
        await peer.send(half_a_frame())
        peer.session.eof_received()
        await turns()
        assert (held_bytes(), server.ring.blocked_sources) == before
        server.commit_all()
        assert peer.acked() == ["c"]
        assert peer.transport.closed

    runner.run(scenario())


def test_what_breaks_the_protocol_is_not_kept_for_the_acks_that_are_owed(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        before = held_bytes()
        peer = await sent(server, message(1, "c"), b"\xc1" * 100_000)
        assert not peer.transport.closed
        assert held_bytes() == before

    runner.run(scenario())


@pytest.mark.parametrize("taken", [b"", packed([{"n": 1}])], ids=["first", "later"])
def test_half_a_message_does_not_wait_for_room_without_its_connection(
    runner: asyncio.Runner, taken: bytes
) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * KIB)
        peer = await sent(server, taken)
        await fill(server)
        before = held_bytes(), server.ring.blocked_sources
        await peer.send(half_a_frame())
        await lose(server, peer)
        del peer
        assert (held_bytes(), server.ring.blocked_sources) == before

    runner.run(scenario())


def test_half_a_message_goes_when_the_whole_ones_before_it_are_taken(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = await with_full_ring()
        before = held_bytes()
        peer = await sent(server, big(7, 40 * KIB) + half_a_frame())
        await peer.lose()
        assert server.lost == [], "it still has something to bring"
        # Room for the one message, and none after it.
        server.commit(server.take(1))
        server.commit(server.take(1))
        await turns()
        assert not server.ring.has_room(SourceId(99))
        assert server.lost == [peer.session]
        server.lost.clear()
        del peer
        assert held_bytes() == before
        server.commit_all()
        assert 7 in server.numbers()

    runner.run(scenario())


def test_what_breaks_the_protocol_does_not_wait_for_room(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = await with_full_ring()
        before = alive(), server.ring.blocked_sources
        peer = await sent(server, b"\xc1")
        assert peer.transport.closed
        await lose(server, peer)
        del peer
        assert (alive(), server.ring.blocked_sources) == before

    runner.run(scenario())


def test_the_rest_of_half_a_message_is_not_taken_for_a_message_after_the_stop(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = await sent(server, message(1, "c"), message(2, "d")[:9])
        peer.session.stop()
        await peer.send(message(2, "d")[9:], message(3, "e"))
        server.commit_all()
        assert server.numbers() == [1]
        assert peer.acked() == ["c"]
        assert peer.transport.closed
        reasons = {"reason": "not_forward"}
        assert server.metric("penstock_protocol_errors_total", **reasons) == 0

    runner.run(scenario())


async def sent(server: Server, *pieces: bytes) -> Peer:
    peer = server.connect()
    await peer.send(*pieces)
    return peer


async def fill(server: Server) -> None:
    for number in range(4):
        await lose(server, await sent(server, big(number, 17 * KIB)))
    assert not server.ring.has_room(SourceId(99))


async def with_full_ring() -> Server:
    server = Server(ring_bytes=64 * KIB)
    await fill(server)
    return server


def half_a_frame() -> bytes:
    return m.pack(["t", b"x" * BIG_FRAME_BYTES])[: BIG_FRAME_BYTES * 2 // 3]


def held_bytes() -> int:
    """Count what connections have received and not made messages of."""
    readers = (each for each in gc.get_objects() if isinstance(each, MessageReader))
    return sum(reader.buffered_bytes for reader in readers)


def test_new_connections_are_not_read_while_too_much_waits(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * KIB)
        for number in range(8):
            peer = server.connect()
            await peer.send(big(number, 16 * KIB))
            await peer.lose()
        late = server.connect()
        await turns()
        assert not late.transport.reading, "what the others left is enough"
        while server.ring.used_events:
            server.commit_all()
            await turns()
        assert server.numbers() == list(range(8))
        assert late.transport.reading
        await late.send(big(8, KIB))
        server.commit_all()
        assert server.numbers() == list(range(9))

    runner.run(scenario())
