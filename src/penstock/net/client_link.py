"""One connection of our sender to a forward server: TCP, TLS, the login.

Owns how it is made, and what the system and OpenSSL say when it cannot be. Must not
know chunks or acks: `client` does. It waits in the client's own way only, so that
Ctrl-C ends it.
"""

import errno
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgpack

from penstock.errors import ProtocolError, UnavailableError
from penstock.net.tls_failure import in_words
from penstock.wire.handshake import key_digest, password_digest

# A host that drops packets must not hold us for the two minutes of the kernel.
CONNECT_SECONDS = 10.0
# Answers are below 100 bytes (forward-protocol.md 3.1), a HELO or PONG below 1,300;
# more is no forward server.
MAX_ANSWER_BYTES = 64 * 1024
SALT_BYTES = 16

_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Wait(Protocol):
    """Waits for sockets to be readable or writable, at most until then."""

    def __call__(
        self, reads: Sequence[int], writes: Sequence[int], wake_at: float | None
    ) -> tuple[list[int], list[int]]:
        """Return those that are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What we prove to a server that asks for it: the shared key, and a password."""

    shared_key: bytes = field(repr=False)
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where to send, and what is needed to get in there."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    login: Login | None = None

    @property
    def address(self) -> str:
        """Return host and port as people write them."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class Link:
    """A connection that is made. What would block says so, as a socket does."""

    def __init__(self, link: socket.socket) -> None:
        self._socket = link

    def fileno(self) -> int:
        """Return what can be waited for."""
        return self._socket.fileno()

    def send(self, data: memoryview) -> int:
        """Write some of the data; return how much.

        Raises:
            BlockingIOError: nothing can be written now.
            OSError: the connection is lost.
        """
        try:
            return self._socket.send(data)
        except _WOULD_BLOCK as error:
            raise BlockingIOError from error

    def receive(self) -> bytes:
        """Return what has come; nothing at the end. Raises as `send`."""
        try:
            return self._socket.recv(MAX_ANSWER_BYTES // 2)
        except ssl.SSLZeroReturnError:
            return b""
        except _WOULD_BLOCK as error:
            raise BlockingIOError from error

    def end_writing(self) -> None:
        """Say that nothing follows."""
        with suppress(OSError):  # closed by the other side already
            self._say_goodbye()
            # Of an SSLSocket itself it would be the end of reading too.
            socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def close(self) -> None:
        """Close it."""
        with suppress(OSError):
            self._say_goodbye()
        self._socket.close()

    def _say_goodbye(self) -> None:
        """End TLS; once both sides have, there is none to end."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.version():
            with suppress(ssl.SSLWantReadError):  # the server's goodbye
                self._socket.unwrap()


