"""Who is let through to a session on one listener: TLS, networks, the handshake.

It owns which stages a new connection goes through, and in which order. It must not know
what they do. Rules and certificates are looked up for each connection: a reload
replaces them for those that come after it.
"""

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.net.certificates import TlsServer
from penstock.net.entering import Entrant
from penstock.net.handshake import HandshakeProtocol, Handshakes
from penstock.net.peer import Peer
from penstock.net.tls import TlsProtocol
from penstock.settings import Listener, ListenSettings

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)


class GuardedDoorway:
    """The doorway of one listener; one that speaks TLS needs `tls`."""

    def __init__(
        self,
        listener: ListenSettings | Listener,
        handshakes: Handshakes,
        tls: TlsServer | None = None,
    ) -> None:
        self._listener = listener
        self._handshakes = handshakes
        self._tls = tls if listener.tls == "on" else None
        assert self._tls is not None or listener.tls == "off"

    def open(self, entrant: Entrant) -> asyncio.Protocol | None:
        """Return the connection's first stage; None closes it, without a byte."""
        rules, peer = self._handshakes.rules, entrant.peer
        asks = rules.requires_handshake(self._listener)
        access = rules.access_of(peer.address)
        if access.is_denied and not asks:  # the handshake says why
            self._deny(peer)
            return None
        peer = replace(peer, tags=access.tags)
        if self._tls is None:
            return self._within(entrant, peer, asks, entrant.lost)
        return TlsProtocol(
            self._tls.current,
            lambda name: self._within(
                entrant, replace(peer, certificate_name=name), asks, None
            ),
            failed=lambda reason, error: self._tls_failed(peer, reason, error),
            on_lost=entrant.lost,
        )

    def _within(
        self,
        entrant: Entrant,
        peer: Peer,
        asks: bool,
        on_lost: "Callable[[object], None] | None",
    ) -> asyncio.Protocol:
        """Return what comes behind TLS: the handshake, or the session at once."""
        if not asks:
            return entrant.begin(peer)
        shared = self._handshakes
        return HandshakeProtocol(shared, peer, entrant.begin, on_lost=on_lost)

    def _tls_failed(self, peer: Peer, reason: str, error: str) -> None:
        shared = self._handshakes
        shared.metrics.failed_tls(reason)
        fields = shared.tls_log_book.line_for(peer.address, shared.clock())
        if fields is not None:
            logger.warning(
                "closing a connection: TLS failed",
                extra={**fields, "reason": reason, "error": error},
            )

    def _deny(self, peer: Peer) -> None:
        shared = self._handshakes
        shared.metrics.refused("network_denied")
        fields = shared.log_book.line_for(peer.address, shared.clock())
        if fields is not None:
            logger.warning(
                "closing a connection: its address is in no network", extra=fields
            )
