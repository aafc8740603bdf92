"""`penstock doctor` and backups: whether they are set up, and can be made here."""

from pathlib import Path

from penstock.cli.doctor_backups import backups
from penstock.settings import BackupSettings


def test_backups_that_nobody_has_set_up_are_told(tmp_path: Path) -> None:
    (finding,) = backups(BackupSettings())
    assert finding.mark == "ok"
    assert "not set up" in finding.what


def test_a_directory_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    (finding,) = backups(BackupSettings(backup_store=f"file://{tmp_path}"))
    assert finding.mark == "ok"
    (finding,) = backups(BackupSettings(backup_store=f"file://{tmp_path}/gone"))
    assert finding.mark == "warn"
    assert "is its disk mounted" in finding.mend
