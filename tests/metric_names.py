"""The metrics that Penstock has, by the names under which Prometheus stores them.

From the registry that it serves, so that a rule, a dashboard or an alarm cannot ask for
one that is not there.
"""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from penstock.buffer.books import Books
from penstock.buffer.ring import Ring
from penstock.telemetry.backup import FAMILIES, text_of
from penstock.telemetry.workers import MetricsOfAll

# What Prometheus makes of one histogram.
HISTOGRAM = ("_bucket", "_sum", "_count")


class _NoSpool:
    size_bytes, max_bytes, is_failing = 0, 1, False


def exposition(directory: Path) -> str:
    """Return all of a server's /metrics, with what is there at times only.

    Args:
        directory: for the file that backup commands write.
    """
    metrics = MetricsOfAll()
    metrics.expect(1)
    metrics.watch_ring(
        Ring(max_bytes=1, max_rows=1, on_waiting=lambda: None, on_drained=lambda: None)
    )
    metrics.watch_books(Books(), lambda: 0)
    metrics.watch_spool(_NoSpool())
    metrics.maintenance.saw_archive(0.0, 0, 0.0)
    backups = directory / "backup.prom"
    backups.write_text(text_of({(name, None): 0.0 for name in FAMILIES}))
    metrics.watch_backup_file(backups)
    return metrics.exposition().decode()


def names_of(text: str) -> set[str]:
    """Return the names of all series of an exposition."""
    found: set[str] = set()
    for family in text_string_to_metric_families(text):
        suffixes: tuple[str, ...] = {
            "counter": ("_total",),
            "histogram": HISTOGRAM,
        }.get(family.type, ("",))
        found.update(family.name + suffix for suffix in suffixes)
    return found


def asked_in(text: str) -> set[str]:
    """Return Penstock's metrics that a text names; recorded ones are none of them."""
    return set(re.findall(r"(?<![\w:])penstock_[a-z_]+(?![\w:])", text))


def recorded_in(text: str) -> set[str]:
    """Return the recorded series that a text names."""
    return set(re.findall(r"(?<![\w:])instance:[a-z_]+:[a-z0-9_]+", text))
