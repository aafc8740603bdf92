"""What peers of the HTTP side can take of us: real sockets, both loops."""

import asyncio
import contextlib
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest
import uvloop

from penstock.http import connection
from penstock.http import server as http_server
from penstock.http.server import HttpServer
from penstock.settings import HttpSettings
from penstock.telemetry.metrics import Metrics
from tests.integration.conftest import Database, Sender, Start, until, wait_until

MOST = 20
HEALTH = b"GET /health HTTP/1.1\r\nHost: penstock\r\n\r\n"
REFUSED = "penstock_http_connections_refused_total"
SECONDS = 20.0
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


class Limited:
    """An HTTP server that takes few connections."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.server = HttpServer(
            HttpSettings(http_port=0, http_max_connections=MOST), self.metrics, list
        )

    async def connect(
        self, source: str = "127.0.0.1"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = self.server.port
        return await asyncio.open_connection(
            "127.0.0.1", port, local_addr=(source, None)
        )

    async def say(self, request: bytes) -> bytes:
        """Send bytes; return all that comes until the connection is closed."""
        reader, writer = await self.connect()
        writer.write(request)
        try:
            return await asyncio.wait_for(reader.read(), SECONDS)
        finally:
            writer.close()

    async def has_open(self, count: int) -> None:
        """Wait until it has taken so many connections."""
        await until(lambda: len(self.server._connections) == count, "they are taken")

    def refused(self, reason: str) -> float:
        return self.metrics.registry.get_sample_value(REFUSED, {"reason": reason}) or 0


@pytest.fixture
async def limited() -> AsyncIterator[Limited]:
    made = Limited()
    await made.server.start()
    yield made
    await made.server.close()


async def test_however_many_are_silent_the_next_one_is_answered(
    limited: Limited,
) -> None:
    async with contextlib.AsyncExitStack() as silent:
        for _ in range(10):
            for _ in range(MOST):
                _, writer = await limited.connect()
                silent.callback(writer.close)
            assert b"alive" in await limited.say(HEALTH)
        assert limited.refused("max_connections") >= 9 * MOST
        assert len(limited.server._connections) <= MOST


async def test_many_of_one_address_do_not_close_one_of_another(
    limited: Limited,
) -> None:
    """It may be slow: its request is as long on its way as it is."""
    reader, slow = await limited.connect("127.0.0.2")
    async with contextlib.AsyncExitStack() as silent:
        for _ in range(3 * MOST):
            silent.callback((await limited.connect())[1].close)
        slow.write(HEALTH)
        assert b"alive" in await reader.read()
    assert limited.refused("max_connections") >= 2 * MOST
    slow.close()


async def test_who_asks_is_not_closed_for_who_is_silent(limited: Limited) -> None:
    """Of an answered one that has a body to send, the answer is all there."""
    reader, writer = await limited.connect()
    writer.write(b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 405 ")
    silent = [await limited.connect() for _ in range(MOST)]
    writer.write(b"the body.")
    assert b"405 Method Not Allowed\n" in await reader.read()
    assert limited.refused("max_connections") == 1
    for _, each in [*silent, (reader, writer)]:
        each.close()


@pytest.mark.parametrize("begun", [b"", b"GET", b"GET /health HTTP/1.1\r\nA: b\r\n"])
async def test_headers_that_do_not_come_are_not_waited_for(
    limited: Limited, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connection.HEADER_SECONDS == 10
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.2)
    before = time.monotonic()
    with contextlib.suppress(ConnectionResetError):
        assert await limited.say(begun) == b""
    assert time.monotonic() - before < 9, "it is not the ten seconds of before"
    assert limited.refused("too_slow") == 1


async def test_headers_that_drip_have_no_more_time_than_others(
    limited: Limited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.3)
    reader, writer = await limited.connect()
    with contextlib.suppress(ConnectionError):
        for each in b"GET /health HTTP/1.1\r\nX: " + b"y" * 1000:
            # Its answer may still be unread when the connection is lost.
            if reader.at_eof() or writer.is_closing():
                break
            writer.write(bytes([each]))
            await asyncio.sleep(0.01)
    assert limited.refused("too_slow") == 1
    writer.close()


async def test_an_answer_that_is_not_taken_is_not_waited_for(
    limited: Limited, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor the body of a request: the connection ends when its time is up."""
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(connection, "BODY_SECONDS", 60)
    answer = await limited.say(
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    "flood",
    [
        b"GET /health HTTP/1.1\r\n" + b"X: " + b"y" * 10_000_000,
        b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 1_000_000,
        b"GET /" + b"y" * 10_000_000,
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n"
        + b"y" * 10_000_000,
        b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\ny\r\n" * 1_000_000,
        HEALTH * 100_000,
        b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\n\r\n" + b"y" * 10_000_000,
    ],
    ids=["header", "headers", "path", "body", "chunks", "pipeline", "upgrade"],
)
async def test_a_flood_is_cut_off(limited: Limited, flood: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        answer = await limited.say(flood)
        assert answer.count(b"HTTP/1.") <= 1, "one request a connection"
    assert b"alive" in await limited.say(HEALTH)
    assert len(limited.server._connections) == 0


async def test_a_connection_is_one_request(limited: Limited) -> None:
    answer = await limited.say(HEALTH * 3)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"Connection: close" in answer


async def test_a_new_limit_holds_from_the_next_connection_on(limited: Limited) -> None:
    settings = HttpSettings(http_max_connections=2)
    open_ones = [await limited.connect() for _ in range(10)]
    await limited.has_open(10)
    limited.server.reload(settings)
    assert b"alive" in await limited.say(HEALTH)
    assert len(limited.server._connections) <= 2
    for _, each in open_ones:
        each.close()


async def test_a_stop_waits_for_nobody_who_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server, "CLOSE_SECONDS", 60.0)
    server = Limited()
    await server.server.start()
    _, silent = await server.connect()
    await server.has_open(1)
    await asyncio.wait_for(server.server.close(), SECONDS)
    silent.close()


