"""POST /api/ingest against a real server and a real PostgreSQL."""

import contextlib
import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgpack
import pytest
import zstandard

from penstock.embedded import EmbeddedPostgres
from tests.integration.conftest import (
    Database,
    Program,
    Sender,
    Start,
    create_database,
    drop_database,
    wait_until,
)
from tests.workers import one_worker

SECONDS = 30.0
TOKEN = "a-token"
SQUEEZE: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
}


def post(
    program: Program, body: bytes | str, path: str = "/api/ingest", **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Send a body as curl does; return status, JSON, headers."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", program.http_port, timeout=SECONDS
    )
    with contextlib.closing(connection):
        data = body.encode() if isinstance(body, str) else body
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        named.setdefault("Authorization", f"Bearer {TOKEN}")
        connection.request("POST", path, data, named)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), dict(answer.getheaders())


class Served:
    """A server that all tests of this module share, each with a tag of its own."""

    def __init__(self, program: Program, database: Database) -> None:
        self.program = program
        self.database = database

    def post(self, body: bytes | str, path: str = "/api/ingest", **headers: str):
        return post(self.program, body, path, **headers)

    def rows(self, tag: str) -> list[tuple]:
        return self.database.fetch(
            "SELECT message, level::text, attributes::text, ts FROM logs"
            " WHERE tag = $1 ORDER BY id",
            tag,
        )

    def count(self, tag: str) -> int:
        return int(self.database.value("SELECT count(*) FROM logs WHERE tag = $1", tag))

    def rejected(self, tag: str) -> list[tuple]:
        return self.database.fetch(
            "SELECT reason, raw FROM rejected_event WHERE tag = $1 ORDER BY id", tag
        )


