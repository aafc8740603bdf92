"""The handshake's messages, HELO, PING and PONG, and what proves a key or a password.

It owns their bytes and the order in which a PING is checked. Pure: the nonce and the
salt come as arguments, and when an answer may be written is decided elsewhere. A
secret must not leave it but as a digest.

Forward specification v1, "Handshake Messages".
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import msgpack

from penstock.errors import ProtocolError
from penstock.wire.frames import FrameReader
from penstock.wire.values import (
    Header,
    IncompleteValueError,
    Kind,
    length_of,
    read_bytes,
    read_header,
)

# What Fluentd's and Fluent Bit's servers take.
NONCE_BYTES = 16
AUTH_BYTES = 16
# A PING has two digests of 128 bytes, a salt of 16 to 32, a host's name of 255 at most
# and a user's: 700 bytes are many.
MAX_PING_BYTES = 4096

EVENTS_WITHOUT_HANDSHAKE = (
    "client sent events without handshake; give it the shared key, or a listener that"
    " asks for none if it knows no handshake"
)

_PING_ELEMENTS = 6
# Of bytes that are no PING: enough to tell what they are instead.
_FIRST_BYTES = 16
# What a password is compared with where there is none: the same work.
_NO_PASSWORD = b"\0" * 16


@dataclass(frozen=True, slots=True)
class Challenge:
    """What this connection's digests are made with: random, and never used again.

    `auth` is empty where no user is asked for.
    """

    nonce: bytes
    auth: bytes


@dataclass(frozen=True, slots=True)
class Ping:
    """What a client answers to a HELO, as it came: no value of it is trusted."""

    client_hostname: bytes
    salt: bytes
    key_digest: bytes = field(repr=False)
    username: bytes
    password_digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What a client has to prove.

    `shared_key` is None where nobody gets in. `passwords` are those of each user, any
    of which will do; None where no user is asked for. `allowed_users` are those who may
    log in from where the client is; None: all.
    """

    shared_key: bytes | None
    passwords: Mapping[bytes, tuple[bytes, ...]] | None = None
    allowed_users: frozenset[bytes] | None = None


class Failure(Enum):
    """Why a PING is refused: the word that counts it, and what the client is told.

    The texts are Fluentd's. Who has a password for elsewhere is told no more than who
    has none.
    """

    NO_PING = ("no_ping", "invalid ping message")
    SHARED_KEY = ("shared_key", "shared_key mismatch")
    PASSWORD = ("password", "username/password mismatch")
    USER_NOT_ALLOWED = ("user_not_allowed", "username/password mismatch")

    def __init__(self, reason: str, text: str) -> None:
        self.reason = reason
        self.text = text


class NoPingError(ProtocolError):
    """What came is no PING, nor will it become one."""

    def __init__(self, message: str) -> None:
        super().__init__(Failure.NO_PING.reason, message)


class PingReader:
    """Reads the one PING that a connection begins with, and nothing behind it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.rest = b""

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing has come yet."""
        return not self._buffer

    def receive_data(self, data: bytes) -> Ping | None:
        """Take bytes as they came; return the PING once it is whole.

        What came behind it is `rest` then.

        Raises:
            NoPingError: this is no PING, nor will it become one.
        """
        self._buffer += data
        try:
            fields, end = _read_fields(self._buffer)
        except IncompleteValueError:
            if len(self._buffer) < MAX_PING_BYTES:
                return None
            raise NoPingError("a PING that does not end") from None
        except ProtocolError as error:
            raise _no_ping(bytes(self._buffer[:_FIRST_BYTES])) from error
        self.rest = bytes(memoryview(self._buffer)[end:])
        self._buffer.clear()
        return Ping(*fields)


def _read_fields(data: bytearray) -> tuple[list[bytes], int]:
    """Return the five values behind "PING", and the offset behind them.

    Each is str or bin: Fluent Bit's salt is a str of 16 random bytes, others' is bin
    (protocol facts, 4.2).
    """
    header = read_header(data, 0)
    if header.kind is not Kind.ARRAY or length_of(header) != _PING_ELEMENTS:
        raise NoPingError("no array of six")
    fields: list[bytes] = []
    offset = header.body
    for _ in range(_PING_ELEMENTS):
        header = read_header(data, offset)
        offset = _checked_end(header)
        fields.append(read_bytes(data, header))
        if fields[0] != b"PING":
            raise NoPingError("no PING")
    return fields[1:], offset


