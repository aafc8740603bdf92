"""A proxy in front of an S3 that fails as S3, networks and disks do.

It passes each request on, whole, and its answer back, but where a fault is due. What it
was asked stays in `requests`.
"""

import contextlib
import http.client
import math
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

PATIENCE_SECONDS = 30.0

Kind = Literal[
    "answer",  # an error of S3's, and nothing is passed on
    "delay",  # passed on later
    "hold",  # passed on when `release` is called
    "cut request",  # the connection, after so many bytes of the body
    "cut answer",  # the connection, after so many bytes of the answer's body
    "lose answer",  # S3 has done it, and nobody is told
    "flip",  # a bit of the answer's body
]


@dataclass
class Fault:
    """What goes wrong, with which requests, how often."""

    kind: Kind
    method: str = ""  # any
    part: str = ""  # what the path or the query contains
    after: int = 0  # so many of them pass before
    times: float = math.inf
    at_bytes: int = 0
    seconds: float = 0.0
    status: int = 503
    code: str = "SlowDown"
    met: int = field(default=0, init=False)

    def is_due(self, method: str, path: str) -> bool:
        """Count a request that is one of these; tell whether it is to fail."""
        if self.method not in ("", method) or self.part not in path:
            return False
        self.met += 1
        return self.after < self.met <= self.after + self.times


class Request(NamedTuple):
    """What the proxy was asked."""

    method: str
    path: str
    headers: dict[str, str]


class S3Faults:
    """The proxy; as a context manager it ends with the block."""

    def __init__(self, behind: str, *, host: str = "", is_serial: bool = False) -> None:
        """Begin to listen.

        Args:
            behind: the address of the S3.
            host: what it is to be told that it is called; as the client says, if not.
            is_serial: it gets one request at a time, as if each took no time at all.
        """
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.host = host
        self.behind = urlsplit(behind).netloc
        self.turn = threading.Lock() if is_serial else contextlib.nullcontext()
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "S3Faults":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add(self, *faults: Fault) -> None:
        """Let something go wrong from now on."""
        self._released.clear()
        self.faults += faults

    def heal(self) -> None:
        """Let nothing go wrong any more, and forget what was asked."""
        self.release()
        self.faults.clear()
        self.requests.clear()

    def release(self) -> None:
        """Pass on what is held, now and from now on."""
        self._released.set()

    def wait_released(self) -> None:
        self._released.wait(PATIENCE_SECONDS)

    def asked(self, method: str, part: str = "") -> list[Request]:
        """Return the requests of this kind that have come so far."""
        return [
            each
            for each in list(self.requests)
            if each.method == method and part in each.path
        ]

    def due(self, request: Request) -> Fault | None:
        """Take a request down; return what is to go wrong with it."""
        with self._lock:
            self.requests.append(request)
            due = [
                fault
                for fault in self.faults
                if fault.is_due(request.method, request.path)
            ]
        return due[0] if due else None


class _Handler(BaseHTTPRequestHandler):
    """A connection of a client's."""

    server: "_Server"
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except _CutError:
            self.close_connection = True
            # RST, as from a machine that knows nothing of it any more.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def do_any(self) -> None:
        fault = self.server.proxy.due(
            Request(self.command, self.path, dict(self.headers))
        )
        length = int(self.headers.get("Content-Length", 0))
        if fault and fault.kind == "cut request":
            self.rfile.read(min(fault.at_bytes, length))
            raise _CutError
        body = self.rfile.read(length)
        if len(body) < length:  # the client has gone
            raise _CutError
        if fault and fault.kind == "answer":
            self._answer_error(fault)
            return
        if fault and fault.kind == "delay":
            threading.Event().wait(fault.seconds)
        if fault and fault.kind == "hold":
            self.server.proxy.wait_released()
        self._answer(body, fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_any

    def _answer(self, body: bytes, fault: Fault | None) -> None:
        with self.server.proxy.turn, self._passed_on(body) as answer:
            found = answer.read()
        if fault and fault.kind == "lose answer":
            raise _CutError
        if fault and fault.kind == "flip":
            at = fault.at_bytes
            found = found[:at] + bytes([found[at] ^ 1]) + found[at + 1 :]
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.end_headers()
        if fault and fault.kind == "cut answer":
            # No RST: that would throw away what is on its way.
            self.close_connection = True
            found = found[: fault.at_bytes]
        self.wfile.write(found)

    @contextlib.contextmanager
    def _passed_on(self, body: bytes) -> Iterator[http.client.HTTPResponse]:
        proxy = self.server.proxy
        headers = dict(self.headers)
        headers.pop("Expect", None)  # it was answered here
        if proxy.host:
            headers["Host"] = proxy.host
        link = http.client.HTTPConnection(proxy.behind, timeout=PATIENCE_SECONDS)
        try:
            link.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in headers.items():
                link.putheader(name, value)
            link.endheaders(body)
            with link.getresponse() as answer:
                yield answer
        finally:
            link.close()

    def _answer_error(self, fault: Fault) -> None:
        told = f"<Code>{fault.code}</Code><Message>Said by the proxy</Message>"
        body = f"<Error>{told}</Error>".encode()
        self.send_response_only(fault.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, proxy: S3Faults) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is what these tests are about."""


class _CutError(Exception):
    """The connection is to end here."""
