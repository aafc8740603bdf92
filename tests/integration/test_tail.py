"""/api/tail of a real server: rows as they are committed, from real senders."""

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlencode

import msgpack
import pytest

from penstock.embedded import EmbeddedPostgres
from tests.integration.conftest import (
    PATIENCE_SECONDS,
    Database,
    Program,
    Sender,
    Start,
    create_database,
    drop_database,
    numbers_in,
    wait_until,
)

FREE_PORTS = ("--port", "0", "--http-port", "0")
Event = tuple[str, str, dict[str, Any]]


class Stream:
    """A reader of /api/tail, in a thread of its own."""

    def __init__(self, server: Program, last_id: str = "", **parameters: object):
        url = f"http://127.0.0.1:{server.http_port}/api/tail?{urlencode(parameters)}"
        headers = {"Last-Event-ID": last_id} if last_id else {}
        request = urllib.request.Request(url, headers=headers)
        self._answer = urllib.request.urlopen(request, timeout=PATIENCE_SECONDS)
        self.events: list[Event] = []
        self.has_ended = False
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        wait_until(lambda: self.of("live"), "the history has come")

    def _read(self) -> None:
        fields: dict[str, str] = {}
        for line in self._answer:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "data":
                fields["data"] = value
            elif name:
                fields[name] = value
            elif fields:
                self.events.append(
                    (fields["event"], fields.get("id", ""), json.loads(fields["data"]))
                )
                fields = {}
        self.has_ended = True

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [data for event, _, data in list(self.events) if event == kind]

    @property
    def numbers(self) -> list[int]:
        return [row["attributes"]["n"] for row in self.of("row")]

    def wait_for(self, count: int) -> list[int]:
        wait_until(lambda: len(self.of("row")) >= count, f"{count} rows are shown")
        return self.numbers

    def close(self) -> None:
        if self._answer.fp is not None:  # it has not ended by itself
            self._answer.fp.raw._sock.shutdown(socket.SHUT_RDWR)
        self._reading.join(PATIENCE_SECONDS)
        self._answer.close()


@pytest.fixture
def server(start: Start, database: Database) -> Program:
    return start("serve", "--database-url", database.url).wait_ready()


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres, template: str) -> Iterator[Program]:
    """A server for tests that tell their rows by a tag of their own."""
    database = create_database(postgres, template)
    program = Program(("serve", "--database-url", database.url, *FREE_PORTS), {})
    yield program.wait_ready()
    program.end()
    drop_database(database)


@contextmanager
def stream(
    server: Program, last_id: str = "", **parameters: object
) -> Iterator[Stream]:
    reader = Stream(server, last_id, **parameters)
    try:
        yield reader
    finally:
        reader.close()


def send_records(server: Program, *records: dict[str, Any], tag: str = "test") -> None:
    now = int(time.time())
    with Sender(server.port) as sender:
        entries = b"".join(msgpack.packb([now, record]) for record in records)
        option = {"chunk": f"c{time.monotonic_ns()}"}
        sender.socket.sendall(msgpack.packb([tag, entries, option]))
        sender.acks(1)


def send(server: Program, numbers: range, tag: str = "test") -> None:
    send_records(server, *({"n": number} for number in numbers), tag=tag)


def test_rows_are_shown_as_they_are_committed(shared: Program) -> None:
    record = {"n": 1, "level": "warning", "service": "a", "host": "h", "message": "hé"}
    with stream(shared, q="tag:shown") as reader:
        send_records(shared, record, tag="shown")
        reader.wait_for(1)

        ((_, event_id, row),) = [each for each in reader.events if each[0] == "row"]
        found = json.loads(shared.get("/api/search?q=tag:shown")[1])["rows"]
        assert found == [row], "as a search has it"
        assert event_id == row["id"]


def test_only_what_the_filter_holds_for_is_shown(shared: Program) -> None:
    with (
        stream(shared, q="tag:held level:>=error -healthz") as errors,
        stream(shared, q="n:>1 any:held") as others,
    ):
        send_records(
            shared,
            {"n": 1, "level": "error", "message": "A"},
            {"n": 2, "level": "error", "message": "GET /HEALTHZ"},
            {"n": 3, "level": "fatal"},
            {"n": 4, "level": "info"},
            tag="held",
        )

        assert errors.wait_for(2) == [1, 3]
        assert others.wait_for(3) == [2, 3, 4]


def test_history_comes_first_and_then_what_follows(shared: Program) -> None:
    send(shared, range(5), "history")
    with stream(shared, rows=3, q="tag:history") as reader:
        send(shared, range(5, 8), "history")

        assert reader.wait_for(6) == [2, 3, 4, 5, 6, 7]
        assert reader.of("live") == [{"history": 3, "is_cut": True, "after": False}]


def test_who_comes_back_has_all_that_it_did_not_see(shared: Program) -> None:
    with stream(shared, q="tag:back") as reader:
        send(shared, range(3), "back")
        reader.wait_for(3)
        last_id = reader.events[-1][1]
    send(shared, range(3, 6), "back")
    with stream(shared, last_id=last_id, q="tag:back") as reader:
        send(shared, range(6, 9), "back")

        # It knows 0 to 2 by their ids.
        assert reader.wait_for(9) == list(range(9))


