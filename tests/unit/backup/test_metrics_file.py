"""What backup commands tell Prometheus: nothing is lost, and no half of it is seen."""

import logging
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from penstock.backup import metrics_file
from penstock.backup.manifest import Manifest, Part
from penstock.errors import BackupError
from penstock.telemetry.backup import Samples, read_samples

ID = "20261128T021500Z-00aa"
LOGICAL = ("kind", "logical")


def manifest() -> Manifest:
    """A backup of two days, one of which an earlier backup has dumped."""
    parts = [
        Part(
            key=f"parts/logs_{day}-{by}.dump",
            table=f"logs_{day}",
            day=day,
            rows=10,
            checksum="1",
            size_bytes=size,
            sha256="00",
            dumped_in=by,
        )
        for day, by, size in (
            ("20261127", "20261127T021500Z-00aa", 100),
            ("20261128", ID, 7),
        )
    ]
    return Manifest(
        id=ID,
        created_at=datetime(2026, 11, 28, 2, 15, tzinfo=UTC),
        duration_seconds=2.5,
        penstock_version="0",
        server_version="18",
        pg_dump_version="18",
        schema_version=1,
        database="logs",
        system_identifier="1",
        database_oid=1,
        other_rows={},
        parts=tuple(parts),
    )


def test_each_command_keeps_what_the_others_have_said(tmp_path: Path) -> None:
    path = tmp_path / "penstock.prom"
    metrics_file.created(str(path), manifest())
    metrics_file.verified(str(path), ID, True)
    metrics_file.failed(str(path), "create")
    metrics_file.pruned(str(path), [manifest()])
    metrics_file.base_created(str(path), datetime.fromtimestamp(5, UTC), 6, 7.0)
    found = read_samples(path)
    at = "penstock_backup_last_success_timestamp_seconds"
    assert found[at, LOGICAL] == datetime(2026, 11, 28, 2, 15, tzinfo=UTC).timestamp()
    assert found[at, ("kind", "base")] == 5
    assert found["penstock_backup_rows", LOGICAL] == 20
    assert found["penstock_backup_size_bytes", LOGICAL] == 107
    assert found["penstock_backup_own_bytes", LOGICAL] == 7
    assert found["penstock_backup_duration_seconds", LOGICAL] == 2.5
    assert found["penstock_backup_verify_success", None] == 1
    assert found["penstock_backup_kept_bytes", None] == 107
    failure = "penstock_backup_last_failure_timestamp_seconds"
    assert (failure, ("command", "create")) in found
    assert list(tmp_path.iterdir()) == [path], "nothing is left beside it"


def test_node_exporter_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "penstock.prom"
    metrics_file.verified(str(path), ID, False)
    assert path.stat().st_mode & 0o777 == 0o644


def test_without_the_setting_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    metrics_file.failed("", "create")
    assert list(tmp_path.iterdir()) == []


def test_of_several_at_once_each_is_there(tmp_path: Path) -> None:
    path = tmp_path / "penstock.prom"
    name = "penstock_backup_last_failure_timestamp_seconds"

    def tell(number: int) -> None:
        for each in range(10):
            metrics_file.failed(str(path), f"c{number}_{each}")

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    told = {label for found, label in read_samples(path) if found == name}
    assert len(told) == 80


@dataclass
class Case:
    path: Path
    words: str


def cannot_write(directory: Path, what: str) -> Case:
    if what == "no directory":
        return Case(directory / "none" / "x.prom", "No such file or directory")
    path = directory / "x.prom"
    path.write_text("node_load1 0.5\n")
    return Case(path, "line 1 is not of a backup command's metrics; remove it")


@pytest.mark.parametrize("what", ["no directory", "somebody else's metrics"])
def test_a_file_that_cannot_be_written_is_said_and_fails_nothing(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = cannot_write(tmp_path, what)
    before = case.path.read_text() if case.path.exists() else None
    with caplog.at_level(logging.WARNING):
        metrics_file.failed(str(case.path), "create")
    assert case.words in caplog.text
    assert str(case.path) in caplog.text
    assert (case.path.read_text() if case.path.exists() else None) == before


def test_what_a_later_penstock_has_said_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "penstock.prom"
    later: Samples = {("penstock_backup_of_tomorrow", ("new", "x")): 3.0}
    metrics_file.record(str(path), later)
    metrics_file.failed(str(path), "create")
    assert later.items() <= read_samples(path).items()


@pytest.mark.parametrize("how", [BackupError("lost"), KeyboardInterrupt(), OSError()])
def test_a_command_that_is_interrupted_has_failed_too(
    how: BaseException, tmp_path: Path
) -> None:
    path = tmp_path / "penstock.prom"
    with pytest.raises(type(how)), metrics_file.telling_failure(str(path), "create"):
        raise how
    assert 'timestamp_seconds{command="create"}' in path.read_text()
