"""A server shows in its /metrics what backup commands have told last."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from penstock.backup import metrics_file
from tests.integration.conftest import Database, Start

SUCCESS = "penstock_backup_last_success_timestamp_seconds"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_shows_the_newest_backup_and_goes_on_where_the_file_is_broken(
    workers: str, database: Database, start: Start, tmp_path: Path
) -> None:
    file = tmp_path / "penstock.prom"
    arguments = ("serve", "--database-url", database.url, "--workers", workers)
    setting = {"PENSTOCK_BACKUP_METRICS_FILE": str(file)}
    server = start(*arguments, **setting).wait_ready()
    assert server.metric("penstock_backup_metrics_file_readable") == 0
    made_at = datetime(2026, 11, 30, 2, 15, tzinfo=UTC)
    metrics_file.base_created(str(file), made_at, 5, 6.0)
    assert server.metric(SUCCESS) == made_at.timestamp()
    assert server.metric("penstock_backup_metrics_file_readable") == 1
    file.write_text("broken")
    assert server.metric("penstock_backup_metrics_file_readable") == 0
    assert server.metric("penstock_build_info") == 1
