"""A sender's connection: bytes in, rows to the ring, acks back after the commit.

The session is the real one with a real reader, encoder and ring; the transport
records what it is told, and a commit is the writer's steps by hand.
"""

import asyncio
import gzip
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakSet

import msgpack
import pytest
import uvloop
from prometheus_client import CollectorRegistry

from penstock.buffer.acks import settle
from penstock.buffer.books import Books
from penstock.buffer.ring import Ring
from penstock.model import Batch, Segment, SourceId
from penstock.net import inbox
from penstock.net import peer as net_peer
from penstock.net import session as session_module
from penstock.net.incoming import Intake
from penstock.net.opened import Opened
from penstock.net.partials import Partials
from penstock.net.session import (
    LATE_ACK_SECONDS,
    READ_AHEAD_BYTES,
    ForwardSession,
)
from penstock.net.turns import Turns
from penstock.net.waiting import Waiting
from penstock.rows import RowEncoder
from penstock.settings import ColumnSettings, PeerLimits, WireLimits
from penstock.telemetry.receive import DuplicateMetrics, ReceiveMetrics
from tests import msgpack_bytes as m
from tests.copy_tuples import Row, decode_rows

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
KIB = 1024
SECRET = "hunter2 of a record"


class RecordingTransport(asyncio.Transport):
    """Notes each write and whether it is read; complains of what a loop would."""

    def __init__(self, peername: Any = None) -> None:
        super().__init__()
        self.peername = peername
        self.writes: list[bytes] = []
        self.reading = True
        self.pauses = 0
        self.closed = self.aborted = False
        self.high_water: int | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        known = {"peername": self.peername, "unread_bytes": 0}
        return known.get(name, default)

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        self.high_water = high

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, "written after close"
        self.writes.append(bytes(data))

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False
        self.pauses += 1

    def resume_reading(self) -> None:
        assert not self.reading and not self.closed
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True


