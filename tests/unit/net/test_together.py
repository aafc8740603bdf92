"""Small messages of many connections are one segment; each keeps what is its own."""

import asyncio
from typing import Any

from penstock.model import SHARE_OVERHEAD_BYTES, SourceId
from penstock.net.turns import Turns
from penstock.rows import RowEncoder
from penstock.settings import ColumnSettings
from tests import msgpack_bytes as m
from tests.copy_tuples import decode_rows
from tests.unit.net.test_session import Server, message, turns

NO_RECORD = m.pack(["bad", m.T, "no record"])


def event(tag: str, n: int) -> bytes:
    """Write an event as Docker sends it: a message of its own."""
    return m.pack([tag, m.T, {"n": n}])


def acked_event(tag: str, n: int, chunk: str) -> bytes:
    return m.pack([tag, m.T, {"n": n}, {"chunk": chunk}])


def balance(server: Server) -> int:
    """Return what the books miss while nothing is committed."""
    return server.books.unaccounted(server.ring.used_events)


async def test_events_of_all_connections_go_to_the_ring_as_one_segment() -> None:
    server = Server()
    for number in range(5):
        session = server.connect(f"192.0.2.{number}").session
        session.data_received(event(f"t{number}", number))
    await turns()
    (segment,) = server.take().segments
    rows = decode_rows(segment.encoded.data)
    assert [(row.tag, row.attributes["n"]) for row in rows] == [
        (f"t{number}", number) for number in range(5)
    ]
    assert len({row.id for row in rows}) == 5
    assert [each.sender for each in segment.shares] == [
        f"192.0.2.{number}" for number in range(5)
    ]
    assert server.metric("penstock_received_frames_total", mode="message") == 5
    assert server.metric("penstock_received_events_total", mode="message") == 5
    assert balance(server) == 0


async def test_nothing_is_left_behind_between_two_rounds() -> None:
    server = Server()
    peer = server.connect()
    peer.session.data_received(event("t", 1))
    while not server.books.received:
        assert server.ring.is_empty
        assert not peer.session.is_idle, "it is with the connection until then"
        await asyncio.sleep(0)
    assert server.ring.used_events == 1


async def test_each_connection_holds_its_own_share_of_the_ring() -> None:
    server = Server(ring_bytes=64 * 1024)
    noisy, quiet = server.connect(), server.connect()
    noisy.session.data_received(b"".join(event("t", n) for n in range(400)))
    quiet.session.data_received(event("t", 1000))
    await turns()
    first, second = SourceId(1), SourceId(2)
    assert not server.ring.has_room(first), "it has more than a quarter"
    assert server.ring.has_room(second)
    noisy.session.data_received(event("t", 400))
    quiet.session.data_received(event("t", 1001))
    await turns()
    assert not noisy.transport.reading
    assert quiet.transport.reading
    assert server.ring.used_events == 402
    server.commit_all()
    await turns()
    assert noisy.transport.reading
    server.commit_all()
    assert sorted(server.numbers()) == [*range(401), 1000, 1001]
    assert server.ring.used_bytes == 0


async def test_a_share_is_counted_with_its_rows_and_its_entries() -> None:
    server = Server()
    server.connect().session.data_received(event("t", 1))
    server.connect().session.data_received(NO_RECORD)
    await turns()
    (segment,) = server.take().segments
    stored, rejected = segment.shares
    assert stored.size_bytes == (
        stored.data_bytes + stored.entries_bytes + SHARE_OVERHEAD_BYTES
    )
    assert rejected.size_bytes > 2 * rejected.entries_bytes
    assert sum(each.size_bytes for each in segment.shares) <= segment.size_bytes


async def test_what_is_rejected_keeps_who_sent_it_and_its_tag() -> None:
    server = Server()
    server.connect("192.0.2.1").session.data_received(event("fine", 1))
    server.connect("192.0.2.2").session.data_received(NO_RECORD + event("fine", 2))
    server.connect("192.0.2.3").session.data_received(event("fine", 3))
    await turns()
    (segment,) = server.take().segments
    rejected = [
        (share.sender, share.tag, found.reason, found.raw)
        for share, own in segment.of_each_share()
        for found in own.rejected
    ]
    raw = m.pack([m.T, "no record"])
    assert rejected == [("192.0.2.2", "bad", "record_not_a_map", raw)]
    assert segment.encoded.rows == 3
    own_rows = [
        [row.attributes["n"] for row in decode_rows(own.data)]
        for _, own in segment.of_each_share()
    ]
    assert own_rows == [[1], [], [2], [3]]
    assert balance(server) == 0


