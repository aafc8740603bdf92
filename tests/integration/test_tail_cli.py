"""`penstock tail`, a process at a real server, looked at as a person does."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import (
    PATIENCE_SECONDS,
    Database,
    Here,
    Program,
    Start,
    clean_environment,
    penstock,
    the_line,
    wait_until,
)
from tests.integration.test_tail import send_records, shared

__all__ = ["shared"]


class Tailing:
    """A `penstock tail` that runs."""

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        self._stdout, self._stderr = home / "stdout", home / "stderr"
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                penstock("tail", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=clean_environment(TZ="UTC", **environment),
            )

    @property
    def lines(self) -> list[str]:
        return self._stdout.read_text().splitlines()

    @property
    def stderr(self) -> str:
        return self._stderr.read_text()

    def wait_for(self, text: str) -> list[str]:
        def is_there() -> bool:
            assert self.process.poll() is None, self.stderr
            return text in self._stdout.read_text()

        wait_until(is_there, f"{text} is shown: {self.stderr}")
        return self.lines

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


Follow = Callable[..., Tailing]


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Follow]:
    running: list[Tailing] = []

    def follow_one(server: Program | None, *arguments: str, **more: str) -> Tailing:
        home = tmp_path / str(len(running))
        home.mkdir()
        if server is not None:
            more["PENSTOCK_HTTP_PORT"] = str(server.http_port)
        running.append(Tailing(home, *arguments, **more))
        return running[-1]

    yield follow_one
    for each in running:
        each.process.kill()
        each.process.wait()


def test_the_last_rows_come_first_and_ctrl_c_ends_it(
    shared: Program, follow: Follow
) -> None:
    send_records(
        shared, *({"message": f"old {n}", "n": n} for n in range(20)), tag="last"
    )
    tailing = follow(shared, "-n", "2", "tag:last", "message:*", "-healthz")
    tailing.wait_for("old 19")

    send_records(
        shared,
        {"message": "GET /healthz"},
        {
            "message": "new\nline \x1b[31mred\x1b[0m \x07",
            "level": "err",
            "service": "a",
        },
        tag="last",
    )
    lines = tailing.wait_for("new")

    assert [line.split("last ")[-1] for line in lines[:2]] == [
        "old 18 n=18",
        "old 19 n=19",
    ]
    assert lines[2].endswith(" ERROR a new")
    assert lines[3] == "    line red \\x07"
    assert len(lines) == 4
    assert tailing.end() == 130
    assert tailing.stderr == ""


def test_json_is_an_object_a_line_and_raw_the_message(
    shared: Program, follow: Follow
) -> None:
    send_records(
        shared, {"message": "first"}, {"n": 12345678901234567890, "é": "ü"}, tag="form"
    )
    as_json = follow(shared, "-o", "json", "--since", "5m", "tag:form")
    raw = follow(shared, "-o", "raw", "tag:form")

    first, second = map(json.loads, as_json.wait_for("ü")[:2])
    assert (first["message"], first["tag"]) == ("first", "form")
    assert second["attributes"] == {"n": 12345678901234567890, "é": "ü"}
    assert raw.wait_for("ü") == ["first", '{"n":12345678901234567890,"é":"ü"}']
    assert as_json.stderr.startswith("since: ")


def test_a_break_is_said_and_what_came_meanwhile_is_shown_once(
    start: Start, database: Database, follow: Follow
) -> None:
    first = start("serve", "--database-url", database.url).wait_ready()
    http_port = str(first.http_port)
    tailing = follow(first, "-o", "raw")
    send_records(first, {"message": "before"})
    tailing.wait_for("before")
    first.stop()
    wait_until(lambda: "connecting again" in tailing.stderr, "it is said")
    other = start("serve", "--database-url", database.url).wait_ready()
    send_records(other, {"message": "meanwhile"})
    again = start(
        "serve",
        *("--database-url", database.url, "--port", "0", "--http-port", http_port),
        free_ports=False,
    ).wait_ready()
    tailing.wait_for("meanwhile")
    send_records(again, {"message": "after"})

    assert tailing.wait_for("after") == ["before", "meanwhile", "after"]
    assert "connected again" in tailing.stderr


def test_a_server_elsewhere_is_followed_with_its_token(
    start: Start, database: Database, follow: Follow, tmp_path: Path
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("s3cret\n")
    read_file, metrics_file = tmp_path / "read", tmp_path / "metrics"
    read_file.write_text("r3ad\n")
    metrics_file.write_text("m3trics\n")
    environment = {
        "PENSTOCK_HTTP_TOKEN_FILE": str(token_file),
        "PENSTOCK_READ_TOKEN_FILE": str(read_file),
        "PENSTOCK_METRICS_TOKEN_FILE": str(metrics_file),
    }
    server = start("serve", "--database-url", database.url, **environment).wait_ready()
    url = f"http://127.0.0.1:{server.http_port}/"
    send_records(server, {"message": "hello"})

    named = follow(None, "--server", url, "--token-file", str(token_file))
    narrow = follow(None, "--server", url, "--token-file", str(read_file))
    local = follow(server, PENSTOCK_READ_TOKEN_FILE=str(read_file))
    scraping = follow(None, "--server", url, "--token-file", str(metrics_file))
    without = follow(None, "--server", url, **environment)

    named.wait_for("hello")
    narrow.wait_for("hello")
    local.wait_for("hello")
    assert scraping.process.wait(PATIENCE_SECONDS) == 1
    words = "refuses: this token may not read logs; that takes read_token or http_token"
    assert words in scraping.stderr
    assert without.process.wait(PATIENCE_SECONDS) == 1
    assert "asks for a token; name its file by --token-file" in without.stderr


def test_a_reader_that_ends_ends_it_quietly(shared: Program) -> None:
    send_records(shared, {"message": "one"}, {"message": "two"}, tag="quiet")
    tailing = subprocess.Popen(
        penstock("tail", "-o", "raw", "tag:quiet"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(PENSTOCK_HTTP_PORT=str(shared.http_port)),
    )
    assert tailing.stdout
    assert tailing.stderr
    with tailing:
        assert tailing.stdout.readline() == b"one\n"
        tailing.stdout.close()  # as head does; nothing more comes
        tailing.wait(PATIENCE_SECONDS)
        assert tailing.stderr.read() == b""


def test_without_a_server_one_line_says_how_to_start_one(here: Here) -> None:
    line = the_line(here("tail", PENSTOCK_HTTP_PORT="1"), 3)

    assert "http://127.0.0.1:1: " in line
    assert "start one with `penstock up`, or name another with --server URL" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("level:nonsense",), "in the filter at 1: no level is named"),
        (("--since", "whenever"), "'whenever' is no time"),
        (("--server", "ftp://x"), "is no address of a server"),
        (("--token-file", "/nowhere"), "--token-file /nowhere: No such file"),
    ],
)
def test_what_is_not_understood_is_said_in_a_line(
    here: Here, arguments: tuple[str, ...], words: str
) -> None:
    ended = here("tail", *arguments)

    assert ended.returncode == 2
    assert words in ended.stderr.splitlines()[-1]
