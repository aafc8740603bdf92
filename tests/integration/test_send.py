"""`penstock send` against a real TCP peer that decodes with msgpack and acks.

The peer is written here and knows nothing of our code; what it stores, and the exit
code and the lines on stderr, are all these tests look at.
"""

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from penstock.cli.main import main
from tests.integration.conftest import PATIENCE_SECONDS
from tests.ports import free_port

ACK, HOLD, DROP = "ack", "hold", "drop"
# After which the command gives up on acks that do not come: several times as long as
# those take that do, on a machine that is busy, and no longer than has to be waited.
GIVES_UP = ("--timeout", "1.5")


class Frame:
    """One message as the peer got it."""

    def __init__(self, connection: int, message: list[Any]) -> None:
        self.connection = connection
        self.tag, blob, self.option = message
        unpacker = msgpack.Unpacker(raw=True, max_buffer_size=2**31 - 1)
        unpacker.feed(blob)
        self.events = list(unpacker)
        self.chunk = self.option.get(b"chunk")


class Peer:
    """A forward server; `decide` says for each frame whether to ack, hold or drop."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.connections = 0
        self.decide: Callable[[Frame], str] = lambda frame: ACK
        self.greeting = b""
        self.greeting_delay_seconds = 0.0
        self.cut_after_bytes = 0  # of the first connection
        self.ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            serve = threading.Thread(
                target=self._serve, args=(link, self.connections), daemon=True
            )
            self._threads.append(serve)
            serve.start()

    def _serve(self, link: socket.socket, number: int) -> None:
        unpacker = msgpack.Unpacker(raw=True, max_buffer_size=2**31 - 1)
        with link:
            time.sleep(self.greeting_delay_seconds)
            link.sendall(self.greeting)
            if number == 1 and self.cut_after_bytes:
                link.recv(self.cut_after_bytes)
                return
            while data := self._receive(link):
                unpacker.feed(data)
                for message in unpacker:
                    frame = Frame(number, message)
                    self.frames.append(frame)
                    what = self.decide(frame)
                    if what == DROP:
                        return
                    if what == ACK and frame.chunk is not None:
                        link.sendall(
                            b"\x81\xa3ack" + msgpack.packb(frame.chunk.decode())
                        )
        self.ended.set()

    def _receive(self, link: socket.socket) -> bytes:
        try:
            return link.recv(1 << 20)
        except OSError:
            return b""

    def messages(self) -> list[bytes]:
        """Return the text of each event, stored once for each chunk id, in order."""
        chunks = {frame.chunk or id(frame): frame for frame in self.frames}
        events = [event for frame in chunks.values() for event in frame.events]
        return [record[b"message"] for _, record in events]


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def send(
    peer: Peer, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run the command in this process; return its exit code and stderr."""

    def run(*args: str | Path) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["send", "--port", str(peer.port), *map(str, args)])
        captured = capsys.readouterr()
        assert captured.out == ""
        return int(ended.value.code or 0), captured.err

    return run


Send = Callable[..., tuple[int, str]]


def command(peer: Peer, *args: str) -> list[str]:
    return [sys.executable, "-m", "penstock", "send", "--port", str(peer.port), *args]


def numbered(path: Path, lines: int) -> list[bytes]:
    """Write that many different lines; return them."""
    written = [b"line %d" % number for number in range(lines)]
    path.write_bytes(b"".join(line + b"\n" for line in written))
    return written


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE_SECONDS:g} s"
        time.sleep(0.005)


def test_tag_records_and_times_arrive_exactly(
    peer: Peer, send: Send, tmp_path: Path
) -> None:
    path = tmp_path / "mixed.log"
    path.write_bytes(b'{"a": 1}\r\n\ncaf\xe9\n{"b": [true]}')
    before = time.time_ns()
    code, err = send("--tag", "web.é", path)
    after = time.time_ns()
    assert code == 0
    assert re.fullmatch(
        r"sent 3 events in 1 chunk, all acked, \d\.\d s \([\d,]+ events/s\)\n", err
    )
    [frame] = peer.frames
    assert frame.tag.decode() == "web.é"
    assert frame.option == {b"size": 3, b"chunk": frame.chunk}
    records = [record for _, record in frame.events]
    assert records == [{b"a": 1}, {b"message": b"caf\xe9"}, {b"b": [True]}]
    for stamp, _ in frame.events:
        seconds, ns = divmod(int.from_bytes(stamp.data), 2**32)
        assert before <= seconds * 10**9 + ns <= after