async def test_a_tag_that_is_not_allowed_is_rejected_for_its_connection_only() -> None:
    server = Server()
    server.connect("192.0.2.1", tags=("x",)).session.data_received(event("y", 1))
    server.connect("192.0.2.2").session.data_received(event("y", 2))
    await turns()
    server.commit_all()
    assert server.numbers() == [2]
    reasons = [
        (share.sender, found.reason)
        for segment in server.committed
        for share, own in segment.of_each_share()
        for found in own.rejected
    ]
    assert reasons == [("192.0.2.1", "tag_not_allowed")]


async def test_what_asks_for_an_ack_is_behind_what_came_before_it() -> None:
    server = Server()
    one, other = server.connect(), server.connect()
    one.session.data_received(event("t", 1) + acked_event("t", 2, "a"))
    other.session.data_received(event("t", 3) + message(4, "b") + event("t", 5))
    await turns()
    server.commit_all()
    numbers = server.numbers()
    assert numbers.index(1) < numbers.index(2)
    assert numbers.index(3) < numbers.index(4) < numbers.index(5)
    ids = [row.id for row in server.rows()]
    assert ids == sorted(set(ids)), "in the order of the ring, none twice"
    assert (one.acked(), other.acked()) == (["a"], ["b"])


async def test_acks_of_one_event_messages_are_in_order() -> None:
    server = Server()
    peer = server.connect()
    sent = [
        acked_event("t", n, f"c{n}") if n % 3 == 0 else event("t", n) for n in range(30)
    ]
    peer.session.data_received(b"".join(sent))
    await turns()
    batches = []
    while (batch := server.ring.take(1)) is not None:
        batches.append(batch)
    for batch in reversed(batches):
        server.commit(batch)
    assert peer.acked() == [f"c{n}" for n in range(0, 30, 3)]


async def test_a_connection_that_is_lost_loses_nothing_that_came_whole() -> None:
    server = Server()
    gone, there = server.connect(), server.connect()
    gone.session.data_received(event("t", 1) + event("t", 2)[:-1])
    there.session.data_received(event("t", 3))
    await gone.lose()
    assert server.lost == [gone.session]
    server.commit_all()
    assert sorted(server.numbers()) == [1, 3]


class BrokenForOne:
    """Fails as no encoder should, at the tag that is for it."""

    def __init__(self) -> None:
        self.real = RowEncoder(ColumnSettings(), receiver=7)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def write_plain(self, part: Any, entries: bytes) -> bool:
        # Half of it is written by then.
        written = self.real.write_plain(part, entries)
        if b"bug" in part.tag_field:
            raise KeyError("bug")
        return written


async def test_a_bug_of_ours_costs_the_connection_that_brought_it_up() -> None:
    server = Server(encoder=BrokenForOne())
    peers = [server.connect() for _ in range(3)]
    for number, peer in enumerate(peers):
        peer.session.data_received(event("bug" if number == 1 else "t", number))
    await turns()
    assert [peer.transport.closed for peer in peers] == [False, True, False]
    assert balance(server) == 0
    server.commit_all()
    assert server.numbers() == [0, 2]
    peers[2].session.data_received(event("t", 4))
    await turns()
    server.commit_all()
    assert server.numbers() == [0, 2, 4]


async def test_without_any_encoder_the_connections_end_and_the_turns_go_on() -> None:
    class Broken(BrokenForOne):
        is_broken = True

        def begin_part(self, now_microseconds: int) -> Any:
            if self.is_broken:
                raise MemoryError
            return self.real.begin_part(now_microseconds)

    broken = Broken()
    server = Server(encoder=broken)
    first, second = server.connect(), server.connect()
    first.session.data_received(event("t", 1))
    await turns()
    assert first.transport.closed
    assert balance(server) == 0
    broken.is_broken = False
    second.session.data_received(event("t", 2))
    await turns()
    server.commit_all()
    assert server.numbers() == [2]


async def test_the_end_of_a_round_comes_before_the_loop_has_its_turn() -> None:
    order: list[str] = []

    class Worker:
        host, is_midway, has_work = "h", False, False

        def work(self, max_bytes: int) -> int:
            order.append("work")
            rounds.at_end_of_round(lambda: order.append("end"))
            return 1

    class Failing(Worker):
        def work(self, max_bytes: int) -> int:
            super().work(max_bytes)
            raise RuntimeError

    rounds = Turns()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    rounds.ask(Worker())
    loop.call_soon(order.append, "loop")
    await turns(3)
    assert order == ["work", "end", "loop"]
    rounds.ask(Failing())
    await turns(3)
    assert order[3:] == ["work", "end"]
