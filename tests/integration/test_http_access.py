"""The HTTP side with a token: who is answered, and what the others are told."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import aiohttp
import pytest
from aiohttp import web

from penstock.errors import SettingsError
from penstock.http.answers import json_answer
from penstock.http.routes import Route
from penstock.http.server import HttpServer
from penstock.http.token import Right
from penstock.settings import HttpSettings
from penstock.telemetry.metrics import Metrics
from tests.integration.conftest import Database, Start, run_penstock, wait_until

TOKEN = "c0rrect-horse.battery_staple"
PATHS = ["/metrics", "/ready", "/", "/nothing", "/metrics/", "/health/", "//health"]


class Guarded:
    """An HTTP server with a token, and what it answers."""

    def __init__(
        self, host: str = "127.0.0.1", token: str = TOKEN, **narrow: str
    ) -> None:
        self.metrics = Metrics()
        more: dict[str, Any] = {**narrow}
        settings = HttpSettings(http_host=host, http_port=0, http_token=token)
        self.server = HttpServer(
            replace(settings, **more),
            self.metrics,
            list,
            routes=(
                Route("/api/search", {"GET": _hello}, Right.READ),
                Route("/api/ingest", {"POST": _hello}, Right.INGEST),
                Route("/api/openapi.json", {"GET": _hello}, None),
            ),
        )

    async def ask(
        self, path: str, token: str | None = None, method: str = "GET", **more: str
    ) -> tuple[int, dict[str, str], str]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:{self.server.port}{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, headers=headers | more) as answer,
        ):
            return answer.status, dict(answer.headers), await answer.text()

    def count(self, name: str, reason: str) -> float:
        labels = {"reason": reason}
        value = self.metrics.registry.get_sample_value(name, labels)
        assert value is not None
        return value


async def _hello(request: web.BaseRequest) -> web.StreamResponse:
    return json_answer({})


@pytest.fixture
async def guarded() -> AsyncIterator[Guarded]:
    made = Guarded()
    await made.server.start()
    yield made
    await made.server.close()


async def test_health_needs_no_token_and_says_only_alive(guarded: Guarded) -> None:
    for token in (None, "wrong", TOKEN):
        status, _, text = await guarded.ask("/health", token)
        assert (status, text) == (200, '{"status": "alive"}')


async def test_the_token_opens_the_rest(guarded: Guarded) -> None:
    assert (await guarded.ask("/metrics", TOKEN))[0] == 200
    assert (await guarded.ask("/metrics", TOKEN, "HEAD"))[0] == 200
    assert (await guarded.ask("/ready", TOKEN))[0] == 200
    assert (await guarded.ask("/nothing", TOKEN))[0] == 404
    assert (await guarded.ask("/ready", TOKEN, "POST"))[0] == 405


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN.upper()])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
async def test_without_it_every_path_gives_the_same_answer(
    guarded: Guarded, method: str, token: str | None
) -> None:
    answers = [await guarded.ask(path, token, method) for path in PATHS]
    for status, headers, text in answers:
        assert status == 401
        assert headers["WWW-Authenticate"] == "Bearer"
        assert text == ("" if method == "HEAD" else "401 Unauthorized\n")


async def test_an_expectation_does_not_pass_the_token_by(guarded: Guarded) -> None:
    for wish in ("100-continue", "something else"):
        assert (await guarded.ask("/metrics", None, Expect=wish))[0] == 401


async def test_refusals_are_counted_by_reason(guarded: Guarded) -> None:
    name = "penstock_http_unauthorized_total"
    assert guarded.count(name, "no_token") == 0, "there from the start"
    await guarded.ask("/metrics")
    await guarded.ask("/metrics", "wrong")
    await guarded.ask("/nothing", "wrong")
    await guarded.ask("/health", "wrong")
    assert guarded.count(name, "no_token") == 1
    assert guarded.count(name, "wrong_token") == 2


async def test_refusals_are_logged_with_the_peer_and_never_a_token(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "penstock")
    tried = "a-token-with-a-typo"
    await guarded.ask(f"/metrics?token={TOKEN}", tried)
    (record,) = (each for each in caplog.records if each.levelname == "WARNING")
    assert record.getMessage() == "an HTTP request without the right token"
    assert vars(record)["peer"] == "127.0.0.1"
    for each in caplog.records:
        assert TOKEN not in str(vars(each)) and tried not in str(vars(each))
    _, _, metrics = await guarded.ask("/metrics", TOKEN)
    assert TOKEN not in metrics


async def test_what_is_no_http_is_not_quoted_anywhere(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    """A header that is broken may be the one with the token."""
    caplog.set_level(logging.DEBUG)
    reader, writer = await asyncio.open_connection("127.0.0.1", guarded.server.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nAuthori\0zation: " + TOKEN.encode())
    writer.write(b"\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert TOKEN.encode() not in answer
    assert "Traceback" not in caplog.text
    assert TOKEN not in caplog.text
    assert guarded.count("penstock_http_connections_refused_total", "not_http") == 1


async def test_answers_name_no_version_and_are_not_kept(guarded: Guarded) -> None:
    asked = [("/health", None), ("/metrics", TOKEN), ("/metrics", None), ("/x", TOKEN)]
    for path, token in asked:
        _, headers, _ = await guarded.ask(path, token)
        assert headers["Server"] == "penstock"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"


async def test_a_reload_replaces_the_token(guarded: Guarded) -> None:
    new = "another-token-of-some-length"
    guarded.server.reload(HttpSettings(http_token=new))
    assert (await guarded.ask("/metrics", TOKEN))[0] == 401
    assert (await guarded.ask("/metrics", new))[0] == 200
    guarded.server.reload(HttpSettings())
    assert (await guarded.ask("/metrics"))[0] == 200, "on loopback there need be none"


DOORS = [("GET", "/metrics"), ("GET", "/api/search"), ("POST", "/api/ingest")]
METRICS_WORDS = (
    "this token may not read metrics; that takes metrics_token or http_token"
)
ANY_TOKEN = [("GET", "/ready", 200), ("GET", "/api/openapi.json", 200)]
ANY_TOKEN += [("GET", "/api/nothing", 404), ("GET", "/nothing", 404)]
MAY_NOT = [
    f"403 Forbidden: {METRICS_WORDS}\n",
    '{"error": "this token may not read logs; that takes read_token or http_token"}',
    '{"error": "this token may not send logs; that takes ingest_token or http_token"}',
]
NARROW = {f"{each.value}_token": f"only-for-{each.value}" for each in Right}


async def test_each_token_opens_its_own_door_and_no_other() -> None:
    made = Guarded(**NARROW)
    await made.server.start()
    for own, token in enumerate([*NARROW.values(), TOKEN]):
        for number, (method, path) in enumerate(DOORS):
            status, headers, text = await made.ask(path, token, method)
            if own in (number, len(DOORS)):
                assert status == 200
                continue
            assert (status, text) == (403, MAY_NOT[number])
            challenge = headers["WWW-Authenticate"]
            assert challenge == 'Bearer error="insufficient_scope"'
        for method, path, expected in ANY_TOKEN:
            assert (await made.ask(path, token, method))[0] == expected
    assert made.count("penstock_http_unauthorized_total", "no_right") == 6
    for method, path in DOORS:
        assert (await made.ask(path, None, method))[0] == 401
        assert (await made.ask(path, "wrong", method))[0] == 401
    await made.server.close()


async def test_without_a_common_token_what_no_token_opens_is_closed() -> None:
    made = Guarded("0.0.0.0", token="", metrics_token="only-for-metrics")
    await made.server.start()
    answers = [(await made.ask(p, "only-for-metrics", m))[0] for m, p in DOORS]
    assert answers == [200, 403, 403]
    assert [(await made.ask(path, None, way))[0] for way, path in DOORS] == [401] * 3
    made.server.reload(HttpSettings(http_token=TOKEN, read_token="only-for-logs"))
    assert [(await made.ask(p, "only-for-metrics", m))[0] for m, p in DOORS] == [
        401
    ] * 3
    answers = [(await made.ask(p, "only-for-logs", m))[0] for m, p in DOORS]
    assert answers == [403, 200, 403]
    await made.server.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_more_than_loopback_is_not_served_without_a_token(host: str) -> None:
    bare = Guarded(host, token="")
    with pytest.raises(SettingsError, match="there is no http_token") as caught:
        await bare.server.start()
    assert caught.value.exit_code == 2
    await bare.server.close()


async def test_a_reload_cannot_take_the_token_away_where_it_is_needed() -> None:
    exposed = Guarded("0.0.0.0")
    await exposed.server.start()
    # The address of the new settings is not the one that is listened on.
    same = HttpSettings(http_token=TOKEN, read_token=TOKEN)
    for settings in (HttpSettings(), HttpSettings(http_token="two words"), same):
        with pytest.raises(SettingsError):
            exposed.server.reload(settings)
    assert (await exposed.ask("/metrics"))[0] == 401
    assert (await exposed.ask("/metrics", TOKEN))[0] == 200
    await exposed.server.close()


def test_the_token_of_a_file_is_replaced_by_a_reload(
    database: Database, start: Start, home: Path
) -> None:
    """As Prometheus reads that file: the line end is no part of it."""
    file = home / "http_token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    narrow = home / "metrics_token"
    narrow.write_text("only-for-metrics\n")
    program = start(
        *("serve", "--database-url", database.url),
        PENSTOCK_HTTP_TOKEN_FILE=str(file),
        PENSTOCK_METRICS_TOKEN_FILE=str(narrow),
        PENSTOCK_HTTP_HOST="0.0.0.0",
    ).wait_ready()

    def status(token: str) -> int:
        url = f"http://127.0.0.1:{program.http_port}/metrics"
        headers = {"Authorization": f"Bearer {token}"}
        try:
            with urlopen(Request(url, headers=headers), timeout=30) as answer:
                return int(answer.status)
        except HTTPError as error:
            with error:
                return error.code

    assert (status(TOKEN), status("wrong"), program.get("/health")[0]) == (
        200,
        401,
        200,
    )
    assert (status("only-for-metrics"), status("a-new-one-for-metrics")) == (200, 401)
    place = {"PENSTOCK_HTTP_PORT": str(program.http_port)}
    healthy = run_penstock("health", **place, PENSTOCK_METRICS_TOKEN="only-for-metrics")
    assert healthy.stdout == "ready\n", "it asks with what it has"
    new = "another-token-of-some-length"
    narrow.write_text("a-new-one-for-metrics\n")
    file.write_text(new + "\r\n")
    program.send_signal(signal.SIGHUP)
    wait_until(lambda: status(new) == 200, "the new token is taken")
    assert status(TOKEN) == 401
    assert (status("only-for-metrics"), status("a-new-one-for-metrics")) == (401, 200)
    file.write_text("\n")
    program.send_signal(signal.SIGHUP)
    wait_until(lambda: "is refused" in program.stderr, "an empty file is refused")
    assert (status(new), status("")) == (200, 401)
    assert TOKEN not in program.stderr and new not in program.stderr
    assert "for-metrics" not in program.stderr
    assert program.stop() == 0
