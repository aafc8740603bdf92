"""The metrics, and the one place that knows prometheus_client.

It owns their names, help and buckets, by the Prometheus conventions: base units,
`_total` for counters. The parts of the program tell it what happened, in their own
words; what is a level, such as the ring's bytes, is read when Prometheus asks.
`docs/metrics.md` is generated from here.
"""

import platform
from collections.abc import Callable
from pathlib import Path
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
from penstock.model import Batch, Outcome
from penstock.telemetry.backup import BackupFile
from penstock.telemetry.http import HttpMetrics
from penstock.telemetry.live import LiveMetrics
from penstock.telemetry.receive import (
    SECONDS_BUCKETS,
    DuplicateMetrics,
    ReceiveMetrics,
)
from penstock.telemetry.reload import ReloadMetrics
from penstock.telemetry.upkeep import MaintenanceMetrics

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
            buckets=SECONDS_BUCKETS,
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
        self.reload = ReloadMetrics(self.registry)
        self.http = HttpMetrics(self.registry)
        self.live = LiveMetrics(self.registry)
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

    def watch_backup_file(self, path: Path) -> None:
        """Show what backup commands write there whenever the metrics are asked for."""
        BackupFile(path, self.registry)

    def _watch(self, levels: Levels) -> None:
        for name, (help_text, read) in levels.items():
            Gauge(name, help_text, registry=self.registry).set_function(read)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)
