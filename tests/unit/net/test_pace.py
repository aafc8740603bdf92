"""Who drips a message is closed; who is silent, or not read, is not."""

import asyncio

import pytest

from penstock.net.pace import SLOW_SECONDS, Pace
from penstock.settings import PeerLimits
from tests.unit.net.test_session import Peer, Server, big, message, turns

LIMITS = PeerLimits(frame_seconds=300, min_frame_bytes_per_second=1024)


def looked_at(pace: Pace, seconds: int, bytes_per_second: int) -> str | None:
    received = 0
    for _ in range(seconds):
        received += bytes_per_second
        if reason := pace.too_slow(1.0, received, LIMITS):
            return reason
    return None


def test_a_message_slower_than_allowed_over_half_a_minute_is_too_slow() -> None:
    assert looked_at(Pace(0), int(SLOW_SECONDS) - 1, 0) is None
    assert looked_at(Pace(0), int(SLOW_SECONDS), 1023) == "frame_too_slow"
    assert looked_at(Pace(0), 299, 1024) is None


def test_a_message_that_takes_too_long_in_all_is_closed_however_fast() -> None:
    assert looked_at(Pace(0), 301, 1_000_000) == "frame_timeout"


def test_each_half_minute_is_looked_at_alone() -> None:
    pace = Pace(0)
    assert pace.too_slow(SLOW_SECONDS, 50_000_000, LIMITS) is None
    assert pace.too_slow(SLOW_SECONDS, 50_000_100, LIMITS) == "frame_too_slow"


# --- sessions


async def look(server: Server, peer: Peer, seconds: int) -> bool:
    needs_a_look = True
    for _ in range(seconds):
        server.now += 1.0
        needs_a_look = peer.session.look(1.0)
    await turns()
    return needs_a_look


def test_half_a_message_that_drips_ends_its_connection_and_nothing_else() -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(message(1, "c"), message(2)[:-3])
        await look(server, peer, 29)
        assert not peer.transport.closed
        await peer.send(message(2)[-3:-2])
        await look(server, peer, 2)
        assert server.closed_for == ["frame_too_slow"]
        assert not peer.transport.closed, "an ack is owed"
        server.commit_all()
        assert peer.acked() == ["c"]
        assert peer.transport.closed
        assert server.numbers() == [1]

    asyncio.run(scenario())


def test_a_silent_connection_is_held_for_ever_and_not_even_looked_at() -> None:
    async def scenario() -> None:
        server = Server()
        idle, done = server.connect(), server.connect()
        await done.send(message(1))
        server.commit_all()
        assert idle.session not in server.watched
        assert await look(server, done, 1) is False
        await look(server, idle, 100_000)
        assert not idle.transport.closed and not done.transport.closed

    asyncio.run(scenario())


def test_time_in_which_we_do_not_read_is_not_counted() -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * 1024)
        peer = server.connect()
        await peer.send(b"".join(big(n, 10 * 1024) for n in range(3)))
        await peer.send(message(9)[:-3])
        assert not peer.transport.reading
        await look(server, peer, 1000)
        server.commit_all()
        await turns()
        assert peer.transport.reading
        await look(server, peer, 29)
        assert server.closed_for == []
        await peer.send(message(9)[-3:])
        server.commit_all()
        assert server.numbers() == [0, 1, 2, 9]

    asyncio.run(scenario())


def test_each_message_has_its_own_time() -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        for n in range(5):
            await peer.send(message(n)[:-1])
            await look(server, peer, 20)
            await peer.send(message(n)[-1:])
        assert server.closed_for == []
        server.commit_all()
        assert server.numbers() == list(range(5))

    asyncio.run(scenario())


@pytest.mark.parametrize("seconds", [149, 152])
def test_who_never_reads_its_acks_is_closed_in_the_end(seconds: int) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(message(1, "c"))
        peer.session.pause_writing()
        assert peer.session in server.watched
        await look(server, peer, seconds)
        assert server.closed_for == (["unread_acks"] if seconds > 150 else [])
        assert peer.transport.aborted == (seconds > 150)
        server.commit_all()
        assert server.numbers() == [1], "what was received is stored all the same"

    asyncio.run(scenario())


# --- the bound on halves


def test_a_large_half_is_read_on_when_others_have_made_room() -> None:
    mib = 1024 * 1024

    async def scenario() -> None:
        server = Server(
            ring_bytes=64 * mib, max_frame_bytes=8 * mib, max_partial_bytes=4 * mib
        )
        first, second = server.connect(), server.connect("192.0.2.8")
        data = big(1, 8 * mib)
        for peer in (first, second):
            for start in range(0, 3 * mib, 128 * 1024):
                if peer.transport.reading:
                    await peer.send(data[start : start + 128 * 1024])
        assert first.transport.reading, "one may always go on"
        assert not second.transport.reading
        await look(server, second, 1000)
        assert server.closed_for == [], "it is we who do not read"
        small = server.connect("192.0.2.8")
        await small.send(message(2))
        await first.lose()
        assert second.transport.reading
        server.commit_all()
        assert server.numbers() == [2]

    asyncio.run(scenario())


def test_no_more_messages_are_begun_than_may_be_open() -> None:
    """A few bytes may inflate to very many, and wait for room."""

    async def scenario() -> None:
        server = Server(ring_bytes=256 * 1024, max_opened_bytes=64 * 1024)
        peers = [server.connect(f"192.0.2.{n}") for n in range(8)]
        for n, peer in enumerate(peers):
            peer.session.data_received(big(n, 80 * 1024, f"c{n}"))
        await turns()
        assert (
            server.metric("penstock_received_frames_total", mode="packed_forward") < 8
        )
        for _ in range(20):
            server.commit_all()
            await turns()
        assert sorted(server.numbers()) == list(range(8))
        assert [peer.acked() for peer in peers] == [[f"c{n}"] for n in range(8)]
        server.commit_all()
        assert server.intake.opened.may_begin("192.0.2.0")

    asyncio.run(scenario())


def test_all_addresses_of_one_host_have_one_share() -> None:
    """A host has 2**64 of IPv6."""

    async def scenario() -> None:
        server = Server(max_opened_bytes=64 * 1024)
        server.intake.opened.count("2001:db8::/64", 64 * 1024)
        one, other = server.connect("2001:db8::1"), server.connect("2001:db8:0:1::1")
        for peer in (one, other):
            await peer.send(message(1, "c"))
        server.commit_all()
        assert (one.acked(), other.acked()) == ([], ["c"])
        server.intake.opened.count("2001:db8::/64", -64 * 1024)
        await turns()
        server.commit_all()
        assert one.acked() == ["c"]

    asyncio.run(scenario())
