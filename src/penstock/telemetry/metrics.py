"""The metrics, and the one place that knows prometheus_client.

It owns their names, help and buckets, by the Prometheus conventions: base units,
`_total` for counters. The parts of the program tell it what happened, in their own
words; what is a level, such as the ring's bytes, is read when Prometheus asks.
`docs/metrics.md` is generated from here.
"""

import platform
from collections.abc import Callable
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from penstock import __version__
from penstock.buffer.books import Books
from penstock.errors import PermanentSinkError, SinkError, UnknownSinkError
from penstock.model import Batch, EncodedRows, Outcome
from penstock.telemetry.upkeep import MaintenanceMetrics
from penstock.wire.messages import Mode

# From a tenth of a millisecond, a commit on memory, to the 150 s after which a
# sender's ack would be too late.
_SECONDS_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 150.0),
)
_ROWS_BUCKETS = (1, 10, 100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000)

CONTENT_TYPE = CONTENT_TYPE_LATEST

Levels = dict[str, tuple[str, Callable[[], float]]]  # help and value by name


class RingLevels(Protocol):
    """What is read off the ring."""

    max_bytes: int
    used_bytes: int
    used_events: int

    @property
    def blocked_sources(self) -> int: ...


class SpoolLevels(Protocol):
    """What is read off the spool."""

    @property
    def size_bytes(self) -> int: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def is_failing(self) -> bool: ...


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
        for mode in Mode:
            self._frames.labels(mode)
            self._events.labels(mode)
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
            buckets=_SECONDS_BUCKETS,
            registry=registry,
        )
        self._receive_to_commit = Histogram(
            "penstock_receive_to_commit_seconds",
            "From a message received to all its rows committed.",
            buckets=_SECONDS_BUCKETS,
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

    def received_frames(self, mode: str, count: int) -> None:
        """Count messages."""
        self._frames.labels(mode).inc(count)

    def encoded(self, mode: str, encoded: EncodedRows) -> None:
        """Count the events of a part, and why some of them were rejected."""
        self._events.labels(mode).inc(encoded.rows + len(encoded.rejected))
        for event in encoded.rejected:
            self._rejected.labels(event.reason).inc()

    def came_again(self, mode: str, events: int) -> None:
        """Count a chunk that came again and is known without the database."""
        self._events.labels(mode).inc(events)
        self._duplicates.came_again(1, events)

    def broke_protocol(self, reason: str) -> None:
        """Count a connection that is closed for what its peer sent."""
        self._protocol_errors.labels(reason).inc()

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


class SinkMetrics:
    """What the flusher tells."""

    def __init__(
        self, registry: CollectorRegistry, duplicates: DuplicateMetrics
    ) -> None:
        self._duplicates = duplicates
        self._batches = Counter(
            "penstock_copy_batches_total", "Batches committed.", registry=registry
        )
        self._rows = Counter(
            "penstock_copy_rows_total", "Rows committed to logs.", registry=registry
        )
        self._rejected = Counter(
            "penstock_copy_rejected_events_total",
            "Events committed to rejected_event.",
            registry=registry,
        )
        self._refused = Counter(
            "penstock_refused_events_total",
            "Events that PostgreSQL refused in logs; they are in rejected_event.",
            registry=registry,
        )
        self._bytes = Counter(
            "penstock_copy_bytes_total",
            "Bytes of rows committed, in COPY's binary format.",
            registry=registry,
        )
        self._seconds = Histogram(
            "penstock_copy_duration_seconds",
            "Time of a batch's transaction, COMMIT included.",
            buckets=_SECONDS_BUCKETS,
            registry=registry,
        )
        self._batch_rows = Histogram(
            "penstock_copy_batch_rows",
            "Rows of a batch.",
            buckets=_ROWS_BUCKETS,
            registry=registry,
        )
        self._failures = Counter(
            "penstock_copy_failures_total",
            "Batches that were not stored and are tried again, by kind of error.",
            ["kind"],
            registry=registry,
        )
        for kind in ("data", "unknown", "transient"):
            self._failures.labels(kind)
        self._reconnects = Counter(
            "penstock_database_reconnects_total",
            "Attempts to open a connection to PostgreSQL again after one was lost.",
            registry=registry,
        )

    def reconnecting(self) -> None:
        """Count an attempt to connect again."""
        self._reconnects.inc()

    def stored(self, batch: Batch, outcome: Outcome, seconds: float) -> None:
        """Count a committed batch."""
        self._batches.inc()
        self._rows.inc(outcome.stored_events)
        self._rejected.inc(outcome.rejected_events + outcome.refused_events)
        self._refused.inc(outcome.refused_events)
        self._duplicates.came_again(
            outcome.duplicate_segments, outcome.duplicate_events
        )
        self._bytes.inc(sum(len(each.encoded.data) for each in batch.segments))
        self._seconds.observe(seconds)
        self._batch_rows.observe(batch.rows)

    def failed(self, error: SinkError) -> None:
        """Count a batch that has to be tried again."""
        kind = "transient"
        if isinstance(error, PermanentSinkError | UnknownSinkError):
            kind = "data" if isinstance(error, PermanentSinkError) else "unknown"
        self._failures.labels(kind).inc()


class Metrics:
    """All metrics of one server."""

    def __init__(self) -> None:
        # When a counter began is told by the process; a series for each says it again.
        leave_out_created: Callable[[], None] = disable_created_metrics
        leave_out_created()
        self.registry = CollectorRegistry()
        duplicates = DuplicateMetrics(self.registry)
        self.receive = ReceiveMetrics(self.registry, duplicates)
        self.sink = SinkMetrics(self.registry, duplicates)
        self.maintenance = MaintenanceMetrics(self.registry)
        Gauge(
            "penstock_build_info",
            "Always 1; the labels say what runs.",
            ["version", "python"],
            registry=self.registry,
        ).labels(__version__, platform.python_version()).set(1)

    def watch_ring(self, ring: RingLevels) -> None:
        """Read the ring's levels whenever the metrics are asked for."""
        levels: Levels = {
            "penstock_ring_bytes": (
                "Bytes of rows received and not yet committed.",
                lambda: ring.used_bytes,
            ),
            "penstock_ring_events": (
                "Events received and not yet committed.",
                lambda: ring.used_events,
            ),
            "penstock_ring_capacity_bytes": (
                "What penstock_ring_bytes may come to before senders wait.",
                lambda: ring.max_bytes,
            ),
            "penstock_paused_connections": (
                "Connections that are not read because the ring has no room.",
                lambda: ring.blocked_sources,
            ),
        }
        self._watch(levels)

    def watch_books(self, books: Books, buffered_events: Callable[[], int]) -> None:
        """Read the books whenever the metrics are asked for."""
        levels: Levels = {
            "penstock_unaccounted_events": (
                (
                    "Events received less those stored, rejected, duplicate, spooled"
                    " and in memory. Always 0; anything else is a bug of Penstock."
                ),
                lambda: books.unaccounted(buffered_events()),
            ),
            "penstock_spooled_events": (
                "Events in the spool on disk, and not in memory again.",
                lambda: books.spooled,
            ),
            "penstock_recovered_events": (
                "Events that this process found in the spool when it started.",
                lambda: books.recovered,
            ),
            "penstock_spool_lost_events": (
                "Events in parts of the spool that are damaged; the files are kept.",
                lambda: books.lost_on_disk,
            ),
        }
        self._watch(levels)

    def watch_spool(self, spool: SpoolLevels) -> None:
        """Read the spool's levels whenever the metrics are asked for."""
        levels: Levels = {
            "penstock_spool_bytes": ("The spool's files.", lambda: spool.size_bytes),
            "penstock_spool_capacity_bytes": (
                "What penstock_spool_bytes may come to before senders wait.",
                lambda: spool.max_bytes,
            ),
            "penstock_spool_failing": (
                "1 while the spool takes nothing: it or its disk is full, or fails.",
                lambda: spool.is_failing,
            ),
        }
        self._watch(levels)

    def _watch(self, levels: Levels) -> None:
        for name, (help_text, read) in levels.items():
            Gauge(name, help_text, registry=self.registry).set_function(read)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)
