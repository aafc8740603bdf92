"""The metrics of the senders' side: connections, messages, events, acks, refusals.

It owns their names and help; `metrics.py` puts them beside the others. It must not
decide anything: who tells it has decided.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from penstock.model import EncodedRows
from penstock.wire.messages import Mode

# From a tenth of a millisecond, a commit on memory, to the 150 s after which a
# sender's ack would be too late.
SECONDS_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 150.0),
)

# Why a connection is not taken, or closed, for what is no fault of its bytes.
REFUSALS = (
    "max_connections",
    "max_connections_per_address",
    "open_files",
    "network_denied",
    "handshake_timeout",
    "frame_timeout",
    "frame_too_slow",
    "unread_acks",
)
# Why a login failed.
LOGIN_FAILURES = (
    "no_ping",
    "shared_key",
    "password",
    "user_not_allowed",
    "too_soon",
)
# Why TLS ended a connection: no handshake, a certificate that is not taken; records
# that are damaged, that never carry data.
TLS_FAILURES = ("handshake", "client_name", "broken", "fruitless")


class DuplicateMetrics:
    """What came again: some of it is known to the sessions, the rest to PostgreSQL."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._chunks = Counter(
            "penstock_duplicate_chunks_total",
            "Chunks, or parts of large ones, that came again and were not stored"
            " again.",
            registry=registry,
        )
        self._events = Counter(
            "penstock_duplicate_events_total",
            "Events of chunks that came again and were not stored again.",
            registry=registry,
        )

    def came_again(self, chunks: int, events: int) -> None:
        """Count chunks that are not stored again."""
        self._chunks.inc(chunks)
        self._events.inc(events)


class ReceiveMetrics:
    """What the listener and its sessions tell."""

    def __init__(
        self, registry: CollectorRegistry, duplicates: DuplicateMetrics
    ) -> None:
        self._duplicates = duplicates
        self._connections = Gauge(
            "penstock_connections", "Open connections of senders.", registry=registry
        )
        self._accepted = Counter(
            "penstock_connections_accepted_total",
            "Connections accepted.",
            registry=registry,
        )
        self._bytes = Counter(
            "penstock_received_bytes_total",
            "Bytes received from senders.",
            registry=registry,
        )
        self._frames = Counter(
            "penstock_received_frames_total",
            "Messages received, by carrier mode.",
            ["mode"],
            registry=registry,
        )
        self._events = Counter(
            "penstock_received_events_total",
            "Events received, by carrier mode; those that were rejected included.",
            ["mode"],
            registry=registry,
        )
        # There from the start: a rate misses what comes before its series begins.
        # Looked up once: `labels` costs more than the count itself.
        self._frames_of = {mode: self._frames.labels(mode) for mode in Mode}
        self._events_of = {mode: self._events.labels(mode) for mode in Mode}
        self._rejected = Counter(
            "penstock_rejected_events_total",
            "Events that cannot be rows of logs and go to rejected_event, by reason.",
            ["reason"],
            registry=registry,
        )
        self._protocol_errors = Counter(
            "penstock_protocol_errors_total",
            "Connections closed because the peer broke the protocol, by reason.",
            ["reason"],
            registry=registry,
        )
        self._refused = _counter(
            registry,
            "penstock_connections_refused_total",
            "Connections that were not taken, or closed for a limit, by reason.",
            REFUSALS,
        )
        self._logins = _counter(
            registry,
            "penstock_login_failures_total",
            "Handshakes that failed, by reason.",
            LOGIN_FAILURES,
        )
        self._tls_failures = _counter(
            registry,
            "penstock_tls_failures_total",
            "Connections closed because TLS failed, by reason.",
            TLS_FAILURES,
        )
        self._heartbeats = Counter(
            "penstock_heartbeats_total",
            "Heartbeats by UDP that were answered.",
            registry=registry,
        )
        self._acks = Counter(
            "penstock_acks_total", "Acks written to senders.", registry=registry
        )
        self._late = Counter(
            "penstock_late_ack_closes_total",
            "Connections closed because their acks would have come too late.",
            registry=registry,
        )
        self._commit_to_ack = Histogram(
            "penstock_commit_to_ack_seconds",
            "From the commit of a message's last row to its ack written.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._receive_to_commit = Histogram(
            "penstock_receive_to_commit_seconds",
            "From a message received to all its rows committed.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )

    def connected(self) -> None:
        """Count a connection that was opened."""
        self._connections.inc()
        self._accepted.inc()

    def disconnected(self) -> None:
        """Count a connection that was closed."""
        self._connections.dec()

    def received_bytes(self, count: int) -> None:
        """Count bytes that came from a socket."""
        self._bytes.inc(count)

    def received_frames(self, mode: Mode, count: int) -> None:
        """Count messages."""
        self._frames_of[mode].inc(count)

    def encoded(self, mode: Mode, encoded: EncodedRows) -> None:
        """Count the events of a part, and why some of them were rejected."""
        self._events_of[mode].inc(encoded.rows + len(encoded.rejected))
        for event in encoded.rejected:
            self._rejected.labels(event.reason).inc()

    def came_again(self, mode: Mode, events: int) -> None:
        """Count a chunk that came again and is known without the database."""
        self._events_of[mode].inc(events)
        self._duplicates.came_again(1, events)

    def broke_protocol(self, reason: str) -> None:
        """Count a connection that is closed for what its peer sent."""
        self._protocol_errors.labels(reason).inc()

    def refused(self, reason: str) -> None:
        """Count a connection that is not taken, or closed for a limit."""
        self._refused.labels(reason).inc()

    def failed_login(self, reason: str) -> None:
        """Count a handshake that failed."""
        self._logins.labels(reason).inc()

    def failed_tls(self, reason: str) -> None:
        """Count a connection that TLS ended."""
        self._tls_failures.labels(reason).inc()

    def answered_heartbeat(self) -> None:
        """Count a heartbeat by UDP."""
        self._heartbeats.inc()

    def closed_late(self) -> None:
        """Count a connection that was closed instead of acked late."""
        self._late.inc()

    def committed(self, receive_to_commit_seconds: float) -> None:
        """Count a message whose rows are all committed."""
        self._receive_to_commit.observe(receive_to_commit_seconds)

    def acked(self, commit_to_ack_seconds: float) -> None:
        """Count an ack that was written."""
        self._acks.inc()
        self._commit_to_ack.observe(commit_to_ack_seconds)


def _counter(
    registry: CollectorRegistry, name: str, help_text: str, reasons: Iterable[str]
) -> Counter:
    """Return a counter by reason, with each of them there from the start."""
    counter = Counter(name, help_text, ["reason"], registry=registry)
    for reason in reasons:
        counter.labels(reason)
    return counter