class LinkMaker:
    """Makes connections to one destination."""

    def __init__(
        self,
        destination: Destination,
        wait: Wait,
        clock: Callable[[], float],
        most_seconds: float | None,
    ) -> None:
        self._destination = destination
        self._wait = wait
        self._clock = clock
        self._seconds = min(CONNECT_SECONDS, most_seconds or CONNECT_SECONDS)

    def open(self) -> Link:
        """Connect to the first of the host's addresses that answers, and log in.

        Raises:
            OSError: it cannot be reached.
            UnavailableError: it does not let us in.
            ProtocolError: what answers is no forward server.
        """
        host, port = self._destination.host, self._destination.port
        failure = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as exc:  # a name that DNS could not carry
            raise OSError(errno.EINVAL, "not a host name") from exc
        for family, kind, protocol, _, address in found:
            try:
                return self._opened(socket.socket(family, kind, protocol), address)
            except OSError as exc:
                failure = exc
        raise failure

    def _opened(self, link: socket.socket, address: Any) -> Link:
        try:
            self._connect(link, address)
            if self._destination.tls is not None:
                link = self._within_tls(link, self._destination.tls)
            if self._destination.login is not None:
                self._log_in(Link(link), self._destination.login)
        except BaseException:
            link.close()
            raise
        return Link(link)

    def _connect(self, link: socket.socket, address: Any) -> None:
        link.setblocking(False)
        # A small last frame must not wait for the TCP ack of the segment before it.
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = link.connect_ex(address)
        if code == errno.EINPROGRESS:
            until = self._clock() + self._seconds
            _, writable = self._wait([], [link.fileno()], until)
            code = errno.ETIMEDOUT
            if writable:
                code = link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    def _within_tls(
        self, link: socket.socket, context: ssl.SSLContext
    ) -> socket.socket:
        host = self._destination.host
        try:
            within = context.wrap_socket(
                link, server_hostname=host, do_handshake_on_connect=False
            )
        except ValueError as exc:
            raise OSError(errno.EINVAL, "not a host name that TLS knows") from exc
        until = self._clock() + self._seconds
        try:
            while True:
                try:
                    within.do_handshake()
                    return within
                except ssl.SSLWantReadError:
                    self._wait_for(within, until, "no answer to TLS")
        except BaseException:
            within.close()
            raise

    def _log_in(self, link: Link, login: Login) -> None:
        """HELO, PING, PONG: forward specification v1, "Handshake Messages"."""
        until = self._clock() + self._seconds
        answers = msgpack.Unpacker(raw=True, max_buffer_size=MAX_ANSWER_BYTES)
        address = self._destination.address
        try:
            match self._answer(link, answers, until, "it asks for no key"):
                case [b"HELO", {b"nonce": bytes(nonce), **options}]:
                    auth = options.get(b"auth", b"")
                    auth = auth if isinstance(auth, bytes) else b""
                case _:
                    raise ValueError("no HELO")
            salt, hostname = os.urandom(SALT_BYTES).hex().encode(), _own_name()
            ping = msgpack.packb(
                [
                    b"PING",
                    hostname,
                    salt,
                    key_digest(salt, hostname, nonce, login.shared_key),
                    login.user.encode(errors="surrogateescape"),
                    _password_digest(auth, login),
                ],
                use_bin_type=False,  # what is bytes here is str there
            )
            self._send_all(link, ping, until)
            match self._answer(link, answers, until, "no answer to the login"):
                case [b"PONG", True, _, bytes(their_name), bytes(digest)]:
                    expected = key_digest(salt, their_name, nonce, login.shared_key)
                    if digest != expected:
                        raise UnavailableError(
                            f"{address} does not have the shared key itself"
                        )
                case [b"PONG", False, bytes(why), *_]:
                    raise UnavailableError(
                        f"{address} refuses the login:"
                        f" {why[:100].decode(errors='replace')}"
                    )
                case _:
                    raise ValueError("no PONG")
        except (ValueError, TypeError, msgpack.UnpackException) as exc:
            raise no_forward_server(address) from exc

    def _answer(
        self, link: Link, answers: Any, until: float, patience_over: str
    ) -> object:
        while True:
            for answer in answers:
                return answer
            try:
                data = link.receive()
            except BlockingIOError:
                self._wait_for(link, until, patience_over)
                continue
            if not data:
                raise OSError(errno.ECONNRESET, "closed by the server in the login")
            answers.feed(data)

    def _send_all(self, link: Link, data: bytes, until: float) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[link.send(left) :]
            except BlockingIOError:
                self._wait([], [link.fileno()], until)

    def _wait_for(
        self, link: socket.socket | Link, until: float, patience_over: str
    ) -> None:
        readable, _ = self._wait([link.fileno()], [], until)
        if not readable and self._clock() >= until:
            raise OSError(
                errno.ETIMEDOUT, f"{patience_over} within {self._seconds:g} s"
            )


def no_forward_server(address: str) -> ProtocolError:
    """Return the error for a server that answers what none of the protocol would."""
    return ProtocolError(
        "unexpected_answer",
        f"{address} does not answer like a forward server"
        " (another service, or TLS?); is the port right?",
    )


def reason(exc: OSError) -> str:
    """Return why a connection failed, in words."""
    if isinstance(exc, ssl.SSLError):
        if exc.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return "it does not speak TLS"
        return f"TLS failed: {in_words(exc)}"
    text = exc.strerror or str(exc)
    return text[:1].lower() + text[1:]


def _own_name() -> bytes:
    # Not the machine's name alone: servers take that for themselves, and Fluentd
    # refuses a client that has its own.
    return f"penstock-send@{socket.gethostname()}".encode(errors="surrogateescape")


def _password_digest(auth: bytes, login: Login) -> bytes:
    if not auth or not login.user:
        return b""
    user = login.user.encode(errors="surrogateescape")
    return password_digest(auth, user, login.password.encode(errors="surrogateescape"))
