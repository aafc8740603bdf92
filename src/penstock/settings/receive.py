"""What can be set of the senders' side: where it listens, who may send, how much.

Listeners, users and networks are lists of tables: `[[listeners]]` in the
configuration file, the same as TOML text in the environment or a flag.
"""

from dataclasses import dataclass
from typing import ClassVar

from penstock.settings.declared import KIB, MIB, setting

ON_OFF = ("off", "on")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One more place where the forward protocol is spoken.

    Either `host` and `port` or `path`.
    """

    host: str = setting("", "Address to listen on.", may_be_empty=True)
    port: int = setting(24224, "Port to listen on.", low=0, high=65535)
    path: str = setting(
        "", "A Unix socket to listen on, instead of an address.", may_be_empty=True
    )
    mode: str = setting(
        "0660",
        "Who may connect to the Unix socket, as for chmod: its owner and group unless"
        " said otherwise, as for any file of a service.",
    )
    tls: str = setting("off", "Speak TLS, with the files of [tls].", choices=ON_OFF)
    handshake: str = setting(
        "auto",
        "Ask senders for the shared key. auto: where there is a key to ask for, and not"
        " on Unix sockets, where no client but Fluentd could answer.",
        choices=("auto", "on", "off"),
    )
    heartbeats: str = setting(
        "on",
        "Answer heartbeats by UDP on the same port, as Fluentd's `heartbeat_type udp`"
        " needs; an answer is one byte, to one datagram.",
        choices=ON_OFF,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenSettings:
    """Where the forward protocol is spoken."""

    IS_RELOADED: ClassVar[bool] = True

    host: str = setting(
        "127.0.0.1",
        "Address to listen on for the forward protocol. Loopback unless said"
        " otherwise: a key or TLS comes before a network.",
    )
    port: int = setting(
        24224,
        "Port to listen on; 24224 is the forward protocol's own. 0 takes a free one.",
        low=0,
        high=65535,
    )
    tls: str = setting(
        "off",
        "Speak TLS on `host` and `port`, with the files of [tls].",
        choices=ON_OFF,
    )
    handshake: str = setting(
        "auto",
        "Ask senders on `host` and `port` for the shared key; auto: where there is a"
        " key to ask for.",
        choices=("auto", "on", "off"),
    )
    heartbeats: str = setting(
        "on",
        "Answer heartbeats by UDP on the same port, as Fluentd's `heartbeat_type udp`"
        " needs; an answer is one byte, to one datagram.",
        choices=ON_OFF,
    )
    listeners: tuple[Listener, ...] = setting(
        (),
        "More places to listen on: addresses with rules of their own, Unix sockets.",
        table=Listener,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """The files of TLS, and which clients' certificates are taken.

    They are read again on SIGHUP.
    """

    IS_RELOADED: ClassVar[bool] = True

    tls_certificate_file: str = setting(
        "",
        "The server's certificate and what is between it and its CA, as PEM.",
        may_be_empty=True,
    )
    tls_key_file: str = setting(
        "", "The certificate's private key, as PEM.", may_be_empty=True
    )
    tls_client_ca_file: str = setting(
        "",
        "Only clients with a certificate of these CAs may send (mTLS), as PEM. Empty:"
        " clients need no certificate.",
        is_guard=True,
        may_be_empty=True,
    )
    tls_client_names: tuple[str, ...] = setting(
        (),
        "Of these clients only those whose certificate has one of these names, as its"
        " common name or among its DNS names; `*.example.org` is any one label there."
        " Empty: all of them.",
        is_guard=True,
    )
    tls_min_version: str = setting(
        "1.2",
        "The oldest TLS spoken. 1.2, because Fluentd speaks exactly that by default.",
        choices=("1.2", "1.3"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user who may log in, behind the shared key."""

    name: str = setting("", "The user's name, as the sender gives it.")
    password: str = setting(
        "", "The password.", secret=True, is_guard=True, may_be_empty=True
    )
    password_file: str = setting(
        "",
        "The file that holds the password, and a line end at most.",
        is_guard=True,
        may_be_empty=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRule:
    """What holds for senders of one network; the first one that fits counts."""

    cidr: str = setting("", "The network: `10.1.0.0/16`, `fd00::/8`, an address.")
    shared_key: str = setting(
        "",
        "The key that these senders share with us, instead of the common one.",
        secret=True,
        is_guard=True,
        may_be_empty=True,
    )
    shared_key_file: str = setting(
        "",
        "The file that holds it, and a line end at most.",
        is_guard=True,
        may_be_empty=True,
    )
    users: tuple[str, ...] = setting(
        (), "Which users may log in from there. Empty: all."
    )
    tags: tuple[str, ...] = setting(
        (),
        "Which tags they may send: `app.*`, where `*` is any text. Events with another"
        " go to rejected_event. Empty: all.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SecuritySettings:
    """Who may send: the handshake of the forward protocol.

    They are read again on SIGHUP.
    """

    IS_RELOADED: ClassVar[bool] = True

    shared_key: str = setting(
        "",
        "The key that all senders share with us. It has no flag: a command line can be"
        " read by everybody on the machine.",
        secret=True,
        is_guard=True,
        may_be_empty=True,
    )
    shared_key_file: str = setting(
        "",
        "The file that holds the key, and a line end at most.",
        is_guard=True,
        may_be_empty=True,
    )
    empty_shared_key: str = setting(
        "off",
        "Do the handshake with an empty key where there is none, as Fluent Bit's"
        " `empty_shared_key` does: then `users` alone keep others out, and without"
        " them nobody gets in.",
        choices=ON_OFF,
    )
    self_hostname: str = setting(
        "auto",
        "Our name in the handshake; auto is this machine's with `penstock.` before it."
        " Fluentd refuses a server that calls itself as the client does.",
    )
    users: tuple[User, ...] = setting(
        (),
        "Users who may log in, with their passwords. Empty: the key is enough.",
        table=User,
        is_guard=True,
    )
    networks: tuple[NetworkRule, ...] = setting(
        (),
        "Networks with a key, users or tags of their own.",
        table=NetworkRule,
        is_guard=True,
    )
    other_networks: str = setting(
        "allow",
        "Senders whose address is in none of `networks`: allow, or deny, which closes"
        " the connection as it comes.",
        choices=("allow", "deny"),
        is_guard=True,
    )
    slow_down_seconds: float = setting(
        1.0,
        "After a failed login the next answer to this address waits so long, and twice"
        " as long after each further one, up to 30 s; a success ends it. Clients there"
        " with other names wait so long once, twice as long when two names fail, and so"
        " on.",
        low=0.0,
        high=30.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WireLimits:
    """How much one message may be."""

    max_frame_bytes: int = setting(
        64 * MIB,
        "The largest message taken from a sender. Fluentd sends up to 8 MiB from a"
        " memory buffer and 256 MiB from a file buffer, Fluent Bit about 2 MiB.",
        low=64 * KIB,
        high=1024 * MIB,
    )
    max_decompressed_bytes: int = setting(
        256 * MIB,
        "What the entries of one message may inflate to. Fluentd's own limit is the"
        " same; a message past it is kept in rejected_event, not stored as rows.",
        low=64 * KIB,
        high=4096 * MIB,
    )
    max_decompression_ratio: int = setting(
        1_000,
        "How many times its size a message may inflate to, past the first 16 MiB. gzip"
        " cannot do more than 1,032 and logs do 5 to 50; what does more is a bomb, and"
        " is kept as above.",
        low=10,
        high=1_000_000,
    )
    max_chunk_entries: int = setting(
        1_000_000,
        "The most entries of one message that become rows; what is behind them is one"
        " rejected event. Fluentd's largest buffers hold as many lines of 256 bytes.",
        low=1_000,
        high=100_000_000,
    )
    max_tag_bytes: int = setting(
        1_024,
        "A longer tag is cut, with a digest behind it. It stands in every row; the"
        " longest that Kubernetes makes has about 350.",
        low=64,
        high=64 * KIB,
    )
    max_map_keys: int = setting(
        10_000,
        "Keys of one map within a record, at most; a record with more goes to"
        " rejected_event. Elasticsearch, known for large ones, takes 1,000.",
        low=100,
        high=50_000,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimits:
    """How much one peer may have of us, and all of them."""

    IS_RELOADED: ClassVar[bool] = True

    max_connections: int = setting(
        10_000,
        "Connections in all; past them new ones are closed at once. The process's limit"
        " of open files is one too, less what we need ourselves.",
        low=1,
        high=1_000_000,
    )
    max_connections_per_address: int = setting(
        2_000,
        "Connections of one address: a Docker host brings one for each container. Not"
        " counted on Unix sockets.",
        low=1,
        high=1_000_000,
    )
    handshake_seconds: float = setting(
        30.0,
        "For a new connection to get through TLS and the shared key, where it is asked"
        " for them. Then it may be silent for as long as it likes, as Docker's are.",
        low=1.0,
        high=600.0,
    )
    frame_seconds: float = setting(
        300.0,
        "From the first byte of a message to its last. Not counted while we do not"
        " read.",
        low=1.0,
        high=86_400.0,
    )
    min_frame_bytes_per_second: int = setting(
        1_024,
        "A message on its way that comes slower than this, over half a minute, closes"
        " its connection: the slowest modem did better. Not counted while we do not"
        " read.",
        low=0,
        high=1024 * MIB,
    )
    max_partial_bytes: int = setting(
        256 * MIB,
        "Messages that have come in part, or wait whole, of all connections together;"
        " each address has an equal share, half of it at most. Past it, who holds more"
        " than 16 KiB is read on in turn. Python takes up to an eighth more.",
        low=16 * MIB,
        high=64 * 1024 * MIB,
    )
    max_unread_ack_bytes: int = setting(
        64 * KIB,
        "Acks that a peer has not read, past which it is not read either. An ack is 30"
        " to 50 bytes; whoever leaves a thousand of them reads none.",
        low=4 * KIB,
        high=16 * MIB,
    )
