"""The alerts ask for metrics that there are, and docs/production.md explains each."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.buffer.books import Books
from penstock.buffer.ring import Ring
from penstock.telemetry.backup import FAMILIES, text_of
from penstock.telemetry.workers import MetricsOfAll

ROOT = Path(__file__).resolve().parents[2]
ALERTS = (ROOT / "deploy" / "prometheus" / "penstock-alerts.yml").read_text()
NAMED = {
    "docs/production.md": (ROOT / "docs" / "production.md").read_text(),
    "docs/delivery.md": (ROOT / "docs" / "delivery.md").read_text(),
}


class NoSpool:
    size_bytes, max_bytes, is_failing = 0, 1, False


@pytest.fixture
def names(tmp_path: Path) -> set[str]:
    """Every name under which Prometheus has a series of ours, or could have."""
    metrics = MetricsOfAll()
    metrics.expect(1)
    metrics.watch_ring(
        Ring(max_bytes=1, max_rows=1, on_waiting=lambda: None, on_drained=lambda: None)
    )
    metrics.watch_books(Books(), lambda: 0)
    metrics.watch_spool(NoSpool())
    metrics.maintenance.saw_archive(0.0, 0, 0.0)
    backups = tmp_path / "backup.prom"
    backups.write_text(text_of({(name, None): 0.0 for name in FAMILIES}))
    metrics.watch_backup_file(backups)
    found = set()
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        suffix = {"counter": "_total", "histogram": "_bucket"}.get(family.type, "")
        found.add(family.name + suffix)
    return found


def test_every_metric_that_an_alert_asks_for_is_there(names: set[str]) -> None:
    asked = set(re.findall(r"\bpenstock_[a-z_]+", ALERTS))
    assert len(asked) > 10
    assert asked - names == set()


def test_every_alert_is_in_production_md_with_what_to_do() -> None:
    alerts = re.findall(r"- alert: (\w+)", ALERTS)
    assert len(set(alerts)) == len(alerts)
    rows = re.findall(r"^\| `(Penstock\w+)` \|", NAMED["docs/production.md"], re.M)
    assert rows == alerts


def test_delivery_md_names_no_metric_that_there_is_not(names: set[str]) -> None:
    asked = set(re.findall(r"\bpenstock_[a-z_]+", NAMED["docs/delivery.md"]))
    without = {name.removesuffix("_bucket") for name in names}
    tables = {"penstock_schema", "penstock_writer", "penstock_day"}
    assert asked - names - without - tables == set()