def test_time_key_gives_the_time(peer: Peer, send: Send, tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_text('{"ts":"2015-09-07T01:23:04.000000005Z"}\n{"ts":1441588984.5}\n')
    assert send("--time-key", "ts", "--format", "json", path)[0] == 0
    stamps = [stamp.data.hex() for stamp, _ in peer.frames[0].events]
    assert stamps == ["55ece6f800000005", "55ece6f81dcd6500"]


def test_the_count_is_exact_over_several_files_and_stdin(
    peer: Peer, tmp_path: Path
) -> None:
    first = numbered(tmp_path / "a", 2_345)
    second = subprocess.run(["gzip", "-c", str(tmp_path / "a")], capture_output=True)
    (tmp_path / "b.gz").write_bytes(second.stdout)
    args = [str(tmp_path / "a"), "-", str(tmp_path / "b.gz")]
    done = subprocess.run(
        command(peer, *args), input=b"from stdin", capture_output=True, check=True
    )
    assert done.stderr.startswith(b"sent 4,691 events in 5 chunks, all acked, ")
    assert peer.messages() == [*first, b"from stdin", *first]


def test_chunks_end_at_one_mebibyte_and_longer_lines_go_alone(
    peer: Peer, send: Send, tmp_path: Path
) -> None:
    path = tmp_path / "long.log"
    lines = [b"a" * 600_000, b"b" * 600_000, b"c" * 5_000_000, b"d"]
    path.write_bytes(b"\n".join(lines))
    assert send(path)[0] == 0
    assert peer.messages() == lines
    assert [len(frame.events) for frame in peer.frames] == [1, 1, 1, 1]


def test_eight_chunks_are_under_way_at_a_time(
    peer: Peer, send: Send, tmp_path: Path
) -> None:
    numbered(tmp_path / "a", 20)
    held: list[Frame] = []

    def hold_eight(frame: Frame) -> str:
        held.append(frame)
        return HOLD if len(held) <= 8 else ACK

    peer.decide = hold_eight
    code, err = send("--chunk-events", "1", *GIVES_UP, tmp_path / "a")
    assert code == 1
    assert peer.ended.wait(PATIENCE_SECONDS)
    assert len(peer.frames) == 8
    assert "sent 8 events in 8 chunks, 0 acked, 8 unknown" in err


def test_acks_are_matched_by_id(peer: Peer, send: Send, tmp_path: Path) -> None:
    numbered(tmp_path / "a", 25)
    peer.decide = lambda frame: HOLD if len(peer.frames) == 1 else ACK
    code, err = send("--chunk-events", "10", *GIVES_UP, tmp_path / "a")
    assert code == 1
    assert "sent 25 events in 3 chunks, 15 acked, 10 unknown" in err


@pytest.mark.parametrize("ack_first", [True, False])
def test_a_lost_connection_costs_nothing_and_repeats_under_the_same_id(
    peer: Peer, send: Send, tmp_path: Path, ack_first: bool
) -> None:
    lines = numbered(tmp_path / "a", 5_000)
    dropped = {3, 7, 20}

    def drop_some(frame: Frame) -> str:
        if len(peer.frames) in dropped:
            return DROP
        return HOLD if len(peer.frames) == 2 and not ack_first else ACK

    peer.decide = drop_some
    code, err = send("--chunk-events", "100", "--retries", "2", tmp_path / "a")
    assert code == 0
    assert "sent 5,000 events in 50 chunks, all acked, 3 reconnects" in err
    assert peer.connections == 4
    assert peer.messages() == lines
    ids = [frame.chunk for frame in peer.frames]
    assert len(set(ids)) == 50
    assert len(ids) >= 53
    last = [frame.chunk for frame in peer.frames if frame.connection == 4]
    assert last == list(dict.fromkeys(last))


@pytest.mark.parametrize("ack", [(), ("--no-ack",)])
def test_a_frame_cut_off_midway_is_sent_again_whole(
    peer: Peer, send: Send, tmp_path: Path, ack: tuple[str, ...]
) -> None:
    line = b"x" * 30_000_000  # more than the socket buffers of both sides hold
    (tmp_path / "a").write_bytes(line)
    peer.cut_after_bytes = 100_000
    code, err = send(*ack, tmp_path / "a")
    assert code == 0
    assert ", 1 reconnect, " in err
    assert not ack or peer.ended.wait(PATIENCE_SECONDS)
    assert peer.messages() == [line]


def test_a_server_that_restarts_is_found_again(peer: Peer, tmp_path: Path) -> None:
    peer.decide = lambda frame: DROP if len(peer.frames) == 1 else ACK
    process = subprocess.Popen(command(peer), stdin=-1, stderr=-1, bufsize=0)
    assert process.stdin is not None
    process.stdin.write(b"one\n")
    until(lambda: len(peer.frames) == 2)
    process.stdin.write(b"two\n")
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert b"sent 2 events in 2 chunks, all acked, 1 reconnect" in err
    assert peer.messages() == [b"one", b"two"]


def test_without_an_ack_the_count_says_what_is_unknown(
    peer: Peer, send: Send, tmp_path: Path
) -> None:
    numbered(tmp_path / "a", 30)
    peer.decide = lambda frame: ACK if len(peer.frames) == 1 else HOLD
    code, err = send("--chunk-events", "10", *GIVES_UP, "-q", tmp_path / "a")
    assert code == 1
    tally, error = err.splitlines()
    assert tally.startswith("sent 30 events in 3 chunks, 10 acked, 20 unknown, ")
    assert error == f"penstock: gave up on 127.0.0.1:{peer.port}: no ack for 1.5 s"


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [("--timeout", "2", "no ack for 2 s"), ("--retries", "2", "2 retries used up")],
)
def test_a_server_that_keeps_closing_is_given_up(
    peer: Peer, send: Send, tmp_path: Path, option: str, value: str, why: str
) -> None:
    numbered(tmp_path / "a", 3)
    peer.decide = lambda frame: DROP
    code, err = send(option, value, tmp_path / "a")
    assert code == 1
    assert "sent 3 events in 1 chunk, 0 acked, 3 unknown" in err
    assert re.search(
        f": {why}; connection lost [3-7] times, at last: closed by the server", err
    )
    assert len({frame.chunk for frame in peer.frames}) == 1
    assert len(peer.frames) >= 3