@contextlib.contextmanager
def no_files_left() -> Iterator[list[socket.socket]]:
    """Leave this process no file to open, until the sockets that are given close."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as highest:
        limit = highest.fileno() + 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    taken: list[socket.socket] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(socket.socket())
        yield taken
    finally:
        for each in taken:
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_it_comes_back_after_the_process_had_no_file_left(
    limited: Limited, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    with no_files_left() as taken:
        taken.pop().close()
        peer = socket.socket()
        peer.setblocking(False)
        await loop.sock_connect(peer, ("127.0.0.1", limited.server.port))
        await loop.sock_sendall(peer, HEALTH)
        said = "the HTTP side can take no connection"
        await until(lambda: said in caplog.text, "it is told")
        taken.pop().close()
        answer = await asyncio.wait_for(loop.sock_recv(peer, 65536), SECONDS)
        assert b"200 OK" in answer, "it had waited"
        peer.close()
    assert b"alive" in await limited.say(HEALTH)


def test_thousands_who_say_nothing_keep_no_probe_and_no_log_out(
    database: Database, start: Start
) -> None:
    """With few open files too, of which enough are left for what matters."""
    program = start("serve", "--database-url", database.url).wait_ready()
    few = 256
    resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (few, few))
    address = ("127.0.0.1", program.http_port)
    with contextlib.ExitStack() as open_ones:
        for number in range(2_000):
            open_ones.enter_context(socket.create_connection(address))
            if number % 200 == 199:
                assert program.get("/health")[0] == 200
                assert program.get("/ready")[0] == 200
        assert program.metric(REFUSED) > 1_000
        assert psutil.Process(program.pid).num_fds() < few * 2 / 3
        with Sender(program.port) as sender:
            sender.send(range(3), "c")
            assert sender.acks(1) == ["c"]
    wait_until(lambda: program.get("/ready")[0] == 200, "it is ready again")
    assert "Traceback" not in program.stderr
    assert program.stop() == 0
