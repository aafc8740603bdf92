"""The stage of a connection that asks for the shared key: HELO, PING, PONG.

It stands between the transport and the session, and takes itself out when the client
is let in. It owns when an answer is written and what a refused client still gets. It
must not decide what a key opens (`rules`), nor how long a connection may take to come
through: the listener closes it then.

Forward specification v1, "Handshake Messages"; protocol facts, section 4.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, cast

from penstock.net.failed_logins import LogBook, SlowDown
from penstock.net.peer import Peer, clean_name
from penstock.net.rules import Access, Rules
from penstock.telemetry.receive import ReceiveMetrics
from penstock.wire.handshake import (
    AUTH_BYTES,
    NONCE_BYTES,
    Challenge,
    Failure,
    NoPingError,
    Ping,
    PingReader,
    anonymous_source,
    check_ping,
    helo,
    pong,
    refusing_pong,
)

logger = logging.getLogger(__name__)

# A refused client has so long to read why, and to close: closing with bytes of it
# unread would be a RST, which takes the PONG with it.
LINGER_SECONDS = 2.0
# What it may go on to write meanwhile, which nobody looks at.
LINGER_BYTES = 1024 * 1024
# Behind a PING, before its answer: no client writes there. More is not read until then.
AHEAD_BYTES = 64 * 1024
# Of the time for the handshake: an answer that is due later than this is not given.
LATEST_ANSWER = 0.9


class Timer(Protocol):
    """What a callback that is to come can be called off by."""

    def cancel(self) -> None:
        """Do not call it."""


def _later(seconds: float, callback: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(seconds, callback)


@dataclass(slots=True)
class Handshakes:
    """What all handshakes share.

    A reload puts new `rules` here, whole: who has been sent a HELO by then is still
    judged by those that it was sent under.
    """

    rules: Rules
    metrics: ReceiveMetrics
    handshake_seconds: float
    clock: Callable[[], float] = time.monotonic
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    later: Callable[[float, Callable[[], None]], Timer] = _later
    slow_down: SlowDown = field(default_factory=SlowDown)
    log_book: LogBook = field(default_factory=LogBook)
    tls_log_book: LogBook = field(default_factory=LogBook)
    # Names of ours that a client had too, and that was said.
    same_names: set[str] = field(default_factory=set)


class HandshakeProtocol(asyncio.Protocol):
    """Lets one client in, or not."""

    def __init__(
        self,
        handshakes: Handshakes,
        peer: Peer,
        following: Callable[[Peer], asyncio.Protocol],
        *,
        on_lost: Callable[["HandshakeProtocol"], None] | None = None,
    ) -> None:
        """Prepare.

        Args:
            handshakes: what is shared by all.
            peer: what is known of the other end; whoever is let in is known better.
            following: makes the next stage, for a client that is let in.
            on_lost: is told if the connection ends in this stage.
        """
        self._handshakes = handshakes
        self._rules = handshakes.rules
        self._peer = peer
        self._access: Access = self._rules.access_of(peer.address)
        self._following: Callable[[Peer], asyncio.Protocol] | None = following
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._began_seconds = 0.0
        auth_bytes = 0 if self._access.credentials.passwords is None else AUTH_BYTES
        self._challenge = Challenge(
            handshakes.random_bytes(NONCE_BYTES), handshakes.random_bytes(auth_bytes)
        )
        self._reader = PingReader()
        self._ahead = bytearray()  # what came behind the PING, before its answer
        self._ping_is_read = False
        self._is_refused = False
        self._ignored_bytes = 0  # of a refused client
        self._is_paused = False
        self._is_unread = False  # the client does not read what we write
        self._has_ended = False  # the client will send no more
        self._timer: Timer | None = None  # of the answer, then of the end

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Write HELO, at once: a client reads it whole or not at all."""
        self._transport = cast("asyncio.Transport", transport)
        self._began_seconds = self._handshakes.clock()
        self._transport.write(helo(self._challenge))

    def data_received(self, data: bytes) -> None:
        """Take bytes: of the PING, or behind it."""
        if self._is_refused:
            self._ignore(data)
        elif self._ping_is_read:
            self._keep_ahead(data)
        else:
            self._read_ping(data)

    def eof_received(self) -> bool:
        """Close, unless an answer is due to a client that has sent something behind.

        A client that goes before it has sent a PING is healthy: a probe, a heartbeat.
        """
        self._has_ended = True
        return bool(self._ping_is_read and not self._is_refused and self._ahead)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._transport = self._following = None
        self._cancel_timer()
        if self._on_lost is not None:
            self._on_lost(self)

    def pause_writing(self) -> None:
        """Note for the next stage that the client does not read."""
        self._is_unread = True

    def resume_writing(self) -> None:
        """Note that it reads again."""
        self._is_unread = False

    # What the server tells.

    def close(self) -> None:
        """Close the connection when what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection now."""
        if self._transport is not None:
            self._transport.abort()

    # PING to PONG.

    def _read_ping(self, data: bytes) -> None:
        try:
            ping = self._reader.receive_data(data)
        except NoPingError as error:
            # No guess at a key: nobody has to wait for it.
            self._failed(Failure.NO_PING, hint=str(error))
            self._refuse(Failure.NO_PING.text)
            return
        if ping is None:
            return
        self._ping_is_read = True
        if self._reader.rest:
            self._keep_ahead(self._reader.rest)
        self._reader = PingReader()  # what it read is not needed any more
        if self._access.is_denied:
            self._deny()
        else:
            self._answer_in_turn(ping)

    def _answer_in_turn(self, ping: Ping) -> None:
        """Look at a PING; answer when it is this address's turn.

        What is due too late is not even looked at: it would be a guess more.
        """
        shared, address = self._handshakes, self._peer.address
        slow_down, now = shared.slow_down, shared.clock()
        name = hash((ping.client_hostname, ping.username))
        latest = self._began_seconds + shared.handshake_seconds * LATEST_ANSWER
        due = slow_down.answer_at(address, name, now, latest)
        if due is None:
            self._too_soon()
            return
        failure = check_ping(ping, self._challenge, self._access.credentials)
        if failure is None:
            slow_down.succeeded(address, name)
        else:
            first_seconds = self._rules.slow_down_seconds
            slow_down.failed(address, name, now, first_seconds=first_seconds)
        if due <= now:
            self._answer(ping, failure)
            return
        self._timer = shared.later(due - now, lambda: self._answer(ping, failure))

    def _answer(self, ping: Ping, failure: Failure | None) -> None:
        self._cancel_timer()
        if failure is None:
            self._let_in(ping)
        else:
            self._failed(failure, username=ping.username)
            self._refuse(failure.text)

    def _let_in(self, ping: Ping) -> None:
        """Write PONG and hand the connection over; what came behind the PING too."""
        transport, following = self._transport, self._following
        key = self._access.credentials.shared_key
        if transport is None or following is None or transport.is_closing():
            return
        assert key is not None
        self._hint_at_same_name(ping)
        transport.write(pong(ping, self._challenge, key, self._rules.self_hostname))
        if transport.is_closing():  # the client was not there any more
            return
        asks_for_user = self._access.credentials.passwords is not None
        protocol = following(
            replace(
                self._peer,
                # A name that nobody has proved is no user.
                user=clean_name(ping.username) if asks_for_user else "",
                client_hostname=clean_name(ping.client_hostname),
                tags=self._access.tags,
            )
        )
        self._read_on()
        self._transport = self._following = None
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        self._hand_over_rest(transport, protocol)

    def _hand_over_rest(
        self, transport: asyncio.Transport, protocol: asyncio.Protocol
    ) -> None:
        """Tell the next stage what the transport has told only us."""
        rest = bytes(self._ahead)
        self._ahead.clear()
        if self._is_unread:
            protocol.pause_writing()
        if rest:
            protocol.data_received(rest)
        if self._has_ended and not protocol.eof_received():
            transport.close()

    # Refusing.

    def _refuse(self, text: str) -> None:
        """Write why, in one piece, and end."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(refusing_pong(text))
        self._end()

    def _end(self) -> None:
        """Close when what was written is sent; nothing more is looked at.

        Our side is closed at once and the other waited for: bytes of it that are unread
        when all is closed would take the PONG with them.
        """
        self._is_refused = True
        self._ahead.clear()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._timer = self._handshakes.later(LINGER_SECONDS, self.abort)
        if self._has_ended or not transport.can_write_eof():
            transport.close()
            return
        transport.write_eof()
        self._read_on()

    def _deny(self) -> None:
        self._handshakes.metrics.refused("network_denied")
        if (fields := self._news()) is not None:
            logger.warning(
                "refusing a client: its address is in no network", extra=fields
            )
        self._refuse(anonymous_source(self._peer.address))

    def _too_soon(self) -> None:
        self._handshakes.metrics.failed_login("too_soon")
        if (fields := self._news()) is not None:
            logger.warning(
                "closing a connection without an answer: too many logins from its"
                " address have failed just before",
                extra=fields,
            )
        self._end()

    def _failed(
        self, failure: Failure, *, username: bytes = b"", hint: str = ""
    ) -> None:
        self._handshakes.metrics.failed_login(failure.reason)
        if (fields := self._news()) is None:
            return
        fields["reason"] = failure.reason
        if username and self._access.credentials.passwords is not None:
            fields["user"] = clean_name(username)
        if hint:
            fields["hint"] = hint
        logger.warning("refusing a client: its login failed", extra=fields)

    def _news(self) -> dict[str, str | int] | None:
        """Return what a line begins with; None if this address had one just before."""
        shared = self._handshakes
        return shared.log_book.line_for(self._peer.address, shared.clock())

    def _hint_at_same_name(self, ping: Ping) -> None:
        ours = self._rules.self_hostname
        is_same = ping.client_hostname == ours.encode(errors="surrogateescape")
        if is_same and ours not in self._handshakes.same_names:
            self._handshakes.same_names.add(ours)
            logger.warning(
                "a client has our own name; Fluentd and fluent-logger-node refuse a"
                " server that has theirs: set self_hostname here, or there",
                extra={"peer": self._peer.address, "self_hostname": ours},
            )

    # Bytes that are not a PING's.

    def _keep_ahead(self, data: bytes) -> None:
        self._ahead += data
        is_much = len(self._ahead) > AHEAD_BYTES
        # Only while the answer waits: who is handed over is read by the next stage.
        if is_much and self._timer and self._transport and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def _ignore(self, data: bytes) -> None:
        self._ignored_bytes += len(data)
        if self._ignored_bytes > LINGER_BYTES:
            self.abort()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
