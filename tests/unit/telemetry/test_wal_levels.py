"""How the WAL archive does is told where somebody knows, and else left out."""

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from penstock.telemetry.upkeep import MaintenanceMetrics


def test_a_level_that_nobody_knows_is_no_zero() -> None:
    registry = CollectorRegistry()
    metrics = MaintenanceMetrics(registry)
    assert b"penstock_backup_wal" not in generate_latest(registry)
    metrics.saw_archive(1_700_000_000.0, None, 12.5)
    text = generate_latest(registry).decode()
    assert "penstock_backup_wal_last_archived_timestamp_seconds 1.7e+09" in text
    assert "penstock_backup_wal_lag_seconds 12.5" in text
    assert "ready_files" not in text
    metrics.saw_archive(None, None, None)
    assert b"penstock_backup_wal" not in generate_latest(registry)
