"""TLS between a raw transport and the protocol that is spoken within.

It owns one connection's handshake, its encryption, and what reaches the inner protocol
in which order; `certificates` owns whom we are and whom we trust. It must not know
the forward protocol. It is not asyncio's or uvloop's own TLS, because those lose what a
peer wrote when it ends while reading is paused, and end with it: a peer that has said
its last word is still owed acks.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from penstock.net.certificates import TlsTerms
from penstock.net.sockets import unread_bytes
from penstock.net.tls_failure import (
    BROKEN,
    CLIENT_NAME,
    FRUITLESS,
    HANDSHAKE,
    in_words,
    what_else,
)
from penstock.net.tls_records import MAX_PLAINTEXT_BYTES, Ciphertext
from penstock.net.tls_transport import TlsTransport

# A handshake's messages begin so (RFC 8446, 5.1); nothing that we are sent in clear by
# mistake does.
HANDSHAKE_RECORD = 0x16
# Of ciphertext without one byte of plaintext: a record is 16 KiB, a change of the key
# 27 bytes. Whoever sends more wants our time, not to send logs.
MAX_FRUITLESS_BYTES = 64 * 1024
# For a peer to take what was written before the close. Longer than a session's own
# patience: that is the one to tell of it.
CLOSE_SECONDS = 5.0


class TlsProtocol(asyncio.Protocol):
    """One connection's TLS, on the server's side.

    Args:
        terms: the context, and which clients' names are taken.
        open_session: makes the inner protocol once the handshake is complete; it is
            told the name that the client's certificate vouches for, or "".
        failed: told if TLS ends the connection: the reason, a word that is counted,
            and the error in words that may be logged.
        on_lost: told when the connection is lost, after the inner protocol.
    """

    def __init__(
        self,
        terms: TlsTerms,
        open_session: Callable[[str], asyncio.BaseProtocol],
        *,
        failed: Callable[[str, str], None],
        on_lost: "Callable[[TlsProtocol], None] | None" = None,
    ) -> None:
        self._terms = terms
        self._open_session = open_session
        self._failed = failed
        self._on_lost = on_lost
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = terms.context.wrap_bio(
            self._incoming, self._outgoing, server_side=True
        )
        self._ciphertext = Ciphertext()
        self._raw: asyncio.Transport | None = None
        self._inner: asyncio.Protocol | None = None
        self._fruitless_bytes = 0  # given to OpenSSL since the last plaintext
        self._error = ""  # of a record that OpenSSL does not take
        self._is_paused = False  # by the inner protocol
        self._is_unread = False  # the peer does not read what we write
        self._is_raw_paused = False
        self._is_scheduled = False
        self._has_spoken = False
        self._has_ended = False  # a FIN has come: read what is left, then tell
        self._has_said_goodbye = False  # close_notify has come
        self._is_end_told = False
        self._is_closing = False
        self._is_lost = False
        self._lost_by: Exception | None = None
        self._cut: asyncio.TimerHandle | None = None

    @property
    def is_shaking_hands(self) -> bool:
        """Tell whether the handshake is under way: there is no inner protocol yet."""
        return self._inner is None and not self.is_closing

    @property
    def is_closing(self) -> bool:
        """Tell whether nothing more is written, nor read from the peer."""
        if self._is_closing or self._is_lost or self._raw is None:
            return True
        return self._raw.is_closing()

    @property
    def unread_bytes(self) -> int:
        """Return how much the peer has written that is not decrypted."""
        if self._has_said_goodbye or self.is_closing:
            return 0
        held_bytes = self._ciphertext.waiting_bytes + self._incoming.pending
        return held_bytes + unread_bytes(self._raw)

    @property
    def is_paused(self) -> bool:
        """Tell whether the inner protocol wants nothing handed over."""
        return self._is_paused

    @property
    def inner(self) -> asyncio.Protocol:
        """Return the protocol within; there is one between handshake and loss."""
        assert self._inner is not None
        return self._inner

    # What the raw transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the client's first word."""
        self._raw = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take ciphertext, and decrypt a slice of it."""
        if self._is_closing or self._has_said_goodbye:
            return
        if not self._has_spoken:
            self._has_spoken = True
            if data[0] != HANDSHAKE_RECORD:
                self._fail(HANDSHAKE, f"no TLS: {what_else(data)}")
                return
        self._ciphertext.receive(data)
        if not self._is_scheduled:
            self._go_on()

    def eof_received(self) -> bool:
        """Keep the connection open: acks may still be owed to a half-closed peer."""
        self._has_ended = True
        if not self._is_scheduled:
            self._go_on()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """End, when what had come before is handed over."""
        self._is_lost, self._lost_by = True, exc
        if self._cut is not None:
            self._cut.cancel()
        if not self._is_scheduled:
            self._go_on()

    def pause_writing(self) -> None:
        """Read no more from a peer that does not read: it may make us write."""
        self._is_unread = True
        if self._inner is not None:
            self._inner.pause_writing()
        self._set_raw_reading()

    def resume_writing(self) -> None:
        """Read on."""
        self._is_unread = False
        if self._inner is not None:
            self._inner.resume_writing()
        self._go_on_later()

    # What the inner protocol asks for, by its transport.

    def use(self, protocol: asyncio.BaseProtocol) -> None:
        """Speak to another inner protocol from now on."""
        self._inner = cast("asyncio.Protocol", protocol)

    def pause(self) -> None:
        """Hand over nothing more, and read no more."""
        self._is_paused = True
        self._set_raw_reading()

    def resume(self) -> None:
        """Hand over and read on, but not at once: the inner protocol is at work."""
        self._is_paused = False
        self._go_on_later()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and write; a short message is one record, and one write."""
        if self.is_closing or not data:
            return
        left = memoryview(data).cast("B")
        try:
            while left:
                left = left[self._tls.write(left) :]
        except ssl.SSLWantReadError:
            # Until the rest comes nothing can be written, and no client does that.
            self._fail(BROKEN, "half a change of the key")
        except ssl.SSLError as error:
            self._fail(BROKEN, in_words(error))
        else:
            self._flush()

    def close(self) -> None:
        """Say goodbye behind what was written, then close, in bounded time."""
        if self.is_closing:
            return
        self._is_closing = True
        with suppress(ssl.SSLError):  # it would like to wait for the peer's goodbye
            self._tls.unwrap()
        self._flush()
        self._close_raw()

    def abort(self) -> None:
        """Close now, whatever is still to be sent."""
        self._is_closing = True
        if self._raw is not None:
            self._raw.abort()

    # The way of the bytes.

    @property
    def _may_read(self) -> bool:
        if self._is_closing or self._has_said_goodbye:
            return False
        # Who is lost cannot be made to wait, and brings no more than we hold.
        return self._is_lost or not (self._is_paused or self._is_unread)

    @property
    def _is_backlogged(self) -> bool:
        return bool(self._ciphertext.waiting_bytes or self._incoming.pending)

    def _go_on_later(self) -> None:
        if not self._is_scheduled and not self._is_closing:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._go_on_now)

    def _go_on_now(self) -> None:
        self._is_scheduled = False
        try:
            self._go_on()
        except Exception as error:
            # A raw transport ends a connection whose protocol fails. So do we.
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a protocol within TLS failed", "exception": error}
            )
            self.abort()
            if self._is_lost:
                self._tell_lost()

    def _go_on(self) -> None:
        """Hand over a slice, then what has become of the connection."""
        if self._may_read and self._is_backlogged:
            self._hand_over(self._decrypted_slice())
            self._flush()
        if self._may_read and self._is_backlogged:
            self._go_on_later()
        elif self._is_lost:
            self._tell_lost()
        elif self._may_read and self._has_ended:
            self._tell_end()
        self._set_raw_reading()

    def _begin(self) -> None:
        client = self._terms.client(self._tls)
        if not client.is_allowed:
            self._fail(CLIENT_NAME, f"no such name is allowed: {client.name}")
            return
        assert self._raw is not None
        self._inner = cast("asyncio.Protocol", self._open_session(client.name))
        self._inner.connection_made(TlsTransport(self, self._raw))

    def _decrypted_slice(self) -> list[bytes]:
        """Decrypt a slice, record by record; shake hands first, if that is not done."""
        parts: list[bytes] = []
        fed_bytes = self._incoming.pending
        try:
            self._decrypt(parts)  # what is left because reading was paused
            for piece in self._ciphertext.slice():
                fed_bytes += len(piece)
                self._incoming.write(piece)
                if self._inner is None:
                    self._shake_hands()
                self._decrypt(parts)
                if not self._may_read:
                    break
        except ssl.SSLError as error:
            self._error = in_words(error)
        self._fruitless_bytes = 0 if parts else self._fruitless_bytes + fed_bytes
        return parts

    def _decrypt(self, parts: list[bytes]) -> None:
        with suppress(ssl.SSLWantReadError):
            while self._inner is not None and self._may_read and self._incoming.pending:
                # One call, one record.
                if part := self._tls.read(MAX_PLAINTEXT_BYTES):
                    parts.append(part)
                else:
                    self._has_said_goodbye = True

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            pass  # how much it takes in a handshake OpenSSL bounds itself
        except ssl.SSLError as error:
            self._fail(HANDSHAKE, in_words(error))
        else:
            self._flush()
            self._begin()

    def _hand_over(self, parts: list[bytes]) -> None:
        """Hand over what is decrypted, and then what it has ended with."""
        if parts and self._inner is not None:
            self._inner.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if self._error:
            self._fail(BROKEN, self._error)
        elif self._has_said_goodbye:
            self._forget()
            self._tell_end()
        elif self._fruitless_bytes > MAX_FRUITLESS_BYTES:
            self._fail(FRUITLESS, "the peer sends records without data")

    def _flush(self) -> None:
        if self._outgoing.pending and self._raw is not None:
            ciphertext = self._outgoing.read()
            if not self._is_lost:
                self._raw.write(ciphertext)

    def _set_raw_reading(self) -> None:
        if self._raw is None or self._raw.is_closing():
            return
        # After the last word, what a peer may still send waits in its own memory.
        wanted = self._may_read and not self._is_backlogged and not self._has_ended
        if wanted and self._is_raw_paused:
            self._is_raw_paused = False
            self._raw.resume_reading()
        elif not wanted and not self._is_raw_paused:
            self._is_raw_paused = True
            self._raw.pause_reading()

    # Ending.

    def _tell_end(self) -> None:
        if self._is_end_told or self._is_closing:
            return
        self._is_end_told = True
        if self._inner is None:
            self._end_handshake()
        elif not self._inner.eof_received():
            self.close()

    def _end_handshake(self) -> None:
        # To connect and to say nothing is how the living are told from the dead.
        if self._has_spoken:
            self._fail(HANDSHAKE, "the peer has closed the connection in the middle")
        else:
            self.abort()

    def _tell_lost(self) -> None:
        if self._raw is None:
            return
        if self._inner is not None:
            self._inner.connection_lost(self._lost_by)
        elif self._lost_by is not None:  # else it is closed by us
            self._end_handshake()
        self._raw = None
        # It holds us, by its transport: left in a cycle, it would wait for the
        # collector.
        self._inner = None
        self._forget()
        self._is_closing = True
        if self._on_lost is not None:
            self._on_lost(self)

    def _fail(self, reason: str, error: str) -> None:
        """Close; what OpenSSL has to say of it, an alert, is still sent."""
        if self._is_closing:
            return
        self._failed(reason, error)
        self._is_closing = True
        self._forget()
        self._flush()
        self._close_raw()

    def _forget(self) -> None:
        self._ciphertext.clear()
        self._incoming.read()

    def _close_raw(self) -> None:
        if self._raw is not None and not self._raw.is_closing():
            self._raw.close()
            loop = asyncio.get_running_loop()
            self._cut = loop.call_later(CLOSE_SECONDS, self._raw.abort)