@pytest.fixture(scope="module")
def served(
    postgres: EmbeddedPostgres, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    database = create_database(postgres, template)
    program = Program(
        (
            *("serve", "--database-url", database.url),
            *("--port", "0", "--http-port", "0"),
            *("--ingest-max-body-bytes", "4MiB", "--ingest-max-inflated-bytes", "8MiB"),
        ),
        {"PENSTOCK_HTTP_TOKEN": TOKEN},
    )
    try:
        yield Served(program.wait_ready(), database)
    finally:
        program.end()
        drop_database(database)


def test_what_curl_sends_is_committed_when_it_is_answered(served: Served) -> None:
    status, said, _ = served.post(
        '{"message": "hello", "level": "warn", "user": {"id": 7}}',
        "/api/ingest?tag=t.curl",
    )
    assert (status, said) == (200, {"stored": 1, "rejected": 0, "duplicate": 0})
    ((message, level, attributes, _),) = served.rows("t.curl")
    assert (message, level) == ("hello", "WARN")
    assert json.loads(attributes) == {"user": {"id": 7}}


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
@pytest.mark.parametrize("form", ["array", "lines", "msgpack"])
def test_each_form_and_encoding_is_the_same_rows(
    served: Served, form: str, encoding: str
) -> None:
    tag = f"t.{form}.{encoding}"
    records = [
        {"date": 1_700_000_000 + n, "log": f"line {n} é😀", "n": n} for n in range(1000)
    ]
    if form == "array":
        body = json.dumps(records).encode()
    elif form == "lines":
        body = "\n".join(map(json.dumps, records)).encode()
    else:
        body = b"".join(msgpack.packb([each.pop("date"), each]) for each in records)
    kind = "application/msgpack" if form == "msgpack" else "application/json"
    status, said, _ = served.post(
        SQUEEZE[encoding](body),
        Content_Type=kind,
        Content_Encoding=encoding,
        Fluent_Tag=tag,
    )
    assert (status, said["stored"]) == (200, 1000)
    rows = served.rows(tag)
    assert [row[0] for row in rows] == [f"line {n} é😀" for n in range(1000)]
    assert [row[3].timestamp() - 1_700_000_000 for row in rows] == list(range(1000))


def test_a_poison_line_is_rejected_and_named_and_nothing_else(served: Served) -> None:
    body = '{"message":"a"}\nno json\n{"message":"b"}\n[1]\n{"message":"c"}\n'
    status, said, _ = served.post(body, "/api/ingest?tag=t.poison")
    assert status == 200
    assert said == {
        "stored": 3,
        "rejected": 2,
        "duplicate": 0,
        "errors": [
            {
                "line": 2,
                "error": "no JSON at line 2 column 1: Expecting value",
            },
            {"line": 4, "error": "it is no JSON object"},
        ],
    }
    assert [row[0] for row in served.rows("t.poison")] == ["a", "b", "c"]
    (first, second) = served.rejected("t.poison")
    assert (first[0], msgpack.unpackb(first[1])) == ("not_json", "no json")
    assert second[0] == "record_not_a_map"


def test_a_record_that_postgresql_refuses_costs_itself(served: Served) -> None:
    served.database.fetch(
        "ALTER TABLE logs ADD CONSTRAINT no_poison CHECK (message <> 'poison')"
    )
    try:
        body = '{"message":"x"}\n{"message":"poison"}\n{"message":"y"}\n'
        status, said, _ = served.post(body, "/api/ingest?tag=t.refused")
    finally:
        served.database.fetch("ALTER TABLE logs DROP CONSTRAINT no_poison")
    assert (status, said) == (200, {"stored": 2, "rejected": 1, "duplicate": 0})
    assert [row[0] for row in served.rows("t.refused")] == ["x", "y"]
    assert [row[0] for row in served.rejected("t.refused")] == ["refused: no_poison"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "error"),
    [
        (b'[{"a":1},\n {"b":}]', {}, 400, "no JSON at line 2 column 7"),
        (b"hello", {}, 400, "no JSON at line 1 column 1"),
        (b"", {}, 400, "the body has no record in it"),
        (b"{}", {"Content_Encoding": "br"}, 415, "gzip, zstd or identity"),
        (b"{}", {"Content_Encoding": "gzip"}, 400, "the body is damaged gzip"),
        (gzip.compress(b"{}")[:-5], {"Content_Encoding": "gzip"}, 400, "cut short"),
        (
            b"{}",
            {"Fluent_Tag": "x" * 1025},
            400,
            "the tag has to have 1,024 bytes at most",
        ),
        (b"{}", {"Idempotency_Key": "k" * 400}, 400, "longer than 197 bytes"),
        (b"{}", {"Authorization": "Bearer no"}, 401, "the token is not the right"),
        (b"x" * 4_194_305, {}, 413, "larger than 4,194,304 bytes"),
        (
            gzip.compress(b" " * 8_388_609),
            {"Content_Encoding": "gzip"},
            413,
            "inflates to more than 8,388,608 bytes",
        ),
    ],
)
def test_what_is_not_taken_is_told_why_and_nothing_of_it_is_stored(
    served: Served, body: bytes, headers: dict[str, str], status: int, error: str
) -> None:
    before = served.database.value("SELECT count(*) FROM logs")
    found, said, _ = served.post(body, **headers)
    assert (found, list(said)) == (status, ["error"])
    assert error in said["error"]
    assert served.database.value("SELECT count(*) FROM logs") == before


def test_a_parameter_that_is_none_is_named(served: Served) -> None:
    status, said, _ = served.post(b"{}", "/api/ingest?tags=x")
    assert status == 400
    assert said == {"error": "no such parameter: 'tags'; there are tag and time_key"}


def test_a_line_of_a_megabyte_and_a_nest_are_stored_or_rejected(
    served: Served,
) -> None:
    long = "x" * 1024 * 1024
    deep = '{"a":' * 400 + "1" + "}" * 400
    status, said, _ = served.post(
        json.dumps({"message": long}) + "\n" + deep + "\n", "/api/ingest?tag=t.long"
    )
    assert status == 200
    assert said["stored"] + said["rejected"] == 2
    assert len(served.rows("t.long")[0][0]) == len(long)


