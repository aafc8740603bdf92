"""TLS as a listener speaks it: real sockets, real clients, both event loops.

That the protocol within is given everything, once and in order, when the connection
ends in whatever way, and can answer to the last, is what these look at.
"""

import asyncio
import fcntl
import socket
import ssl
import struct
import termios
import time

import pytest

from penstock.net import tls as tls_module
from penstock.net.sockets import unread_bytes
from penstock.net.tls_records import SLICE_BYTES, SLICE_RECORDS
from penstock.settings import TlsSettings
from tests.authority import Authority
from tests.tls_client import V1_2, V1_3, TlsClient, client_context
from tests.tls_parts import Served, Within

KIB, MIB = 1024, 1024 * 1024
# More than one slice, and nothing that repeats at any length.
LONG = b"".join(struct.pack(">I", n) for n in range(150_000))


def in_socket(link: socket.socket) -> int:
    """Count what lies in a socket, unread."""
    answer = fcntl.ioctl(link.fileno(), termios.FIONREAD, b"\0" * 4)
    return int(struct.unpack("i", answer)[0])


def reset(link: socket.socket) -> None:
    """Close a socket so that the peer gets a reset."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()


async def lost(session: Within) -> None:
    await session.until(lambda: session.is_lost)


def test_what_is_sent_comes_and_is_answered(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    def client(port: int) -> bytes:
        with TlsClient(port, context) as link:
            link.shake_hands().send(b"one")
            return link.receive()

    async def scenario() -> None:
        async with Served(settings) as served:
            served.echoes = True
            assert await asyncio.to_thread(client, served.port) == b"one"
            session = await served.session()
            await lost(session)
            assert session.happened == ["data", "end", "lost"]
            assert served.failures == []

    runner.run(scenario())


def test_megabytes_come_and_go_unchanged(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    def client(port: int) -> bytes:
        with TlsClient(port, context) as link:
            link.shake_hands()
            answer = b""
            for _ in range(8):  # one after the other: nobody reads while all write
                link.send(LONG)
                answer += link.receive_exactly(len(LONG))
            return answer

    async def scenario() -> None:
        async with Served(settings) as served:
            served.echoes = True
            assert await asyncio.to_thread(client, served.port) == LONG * 8
            assert max(served.sessions[0].pieces) < 2 * SLICE_BYTES

    runner.run(scenario())


@pytest.mark.parametrize("farewell", ["goodbye", "fin", "goodbye and fin"])
def test_data_and_the_end_in_one_segment_are_data_then_the_end(
    runner: asyncio.Runner,
    settings: TlsSettings,
    context: ssl.SSLContext,
    farewell: str,
) -> None:
    def client(port: int) -> None:
        with TlsClient(port, context) as link:
            # In TLS 1.3 the handshake's last flight is in it too.
            last = link.last_flight()
            if link.tls.version() == "TLSv1.2":
                assert last == b""
            last += link.encrypted(LONG)
            if "goodbye" in farewell:
                last += link.goodbye()
            link.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            link.socket.sendall(last)
            if "fin" in farewell:
                link.socket.shutdown(socket.SHUT_WR)
            link.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
            assert link.receive() == b""

    async def scenario() -> None:
        async with Served(settings) as served:
            await asyncio.to_thread(client, served.port)
            session = await served.session()
            await lost(session)
            assert session.received == LONG
            assert session.happened == ["data", "end", "lost"]

    runner.run(scenario())


@pytest.mark.parametrize("says_goodbye", [True, False])
def test_nothing_is_lost_when_a_peer_ends_while_it_is_not_read(
    runner: asyncio.Runner,
    settings: TlsSettings,
    context: ssl.SSLContext,
    says_goodbye: bool,
) -> None:
    def client(port: int) -> None:
        with TlsClient(port, context) as link:
            link.shake_hands().send(LONG)
            if says_goodbye:
                link.socket.sendall(link.goodbye())

    async def scenario() -> None:
        async with Served(settings) as served:
            served.pauses = True
            await asyncio.to_thread(client, served.port)
            session = await served.session()
            while "end" not in session.happened:
                session.told.clear()
                session.transport.resume_reading()
                await session.until(session.told.is_set)
            await lost(session)
            assert session.received == LONG

    runner.run(scenario())


@pytest.mark.parametrize("says_goodbye", [True, False])
def test_a_peer_that_has_ended_is_still_answered(
    runner: asyncio.Runner,
    settings: TlsSettings,
    context: ssl.SSLContext,
    says_goodbye: bool,
) -> None:
    def client(port: int) -> bytes:
        with TlsClient(port, context) as link:
            link.shake_hands().send(b"chunk")
            if says_goodbye:
                link.socket.sendall(link.goodbye())
            link.socket.shutdown(socket.SHUT_WR)
            return link.receive_exactly(100)

    async def scenario() -> None:
        async with Served(settings) as served:
            served.stays = True
            answer = asyncio.create_task(asyncio.to_thread(client, served.port))
            session = await served.session()
            await session.until(lambda: "end" in session.happened)
            for _ in range(3):
                await asyncio.sleep(0.02)
                assert not session.transport.is_closing()
                session.transport.write(b"ack")
            session.transport.close()
            assert await answer == b"ackackack"

    runner.run(scenario())


def test_our_close_flushes_what_was_written_and_says_goodbye(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    def client(port: int) -> bytes:
        with TlsClient(port, context) as link:
            link.shake_hands().send(b"chunk")
            time.sleep(0.1)
            data = link.receive_exactly(len(LONG) * 4)
            # Read in OpenSSL's own way: an end without a goodbye is an error.
            assert link.tls.read(1) == b""
            return data

    async def scenario() -> None:
        async with Served(settings) as served:
            data = asyncio.create_task(asyncio.to_thread(client, served.port))
            session = await served.session()
            await session.until(lambda: session.received)
            session.transport.write(LONG * 4)
            session.transport.close()
            assert session.transport.is_closing()
            session.transport.write(b"too late")
            assert await data == LONG * 4
            await lost(session)
            assert session.happened[-1] == "lost"
            assert served.failures == []

    runner.run(scenario())


def test_our_close_of_a_peer_that_does_not_read_is_bounded(
    runner: asyncio.Runner,
    settings: TlsSettings,
    context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tls_module, "CLOSE_SECONDS", 0.1)

    async def scenario() -> None:
        async with Served(settings) as served:
            _, session = await served.connect(context)
            session.transport.write(b"x" * 16 * MIB)
            session.transport.close()
            await lost(session)

    runner.run(scenario())


def test_an_abort_ends_at_once(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            _, session = await served.connect(context)
            session.transport.write(b"x" * 16 * MIB)
            session.transport.abort()
            assert session.transport.is_closing()
            await lost(session)

    runner.run(scenario())


def test_a_paused_connection_is_read_no_further_and_says_how_much_waits(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            link, session = await served.connect(context)
            session.transport.pause_reading()
            assert not session.transport.is_reading()
            link.socket.settimeout(0.2)
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(link.send, LONG * 100)
            assert session.received == b""
            sent_bytes = unread_bytes(session.transport)
            held_bytes = sent_bytes - in_socket(
                session.transport.get_extra_info("socket")
            )
            assert sent_bytes > 0
            assert 0 <= held_bytes <= 256 * KIB
            session.transport.resume_reading()
            await session.until(lambda: not unread_bytes(session.transport))
            assert len(session.received) > sent_bytes * 0.99
            assert LONG.startswith(session.received[: len(LONG)])

    runner.run(scenario())


def test_a_pause_within_a_burst_holds_the_rest_back(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    records = 10 * SLICE_RECORDS

    async def scenario() -> None:
        async with Served(settings) as served:
            served.pauses = True
            link, session = await served.connect(context)
            burst = b"".join(link.encrypted(b"x") for _ in range(records))
            await asyncio.to_thread(link.socket.sendall, burst)
            while len(session.received) < records:
                before = len(session.received)
                session.told.clear()
                session.transport.resume_reading()
                await session.until(session.told.is_set)
                for _ in range(5):
                    await asyncio.sleep(0)
                assert 0 < len(session.received) - before <= SLICE_RECORDS
            assert unread_bytes(session.transport) == 0

    runner.run(scenario())


def test_others_have_their_turn_within_a_burst(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            link, session = await served.connect(context)
            burst = b"".join(link.encrypted(b"x") for _ in range(50 * SLICE_RECORDS))
            sending = asyncio.create_task(asyncio.to_thread(link.socket.sendall, burst))
            seen, rounds = 0, 0
            while len(session.received) < 50 * SLICE_RECORDS:
                await asyncio.sleep(0)
                assert len(session.received) - seen <= 2 * SLICE_RECORDS
                rounds += len(session.received) > seen
                seen = len(session.received)
            assert rounds >= 25
            await sending

    runner.run(scenario())


def test_writing_is_paused_while_the_peer_does_not_read(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            link, session = await served.connect(context)
            session.transport.set_write_buffer_limits(high=64 * KIB)
            assert session.transport.get_write_buffer_limits()[1] == 64 * KIB
            written = b""
            while not session.write_paused:
                written += LONG
                session.transport.write(LONG)
                await asyncio.sleep(0)
            assert session.transport.get_write_buffer_size() > 64 * KIB
            # It could make us write more: it is not read either.
            await asyncio.to_thread(link.send, b"more")
            await asyncio.sleep(0.05)
            assert session.received == b""
            answer = await asyncio.to_thread(link.receive_exactly, len(written))
            assert answer == written
            await session.until(lambda: session.received == b"more")
            assert session.happened == ["pause", "resume", "data"]

    runner.run(scenario())


def test_one_write_is_one_record_and_one_segment(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            link, session = await served.connect(context)
            for _ in range(20):
                session.transport.write(b"a" * 40)
                record = await asyncio.to_thread(link.socket.recv, 4096)
                assert record[0] == 23
                assert len(record) == 5 + int.from_bytes(record[3:5], "big")

    runner.run(scenario())


def test_nothing_is_written_that_a_sender_would_leave_unread(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            link, session = await served.connect(context)
            await asyncio.to_thread(link.send, b"chunk")
            await session.until(lambda: session.received)
            assert in_socket(link.socket) == 0

    runner.run(scenario())


def test_senders_that_write_and_close_at_once_lose_nothing(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    def client(port: int) -> None:
        with TlsClient(port, context) as link:
            last = link.last_flight() + link.encrypted(b"last words" * 1000)
            link.socket.sendall(last + link.goodbye())

    async def scenario() -> None:
        async with Served(settings) as served:
            for _ in range(60):
                await asyncio.to_thread(client, served.port)
            await served.until(lambda: len(served.lost) == 60)
            received = [len(session.received) for session in served.sessions]
            assert received == [10_000] * 60

    runner.run(scenario())


def test_a_session_of_tls_1_2_can_be_resumed_without_a_ticket(
    runner: asyncio.Runner, settings: TlsSettings, authority: Authority
) -> None:
    context = client_context(authority, V1_2)

    async def scenario() -> None:
        async with Served(settings) as served:
            first = served.client(context)
            await asyncio.to_thread(first.shake_hands)
            assert first.tls.session is not None
            assert not first.tls.session.has_ticket
            second = served.client(context, session=first.tls.session)
            await asyncio.to_thread(second.shake_hands)
            assert second.tls.session_reused

    runner.run(scenario())


def test_a_protocol_hands_the_connection_over_to_another(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            link, first = await served.connect(context)
            second = Within(served, "next")
            first.transport.set_protocol(second)
            assert first.transport.get_protocol() is second
            second.connection_made(first.transport)
            await asyncio.to_thread(link.send, b"for the next")
            link.socket.close()
            await lost(second)
            assert second.received == b"for the next"
            assert second.happened == ["data", "end", "lost"]
            assert first.happened == []

    runner.run(scenario())


def test_what_had_come_before_a_reset_is_handed_over(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            link, session = await served.connect(context)
            served.pauses = True  # after the first slice
            burst = b"".join(link.encrypted(b"x") for _ in range(3 * SLICE_RECORDS))
            await asyncio.to_thread(link.socket.sendall, burst)
            await session.until(lambda: session.received)
            reset(link.socket)
            session.transport.write(b"an ack that finds nobody")
            await lost(session)
            assert len(session.received) == 3 * SLICE_RECORDS
            assert session.happened == ["data", "lost"]

    runner.run(scenario())


def test_a_failure_within_ends_its_own_connection(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    told: list[str] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, what: told.append(what["message"]))
        async with Served(settings) as served:
            link, session = await served.connect(context)
            session.transport.pause_reading()
            await asyncio.to_thread(link.send, b"poison")
            session.fails = True
            session.transport.resume_reading()
            await lost(session)

    runner.run(scenario())
    assert len(told) == 1


def test_a_listener_can_tell_who_is_still_shaking_hands(
    runner: asyncio.Runner, settings: TlsSettings, context: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        async with Served(settings) as served:
            link = served.client(context)
            await served.until(lambda: served.raws)
            connection = served.connections[0]
            assert connection.is_shaking_hands
            await asyncio.to_thread(link.shake_hands)
            await served.session()
            assert not connection.is_shaking_hands

    runner.run(scenario())


def test_tls_1_3_only_can_be_asked_for(
    runner: asyncio.Runner, settings: TlsSettings, authority: Authority
) -> None:
    settings = TlsSettings(
        tls_certificate_file=settings.tls_certificate_file,
        tls_key_file=settings.tls_key_file,
        tls_min_version="1.3",
    )

    async def scenario() -> None:
        async with Served(settings) as served:
            old = served.client(client_context(authority, V1_2))
            with pytest.raises(ssl.SSLError):
                await asyncio.to_thread(old.shake_hands)
            new = served.client(client_context(authority, V1_3))
            await asyncio.to_thread(new.shake_hands)
            assert new.tls.version() == "TLSv1.3"
            assert served.failures == ["handshake"]

    runner.run(scenario())
