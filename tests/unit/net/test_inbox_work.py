"""What a message costs others is counted, so that each of them has its turn."""

import asyncio
import gzip

import pytest

from penstock.model import RejectedEvent
from penstock.net import inbox
from penstock.net.inbox import MESSAGE_BYTES, _work_of
from penstock.net.turns import ROUND_BYTES, TURN_BYTES
from penstock.wire import messages
from penstock.wire.compression import Inflation
from penstock.wire.messages import Message, Mode
from tests import msgpack_bytes as m
from tests.unit.net.test_session import Server, message, until


def test_a_message_that_inflates_to_too_much_is_a_whole_turn() -> None:
    rejection = RejectedEvent("decompression_limit", b"small")
    bomb = Message(Mode.COMPRESSED_PACKED_FORWARD, "t", b"", rejection=rejection)
    assert _work_of(bomb, 5) >= TURN_BYTES


def test_options_are_work_too() -> None:
    message = Message(Mode.FORWARD, "t", b"")
    assert _work_of(message, 2 * ROUND_BYTES) > ROUND_BYTES


def test_a_small_message_is_its_bytes_and_what_it_always_costs() -> None:
    assert _work_of(Message(Mode.MESSAGE, "t", b"123"), 10) == MESSAGE_BYTES + 13


def test_metadata_is_more_work_than_its_bytes() -> None:
    message = Message(Mode.FORWARD, "t", b"", metadata=bytes(ROUND_BYTES // 10))
    assert _work_of(message, 0) > ROUND_BYTES


def compressed(events: int, chunk: str) -> bytes:
    blob = gzip.compress(m.entry({"a": "x" * 100}) * events)
    return m.pack(["app", blob, {"compressed": "gzip", "chunk": chunk}])


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "INFLATE_STEP_BYTES", 64 * 1024)


@pytest.mark.usefixtures("small_steps")
def test_one_message_at_a_time_is_inflated_and_the_loop_has_its_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each may hold what it inflates to, and very many may have begun."""
    begun: set[Inflation] = set()
    most = [0]

    class Watched(Inflation):
        def go_on(self, step_bytes: int | None = None) -> bytes | None:
            begun.add(self)
            most[0] = max(most[0], len(begun))
            content = super().go_on(step_bytes)
            if content is not None:
                begun.discard(self)
            return content

    monkeypatch.setattr(messages, "Inflation", Watched)

    async def scenario() -> None:
        server = Server()
        peers = [server.connect(f"192.0.2.{n}") for n in range(1, 6)]
        for peer in peers:
            peer.session.data_received(compressed(5000, "c"))
        rounds = 0
        while any(peer.session.has_work for peer in peers):
            rounds += 1
            await asyncio.sleep(0)
            server.commit_all()
        assert rounds >= 5 * (5000 * 100 // ROUND_BYTES - 1)
        assert most == [1]
        for peer in peers:
            assert peer.acked() == ["c"]

    asyncio.run(scenario())


@pytest.mark.usefixtures("small_steps")
def test_who_is_cut_off_while_a_message_inflates_still_has_it_stored() -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        blob = gzip.compress(m.entry({"n": 1, "a": "x" * 500_000}))
        peer.session.data_received(m.pack(["app", blob, {"compressed": "gzip"}]))
        await until(lambda: peer.session.is_midway)
        await peer.lose()
        await until(lambda: not peer.session.has_work)
        server.commit_all()
        assert server.numbers() == [1]
        assert server.lost == [peer.session]

    asyncio.run(scenario())


def test_an_address_with_sixty_connections_has_one_turn_to_another_ones_one() -> None:
    async def scenario() -> None:
        server = Server()
        # Each inflates to too much, which is a whole turn.
        bomb = m.pack(["app", gzip.compress(bytes(2 << 20)), {"compressed": "gzip"}])
        for _ in range(60):
            server.connect("192.0.2.66").session.data_received(bomb)
        honest = server.connect("192.0.2.7")
        honest.session.data_received(message(1, "c"))
        await until(lambda: server.ring.used_events > 0 and not honest.session.has_work)
        assert server.ring.used_events <= 1 + 2
        server.commit_all()
        assert honest.acked() == ["c"]

    asyncio.run(scenario())


@pytest.mark.usefixtures("small_steps")
def test_small_messages_are_encoded_while_a_large_one_inflates() -> None:
    async def scenario() -> None:
        server = Server()
        bombs = [server.connect(f"192.0.2.{n}") for n in range(60, 66)]
        for bomb in bombs:
            bomb.session.data_received(compressed(5000, "b"))
        await until(lambda: bombs[0].session.is_midway)
        honest = server.connect("192.0.2.7")
        honest.session.data_received(message(1, "c"))
        await until(lambda: not honest.session.has_work)
        server.commit_all()
        assert honest.acked() == ["c"]
        assert not bombs[0].acked()

    asyncio.run(scenario())
