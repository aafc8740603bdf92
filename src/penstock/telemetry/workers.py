"""The metrics of several workers as one: added up, over restarts too.

It owns what becomes of each metric of a worker: a counter is added to those of the
others, and of the workers that have ended; what is a level is added where that makes
sense. It must not know how a worker's metrics get here.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric

from penstock.telemetry.metrics import Metrics

# Levels that are of the whole: the parent's are told.
OF_THE_WHOLE: Final = frozenset(
    {
        "penstock_build_info",
        "penstock_config_last_reload_successful",
        "penstock_config_last_reload_success_timestamp_seconds",
        "penstock_maintenance_last_success_timestamp_seconds",
        "penstock_default_partition_rows",
        "penstock_backup_wal_last_archived_timestamp_seconds",
        "penstock_backup_wal_ready_files",
        "penstock_backup_wal_lag_seconds",
    }
)
# Levels that are as the worst worker's, or the busiest's: each has all who look on.
WORST: Final = frozenset({"penstock_spool_failing", "penstock_tail_readers"})
# Levels that were counted up and are no less when the worker is gone.
KEPT: Final = frozenset({"penstock_recovered_events", "penstock_spool_lost_events"})
# Told of each worker too: the system spreads connections by chance.
BY_WORKER: Final = {
    "penstock_connections": "penstock_worker_connections",
    "penstock_ring_bytes": "penstock_worker_ring_bytes",
}
# What a worker leaves behind that ends: events in memory and in its spool.
LEFT: Final = ("penstock_ring_events", "penstock_spooled_events")
# How a worker may end: killed, a bug or no database, told to by somebody, hanging.
ENDS: Final = ("signal", "error", "stopped", "silent")

_Key = tuple[str, str, tuple[tuple[str, str], ...]]


class Sampled(NamedTuple):
    """One sample of a metric."""

    name: str
    labels: dict[str, str]
    value: float


class Family(NamedTuple):
    """A metric with all its samples."""

    name: str
    kind: str
    help_text: str
    samples: list[Sampled]


def families_of(metrics: Metrics) -> list[Family]:
    """Return what a worker tells of its metrics."""
    return list(_families(metrics.registry))


def _families(registry: CollectorRegistry) -> Iterator[Family]:
    for each in registry.collect():
        samples = [
            Sampled(one.name, dict(one.labels), one.value) for one in each.samples
        ]
        yield Family(each.name, each.type, each.documentation, samples)


class MetricsOfAll(Metrics):
    """The parent's own metrics, and those of its workers."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[int, list[Family]] = {}
        self._before: dict[_Key, float] = {}  # of workers that have ended
        self._workers = Gauge(
            "penstock_workers",
            "Workers that there are to be. This and what follows is there with more"
            " than one.",
            registry=self.registry,
        )
        self._ready = Gauge(
            "penstock_workers_ready",
            "Workers that take connections now.",
            registry=self.registry,
        )
        self._ends = Counter(
            "penstock_worker_ends_total",
            "Workers that have ended and are started again, by how they ended.",
            ["how"],
            registry=self.registry,
        )
        for how in ENDS:
            self._ends.labels(how)
        self._left = Counter(
            "penstock_worker_left_events_total",
            "Events that were in memory or in the spool when a worker ended, as far as"
            " is known. Those in the spool are recovered; of those in memory senders"
            " that ask for acks send theirs again.",
            registry=self.registry,
        )
        self._by_worker = {
            name: Gauge(own_name, help_text, ["worker"], registry=self.registry)
            for (name, own_name), help_text in zip(
                BY_WORKER.items(),
                (
                    "Open connections of senders, by worker.",
                    "Bytes of rows received and not yet committed, by worker.",
                ),
                strict=True,
            )
        }

    def expect(self, workers: int) -> None:
        """Note how many workers there are to be."""
        self._workers.set(workers)
        for worker in range(workers):
            for each in self._by_worker.values():
                each.labels(worker)

    def are_ready(self, workers: int) -> None:
        """Note how many workers take connections."""
        self._ready.set(workers)

    def told(self, worker: int, families: list[Family]) -> None:
        """Take a worker's metrics as they are now."""
        self._told[worker] = families
        levels = _levels(families)
        for name, gauge in self._by_worker.items():
            gauge.labels(worker).set(levels.get(name, 0.0))

    def ended(self, worker: int, how: str) -> None:
        """Keep what a worker has counted; its levels are gone with it."""
        self._ends.labels(how).inc()
        families = self._told.pop(worker, [])
        levels = _levels(families)
        self._left.inc(sum(levels.get(name, 0.0) for name in LEFT))
        for gauge in self._by_worker.values():
            gauge.labels(worker).set(0)
        for family, sample, key in _samples(families):
            if family.kind != "gauge" or family.name in KEPT:
                self._before[key] = self._before.get(key, 0.0) + sample.value

    def level(self, name: str) -> float:
        """Return the sum of a level over all workers."""
        return sum(_levels(each).get(name, 0.0) for each in self._told.values())

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(_Collected(self._merged()))

    def _merged(self) -> list[Metric]:
        shells: dict[str, Metric] = {}
        values: dict[_Key, tuple[Sampled, float]] = {}
        sources = [list(_families(self.registry)), *self._told.values()]
        for number, families in enumerate(sources):
            for family in families:
                if family.name not in shells:
                    shells[family.name] = Metric(
                        family.name, family.help_text, family.kind
                    )
            for family, sample, key in _samples(families):
                if number and family.name in OF_THE_WHOLE:
                    continue
                if key not in values:
                    values[key] = sample, sample.value + self._before.get(key, 0.0)
                elif family.name in WORST:
                    values[key] = sample, max(values[key][1], sample.value)
                else:
                    values[key] = sample, values[key][1] + sample.value
        self._add_those_of_nobody(values, set(shells))
        for (name, *_), (sample, value) in values.items():
            shells[name].add_sample(sample.name, sample.labels, value)
        return list(shells.values())

    def _add_those_of_nobody(
        self, values: dict[_Key, tuple[Sampled, float]], known: set[str]
    ) -> None:
        """Add what only workers have counted that have ended."""
        for key, value in self._before.items():
            name, sample_name, labels = key
            if key not in values and name in known:
                values[key] = Sampled(sample_name, dict(labels), value), value


class _Collected(CollectorRegistry):
    """Metrics that are collected already."""

    def __init__(self, collected: list[Metric]) -> None:
        super().__init__()
        self._collected = collected

    def collect(self) -> Iterator[Metric]:
        """Return them."""
        return iter(self._collected)


def _samples(families: Iterable[Family]) -> Iterator[tuple[Family, Sampled, _Key]]:
    for family in families:
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            yield family, sample, (family.name, sample.name, labels)


def _levels(families: Iterable[Family]) -> dict[str, float]:
    """Return the values of those without labels by name."""
    return {
        sample.name: sample.value
        for _, sample, _ in _samples(families)
        if not sample.labels
    }
