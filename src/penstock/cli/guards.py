"""What stands between a sender and each place that is listened on, in words.

It asks what the server asks, the same rules, of the same settings. It must not judge
whether that is enough, nor open a port.
"""

import ipaddress
from collections.abc import Iterator
from typing import NamedTuple

from penstock.accepting import addresses_now, is_reachable
from penstock.net.places import ListenedOn, specs_of
from penstock.net.rules import Rules
from penstock.settings import Listener, ListenSettings, Settings

Place = ListenSettings | Listener


class Guard(NamedTuple):
    """What a sender has to speak, and by which it shows who it is."""

    has_tls: bool
    proofs: tuple[str, ...]

    @property
    def asked(self) -> tuple[str, ...]:
        """Return all that is asked for, in the order that it is asked."""
        return (*(("TLS",) if self.has_tls else ()), *self.proofs)


def guard_of(place: Place, settings: Settings, rules: Rules) -> Guard:
    """Return what a place asks for."""
    security = settings.security
    has_tls = place.tls == "on"
    proofs = []
    if has_tls and settings.tls.tls_client_ca_file:
        proofs.append("client certificate")
    if rules.requires_handshake(place):
        # The empty key, which everybody knows, proves nothing.
        if security.shared_key or security.empty_shared_key == "off":
            proofs.append("shared key")
        if security.users:
            proofs.append("user's password")
    return Guard(has_tls, tuple(proofs))


def guards(settings: Settings) -> list[Guard]:
    """Return those of all places, in the order that the server has them."""
    rules = Rules(settings.security)
    return [
        guard_of(each.settings, settings, rules) for each in specs_of(settings.listen)
    ]


def open_places(settings: Settings) -> Iterator[str]:
    """Yield the places where whoever reaches them from outside can write logs."""
    if not who_may(settings):
        return
    for spec, guard in zip(specs_of(settings.listen), guards(settings), strict=True):
        if spec.path or guard.proofs:
            continue
        addresses = addresses_now(spec.host, spec.port)
        if addresses is not None and is_reachable(addresses):
            yield before_port(spec.host) + f":{spec.port}"


def who_may(settings: Settings) -> str:
    """Return who is not turned away for his address; nothing: nobody else is there."""
    security = settings.security
    if security.other_networks == "allow":
        return "anybody who can reach it"
    networks = [
        each.cidr
        for each in security.networks
        if not ipaddress.ip_network(each.cidr).is_loopback
    ]
    return f"anybody in {', '.join(networks)}" if networks else ""


def places_told(
    settings: Settings, host: str, port: int, others: tuple[ListenedOn, ...]
) -> list[tuple[str, str]]:
    """Return each place that is listened on, and what it asks for."""
    told = [ListenedOn(host, port), *others]
    places = [each.path or f"{before_port(each.host)}:{each.port}" for each in told]
    return [
        (place, ", ".join(guard.asked))
        for place, guard in zip(places, guards(settings), strict=True)
    ]


def before_port(host: str) -> str:
    """Return an address as it stands before a port."""
    return f"[{host}]" if ":" in host else host
