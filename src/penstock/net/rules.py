"""Who may send from where: what the settings of security mean for one peer.

It owns which key, users and tags hold for an address. It must not know a connection.
What it was made from does not change: a reload makes another, which takes its place
whole, and each connection looks its peer up once.
"""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from penstock.errors import SettingsError
from penstock.net.peer import MAX_NAME_BYTES, UNIX_SENDER, normal_address
from penstock.settings import Listener, ListenSettings, SecuritySettings
from penstock.settings.receive import NetworkRule, User
from penstock.wire.handshake import Credentials

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# The IPv4 addresses among IPv6's: ::ffff:0:0/96.
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True, repr=False)
class Access:
    """What holds for one peer.

    `is_denied`: its address is in no network, and only networks may send. `tags` are
    the patterns of the tags it may send; empty: all.
    """

    credentials: Credentials
    tags: tuple[str, ...] = ()
    is_denied: bool = False


class Rules:
    """The rules of one configuration."""

    def __init__(self, settings: SecuritySettings) -> None:
        """Read the rules.

        Raises:
            SettingsError: a network is none, or what should be a secret is empty.
        """
        self._settings = settings
        self._passwords = _passwords(settings.users)
        common = self._access(None)
        outside = Access(Credentials(None), is_denied=True)
        self._inside = common
        self._others = outside if settings.other_networks == "deny" else common
        self._networks = [
            (_network(rule.cidr), self._access(rule)) for rule in settings.networks
        ]
        self._has_secrets = (
            bool(settings.shared_key)
            or bool(settings.users)
            or any(rule.shared_key or rule.users for rule in settings.networks)
            or settings.empty_shared_key == "on"
        )
        self.self_hostname = own_name(settings.self_hostname)
        self.slow_down_seconds = settings.slow_down_seconds

    def requires_handshake(self, listener: ListenSettings | Listener) -> bool:
        """Tell whether new connections to this listener begin with the handshake.

        To be asked for each connection: a reload may bring a key. On a Unix socket
        clients know no handshake, but Fluentd's (protocol facts, 4.4).
        """
        if listener.handshake != "auto":
            return listener.handshake == "on"
        is_unix = isinstance(listener, Listener) and bool(listener.path)
        return self._has_secrets and not is_unix

    def access_of(self, address: str) -> Access:
        """Return what holds for a peer at this address; the first network counts.

        A Unix socket's peer is in no network, and let to it by the file's mode. An
        address that is not known is in none either.
        """
        if address == UNIX_SENDER:
            return self._inside
        try:
            found = ipaddress.ip_address(normal_address(address))
        except ValueError:
            return self._others
        for network, access in self._networks:
            if found in network:
                return access
        return self._others

    def _access(self, rule: NetworkRule | None) -> Access:
        settings = self._settings
        key = _secret(settings.shared_key, settings.shared_key_file, "shared_key_file")
        tags: tuple[str, ...] = ()
        passwords = self._passwords or None
        allowed: frozenset[bytes] | None = None
        if rule is not None:
            where = f"shared_key_file of the network {rule.cidr}"
            key = _secret(rule.shared_key, rule.shared_key_file, where) or key
            tags = rule.tags
            if rule.users:
                passwords = self._passwords
                allowed = frozenset(map(_bytes_of, rule.users))
        # Without a key nobody gets in; the empty one was asked for by name, and is no
        # secret: a user has to prove one.
        if not key and settings.empty_shared_key == "on" and passwords is not None:
            return Access(Credentials(b"", passwords, allowed), tags)
        return Access(Credentials(key or None, passwords, allowed), tags)


def allows_tag(patterns: tuple[str, ...], tag: str) -> bool:
    """Tell whether a peer with these patterns may send this tag; none: any.

    `*` is any text. Linear in the tag, which is the peer's: a pattern's pieces are
    found one behind the other, each as early as it can be.
    """
    return not patterns or any(_fits(pattern, tag) for pattern in patterns)


def _fits(pattern: str, tag: str) -> bool:
    first, *between = pattern.split("*")
    if not between:
        return tag == first
    last = between.pop()
    if not tag.startswith(first) or not tag.endswith(last):
        return False
    at, end = len(first), len(tag) - len(last)
    for piece in between:
        at = tag.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return at <= end


def _passwords(users: Iterable[User]) -> dict[bytes, tuple[bytes, ...]]:
    """Return each name's passwords: a name may be there twice, as with Fluentd."""
    passwords: dict[bytes, tuple[bytes, ...]] = {}
    for user in users:
        where = f"password_file of the user {user.name}"
        password = _secret(user.password, user.password_file, where)
        if not user.name or not password:
            raise SettingsError(
                f"the user {user.name or 'without a name'} has no password; set"
                " `name` and one of `password` and `password_file`"
            )
        name = _bytes_of(user.name)
        passwords[name] = (*passwords.get(name, ()), password)
    return passwords


def _secret(value: str, file: str, where: str) -> bytes:
    """Return a secret's bytes; one whose file holds nothing is none that opens all."""
    if file and not value:
        raise SettingsError(f"{where} holds no secret: {file} is empty or was not read")
    return _bytes_of(value)


def _bytes_of(text: str) -> bytes:
    # What the environment has besides UTF-8 is in a str this way (PEP 383).
    return text.encode(errors="surrogateescape")


def _network(cidr: str) -> _Network:
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError as error:
        raise SettingsError(f"the network {cidr!r} is none: {error}") from error
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        return ipaddress.IPv4Network((int(mapped or 0), network.prefixlen - 96))
    return network


def own_name(configured: str) -> str:
    """Return our name in the handshake, which must not be the client's.

    Fluentd and fluent-logger-node refuse a server that has their name (protocol facts,
    4.3), and on the same machine that is often the machine's own; Fluent Bit's is
    `localhost` unless said otherwise.

    Raises:
        SettingsError: the one that is configured is too long.
    """
    if configured == "auto":
        return f"penstock.{socket.gethostname() or 'server'}"
    # With it PONG, which clients read at once, has less than 512 bytes (4.3).
    if len(_bytes_of(configured)) > MAX_NAME_BYTES:
        raise SettingsError(f"self_hostname is longer than {MAX_NAME_BYTES} bytes")
    return configured
