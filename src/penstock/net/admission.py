"""What senders are let in by: keys, rules and certificates, made of the settings.

It owns that all of them are made before any is in force. What a connection goes through
is `doorway`'s, and what the settings mean for one peer `rules`'.
"""

from collections.abc import Callable
from typing import NamedTuple

from penstock.net.certificates import TlsServer, TlsTerms, load_terms
from penstock.net.doorway import GuardedDoorway
from penstock.net.handshake import Handshakes
from penstock.net.rules import Rules
from penstock.settings import Listener, ListenSettings, Settings
from penstock.telemetry.receive import ReceiveMetrics


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
    """What the doorways of all listeners share; a reload changes its terms whole."""

    def __init__(self, terms: Terms, metrics: ReceiveMetrics) -> None:
        self._handshakes = Handshakes(terms.rules, metrics, terms.handshake_seconds)

    def doorways(
        self, terms: Terms
    ) -> Callable[[ListenSettings | Listener], GuardedDoorway]:
        """Return what makes a listener's doorway with the certificate of these terms.

        The rules are those in force, which `change` brings.
        """
        tls = None if terms.tls is None else TlsServer(terms.tls)
        return lambda listener: GuardedDoorway(listener, self._handshakes, tls)

    def change(self, terms: Terms) -> None:
        """Ask new connections for what is asked for now; failed logins stay known."""
        self._handshakes.rules = terms.rules
        self._handshakes.handshake_seconds = terms.handshake_seconds