def _checked_end(header: Header) -> int:
    if header.kind is not Kind.STR and header.kind is not Kind.BIN:
        raise NoPingError("no string")
    end = header.body + length_of(header)
    if end > MAX_PING_BYTES:  # not waited for
        raise NoPingError("too long")
    return end


def _no_ping(first_bytes: bytes) -> NoPingError:
    """Say what came instead, so that it can be mended."""
    if b"\xa4PING" in first_bytes:
        return NoPingError("a malformed PING")
    if first_bytes.startswith((b"{", b"[")):
        return NoPingError(EVENTS_WITHOUT_HANDSHAKE)
    reader = FrameReader(max_frame_bytes=MAX_PING_BYTES)
    reader.receive_data(first_bytes)
    try:
        if read_header(first_bytes, 0).kind is Kind.ARRAY:
            return NoPingError(EVENTS_WITHOUT_HANDSHAKE)
        reader.next_frame()
    except ProtocolError as error:
        return NoPingError(str(error))
    return NoPingError("no PING")


def helo(challenge: Challenge) -> bytes:
    """Return HELO: what the server writes first (protocol facts, 4.1).

    `auth` is there even when it is empty, and both are bin: fluent-logger-node takes
    nothing else.
    """
    options = {"nonce": challenge.nonce, "auth": challenge.auth, "keepalive": True}
    return _packed(["HELO", options])


def pong(
    ping: Ping, challenge: Challenge, shared_key: bytes, server_hostname: str
) -> bytes:
    """Return the PONG that lets a client in, and proves that we have the key too."""
    hostname = server_hostname.encode(errors="surrogateescape")
    digest = key_digest(ping.salt, hostname, challenge.nonce, shared_key)
    return _packed(["PONG", True, "", server_hostname, digest.decode()])


def refusing_pong(text: str) -> bytes:
    """Return the PONG that refuses a client, behind which the connection is closed."""
    return _packed(["PONG", False, text, "", ""])


def anonymous_source(address: str) -> str:
    """Return what a client of a network that is not listed is told, as by Fluentd."""
    return f"anonymous source host '{address}' denied"


def _packed(message: list[object]) -> bytes:
    packed = msgpack.packb(message, unicode_errors="surrogateescape")
    assert isinstance(packed, bytes)
    return packed


def check_ping(
    ping: Ping, challenge: Challenge, credentials: Credentials
) -> Failure | None:
    """Return why this PING is refused, or None: the key first, then the user.

    The order is Fluentd's. Comparisons take the same time whatever is compared, and
    an unknown user as much as a known one.
    """
    key = credentials.shared_key
    given = key_digest(ping.salt, ping.client_hostname, challenge.nonce, key or b"")
    if not hmac.compare_digest(given, ping.key_digest) or key is None:
        return Failure.SHARED_KEY
    if credentials.passwords is None:
        return None
    # Where a user is asked for without a salt, a digest could be used again.
    assert len(challenge.auth) >= AUTH_BYTES
    known = credentials.passwords.get(ping.username, ())
    is_right = False
    for password in known or (_NO_PASSWORD,):
        expected = password_digest(challenge.auth, ping.username, password)
        is_right |= hmac.compare_digest(expected, ping.password_digest)
    if not is_right or not known:
        return Failure.PASSWORD
    allowed = credentials.allowed_users
    if allowed is not None and ping.username not in allowed:
        return Failure.USER_NOT_ALLOWED
    return None


def key_digest(salt: bytes, hostname: bytes, nonce: bytes, shared_key: bytes) -> bytes:
    """Return the digest that proves the shared key (protocol facts, 4.2 and 4.3)."""
    return _hex_sha512(salt, hostname, nonce, shared_key)


def password_digest(auth: bytes, username: bytes, password: bytes) -> bytes:
    """Return the digest that proves a password (protocol facts, 4.2)."""
    return _hex_sha512(auth, username, password)


def _hex_sha512(*values: bytes) -> bytes:
    return hashlib.sha512(b"".join(values)).hexdigest().encode()
