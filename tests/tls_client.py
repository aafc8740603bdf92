"""A TLS client that says just what a test wants, record by record.

Python's ssl does the handshake and the encryption, over a socket that stays raw: what
goes out in which segment is the test's. Changes of the key and empty records, which
ssl does not offer, are made here from the secrets that it logs (RFC 8446, 5.2, 7).
"""

import hmac
import socket
import ssl
import tempfile
from hashlib import sha384
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.authority import Authority

V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
HANDSHAKE, APPLICATION_DATA = 22, 23
KEY_UPDATE = b"\x18\0\0\1"


def client_context(
    authority: Authority, version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    """Return a context that trusts the authority, and speaks just this version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.certificate.decode())
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class TlsClient:
    """One connection, blocking."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext,
        *,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.trickles = False  # sends byte by byte
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_hostname="localhost",
            session=session,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def shake_hands(self) -> Self:
        """Complete the handshake."""
        self._send(self.last_flight())
        return self

    def last_flight(self) -> bytes:
        """Go as far as the handshake's last flight of ours, and return that."""
        while True:
            try:
                self.tls.do_handshake()
                return self._outgoing.read()
            except ssl.SSLWantReadError:
                self._send(self._outgoing.read())
                self._receive()

    def hello(self) -> bytes:
        """Return the handshake's first message."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self._outgoing.read()

    def pending_output(self) -> bytes:
        """Return what OpenSSL has left to say: an alert."""
        return self._outgoing.read()

    def encrypted(self, data: bytes) -> bytes:
        """Return records that hold the data."""
        left = memoryview(data)
        while left:
            left = left[self.tls.write(left) :]
        return self._outgoing.read()

    def goodbye(self) -> bytes:
        """Return a close_notify."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        return self._outgoing.read()

    def send(self, data: bytes) -> None:
        """Send data, as records."""
        self._send(self.encrypted(data))

    def receive(self) -> bytes:
        """Return what comes next; nothing at the end, a goodbye or not."""
        while True:
            try:
                return self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                if not self._receive():
                    return b""
            except ssl.SSLZeroReturnError:  # both have said goodbye
                return b""

    def receive_exactly(self, count: int) -> bytes:
        """Return so many bytes, or what there is before the end."""
        data = b""
        while len(data) < count and (more := self.receive()):
            data += more
        return data

    def _send(self, data: bytes) -> None:
        pieces = (
            [data[i : i + 1] for i in range(len(data))] if self.trickles else [data]
        )
        for piece in pieces:
            self.socket.sendall(piece)

    def _receive(self) -> bytes:
        data = self.socket.recv(1 << 16)
        self._incoming.write(data)
        return data


class Forger:
    """Makes TLS 1.3 records of a client's that its library would not.

    Made from the context that the client is made from, before that.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._log = Path(self._directory.name) / "keys"
        context.keylog_filename = str(self._log)
        self._secret = b""
        self._sequence = 0

    def close(self) -> None:
        """Remove the secrets."""
        self._directory.cleanup()

    def begin(self) -> None:
        """Take the client's secret; nothing was sent after the handshake yet."""
        for line in self._log.read_text().splitlines():
            if line.startswith("CLIENT_TRAFFIC_SECRET_0 "):
                self._secret = bytes.fromhex(line.split()[2])

    def record(self, content: bytes, kind: int = APPLICATION_DATA) -> bytes:
        """Return one record, for TLS_AES_256_GCM_SHA384."""
        key = _expand(self._secret, b"key", 32)
        mask = int.from_bytes(_expand(self._secret, b"iv", 12), "big")
        nonce = (mask ^ self._sequence).to_bytes(12, "big")
        self._sequence += 1
        inner = content + bytes([kind])
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        return header + AESGCM(key).encrypt(nonce, inner, header)

    def key_update(self, *, answer: bool = False) -> bytes:
        """Return a change of the key, which may ask for the peer's."""
        record = self.record(KEY_UPDATE + bytes([answer]), HANDSHAKE)
        self._secret = _expand(self._secret, b"traffic upd", 48)
        self._sequence = 0
        return record


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    output = block = b""
    counter = 1
    while len(output) < length:
        block = hmac.digest(secret, block + info + bytes([counter]), sha384)
        output += block
        counter += 1
    return output[:length]