def test_who_had_no_row_comes_back_to_what_came_since(shared: Program) -> None:
    with stream(shared, q="tag:none") as reader:
        last_id = reader.events[-1][1]
    send(shared, range(2), "none")
    with stream(shared, last_id=last_id, q="tag:none") as reader:
        assert reader.wait_for(2) == [0, 1]


def test_between_history_and_now_there_is_no_gap_and_nothing_twice(
    server: Program, database: Database
) -> None:
    halt = threading.Event()

    def send_on() -> None:
        number = 0
        while not halt.is_set():
            send(server, range(number, number + 7))
            number += 7

    sending = threading.Thread(target=send_on)
    sending.start()
    readers = []
    try:
        for _ in range(5):
            readers.append(Stream(server, rows=10_000))
            shown = len(readers[-1].of("row"))
            readers[-1].wait_for(shown + 50)
    finally:
        halt.set()
        sending.join()
    stored = numbers_in(database)
    for reader in readers:
        assert sorted(reader.wait_for(len(stored))) == stored
        assert not reader.of("missed")
        reader.close()


def test_what_is_sent_twice_or_refused_is_not_shown(
    server: Program, database: Database
) -> None:
    database.fetch("ALTER TABLE logs ADD CHECK (attributes->>'n' <> '2')")
    with stream(server) as reader:
        now = int(time.time())
        entries = b"".join(msgpack.packb([now, {"n": number}]) for number in range(4))
        message = msgpack.packb(["test", entries, {"chunk": "same"}])
        for _ in range(2):
            with Sender(server.port) as sender:
                sender.socket.sendall(message)
                sender.acks(1)
        send(server, range(10, 12))

        assert reader.wait_for(5) == [0, 1, 3, 10, 11]
    assert numbers_in(database) == [0, 1, 3, 10, 11]


def test_a_reader_that_does_not_read_slows_nobody_and_is_told(
    server: Program, database: Database
) -> None:
    events, size = 30_000, 2_000
    raw = socket.socket()
    # Or the system takes some megabytes before its reader is one that does not read.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    raw.connect(("127.0.0.1", server.http_port))
    raw.sendall(b"GET /api/tail HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head = b""
    while b"event: live" not in head:
        head += raw.recv(4096)
    with Sender(server.port) as sender, stream(server, q=f"n:>={events}") as fast:
        for first in range(0, events, size):
            sender.send(range(first, first + size), chunk=f"c{first}", fill=300)
        sender.acks(events // size, 2 * PATIENCE_SECONDS)
        assert database.value("SELECT count(*) FROM logs") == events
        # Readers are given their rows when there is time, which may be after the acks.
        told_of = "penstock_tail_missed_rows_total"
        wait_until(lambda: server.metric(told_of) > 0, "it has missed some")
        text, total = bytearray(head), events
        while not raw_reads(raw, text, b'"n":%d' % (total - 1)) or told(text) < total:
            # It has read what was there; the next one finds room again. And batches are
            # committed in no order: what is behind the last may be told with the next.
            send(server, range(total, total + 1))
            total += 1
        assert fast.wait_for(total - events) == list(range(events, total))
    raw.close()

    shown, missed = text.count(b"event: row"), missed_rows(text)
    assert shown + sum(missed) == total
    assert missed
    # Others may have missed some too, that might have been theirs.
    assert server.metric(told_of) >= total - shown


def missed_rows(text: bytearray) -> list[int]:
    """Return how many rows a stream has said that its reader missed, each time."""
    return [
        json.loads(line.removeprefix(b"data: "))["rows"]
        # Of the last line there may be a part only.
        for line in bytes(text).split(b"\n")[:-1]
        if line.startswith(b"data: ") and b"reason" in line
    ]


def told(text: bytearray) -> int:
    return text.count(b"event: row") + sum(missed_rows(text))


def raw_reads(link: socket.socket, text: bytearray, wanted: bytes) -> bool:
    """Read what comes until nothing does for a moment, or what is wanted has."""
    link.settimeout(0.5)
    with suppress(TimeoutError):
        while wanted not in text[-100_000:]:
            piece = link.recv(65536)
            assert piece, "the stream has ended"
            text += piece
        return True
    return False


def test_a_stop_ends_streams_at_once(server: Program) -> None:
    with stream(server) as reader:
        assert server.stop() == 0
        wait_until(lambda: reader.has_ended, "the stream ends")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"q": "level:nonsense"}, "no level is named"),
        ({"rows": "many"}, "rows has to be a whole number"),
        ({"after": "x"}, "has to be the id of a row"),
        ({"limit": "1"}, "no such parameter"),
    ],
)
def test_what_is_not_understood_is_said(
    shared: Program, parameters: dict[str, str], words: str
) -> None:
    status, body = shared.get(f"/api/tail?{urlencode(parameters)}")

    assert status == 400
    assert words in json.loads(body)["error"]
