"""The door of the API: its paths, methods, token, bodies and streams. Real sockets."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from penstock.http import bodies, connection
from penstock.http.answers import ApiError, json_answer
from penstock.http.bodies import read_body, read_json
from penstock.http.events import open_events
from penstock.http.routes import Route
from penstock.http.server import HttpServer
from penstock.settings import HttpSettings
from penstock.telemetry.metrics import Metrics

MOST_BODY = 1024 * 1024
MOST = 8
SECONDS = 10.0


async def hello(request: web.BaseRequest) -> web.StreamResponse:
    return json_answer({"hello": request.query.get("name", "you")})


async def count(request: web.BaseRequest) -> web.StreamResponse:
    return json_answer({"bytes": len(await read_body(request, MOST_BODY))})


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    return json_answer(await read_json(request))


async def refuse(request: web.BaseRequest) -> web.StreamResponse:
    raise ApiError(503, "two\nlines", {"Retry-After": "7"})


async def broken(request: web.BaseRequest) -> web.StreamResponse:
    raise ValueError("a secret")


class Served:
    """A server with routes of our own."""

    def __init__(self, token: str = "") -> None:
        self.metrics = Metrics()
        self.cancelled = asyncio.Event()
        self.begun = asyncio.Event()
        settings = HttpSettings(
            http_port=0, http_max_connections=MOST, http_token=token
        )
        self.server = HttpServer(
            settings,
            self.metrics,
            list,
            routes=(
                Route("/api/hello", {"GET": hello}, None),
                Route("/api/count", {"POST": count}, None, MOST_BODY),
                Route("/api/echo", {"GET": hello, "POST": echo}, None, 64 * 1024),
                Route("/api/refuse", {"GET": refuse}, None),
                Route("/api/broken", {"GET": broken}, None),
                Route("/api/slow", {"GET": self.slow}, None),
                Route("/api/stream", {"GET": self.stream}, None, is_stream=True),
            ),
        )

    async def slow(self, request: web.BaseRequest) -> web.StreamResponse:
        self.begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError

    async def stream(self, request: web.BaseRequest) -> web.StreamResponse:
        async with open_events(request) as events:
            await events.send(b'{"n":1}', event="row", event_id="1")
            self.begun.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return events.response

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    async def ask(self, method: str, path: str, **more) -> tuple[int, dict, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, **more) as answer,
        ):
            return answer.status, dict(answer.headers), await answer.text()

    async def say(self, *pieces: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.02)
        try:
            return await asyncio.wait_for(reader.read(), SECONDS)
        finally:
            writer.close()

    def refused(self, reason: str) -> float:
        return (
            self.metrics.registry.get_sample_value(
                "penstock_http_connections_refused_total", {"reason": reason}
            )
            or 0
        )


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    await made.server.start()
    yield made
    await made.server.close()


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/api/hello?name=x", 200, None),
        ("HEAD", "/api/hello", 200, None),
        ("POST", "/api/hello", 405, "GET, HEAD"),
        ("OPTIONS", "/api/hello", 405, "GET, HEAD"),
        ("DELETE", "/api/echo", 405, "GET, HEAD, POST"),
        ("GET", "/api/count", 405, "POST"),
        ("HEAD", "/api/stream", 405, "GET"),
        ("GET", "/api/nothing", 404, None),
        ("GET", "/api/", 404, None),
        ("GET", "/api/hello/", 404, None),
    ],
)
async def test_a_path_is_answered_by_its_methods_and_no_others(
    served: Served, method: str, path: str, status: int, allow: str | None
) -> None:
    found, headers, text = await served.ask(method, path)
    assert (found, headers.get("Allow")) == (status, allow)
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    if method == "HEAD":
        assert text == ""
    elif status == 200:
        assert json.loads(text) == {"hello": "x"}
    else:
        assert list(json.loads(text)) == ["error"]


async def test_an_error_is_one_line_of_json_with_its_headers(served: Served) -> None:
    status, headers, text = await served.ask("GET", "/api/refuse")
    assert (status, headers["Retry-After"]) == (503, "7")
    assert json.loads(text) == {"error": "two lines"}


async def test_a_bug_of_ours_tells_nobody_what_it_met(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    status, _, text = await served.ask("GET", "/api/broken")
    assert status == 500
    assert "secret" not in text + caplog.text
    assert "met a bug in Penstock" in caplog.text


async def test_without_the_token_nothing_of_the_api_is_told() -> None:
    served = Served("right")
    await served.server.start()
    for path in ("/api/hello", "/api/nothing", "/api/count"):
        status, headers, text = await served.ask("POST", path, data=b"x" * 100_000)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "Authorization: Bearer" in json.loads(text)["error"]
        bearer = {"Authorization": "Bearer wrong"}
        status, _, text = await served.ask("GET", path, headers=bearer)
        assert status == 401
        assert json.loads(text) == {"error": "the token is not the right one"}
    right = {"Authorization": "Bearer right", "Origin": "https://grafana.example.org"}
    assert (await served.ask("GET", "/api/hello", headers=right))[0] == 200
    await served.server.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "penstock.localhost"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "evil.example.org"}, 403),
        ({"Host": "localhost.example.org:8000"}, 403),
        ({"Host": "evil.example.org", "Origin": "http://evil.example.org"}, 403),
        ({"Origin": "https://evil.example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:1", "Origin": "http://localhost:1"}, 200),
    ],
)
async def test_no_page_of_another_asks_where_there_is_no_token(
    served: Served, headers: dict[str, str], status: int
) -> None:
    assert (await served.ask("GET", "/api/hello", headers=headers))[0] == status


@pytest.mark.parametrize("size", [0, 1, 70_000, 500_000, MOST_BODY])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_is_read_to_its_end(
    served: Served, size: int, is_chunked: bool
) -> None:
    body = b"x" * size

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 100_000):
            yield body[start : start + 100_000]

    data = pieces() if is_chunked else io.BytesIO(body)
    status, _, text = await served.ask("POST", "/api/count", data=data)
    assert (status, json.loads(text)) == (200, {"bytes": size})


async def test_curl_is_told_to_go_on_with_a_large_body(served: Served) -> None:
    head = (
        b"POST /api/count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )
    answer = await served.say(head, b"the body.")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert answer.endswith(b'{"bytes": 9}')


async def test_a_body_that_is_too_large_is_told_so(served: Served) -> None:
    """By its length, before it is sent; or as soon as too much has come."""
    status, _, text = await served.ask(
        "POST", "/api/count", data=io.BytesIO(b"x" * 1_100_000)
    )
    assert status == 413
    assert json.loads(text) == {"error": "the body is larger than 1,048,576 bytes"}
    chunk = b"%x\r\n" % 100_000 + b"y" * 100_000 + b"\r\n"
    head = (
        b"POST /api/count HTTP/1.1\r\nHost: x.localhost\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    with contextlib.suppress(ConnectionError):
        answer = await served.say(head + chunk * 12)
        assert b" 413 " in answer


async def test_a_body_in_tiny_chunks_costs_no_more_than_another(
    served: Served,
) -> None:
    head = (
        b"POST /api/count HTTP/1.1\r\nHost: localhost\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    with contextlib.suppress(ConnectionError):
        assert b" 200 " not in await served.say(head + b"1\r\ny\r\n" * 600_000)
    assert served.refused("too_large") == 1


async def test_a_body_that_does_not_come_is_not_waited_for(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bodies.BODY_SECONDS == 30
    monkeypatch.setattr(bodies.read_body, "__defaults__", (0.2,))
    head = b"POST /api/count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    answer = await served.say(head + b"the")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"has not come to its end within 0.2 s" in answer


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "the body is no JSON: Expecting value at line 1 column 1"),
        (b'{"a":\n 1,}', "at line 2 column 4"),
        (b"[1]", "the body has to be a JSON object"),
        (b"\xff", "the body is no JSON: not UTF-8 at byte 0"),
        (b'{"a":' + b"[" * 30_000, "the body is no JSON: it is nested too deep"),
        (b" " * 65_537, "the body is larger than 65,536 bytes"),
    ],
)
async def test_a_body_of_json_is_an_object_or_is_told_what_it_is_not(
    served: Served, body: bytes, error: str
) -> None:
    status, _, text = await served.ask("POST", "/api/echo", data=body)
    assert status == (413 if "larger" in error else 400)
    assert error in json.loads(text)["error"]
    assert await served.ask("POST", "/api/echo", data=b'{"a": [1]}')


async def test_a_client_that_goes_away_ends_what_was_done_for_it(
    served: Served,
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
    writer.write(b"GET /api/slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await asyncio.wait_for(served.begun.wait(), SECONDS)
    writer.close()
    await asyncio.wait_for(served.cancelled.wait(), SECONDS)


async def read_event(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"}\n\n\r\n"), SECONDS)


async def open_stream(
    served: Served,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    streams = await asyncio.open_connection("127.0.0.1", served.server.port)
    streams[1].write(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return streams


async def test_a_stream_tells_events_and_outlives_the_time_of_an_answer(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.1)
    reader, writer = await open_stream(served)
    told = await read_event(reader)
    assert b"Content-Type: text/event-stream; charset=utf-8\r\n" in told
    assert b'event: row\nid: 1\ndata: {"n":1}\n\n' in told
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.3)
    writer.close()
    await asyncio.wait_for(served.cancelled.wait(), SECONDS)


async def test_streams_leave_places_for_who_asks_for_a_moment(served: Served) -> None:
    async with contextlib.AsyncExitStack() as open_ones:
        readers = []
        for _ in range(MOST // 2):
            reader, writer = await open_stream(served)
            open_ones.callback(writer.close)
            await read_event(reader)
            readers.append(reader)
        status, headers, text = await served.ask("GET", "/api/stream")
        assert (status, headers["Retry-After"]) == (503, "5")
        assert "http_max_connections" in json.loads(text)["error"]
        for _ in range(3 * MOST):  # silent ones make room, streams do not
            _, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
            open_ones.callback(writer.close)
        for _ in range(MOST):
            assert (await served.ask("GET", "/metrics"))[0] == 200
        assert not any(reader.at_eof() for reader in readers)


async def test_how_long_a_stream_was_read_is_no_answer_time(served: Served) -> None:
    _, writer = await open_stream(served)
    await served.begun.wait()
    writer.close()
    await served.cancelled.wait()
    await served.ask("GET", "/api/hello")
    value = served.metrics.registry.get_sample_value
    answers, times = (
        "penstock_http_api_answers_total",
        "penstock_http_api_seconds_count",
    )
    assert value(times, {"path": "/api/hello"}) == 1
    assert value(times, {"path": "/api/stream"}) is None
    assert value(answers, {"path": "/api/stream", "status": "200"}) is not None


async def test_a_stop_ends_streams(served: Served) -> None:
    reader, writer = await open_stream(served)
    await read_event(reader)
    await asyncio.wait_for(served.server.close(), SECONDS)
    assert served.cancelled.is_set()
    with contextlib.suppress(asyncio.IncompleteReadError):
        await asyncio.wait_for(reader.read(), SECONDS)
    writer.close()
