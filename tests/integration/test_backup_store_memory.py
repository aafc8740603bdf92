"""A large object takes no more memory than a small one, on its way there and back."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.s3_server import environment_of, without_aws

MIB = 1024 * 1024
LARGE_BYTES = 300 * MIB
# Three parts of 8 MiB are on their way at most; the rest is what Python keeps for
# itself, and what a thread takes.
MORE_BYTES = 3 * 8 * MIB + 16 * MIB

MEASURE = """
import json, sys
import psutil
from penstock.backup.stores import open_store

process, size = psutil.Process(), int(sys.argv[2])
largest = 0

def look():
    global largest
    largest = max(largest, process.memory_info().rss)

class Source:
    left = 0
    def read(self, size=-1):
        look()
        piece = bytes(min(size, self.left))
        self.left -= len(piece)
        return piece

store, source = open_store(sys.argv[1]), Source()
measured = []
for source.left in (9 << 20, size):
    stored = store.put("parts/a.dump", source)
    for piece in store.open("parts/a.dump", **stored._asdict()):
        look()
    measured.append(largest)
print(json.dumps(measured))
"""


class Sink(BaseHTTPRequestHandler):
    """As much of S3 as one object takes that is all zeros; it keeps the size of it."""

    protocol_version = "HTTP/1.1"
    size_bytes = 0

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("?uploads"):
            Sink.size_bytes = 0
            self._answer(b"<Result><UploadId>u</UploadId></Result>")
        else:
            self._answer(b"<Result><ETag>e</ETag></Result>")

    def do_PUT(self) -> None:
        left = int(self.headers["Content-Length"])
        Sink.size_bytes += left
        while left:
            left -= len(self.rfile.read(min(left, MIB)))
        self._answer(b"")

    def do_GET(self) -> None:
        first = re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))
        assert first
        left = Sink.size_bytes - int(first[1])
        self._head(left)
        while left:
            left -= self.wfile.write(bytes(min(left, MIB)))

    def _head(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", '"e"')
        self.end_headers()

    def _answer(self, body: bytes) -> None:
        self._head(len(body))
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True


@pytest.fixture
def sink() -> Iterator[str]:
    server = _Server(("127.0.0.1", 0), Sink)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def measured(url: str, environment: dict[str, str]) -> list[int]:
    """Return the most memory a process has had with a small object, and a large one."""
    ended = subprocess.run(
        [sys.executable, "-c", MEASURE, url, str(LARGE_BYTES)],
        capture_output=True,
        text=True,
        env=without_aws(os.environ)
        | {"PYTHONPATH": os.pathsep.join(sys.path)}
        | environment,
    )
    assert ended.stderr == ""
    answer: list[int] = json.loads(ended.stdout)
    return answer


def test_a_large_object_takes_no_memory_in_s3(sink: str):
    small, large = measured("s3://backups/ours", environment_of(sink))
    assert LARGE_BYTES == Sink.size_bytes
    assert large - small < MORE_BYTES


def test_a_large_object_takes_no_memory_in_a_directory(tmp_path: Path):
    small, large = measured(tmp_path.as_uri(), {})
    assert (tmp_path / "parts" / "a.dump").stat().st_size == LARGE_BYTES
    assert large - small < 8 * MIB
