"""Who is at the other end of a connection: what is known of it, and what it may do.

It owns the name by which a resend of the same sender is known. It must not decide
who may send: `handshake` and `tls` do.
"""

from dataclasses import dataclass

# A connection that was reset before it was accepted: its address is not to be had.
UNKNOWN_SENDER = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The other end of one connection.

    `address` is its IP address, an IPv4 one as such (not `::ffff:10.0.0.1`), or
    `unix`. `certificate_name` is a name that its certificate vouches for, `user` and
    `client_hostname` are from a handshake that succeeded. `tags` are the patterns of
    the tags it may send; empty: all.
    """

    address: str
    certificate_name: str = ""
    user: str = ""
    client_hostname: str = ""
    tags: tuple[str, ...] = ()

    @property
    def sender(self) -> str:
        """Return what tells this sender from others.

        Its address is always part of it: a certificate, a user or a host name may be
        a whole fleet's, and Fluent Bit names a chunk by its content alone, so that
        what two of a fleet send would be one. Names that were proved, claimed or seen
        cannot be taken for each other: only an address stands bare.
        """
        if self.certificate_name:
            return f"certificate:{self.certificate_name}@{self.address}"
        if self.user:
            return f"user:{self.user}@{self.address}"
        if self.client_hostname:
            return f"client:{self.client_hostname}@{self.address}"
        return self.address
