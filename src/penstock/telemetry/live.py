"""The metrics of looking on: how many do, and how many rows they have missed.

It owns their names and help. It must not know what is looked for.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge

# Why rows were not shown to a reader whose they are, or may be.
MISSED = ("slow_reader", "busy")


class LiveMetrics:
    """What is told of `penstock tail` and /api/tail."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._readers = Gauge(
            "penstock_tail_readers",
            "Readers that are shown rows as they are committed.",
            registry=registry,
        )
        self._missed = Counter(
            "penstock_tail_missed_rows_total",
            "Rows that were not shown to a reader, which was told so: slow_reader did"
            " not read them in time, busy is that there were more than are looked at,"
            " the reader's or not.",
            ["reason"],
            registry=registry,
        )
        for reason in MISSED:
            self._missed.labels(reason)

    def readers(self, count: int) -> None:
        """Note how many readers there are."""
        self._readers.set(count)

    def missed(self, reason: str, rows: int) -> None:
        """Count rows that a reader has missed."""
        self._missed.labels(reason).inc(rows)