def test_a_body_with_a_key_is_stored_once_and_without_one_each_time(
    served: Served,
) -> None:
    body = '{"message":"once"}\n{"message":"twice"}\nnone\n' * 100
    for turn in range(3):
        status, said, _ = served.post(
            body, "/api/ingest?tag=t.key", Idempotency_Key='"key-1"'
        )
        assert status == 200
        assert said["duplicate"] == (300 if turn else 0)
        assert said["stored"] == (0 if turn else 200)
        assert said["rejected"] == (0 if turn else 100)
    # Another body, another tag, or another key is another message.
    for path, key, more in [
        ("/api/ingest?tag=t.key", "key-1", '{"message":"three"}'),
        ("/api/ingest?tag=t.key2", "key-1", ""),
        ("/api/ingest?tag=t.key", "key-2", ""),
    ]:
        assert served.post(body + more, path, Idempotency_Key=key)[1]["stored"] >= 200
    assert served.count("t.key") == 200 + 201 + 200
    for _ in range(2):
        served.post(body, "/api/ingest?tag=t.nokey")
    assert served.count("t.nokey") == 400


def test_a_hundred_at_once_are_all_stored_once(served: Served) -> None:
    def send(number: int) -> int:
        lines = "\n".join(json.dumps({"n": number, "i": i}) for i in range(100))
        key = f"hundred-{number // 2}"  # each body twice, at once
        status, said, _ = served.post(
            lines.replace(f'"n": {number}', f'"n": {number // 2}'),
            "/api/ingest?tag=t.hundred",
            Idempotency_Key=key,
        )
        assert status == 200, said
        return int(said["stored"])

    with ThreadPoolExecutor(100) as threads:
        assert sum(threads.map(send, range(200))) == 100 * 100
    assert served.count("t.hundred") == 100 * 100


def test_the_books_hold_for_what_came_by_http(served: Served) -> None:
    program = served.program
    served.post('{"message":"x"}\nno\n', "/api/ingest?tag=t.books")
    assert program_metric(program, "penstock_unaccounted_events") == 0
    exposed = exposition(program)
    assert 'penstock_received_events_total{mode="http"}' in exposed
    assert 'penstock_http_api_answers_total{path="/api/ingest",status="200"}' in exposed
    assert 'penstock_rejected_events_total{reason="not_json"}' in exposed


def exposition(program: Program) -> str:
    connection = http.client.HTTPConnection(
        "127.0.0.1", program.http_port, timeout=SECONDS
    )
    with contextlib.closing(connection):
        connection.request(
            "GET", "/metrics", None, {"Authorization": f"Bearer {TOKEN}"}
        )
        return connection.getresponse().read().decode()


def program_metric(program: Program, name: str) -> float:
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in exposition(program).splitlines()
        if line.startswith((name + " ", name + "{"))
    )


@pytest.fixture
def own(database: Database, start: Start) -> Program:
    """A server of the test's own."""
    return start(
        *("serve", "--database-url", database.url, "--ring-bytes", "8MiB"),
        *("--ingest-commit-seconds", "2"),
        PENSTOCK_HTTP_TOKEN=TOKEN,
    ).wait_ready()


def test_nothing_is_answered_with_200_that_is_not_committed(
    own: Program, database: Database
) -> None:
    """PostgreSQL goes and comes while many send; each tries until it has its 200."""
    committed: set[int] = set()
    is_over = threading.Event()

    def send(number: int) -> None:
        body = "\n".join(json.dumps({"n": number}) for _ in range(50))
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, said, headers = post(own, body, Idempotency_Key=f"k{number}")
                if status == 200:
                    assert said["stored"] + said["duplicate"] == 50
                    committed.add(number)
                    return
                assert status == 503, said
                assert int(headers["Retry-After"]) >= 1
            if is_over.wait(0.1):
                return

    with ThreadPoolExecutor(20) as threads:
        sending = [threads.submit(send, number) for number in range(60)]
        for _ in range(3):
            database.kill_connections()
            time.sleep(0.1)
        with database.out_of_reach():
            time.sleep(0.5)
            known = set(committed)
        stored = {
            n
            for (n,) in database.fetch(
                "SELECT DISTINCT (attributes->>'n')::int FROM logs"
            )
        }
        assert known <= stored, "200 was said of what is not there"
        for each in sending:
            each.result(SECONDS)
        is_over.set()
    counts = dict(
        database.fetch("SELECT (attributes->>'n')::int, count(*) FROM logs GROUP BY 1")
    )
    assert counts == dict.fromkeys(range(60), 50)


