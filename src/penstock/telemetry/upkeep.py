"""The metrics of the task that maintains the database.

It owns their names and their words. What they mean for an operator is in
`docs/metrics.md`, which is generated.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_WAL_LEVELS = {
    "penstock_backup_wal_last_archived_timestamp_seconds": "When PostgreSQL last"
    " archived a segment of its WAL, as of the last round of maintenance. This and the"
    " next two are there where WAL is archived and this process looks after the"
    " database.",
    "penstock_backup_wal_ready_files": "Segments of WAL that wait to be archived; where"
    " the login may look (pg_monitor).",
    "penstock_backup_wal_lag_seconds": "For how long the oldest of them waits.",
}


class MaintenanceMetrics:
    """What the task tells that maintains the database."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counters = {
            "partitions_made": "Partitions of logs and ingest_chunk made ahead.",
            "partitions_dropped": "Partitions dropped: days that retention does not"
            " keep, claims past the dedupe window.",
            "days_sealed": "Closed days vacuumed and frozen.",
            "expired_default_rows": "Rows deleted from logs_default because they were"
            " older than retention_max_age_days.",
            "maintenance_failures": "Things that maintenance could not do, and tries"
            " again in its next round.",
        }
        self._wal = WalLevels()
        registry.register(self._wal)
        self._counters = {
            name: Counter(f"penstock_{name}_total", help_text, registry=registry)
            for name, help_text in counters.items()
        }
        self._last_success = Gauge(
            "penstock_maintenance_last_success_timestamp_seconds",
            "When this process last maintained the database and all could be done; 0 if"
            " never. Of several processes on one database look at the latest.",
            registry=registry,
        )
        self._default_rows = Gauge(
            "penstock_default_partition_rows",
            "Rows in logs_default when this process last maintained the database; past"
            " 8 MiB an estimate.",
            registry=registry,
        )

    def made(self) -> None:
        """Count a partition that was made."""
        self._counters["partitions_made"].inc()

    def dropped(self) -> None:
        """Count a partition that was dropped."""
        self._counters["partitions_dropped"].inc()

    def sealed(self) -> None:
        """Count a day that was sealed."""
        self._counters["days_sealed"].inc()

    def deleted(self, rows: int) -> None:
        """Count rows that were deleted from the default partition."""
        self._counters["expired_default_rows"].inc(rows)

    def failed(self) -> None:
        """Count a thing that could not be done."""
        self._counters["maintenance_failures"].inc()

    def counted_default(self, rows: int) -> None:
        """Note how many rows the default partition has."""
        self._default_rows.set(rows)

    def succeeded(self, now_seconds: float) -> None:
        """Note a round in which all could be done."""
        self._last_success.set(now_seconds)

    def saw_archive(
        self,
        last_archived_seconds: float | None,
        ready_files: int | None,
        lag_seconds: float | None,
    ) -> None:
        """Note how the WAL archive does; None: nobody knows, or nothing is archived."""
        self._wal.values = (last_archived_seconds, ready_files, lag_seconds)


class WalLevels(Collector):
    """Levels of which one that is not known is left out, which no Gauge can be."""

    def __init__(self) -> None:
        self.values: tuple[float | None, ...] = (None, None, None)

    def collect(self) -> Iterator[Metric]:
        """Yield those that are known."""
        for (name, help_text), value in zip(
            _WAL_LEVELS.items(), self.values, strict=True
        ):
            if value is not None:
                yield GaugeMetricFamily(name, help_text, value)