def test_the_timeout_counts_from_the_last_ack(
    peer: Peer, send: Send, tmp_path: Path
) -> None:
    numbered(tmp_path / "a", 6)

    def ack_slowly(frame: Frame) -> str:
        time.sleep(0.3)
        return ACK

    peer.decide = ack_slowly
    code, err = send("--chunk-events", "1", *GIVES_UP, tmp_path / "a")
    assert code == 0
    assert "sent 6 events in 6 chunks, all acked" in err


def test_huge_lines_are_not_piled_up_in_memory(
    peer: Peer, send: Send, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"x" * 9_000_000 + b"\n" + b"x" * 9_000_000 + b"\ny")
    peer.decide = lambda frame: HOLD
    code, err = send(*GIVES_UP, tmp_path / "a")
    assert code == 1
    assert "sent 2 events in 2 chunks, 0 acked, 2 unknown" in err


def test_no_server_is_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    port = str(free_port())
    with pytest.raises(SystemExit) as ended:
        main(["send", "--port", port, os.devnull])
    assert ended.value.code == 3
    assert capsys.readouterr().err == (
        f"penstock: cannot reach 127.0.0.1:{port}: connection refused;"
        " is `penstock up` running?\n"
    )


def test_retries_wait_for_a_server_that_starts_late(tmp_path: Path) -> None:
    port = free_port()
    run = [sys.executable, "-m", "penstock", "send", "--port", str(port)]
    with subprocess.Popen([*run, "--retries", "50", os.devnull]) as process:
        time.sleep(0.3)
        with socket.create_server(("127.0.0.1", port)) as listener:
            listener.accept()[0].close()
            assert process.wait(PATIENCE_SECONDS) == 0


def test_a_bad_line_is_named_and_what_stands_before_it_is_acked(
    peer: Peer, send: Send, tmp_path: Path
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"message":"1"}\n\n{"message":"2"}\nno json\n{"message":"3"}\n')
    code, err = send("--format", "json", path, path)
    assert code == 1
    tally, error = err.splitlines()
    assert tally.startswith("sent 2 events in 1 chunk, all acked")
    assert error == f"penstock: {path}:4: not a JSON object"
    assert peer.messages() == [b"1", b"2"]


def test_without_acks_nothing_is_asked_and_all_arrives(
    peer: Peer, send: Send, tmp_path: Path
) -> None:
    lines = numbered(tmp_path / "a", 2_500)
    code, err = send("--no-ack", tmp_path / "a")
    assert code == 0
    assert err.startswith("sent 2,500 events in 3 chunks, no acks asked for, ")
    assert peer.ended.wait(PATIENCE_SECONDS)
    assert [frame.option for frame in peer.frames] == [
        {b"size": 1000},
        {b"size": 1000},
        {b"size": 500},
    ]
    assert peer.messages() == lines


@pytest.mark.parametrize("ack", [(), ("--no-ack",)])
def test_a_secured_server_is_named_as_such(
    peer: Peer, send: Send, tmp_path: Path, ack: tuple[str, ...]
) -> None:
    numbered(tmp_path / "a", 3)
    peer.greeting = msgpack.packb(["HELO", {"nonce": b"N" * 16, "auth": b""}])
    peer.greeting_delay_seconds = 0.1
    peer.decide = lambda frame: HOLD
    code, err = send(*ack, tmp_path / "a")
    assert code == 3
    assert f"127.0.0.1:{peer.port} asks for a shared key (HELO)" in err


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xc1", b"\x81\x90\x01"]
)
def test_another_service_is_named_as_such(
    peer: Peer, send: Send, tmp_path: Path, greeting: bytes
) -> None:
    numbered(tmp_path / "a", 3)
    peer.greeting = greeting
    peer.decide = lambda frame: HOLD
    code, err = send(tmp_path / "a")
    assert code == 1
    assert "does not answer like a forward server" in err