class Server:
    """What all sessions share, and a writer that commits when it is told to."""

    def __init__(
        self,
        *,
        ring_bytes: int = 1 << 20,
        max_frame_bytes: int = 1 << 20,
        max_partial_bytes: int = 1 << 28,
        max_opened_bytes: int = 1 << 28,
        encoder: Any = None,
    ) -> None:
        self.now = 1000.0
        self.registry = CollectorRegistry()
        self.lost: list[ForwardSession] = []
        self.disconnects = 0
        self.watched: WeakSet[ForwardSession] = WeakSet()
        self.closed_for: list[str] = []
        self.committed: list[Segment] = []
        self.ring = Ring(
            max_bytes=ring_bytes,
            max_rows=1_000_000,
            on_waiting=lambda: None,
            on_drained=lambda: None,
        )
        self.books = Books()
        self.intake = Intake(
            self.ring,
            self.books,
            encoder or RowEncoder(ColumnSettings(), receiver=7),
            WireLimits(max_frame_bytes=max_frame_bytes, max_decompressed_bytes=1 << 20),
            ReceiveMetrics(self.registry, DuplicateMetrics(self.registry)),
            Turns(),
            Waiting(max_bytes=ring_bytes // 4),
            Partials(max_bytes=max_partial_bytes),
            Opened(max_bytes=max_opened_bytes),
            wall_clock_ns=lambda: 1_767_323_045_678_901_000,
            clock=lambda: self.now,
        )
        self._sources = iter(range(1, 100))

    def connect(self, address: str = "192.0.2.7", *, tags: Any = ()) -> "Peer":
        known = net_peer.Peer(address=address, tags=tags)
        session = ForwardSession(
            self.intake, SourceId(next(self._sources)), known, self
        )
        peer = Peer(session, RecordingTransport())
        session.connection_made(peer.transport)
        return peer

    def disconnected(self, session: ForwardSession) -> None:
        self.disconnects += 1

    def ended(self, session: ForwardSession) -> None:
        self.lost.append(session)

    def watch(self, session: ForwardSession) -> None:
        self.watched.add(session)

    def closed(self, session: ForwardSession, reason: str) -> None:
        self.closed_for.append(reason)

    def take(self, max_bytes: int = 1 << 30) -> Batch:
        batch = self.ring.take(max_bytes)
        assert batch is not None, "nothing waits in the ring"
        return batch

    def commit(self, batch: Batch) -> None:
        """Do what a writer does when a batch is committed."""
        self.ring.release(batch)
        settle(batch)
        self.committed += batch.segments

    def commit_all(self) -> None:
        while (batch := self.ring.take(1 << 30)) is not None:
            self.commit(batch)

    def rows(self) -> list[Row]:
        """Return the rows that are committed, in their order."""
        return [
            row for each in self.committed for row in decode_rows(each.encoded.data)
        ]

    def numbers(self) -> list[int]:
        return [row.attributes["n"] for row in self.rows()]

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


class Peer:
    """The sender at the other end of a session."""

    def __init__(self, session: ForwardSession, transport: RecordingTransport) -> None:
        self.session, self.transport = session, transport

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.session.data_received(piece)
            await turns()

    async def lose(self, error: Exception | None = None) -> None:
        """Let the connection be lost as a loop tells it."""
        self.transport.closed = True
        self.session.connection_lost(error)
        await turns()

    @property
    def acks(self) -> list[bytes]:
        return self.transport.writes

    def acked(self) -> list[Any]:
        """Return the chunks of the acks, each read from a write of its own."""
        return [msgpack.unpackb(write)["ack"] for write in self.transport.writes]


async def turns(count: int = 40) -> None:
    """Let the sessions have their turns, as many as they need."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until it is so; a thousand turns are plenty."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come about")


@pytest.fixture(params=list(LOOPS))
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    debug = request.param == "asyncio"
    with asyncio.Runner(debug=debug, loop_factory=LOOPS[request.param]) as runner:
        yield runner


@pytest.fixture
def no_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop reading a peer as soon as a byte of it has to wait."""
    monkeypatch.setattr(session_module, "READ_AHEAD_BYTES", 1)


# --- messages


def message(n: int, chunk: Any = None, *, tag: str = "app") -> bytes:
    """Write a PackedForward message of one event, numbered."""
    return packed([{"n": n}], chunk, tag=tag)


def packed(
    records: list[dict[str, Any]], chunk: Any = None, *, tag: str = "app"
) -> bytes:
    option = {} if chunk is None else {"chunk": chunk}
    return m.pack([tag, b"".join(map(m.entry, records)), {"size": 1, **option}])


def big(n: int, size_bytes: int, chunk: Any = None) -> bytes:
    """Write a message that takes so much of the ring: as a row, and as it came."""
    return packed([{"n": n, "fill": "x" * (size_bytes // 2)}], chunk)


def in_mode(mode: str, n: int, chunk: Any = None) -> bytes:
    record = m.pack({"n": n})
    option = m.pack({} if chunk is None else {"chunk": chunk})
    tag, time = m.fixstr(b"app"), m.event_time(m.T, 5)
    entry = m.fixarray(time, record)
    match mode:
        case "message":
            return m.fixarray(tag, time, record, option)
        case "forward":
            return m.fixarray(tag, m.fixarray(entry), option)
        case "packed_forward":
            return m.fixarray(tag, m.bin8(entry), option)
        case "compressed_packed_forward":
            compressed = {"compressed": "gzip"} | ({"chunk": chunk} if chunk else {})
            return m.fixarray(tag, m.bin8(gzip.compress(entry)), m.pack(compressed))
        case _:
            raise AssertionError(mode)


MODES = ("message", "forward", "packed_forward", "compressed_packed_forward")


# --- an ack means committed


@pytest.mark.parametrize("mode", MODES)
def test_an_ack_is_written_after_the_commit_and_not_before(
    runner: asyncio.Runner, mode: str
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(in_mode(mode, 1, "c1"))
        assert peer.acks == [], "received"
        batch = server.take()
        await turns()
        assert peer.acks == [], "taken by a writer"
        server.commit(batch)
        assert peer.acks == [b"\x81\xa3ack\xa2c1"]
        assert server.numbers() == [1]
        assert server.metric("penstock_received_events_total", mode=mode) == 1

    runner.run(scenario())


@pytest.mark.parametrize(
    "chunk",
    [
        m.fixstr(b"abc"),
        m.str8(b"abc"),
        m.str16(b"abc"),
        m.str32(b"abc"),
        m.bin8(b"\x00\xff\x80"),
        m.bin16(b"abc"),
        m.fixstr(b""),
        m.fixstr(b"\xff\xfe"),
        m.str8(b"AAAAAAAAAAAAAAAAAAAAAA==\n"),
        m.str16(b"x" * 197),
        m.uint32(7),
        m.int64(-1),
        b"\x07",
    ],
    ids=lambda chunk: str(chunk[:6].hex()),
)
def test_the_chunk_comes_back_to_the_byte(runner: asyncio.Runner, chunk: bytes) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        option = m.fixmap((m.fixstr(b"size"), b"\x01"), (m.fixstr(b"chunk"), chunk))
        await peer.send(m.fixarray(m.fixstr(b"t"), m.bin8(m.entry({})), option))
        server.commit_all()
        assert peer.acks == [b"\x81\xa3ack" + chunk]

    runner.run(scenario())


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_written_to_a_peer_that_asks_for_no_ack(
    runner: asyncio.Runner, mode: str
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(in_mode(mode, 1), m.NIL, in_mode(mode, 2))
        server.commit_all()
        assert server.numbers() == [1, 2]
        assert peer.acks == []
        assert not peer.transport.closed

    runner.run(scenario())


def test_heartbeats_are_answered_with_silence(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(m.NIL, m.NIL * 1000)
        assert server.ring.is_empty
        assert peer.acks == []
        assert peer.transport.reading and not peer.transport.closed

    runner.run(scenario())


def test_a_message_without_events_is_acked_at_once(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(packed([], "empty"))
        assert peer.acked() == ["empty"]
        assert server.ring.is_empty

    runner.run(scenario())


def test_a_message_that_is_no_log_at_all_is_kept_and_acked(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        option = m.pack({"chunk": "c1", "compressed": "gzip"})
        await peer.send(m.fixarray(m.fixstr(b"t"), m.bin8(b"\x1f\x8bjunk"), option))
        assert peer.acks == []
        server.commit_all()
        assert peer.acked() == ["c1"]
        ((event,),) = [each.encoded.rejected for each in server.committed]
        assert event.raw == b"\x1f\x8bjunk"

    runner.run(scenario())


def test_a_message_is_acked_when_its_last_part_is_committed(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=16 << 20, max_frame_bytes=8 << 20)
        peer = server.connect()
        records = [{"n": n, "fill": "x" * 4000} for n in range(500)]
        await peer.send(packed(records, "large"))
        batches = []
        while (batch := server.ring.take(1)) is not None:
            batches.append(batch)
        assert len(batches) > 3, "it is cut into parts"
        last = batches.pop(1)
        for batch in batches:
            server.commit(batch)
            assert peer.acks == []
        server.commit(last)
        assert peer.acked() == ["large"]

    runner.run(scenario())


# --- first in, first out


def test_pipelined_messages_are_acked_in_order_whichever_is_committed_first(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(b"".join(message(n, f"c{n}") for n in range(4)))
        batches = [server.take(1) for _ in range(4)]
        server.commit(batches[2])
        server.commit(batches[1])
        assert peer.acks == []
        server.commit(batches[0])
        assert peer.acked() == ["c0", "c1", "c2"]
        server.commit(batches[3])
        assert peer.acked() == ["c0", "c1", "c2", "c3"]

    runner.run(scenario())


def test_each_ack_is_a_write_of_its_own(runner: asyncio.Runner) -> None:
    """Clients read one ack at a time and take what is behind it for garbage."""

    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(b"".join(message(n, f"c{n}") for n in range(20)))
        server.commit(server.take())
        assert len(peer.acks) == 20
        assert peer.acked() == [f"c{n}" for n in range(20)]
        assert server.metric("penstock_acks_total") == 20

    runner.run(scenario())


def test_messages_with_and_without_a_chunk_do_not_mix_up_the_acks(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        chunks = ["a", None, None, "b", None, "c"]
        await peer.send(b"".join(message(n, chunk) for n, chunk in enumerate(chunks)))
        batches = [server.take(1) for _ in range(6)]
        for index in (1, 3, 5, 0):
            assert peer.acks == []
            server.commit(batches[index])
        assert peer.acked() == ["a", "b", "c"]

    runner.run(scenario())


def test_peers_do_not_wait_for_each_others_commits(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        server = Server()
        one, two = server.connect(), server.connect()
        await one.send(message(1, "one"))
        await two.send(message(2, "two"))
        first, second = server.take(1), server.take(1)
        server.commit(second)
        assert (one.acked(), two.acked()) == ([], ["two"])
        server.commit(first)
        assert (one.acked(), two.acked()) == (["one"], ["two"])

    runner.run(scenario())


# --- how bytes come


@pytest.mark.parametrize("mode", MODES)
def test_messages_that_come_byte_by_byte_are_the_same(
    runner: asyncio.Runner, mode: str
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        stream = b"".join(in_mode(mode, n, f"c{n}") for n in range(3))
        for index in range(len(stream)):
            peer.session.data_received(stream[index : index + 1])
            await turns(2)
        server.commit_all()
        assert server.numbers() == [0, 1, 2]
        assert peer.acked() == ["c0", "c1", "c2"]

    runner.run(scenario())


def test_events_that_come_one_by_one_keep_their_order_and_tag(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        tags = ["a", "a", "b", "b", "b", "a"]
        await peer.send(
            b"".join(m.pack([tag, m.T + n, {"n": n}]) for n, tag in enumerate(tags))
        )
        server.commit_all()
        assert [(row.tag, row.attributes["n"]) for row in server.rows()] == [
            (tag, n) for n, tag in enumerate(tags)
        ]
        assert server.metric("penstock_received_frames_total", mode="message") == 6
        assert server.metric("penstock_received_events_total", mode="message") == 6

    runner.run(scenario())


def test_rows_say_who_sent_them_when_they_are_rejected(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        server = Server()
        for address in ("192.0.2.7", "2001:db8::1", "unix"):
            await server.connect(address).send(message(1))
        server.commit_all()
        senders = [each.delivery.sender for each in server.committed]
        assert senders == ["192.0.2.7", "2001:db8::1", "unix"]

    runner.run(scenario())


# --- tags that a peer may send


@pytest.mark.parametrize("tags", [(), ("app",), ("a*",), ("x.*", "*p")])
def test_a_tag_that_is_allowed_is_stored(tags: tuple[str, ...]) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect(tags=tags)
        await peer.send(message(1, "c", tag="app"))
        server.commit_all()
        assert server.numbers() == [1]
        assert peer.acked() == ["c"]

    asyncio.run(scenario())


def test_a_message_with_a_tag_that_is_not_allowed_is_rejected_and_acked() -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect(tags=("app.*",))
        await peer.send(message(1, "c1", tag="audit"), message(2, "c2", tag="app.x"))
        server.commit_all()
        assert server.numbers() == [2]
        assert peer.acked() == ["c1", "c2"]
        (rejected,) = server.committed[0].encoded.rejected
        assert rejected.reason == "tag_not_allowed"
        assert rejected.raw.endswith(b"\x81\xa1n\x01"), "the entries as they came"
        assert server.committed[0].delivery.tag == "audit"
        counted = server.metric(
            "penstock_rejected_events_total", reason="tag_not_allowed"
        )
        assert counted == 1

    asyncio.run(scenario())


# --- an ack is not late


@pytest.mark.parametrize("chunk", ["c", None])
def test_a_message_that_finds_no_room_is_not_acked_late(
    runner: asyncio.Runner, chunk: str | None
) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * KIB)
        for number in range(4):
            await server.connect().send(big(number, 16 * KIB))
        waiting = server.connect()
        await waiting.send(message(4, chunk))
        server.now += LATE_ACK_SECONDS - 1
        waiting.session.close_if_late()
        assert not waiting.transport.closed
        server.now += 2
        waiting.session.close_if_late()
        # Without an ack to come late, closing would lose what has been sent.
        assert waiting.transport.aborted == (chunk is not None)
        await waiting.lose()
        waiting.session.close_if_late()
        assert server.metric("penstock_late_ack_closes_total") == (chunk is not None)

    runner.run(scenario())


def test_a_commit_that_comes_too_late_is_not_acked(runner: asyncio.Runner) -> None:
    """We stood still ourselves: nobody looked in time, the commit is there first."""

    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(message(0, "early"))
        server.now += LATE_ACK_SECONDS - 1
        server.commit_all()
        assert peer.acked() == ["early"]
        await peer.send(message(1, "late"))
        server.now += LATE_ACK_SECONDS + 1
        server.commit_all()
        assert peer.acked() == ["early"]
        assert peer.transport.aborted
        assert server.metric("penstock_late_ack_closes_total") == 1

    runner.run(scenario())


def test_patience_is_counted_from_when_the_bytes_came(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * KIB)
        peer = server.connect()
        await peer.send(big(0, 16 * KIB, "c0"), message(1, "c1"))
        server.now += 100
        server.commit_all()
        await turns()
        server.now += LATE_ACK_SECONDS - 99
        peer.session.close_if_late()
        assert peer.transport.aborted, "the second message came as early as the first"

    runner.run(scenario())


def test_a_stream_without_a_pause_is_not_taken_for_one_old_message(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        half = len(message(0, "c")) // 2
        await peer.send(message(0, "c")[:half])
        for n in range(1, 40):
            await peer.send(message(0, "c")[half:] + message(n, "c")[:half])
            server.commit_all()
            server.now += 10
            peer.session.close_if_late()
        assert not peer.transport.closed

    runner.run(scenario())


# --- a chunk that comes again


def test_a_chunk_that_comes_again_while_it_waits_takes_no_room_and_is_acked_with_it(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        first, second = server.connect(), server.connect()
        await first.send(big(0, 16 * KIB, "c"))
        used_bytes = server.ring.used_bytes
        await first.lose()
        await second.send(big(0, 16 * KIB, "c"), message(1, "d"))
        assert server.ring.used_bytes < used_bytes + 2 * KIB
        assert second.acks == []
        server.commit_all()
        await turns()
        assert second.acked() == ["c", "d"]
        assert server.numbers() == [0, 1]
        assert server.metric("penstock_duplicate_chunks_total") == 1
        assert server.books.duplicate == 1
        assert server.books.received == 3

    runner.run(scenario())


def test_a_chunk_that_was_lately_stored_is_acked_at_once(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        first, second = server.connect(), server.connect()
        await first.send(message(0, "c"))
        server.commit_all()
        await second.send(message(0, "c"))
        assert second.acked() == ["c"]
        await second.send(message(0, "other"), message(1, "c"))
        assert second.acked() == ["c"], "another one, by its name or its entries"
        server.commit_all()
        await turns()
        assert second.acked() == ["c", "other", "c"]
        assert server.numbers() == [0, 0, 1]

    runner.run(scenario())


def test_a_chunk_of_which_a_part_was_dropped_is_not_known(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=2 << 20)
        records = [{"n": n, "fill": "x" * 1000} for n in range(900)]
        large = packed(records, "large")
        gone, again = server.connect(), server.connect()
        await gone.send(large)
        await gone.lose()
        await again.send(large)
        for _ in range(20):
            server.commit_all()
            await turns()
        assert again.acked() == ["large"]
        assert set(server.numbers()) == set(range(900))

    runner.run(scenario())


# --- when it is not read


@pytest.mark.usefixtures("no_read_ahead")
def test_a_peer_is_not_read_while_the_ring_has_no_room_for_it(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * KIB)
        peer = server.connect()
        await peer.send(big(1, 10 * KIB, "c1"), big(2, 10 * KIB, "c2"))
        assert peer.transport.reading
        await peer.send(big(3, 10 * KIB, "c3"))
        assert not peer.transport.reading, "it holds its share of the ring"
        first, second = server.take(1), server.take(1)
        await turns()
        assert not peer.transport.reading, "taken is not committed"
        server.commit(first)
        await turns()
        assert peer.transport.reading
        server.commit(second)
        server.commit_all()
        assert server.numbers() == [1, 2, 3]
        assert peer.acked() == ["c1", "c2", "c3"]

    runner.run(scenario())


def test_what_has_come_waits_for_room_and_is_not_lost(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * KIB)
        peer = server.connect()
        sent = 12
        await peer.send(b"".join(big(n, 10 * KIB, f"c{n}") for n in range(sent)))
        for _ in range(sent):
            assert server.ring.used_bytes <= 16 * KIB + 12 * KIB, "share and a segment"
            server.commit_all()
            await turns()
        assert server.numbers() == list(range(sent))
        assert peer.acked() == [f"c{n}" for n in range(sent)]
        assert peer.transport.reading

    runner.run(scenario())


def test_no_more_is_read_ahead_of_a_peer_that_waits_for_its_turn_than_is_allowed(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        came = 0
        while peer.transport.reading:
            peer.session.data_received(piece := big(1, 8 * KIB))
            came += len(piece)
            assert came < READ_AHEAD_BYTES + len(piece)
        assert came >= READ_AHEAD_BYTES

    runner.run(scenario())


def test_without_room_what_a_peer_writes_waits_in_its_socket(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * KIB)
        peer = server.connect()
        await peer.send(big(0, 16 * KIB, "c0"), message(1, "c1"))
        assert not peer.transport.reading
        new = server.connect()
        server.connect()
        for number in range(3):  # three peers more fill the ring
            await server.connect().send(big(number, 16 * KIB, "c"))
        await new.send(message(2, "n")[:9])
        assert new.transport.reading, "whether it asks for acks is not known yet"
        await new.send(message(2, "n")[9:])
        assert not new.transport.reading

    runner.run(scenario())


def test_a_peer_that_gave_up_leaves_nothing_behind_while_the_ring_is_full(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * KIB)
        for number in range(4):
            await server.connect().send(big(number, 16 * KIB, f"c{number}"))
        others = server.ring.blocked_sources
        for _ in range(5):
            trying = server.connect()
            await trying.send(message(9, "again"))
            assert server.ring.blocked_sources == others + 1
            await trying.lose()
            assert server.lost[-1] is trying.session
            assert server.ring.blocked_sources == others
        server.commit_all()
        await turns()
        server.commit_all()
        assert server.numbers() == [0, 1, 2, 3]

    runner.run(scenario())


@pytest.mark.usefixtures("no_read_ahead")
def test_a_peer_within_its_share_is_read_while_a_noisy_one_waits(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * KIB)
        noisy, quiet = server.connect(), server.connect()
        await noisy.send(big(0, 20 * KIB), big(1, 20 * KIB))
        await quiet.send(message(2, "quiet"))
        assert not noisy.transport.reading
        assert quiet.transport.reading
        server.commit_all()
        assert quiet.acked() == ["quiet"]

    runner.run(scenario())


@pytest.mark.usefixtures("no_read_ahead")
def test_those_who_wait_for_room_go_on_in_turn(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * KIB)
        for number in range(4):
            await server.connect().send(big(number, 16 * KIB))
        waiting = [server.connect() for _ in range(3)]
        for number in (2, 0, 1):
            await waiting[number].send(message(100 + number))
        assert not any(peer.transport.reading for peer in waiting)
        server.commit_all()
        await turns()
        server.commit_all()
        assert server.numbers()[4:] == [102, 100, 101]
        assert all(peer.transport.reading for peer in waiting)

    runner.run(scenario())


def test_a_large_message_does_not_fill_the_ring_past_its_share(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=8 << 20, max_frame_bytes=8 << 20)
        peer = server.connect()
        records = [{"n": n, "fill": "x" * 1000} for n in range(3600)]
        await peer.send(packed(records, "large"))
        # A part's entries and its rows.
        share_and_a_part = 2048 * KIB + 1200 * KIB
        assert 2048 * KIB <= server.ring.used_bytes < share_and_a_part
        while server.ring.used_bytes:
            assert server.ring.used_bytes < share_and_a_part
            assert peer.acks == []
            server.commit(server.take(1))
            await turns()
        assert server.numbers() == list(range(3600))
        assert peer.acked() == ["large"]

    runner.run(scenario())


def test_a_peer_that_does_not_read_its_acks_is_not_read(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        assert peer.transport.high_water == PeerLimits().max_unread_ack_bytes
        peer.session.pause_writing()  # the transport: more than that is unread
        assert not peer.transport.reading
        await peer.send(message(1, "c1"))  # was on its way
        assert not peer.transport.reading
        server.commit_all()
        peer.session.resume_writing()
        assert peer.transport.reading
        assert peer.acked() == ["c1"]

    runner.run(scenario())


@pytest.mark.usefixtures("no_read_ahead")
def test_unread_acks_and_a_full_ring_both_have_to_end_before_it_is_read(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * KIB)
        peer = server.connect()
        await peer.send(big(1, 17 * KIB), message(2))
        assert not peer.transport.reading
        peer.session.pause_writing()
        server.commit_all()
        await turns()
        assert not peer.transport.reading
        peer.session.resume_writing()
        assert peer.transport.reading
        assert peer.transport.pauses == 1

    runner.run(scenario())


def test_many_messages_without_events_give_the_loop_its_turn(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        sent = 5000
        peer.session.data_received(b"".join(packed([], n) for n in range(sent)))
        await until(lambda: bool(peer.acks))
        assert len(peer.acks) < sent
        await until(lambda: len(peer.acks) == sent)
        assert peer.acked() == list(range(sent))

    runner.run(scenario())


# --- a peer that breaks the protocol

BROKEN = {
    "http": (b"GET / HTTP/1.1\r\n\r\n", "not_forward"),
    "no tag": (m.fixarray(b"\x01", b"\x02", b"\x80"), "invalid_tag"),
    "no msgpack": (m.fixarray(m.fixstr(b"t"), b"\x91\xc1"), "malformed_msgpack"),
    "too large": (b"\x93\xa1t\xdb\x7f\xff\xff\xff", "frame_too_large"),
    "too many": (b"\xdd\x00\x01\x00\x00", "not_forward"),
}


@pytest.mark.parametrize("what", list(BROKEN))
def test_a_protocol_error_closes_after_what_came_before_is_stored_and_acked(
    runner: asyncio.Runner, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    junk, reason = BROKEN[what]

    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(message(1, "c1") + in_mode("message", 2) + junk)
        assert not peer.transport.closed, "an ack is owed"
        assert not peer.transport.reading, "what follows is not looked at"
        server.commit_all()
        assert server.numbers() == [1, 2]
        assert peer.acked() == ["c1"]
        assert peer.transport.closed and not peer.transport.aborted
        assert server.metric("penstock_protocol_errors_total", reason=reason) == 1

    with caplog.at_level(logging.DEBUG):
        runner.run(scenario())
    (record,) = (each for each in caplog.records if each.name.startswith("penstock"))
    assert vars(record)["reason"] == reason
    assert vars(record)["peer"] == "192.0.2.7"


def test_a_protocol_error_closes_at_once_when_no_ack_is_owed(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(message(1) + b"GET / HTTP/1.1\r\n\r\n")
        assert peer.transport.closed
        server.commit_all()
        assert server.numbers() == [1], "what came before is stored all the same"

    runner.run(scenario())


def test_nothing_that_comes_after_a_protocol_error_is_looked_at(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(message(1, "c1") + b"\xc1")
        await peer.send(message(2, "c2"))
        server.commit_all()
        assert server.numbers() == [1]
        assert peer.acked() == ["c1"]
        assert server.metric("penstock_received_frames_total", mode="forward") == 0

    runner.run(scenario())


def test_a_protocol_error_while_the_ring_is_full_closes_after_the_rest_is_stored(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * KIB)
        peer = server.connect()
        await peer.send(big(1, 17 * KIB, "c1") + message(2, "c2") + b"\xc1")
        assert not peer.transport.closed
        server.commit_all()
        await turns()
        assert not peer.transport.closed
        server.commit_all()
        assert peer.acked() == ["c1", "c2"]
        assert peer.transport.closed

    runner.run(scenario())


def test_no_content_of_a_record_gets_into_a_log_line(
    runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        for junk, _ in BROKEN.values():
            peer = Server().connect()
            await peer.send(packed([{"password": SECRET}], SECRET, tag=SECRET) + junk)
            await peer.send(SECRET.encode())
        await Server().connect().send(SECRET.encode())
        await Server().connect().send(m.pack([1, SECRET, SECRET]))

    with caplog.at_level(logging.DEBUG, logger="penstock"):
        runner.run(scenario())
    lines = [vars(record) for record in caplog.records]
    assert len(lines) >= len(BROKEN)
    assert SECRET not in json.dumps(lines, default=str)


def test_a_bug_of_ours_costs_one_connection_and_says_nothing_of_the_record(
    runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        """Fails as no encoder should, at the message that has the tag for it."""

        def __init__(self) -> None:
            self.real = RowEncoder(ColumnSettings(), receiver=7)

        def start(self, entries: bytes, **arguments: Any) -> Any:
            if arguments["tag"] == "bug":
                raise KeyError(SECRET)
            return self.real.start(entries, **arguments)

    async def scenario() -> None:
        server = Server(encoder=Broken())
        broken, healthy = server.connect(), server.connect()
        broken.session.data_received(message(1, "a") + message(2, "b", tag="bug"))
        healthy.session.data_received(message(3, "c"))
        await turns()
        assert broken.transport.closed
        server.commit_all()
        assert healthy.acked() == ["c"]
        assert server.numbers() == [1, 3]
        await broken.lose()
        assert server.lost == [broken.session]

    with caplog.at_level(logging.DEBUG):
        runner.run(scenario())
    (record,) = (each for each in caplog.records if each.levelno >= logging.ERROR)
    assert "KeyError" in json.dumps(vars(record), default=str)
    assert "test_session" in json.dumps(vars(record), default=str), "where it was"
    assert SECRET not in json.dumps(vars(record), default=str)


# --- the end of a connection


def test_a_half_closed_peer_is_answered_before_the_connection_is_closed(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        peer.session.data_received(message(1, "c1") + message(2, "c2"))
        assert peer.session.eof_received() is True, "the transport stays open"
        await turns()
        assert not peer.transport.closed
        server.commit(server.take(1))
        assert not peer.transport.closed
        server.commit(server.take(1))
        assert peer.acked() == ["c1", "c2"]
        assert peer.transport.closed

    runner.run(scenario())


def test_a_half_closed_peer_that_is_owed_nothing_is_closed(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        idle, silent, cut = server.connect(), server.connect(), server.connect()
        idle.session.eof_received()
        assert idle.transport.closed
        silent.session.data_received(message(1))
        silent.session.eof_received()
        cut.session.data_received(message(2, "c2")[:-3])
        cut.session.eof_received()
        await turns()
        assert silent.transport.closed and cut.transport.closed
        server.commit_all()
        assert server.numbers() == [1]

    runner.run(scenario())


def test_a_half_closed_peer_waits_for_room_too(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * KIB)
        peer = server.connect()
        await peer.send(big(1, 17 * KIB), big(2, 1 * KIB, "c2"))
        peer.session.eof_received()
        assert not peer.transport.closed
        server.commit_all()
        await turns()
        server.commit_all()
        assert peer.acked() == ["c2"]
        assert peer.transport.closed

    runner.run(scenario())


def test_a_connection_lost_within_a_message_loses_nothing_that_came_whole(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        peer.session.data_received(message(1, "c1") + message(2) + message(3, "c3")[:9])
        await peer.lose(ConnectionResetError())
        server.commit_all()
        assert server.numbers() == [1, 2]
        assert peer.acks == [], "there is nobody to write to"
        assert server.lost == [peer.session]
        assert server.disconnects == 1

    runner.run(scenario())


def test_what_waits_for_room_is_stored_though_its_connection_is_lost(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * KIB)
        peer = server.connect()
        await peer.send(b"".join(big(n, 10 * KIB) for n in range(6)))
        await peer.lose()
        assert server.lost == [], "it still has something to bring"
        for _ in range(6):
            server.commit_all()
            await turns()
        assert server.numbers() == list(range(6))
        assert server.lost == [peer.session]
        assert server.ring.blocked_sources == 0

    runner.run(scenario())


def test_a_peer_that_leaves_its_last_acks_unread_is_not_waited_for(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "LAST_ACKS_SECONDS", 0.01)

    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(message(0, "c"))
        peer.session.stop()
        server.commit_all()
        assert peer.transport.closed and not peer.transport.aborted
        await asyncio.sleep(0.05)
        assert peer.transport.aborted

    runner.run(scenario())


def test_messages_without_events_do_not_pile_up_behind_one_that_waits(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "MAX_PENDING_ACKS", 5)

    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        empty = m.pack(["t", [], {"chunk": "e"}])
        await peer.send(message(0, "c") + empty * 20)
        server.commit_all()
        await turns()
        assert peer.acked() == ["c"] + ["e"] * 20

        await peer.send(message(1, "d") + empty * 20)
        assert server.metric("penstock_received_frames_total", mode="forward") == 20 + 4
        server.commit_all()
        await turns()
        assert peer.acked()[21:] == ["d"] + ["e"] * 20

    runner.run(scenario())


def test_a_session_is_over_once(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        server = Server()
        for data in (b"", message(1), b"\xc1", message(1, "c")[:5]):
            peer = server.connect()
            peer.session.data_received(data)
            await peer.lose()
            server.commit_all()
            await turns()
            assert server.lost.count(peer.session) == 1

    runner.run(scenario())


# --- told to stop


def test_stop_closes_a_peer_that_is_owed_nothing(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        server = Server()
        idle, cut = server.connect(), server.connect()
        await cut.send(message(1, "c1")[:-2])
        for peer in (idle, cut):
            assert peer.session.is_idle
            peer.session.stop()
            assert peer.transport.closed and not peer.transport.aborted

    runner.run(scenario())


def test_stop_reads_no_more_and_closes_after_the_last_ack(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(message(1, "c1"), message(2, "c2"))
        peer.session.stop()
        assert not peer.transport.reading
        assert not peer.transport.closed and not peer.session.is_idle
        server.commit(server.take(1))
        assert not peer.transport.closed
        server.commit_all()
        assert peer.acked() == ["c1", "c2"]
        assert peer.transport.closed

    runner.run(scenario())


def test_stop_stores_what_waits_for_its_turn_or_for_room(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server(ring_bytes=64 * KIB)
        full, late = server.connect(), server.connect()
        await full.send(b"".join(big(n, 10 * KIB, f"c{n}") for n in range(5)))
        late.session.data_received(message(9, "late"))
        for peer in (full, late):
            peer.session.stop()
            assert not peer.session.is_idle
            assert not peer.transport.closed
        for _ in range(5):
            await turns()
            server.commit_all()
        assert sorted(server.numbers()) == [0, 1, 2, 3, 4, 9]
        assert full.acked() == [f"c{n}" for n in range(5)]
        assert late.acked() == ["late"]
        assert full.transport.closed and late.transport.closed

    runner.run(scenario())


def test_stop_stays_stopped_when_room_or_acks_would_let_it_be_read(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        peer.session.pause_writing()
        await peer.send(message(1, "c1"))
        peer.session.stop()
        peer.session.resume_writing()
        assert not peer.transport.reading

    runner.run(scenario())


def test_abort_does_not_wait_for_anything(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(message(1, "c1"))
        peer.session.abort()
        assert peer.transport.aborted
        await peer.lose()
        peer.session.abort()  # and does no harm afterwards
        server.commit_all()
        assert peer.acks == []

    runner.run(scenario())


# --- what is measured


def test_times_are_from_the_receipt_to_the_commit(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        await peer.send(message(1, "c1"))
        server.now += 2.5
        await peer.send(message(2))
        server.now += 1.0
        server.commit_all()
        seconds = "penstock_receive_to_commit_seconds"
        assert server.metric(f"{seconds}_count") == 2
        assert server.metric(f"{seconds}_sum") == 3.5 + 1.0
        assert server.metric("penstock_commit_to_ack_seconds_count") == 1

    runner.run(scenario())


def test_bytes_and_rejected_events_are_counted(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        server = Server()
        peer = server.connect()
        data = m.fixarray(m.fixstr(b"t"), m.bin8(m.entry({}) + m.entry("text")))
        await peer.send(data, m.NIL)
        assert server.metric("penstock_received_bytes_total") == len(data) + 1
        mode = "packed_forward"
        assert server.metric("penstock_received_events_total", mode=mode) == 2
        reason = "record_not_a_map"
        assert server.metric("penstock_rejected_events_total", reason=reason) == 1

    runner.run(scenario())
