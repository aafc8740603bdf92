"""/metrics, /health and /ready, asked over HTTP."""

import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.errors import UnavailableError
from penstock.http.server import HttpServer
from penstock.settings import HttpSettings
from penstock.telemetry.metrics import Metrics
from tests.integration.conftest import Database, Sender, Start, wait_until
from tests.workers import one_worker


class Asked:
    """An HTTP server, and the reasons why it should say that it is not ready."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.reasons: list[str] = []
        self.server = HttpServer(
            HttpSettings(http_port=0), self.metrics, lambda: self.reasons
        )

    async def get(self, path: str, method: str = "GET") -> tuple[int, str, str]:
        url = f"http://127.0.0.1:{self.server.port}{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url) as answer,
        ):
            kind = answer.headers.get("Content-Type", "")
            return answer.status, kind, await answer.text()


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    made = Asked()
    await made.server.start()
    yield made
    await made.server.close()


async def test_metrics_are_what_prometheus_reads(asked: Asked) -> None:
    asked.metrics.receive.connected()
    status, kind, text = await asked.get("/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["penstock_connections"] == 1
    assert found["penstock_build_info"] == 1


async def test_health_says_that_the_process_lives(asked: Asked) -> None:
    asked.reasons = ["the database does not store and the ring is full"]
    status, kind, text = await asked.get("/health")
    assert (status, json.loads(text)) == (200, {"status": "alive"})
    assert kind.startswith("application/json")


async def test_ready_is_200_as_long_as_there_is_no_reason_against_it(
    asked: Asked,
) -> None:
    status, _, text = await asked.get("/ready")
    assert (status, json.loads(text)) == (200, {"status": "ready"})
    asked.reasons = ["not accepting senders", "the ring is full"]
    status, kind, text = await asked.get("/ready")
    assert status == 503
    assert kind.startswith("application/json")
    assert json.loads(text) == {
        "status": "not ready",
        "reasons": ["not accepting senders", "the ring is full"],
    }
    asked.reasons = []
    assert (await asked.get("/ready"))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/metrics/x", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/ready", 405),
        ("HEAD", "/health", 200),
    ],
)
async def test_nothing_else_is_served(
    asked: Asked, method: str, path: str, status: int
) -> None:
    assert (await asked.get(path, method))[0] == status


async def test_probes_leave_no_line_in_the_log(
    asked: Asked, capfd: pytest.CaptureFixture[str]
) -> None:
    for path in ("/health", "/ready", "/nothing"):
        await asked.get(path)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


async def test_it_listens_on_loopback_and_frees_its_port_when_closed(
    asked: Asked,
) -> None:
    port = asked.server.port
    assert asked.server.addresses == [("127.0.0.1", port)]
    await asked.server.close()
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize(
    ("host", "words", "flag"),
    [
        ("127.0.0.1", "in use", "--http-port"),
        ("203.0.113.9", "assign requested address", "--http-host"),
        # "Not known", or where there is nobody to ask: a failure "in name resolution".
        ("no.such.host.invalid", "name", "--http-host"),
    ],
)
async def test_an_address_that_cannot_be_had_is_named_with_its_flag(
    host: str, words: str, flag: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = HttpSettings(http_host=host, http_port=port, http_token="t")
        server = HttpServer(settings, Metrics(), list)
        with pytest.raises(UnavailableError) as caught:
            await server.start()
        await server.close()
    message = str(caught.value)
    assert message.startswith(f"cannot serve metrics on {host}:{port}: ")
    assert message.count(str(port)) == 1, "the address once"
    assert words in message.lower()
    assert message.endswith(flag)
    assert "\n" not in message
    assert caught.value.exit_code == 3


@contextlib.contextmanager
def senders_to(port: int, count: int) -> Iterator[list[Sender]]:
    with contextlib.ExitStack() as open_ones:
        yield [open_ones.enter_context(Sender(port)) for _ in range(count)]


@one_worker
def test_a_server_that_cannot_store_is_ready_until_its_ring_fills(
    database: Database, start: Start
) -> None:
    program = start(
        *("serve", "--database-url", database.url, "--ring-bytes", "8MiB")
    ).wait_ready()
    assert program.get("/ready") == (200, '{"status": "ready"}')
    with database.out_of_reach(), senders_to(program.port, 5) as senders:
        senders[0].send(range(10), "first")
        wait_until(
            lambda: program.metric("penstock_copy_failures_total") > 0,
            "the writers notice",
        )
        assert program.get("/ready")[0] == 200, "senders may still come"
        for which, sender in enumerate(senders):
            for number in range(24):
                sender.send(range(100), f"c{which}-{number}", fill=1000)
        wait_until(lambda: program.get("/ready")[0] == 503, "it is not ready")
        assert json.loads(program.get("/ready")[1])["reasons"] == [
            "the database does not store and the ring is full"
        ]
        assert program.get("/health")[0] == 200
        wait_until(
            lambda: program.metric("penstock_paused_connections") >= 1, "they wait"
        )
        full = program.metric("penstock_ring_bytes")
        assert full < 8 * 1024 * 1024 * 1.1
    wait_until(lambda: program.get("/ready")[0] == 200, "it is ready again")
    assert program.stop() == 0