def test_a_refused_chunk_is_sent_again(peer: Peer, send: Send, tmp_path: Path) -> None:
    numbered(tmp_path / "a", 3)
    peer.greeting = b"\x80"  # Vector's "failed"

    def then_ack(frame: Frame) -> str:
        peer.greeting = b""
        return ACK

    peer.decide = then_ack
    code, err = send(tmp_path / "a")
    assert code == 0
    assert "sent 3 events in 1 chunk, all acked" in err


def test_a_line_on_a_pipe_is_not_held_back_for_the_next(peer: Peer) -> None:
    process = subprocess.Popen(command(peer, "-"), stdin=-1, stderr=-1, bufsize=0)
    assert process.stdin is not None
    for number in range(3):
        process.stdin.write(b"%d\n" % number)
        until(lambda: len(peer.frames) == number + 1)  # noqa: B023
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert b"sent 3 events in 3 chunks, all acked" in err


def test_ctrl_c_stops_reading_waits_for_acks_and_counts(peer: Peer) -> None:
    process = subprocess.Popen(command(peer), stdin=-1, stderr=-1, bufsize=0)
    assert process.stdin is not None
    process.stdin.write(b"one\ntwo\n")
    until(lambda: len(peer.frames) == 1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert err.startswith(b"sent 2 events in 1 chunk, all acked")


def test_ctrl_c_under_a_full_window_ends_within_seconds(
    peer: Peer, tmp_path: Path
) -> None:
    numbered(tmp_path / "a", 100)
    peer.decide = lambda frame: HOLD
    for_ever = "from penstock.cli import main, send; send.INTERRUPT_SECONDS = 3600.0"
    args = [sys.executable, "-c", f"{for_ever}; main.main()", "send", "--port"]
    args += [str(peer.port), "--chunk-events", "1", str(tmp_path / "a")]
    process = subprocess.Popen(args, stderr=-1)
    until(lambda: len(peer.frames) == 8)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)  # or the two would be one
    process.send_signal(signal.SIGINT)  # the second one does not wait
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert err.startswith(b"sent 9 events in 9 chunks, 0 acked, 9 unknown")


def test_rate_sends_small_chunks(peer: Peer, send: Send, tmp_path: Path) -> None:
    lines = numbered(tmp_path / "a", 20)
    assert send("--rate", "50", tmp_path / "a")[0] == 0
    assert peer.messages() == lines
    assert [len(frame.events) for frame in peer.frames] == [5, 5, 5, 5]


def on_a_terminal(args: list[str], stdin: int | None) -> tuple[int, str]:
    """Run with stderr on a terminal; return the exit code and what it showed."""
    terminal, other = pty.openpty()
    with subprocess.Popen(
        args, stdin=other if stdin is None else stdin, stderr=other
    ) as process:
        os.close(other)
        shown = b""
        try:
            while data := os.read(terminal, 65536):
                shown += data
        except OSError:  # Linux: the other end is closed
            pass
        os.close(terminal)
        return process.wait(PATIENCE_SECONDS), shown.decode()


def test_on_a_terminal_without_a_file_usage_is_shown(peer: Peer) -> None:
    code, shown = on_a_terminal(command(peer), None)
    assert code == 2
    assert "Usage: penstock send" in shown
    assert "nothing to send: name a FILE, or - for stdin" in shown
    assert peer.connections == 0


@pytest.mark.parametrize(("quiet", "bar"), [((), True), (("--quiet",), False)])
def test_a_bar_is_shown_on_a_terminal_unless_quiet(
    peer: Peer, tmp_path: Path, quiet: tuple[str, ...], bar: bool
) -> None:
    numbered(tmp_path / "a", 2_000)
    args = command(peer, *quiet, str(tmp_path / "a"))
    code, shown = on_a_terminal(args, subprocess.DEVNULL)
    assert code == 0
    assert ("2,000 acked" in shown) == bar
    assert ("sent 2,000 events" in shown) == bar


def test_memory_does_not_grow_with_the_file(peer: Peer) -> None:
    script = (
        "import resource, sys; from penstock.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    run = [sys.executable, "-c", script, "send", "--port", str(peer.port)]
    used = []

    def ack_and_forget(frame: Frame) -> str:
        peer.frames.clear()
        return ACK

    peer.decide = ack_and_forget
    for lines in (20_000, 300_000):
        data = b"some line of a log that is a hundred bytes long or thereabouts\n"
        done = subprocess.run(run, input=data * lines, capture_output=True, check=True)
        used.append(int(done.stdout))
    assert used[1] < used[0] + 8 * 1024
