"""Who is at the other end of a connection: what is known of it, and what it may do.

It owns the name by which a resend of the same sender is known, and how a name that
somebody claims becomes text. It must not decide who may send: `handshake` and `tls` do.
"""

import hashlib
import ipaddress
from dataclasses import dataclass

# A connection that was reset before it was accepted: its address is not to be had.
UNKNOWN_SENDER = "unknown"
# The peer of a Unix socket, which has no address.
UNIX_SENDER = "unix"
# A DNS name has 253 bytes at most (RFC 1035, 2.3.4); these stand in every row of
# ingest_chunk, and in log lines.
MAX_NAME_BYTES = 255

# A host has a whole /64 of IPv6 addresses to itself (RFC 4291, 2.5.4).
_HOST_PREFIX = 64

_DIGEST_DIGITS = 16
# What parts of a sender's name are told apart by. A name has none of them: without
# that a user "a+client:b" would be the user "a" of the host "b".
_BETWEEN = str.maketrans({"%": "%25", "+": "%2B", "@": "%40"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The other end of one connection.

    `address` is its IP address, an IPv4 one as such (not `::ffff:10.0.0.1`), or
    `unix`. `certificate_name` is a name that its certificate vouches for, `user` and
    `client_hostname` are from a handshake that succeeded: the user is proved, the host
    name claimed by somebody who has the key. All have come through `clean_name`.
    `tags` are the patterns of the tags it may send; empty: all.
    """

    address: str
    certificate_name: str = ""
    user: str = ""
    client_hostname: str = ""
    tags: tuple[str, ...] = ()

    @property
    def sender(self) -> str:
        """Return what tells this sender from others.

        All that is known is part of it, its address always: a certificate, a user or a
        host name may be a whole fleet's, and Fluent Bit names a chunk by its content
        alone, so that what two of a fleet send would be one. No two peers that differ
        have one name: what was proved, claimed and seen stands apart, and only an
        address stands bare.
        """
        named = (
            ("certificate", self.certificate_name),
            ("user", self.user),
            ("client", self.client_hostname),
        )
        known = "+".join(
            f"{kind}:{name.translate(_BETWEEN)}" for kind, name in named if name
        )
        return f"{known}@{self.address}" if known else self.address


def clean_name(raw: bytes) -> str:
    """Return a name that a peer gave as printable text of at most 255 bytes.

    Two names that differ stay two: what is no UTF-8 or not printable is escaped, as is
    the backslash, and what is too long is cut with a digest behind it. Such a name goes
    into PostgreSQL, which takes no NUL, and onto terminals.
    """
    text = raw.decode(errors="surrogateescape")
    clean = "".join(map(_printable, text))
    encoded = clean.encode()
    if len(encoded) <= MAX_NAME_BYTES:
        return clean
    digest = hashlib.sha256(raw).hexdigest()[:_DIGEST_DIGITS]
    cut = encoded[: MAX_NAME_BYTES - 1 - _DIGEST_DIGITS].decode(errors="ignore")
    return f"{cut}~{digest}"


def _printable(character: str) -> str:
    if character.isprintable() and character != "\\":
        return character
    return character.encode("unicode_escape").decode()


def normal_address(host: str) -> str:
    """Return an IP address as rules and limits know it.

    A dual-stack socket shows an IPv4 peer as `::ffff:10.0.0.1` (RFC 4291, 2.5.5.2).
    What is no IP address is returned as it is.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def host_of(address: str) -> str:
    """Return what an address is counted as: itself, of IPv6 the network of its host."""
    if ":" not in address:
        return address
    try:
        network = int(ipaddress.IPv6Address(address)) >> (128 - _HOST_PREFIX)
    except ValueError:
        return address
    return str(ipaddress.IPv6Network((network << (128 - _HOST_PREFIX), _HOST_PREFIX)))