@one_worker
def test_without_room_it_is_told_when_to_come_again(
    own: Program, database: Database
) -> None:
    with database.out_of_reach(), contextlib.ExitStack() as open_ones:
        senders = [open_ones.enter_context(Sender(own.port)) for _ in range(6)]
        for which, sender in enumerate(senders):
            for number in range(24):
                sender.send(range(100), f"c{which}-{number}", fill=1000)

        def is_told() -> bool:
            status, said, headers = post(own, '{"message":"x"}')
            assert status == 503, said
            assert int(headers["Retry-After"]) >= 1
            return "no room" in said["error"]

        wait_until(is_told, "there is no room")
        assert program_metric(own, "penstock_ring_bytes") < 8 * 1024 * 1024 * 1.2
    wait_until(lambda: post(own, '{"message":"x"}')[0] == 200, "it is stored again")


def test_a_stop_answers_after_commit_or_not_with_200(
    own: Program, database: Database
) -> None:
    answers: list[tuple[int, int]] = []

    def send(number: int) -> None:
        for turn in range(1000):
            n = number * 1000 + turn
            try:
                status = post(own, json.dumps({"n": n}))[0]
            except (OSError, http.client.HTTPException):
                return
            answers.append((n, status))
            if status != 200:
                return

    with ThreadPoolExecutor(8) as threads:
        for number in range(8):
            threads.submit(send, number)
        wait_until(lambda: len(answers) > 50, "some are stored")
        assert own.stop() == 0
    assert {status for _, status in answers} <= {200, 503}
    stored = {n for (n,) in database.fetch("SELECT (attributes->>'n')::int FROM logs")}
    assert {n for n, status in answers if status == 200} <= stored


def test_a_slow_body_holds_up_nobody(own: Program) -> None:
    with socket.create_connection(("127.0.0.1", own.http_port), SECONDS) as slow:
        slow.sendall(
            b"POST /api/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
            b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\n{"
        )
        assert post(own, "{}")[0] == 200
        assert own.get("/health")[0] == 200


def test_workers_share_what_comes_by_http(database: Database, start: Start) -> None:
    program = start(
        *("serve", "--database-url", database.url, "--workers", "2"),
        PENSTOCK_HTTP_TOKEN=TOKEN,
        PENSTOCK_INGEST_TOKEN="only-for-ingest",
    ).wait_ready()
    narrow = {"Authorization": "Bearer only-for-ingest"}
    body = "\n".join(json.dumps({"n": n}) for n in range(1000)) + "\nbad\n"
    for turn in range(4):
        status, said, _ = post(program, body, Idempotency_Key="k")
        assert status == 200
        assert said["duplicate"] == (1001 if turn else 0)
    for _ in range(4):
        assert post(program, '{"x":1}', **narrow)[1]["stored"] == 1
    assert post(program, "", "/api/search", **narrow)[0] == 403
    assert program_metric(program, "penstock_unaccounted_events") == 0
    assert program.stop() == 0
    assert database.value("SELECT count(*) FROM logs") == 1004
    assert database.value("SELECT count(*) FROM rejected_event") == 1


def test_a_worker_hands_over_no_more_of_what_nobody_waits_for(
    database: Database, start: Start
) -> None:
    program = start(
        *("serve", "--database-url", database.url, "--workers", "2"),
        *("--ring-bytes", "16MiB", "--ingest-commit-seconds", "2"),
        PENSTOCK_HTTP_TOKEN=TOKEN,
    ).wait_ready()
    post(program, '{"message":"x"}')
    body = "\n".join(json.dumps({"n": n, "fill": "x" * 1000}) for n in range(7000))
    with database.out_of_reach():
        status, said, _ = post(program, body)
        assert status == 503, said
    count = "SELECT count(*) FROM logs WHERE attributes ? 'fill'"
    wait_until(lambda: database.value(count) > 0, "a quarter of its ring is stored")
    assert program.stop() == 0
    assert database.value(count) < 3500
