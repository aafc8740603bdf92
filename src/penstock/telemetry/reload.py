"""The metrics of reloads: Prometheus's own names for its own, with ours before."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge


class ReloadMetrics:
    """What the reloading tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reloads = Counter(
            "penstock_config_reloads_total",
            "Times that SIGHUP had the configuration read again.",
            registry=registry,
        )
        self._is_good = Gauge(
            "penstock_config_last_reload_successful",
            "Is 1 if the configuration read last is in force, 0 if it is refused.",
            registry=registry,
        )
        self._is_good.set(1)
        self._good_at = Gauge(
            "penstock_config_last_reload_success_timestamp_seconds",
            "When the configuration in force was read, as Unix time.",
            registry=registry,
        )
        self._good_at.set(time.time())

    def reloaded(self, *, is_good: bool) -> None:
        """Count a reload."""
        self._reloads.inc()
        self._is_good.set(is_good)
        if is_good:
            self._good_at.set(time.time())
