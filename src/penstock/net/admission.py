"""Who is let in at which listener: TLS, then the handshake, then the session.

It owns the order of these stages, and what of them a listener has. What each does, and
what the settings mean for one peer, is theirs and `rules`'.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from penstock.net.certificates import TlsTerms, load_terms
from penstock.net.entering import Entrant
from penstock.net.handshake import HandshakeProtocol, Handshakes
from penstock.net.peer import Peer
from penstock.net.rules import Rules
from penstock.net.session import ForwardSession
from penstock.net.tls import TlsProtocol
from penstock.settings import Listener, ListenSettings, Settings
from penstock.telemetry.receive import ReceiveMetrics

logger = logging.getLogger(__name__)


class Terms(NamedTuple):
    """What holds for connections that begin now; no `tls` where no listener has it."""

    rules: Rules
    tls: TlsTerms | None
    handshake_seconds: float


def terms_of(settings: Settings) -> Terms:
    """Read rules, keys and certificates.

    Raises:
        SettingsError: a file or a rule is not what it should be.
    """
    listen = settings.listen
    has_tls = "on" in (listen.tls, *(each.tls for each in listen.listeners))
    return Terms(
        Rules(settings.security),
        load_terms(settings.tls) if has_tls else None,
        settings.limits.handshake_seconds,
    )


class Admission:
    """Lets peers in; a reload replaces its terms whole."""

    def __init__(self, terms: Terms, metrics: ReceiveMetrics) -> None:
        self._metrics = metrics
        self._handshakes = Handshakes(terms.rules, metrics, terms.handshake_seconds)

    def doorways(
        self, terms: Terms
    ) -> Callable[[ListenSettings | Listener], "ListenerDoorway"]:
        """Return what makes a listener's doorway under these terms."""
        return lambda listener: ListenerDoorway(
            listener, terms, self._handshakes, self._metrics
        )

    def change(self, terms: Terms) -> None:
        """Ask new connections for what is asked for now; failed logins stay known."""
        self._handshakes.rules = terms.rules
        self._handshakes.handshake_seconds = terms.handshake_seconds


class ListenerDoorway:
    """What stands before the sessions of one listener."""

    def __init__(
        self,
        listener: ListenSettings | Listener,
        terms: Terms,
        handshakes: Handshakes,
        metrics: ReceiveMetrics,
    ) -> None:
        self._tls = terms.tls if listener.tls == "on" else None
        self._rules = terms.rules
        self._asks_for_key = terms.rules.requires_handshake(listener)
        self._handshakes = handshakes
        self._metrics = metrics

    def open(
        self, entrant: Entrant
    ) -> TlsProtocol | HandshakeProtocol | ForwardSession | None:
        """Return the connection's first stage; None closes it, without a word."""
        peer = entrant.peer
        # With the handshake it is told why, as Fluentd tells it.
        if not self._asks_for_key and self._rules.access_of(peer.address).is_denied:
            self._metrics.refused("network_denied")
            logger.warning(
                "refusing a connection: its address is in no network",
                extra={"peer": peer.address},
            )
            return None
        if self._tls is None:
            return self._after_tls(entrant, "", is_first=True)
        return TlsProtocol(
            self._tls,
            partial(self._after_tls, entrant, is_first=False),
            address=peer.address,
            failed=self._metrics.failed_tls,
            on_lost=entrant.lost,
        )

    def _after_tls(
        self, entrant: Entrant, certificate_name: str, *, is_first: bool
    ) -> HandshakeProtocol | ForwardSession:
        peer = replace(entrant.peer, certificate_name=certificate_name)
        if not self._asks_for_key:
            return self._begin(entrant, peer)
        return HandshakeProtocol(
            self._handshakes,
            peer,
            entrant.begin,
            on_lost=entrant.lost if is_first else None,
        )

    def _begin(self, entrant: Entrant, peer: Peer) -> ForwardSession:
        tags = self._rules.access_of(peer.address).tags
        return entrant.begin(replace(peer, tags=tags))
