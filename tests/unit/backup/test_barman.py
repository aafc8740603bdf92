"""barman's command lines, as a shell and PostgreSQL take them."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from penstock.backup.barman import Barman, conninfo, pass_file
from penstock.backup.physical import BaseBackup
from penstock.errors import BackupError, SettingsError, StoreError
from penstock.settings import BackupSettings

STORE = "s3://bucket/100% of it"

BASE = BaseBackup(
    id="20261130T000000",
    began_at=datetime(2026, 11, 30, tzinfo=UTC),
    ended_at=datetime(2026, 11, 30, tzinfo=UTC),
    timeline=1,
    first_wal="",
    last_wal="",
    server_major=18,
    system_identifier="1",
    segment_bytes=7,
)


def barman(bin_dir: str, *, sse: str = "", sse_kms_key_id: str = "") -> Barman:
    settings = BackupSettings(
        backup_store=STORE,
        backup_barman_bin=bin_dir,
        backup_sse=sse,
        backup_sse_kms_key_id=sse_kms_key_id,
    )
    return Barman(settings, endpoint="http://127.0.0.1:9", is_elsewhere=True)


def as_postgres_runs(command: str) -> int:
    """Run a command as PostgreSQL does, which puts names in and takes %% for %."""
    for name, value in (("%p", "pg_wal/X"), ("%f", "X"), ("%%", "%")):
        command = command.replace(name, value)
    return subprocess.run(["sh", "-c", command], capture_output=True).returncode


def program(directory: Path, name: str, exit_code: int) -> None:
    path = directory / f"barman-cloud-{name}"
    path.write_text(f"#!/bin/sh\nexit {exit_code}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("exit_code", [0, 1, 4, 126, 137, 255])
def test_an_archive_command_never_ends_with_what_kills_the_archiver(
    tmp_path: Path, exit_code: int
) -> None:
    program(tmp_path, "wal-archive", exit_code)
    command = barman(str(tmp_path)).archive_command()
    assert as_postgres_runs(command) == (1 if exit_code else 0)


def test_a_missing_program_is_a_failure_like_any_other() -> None:
    assert as_postgres_runs(barman("/nowhere").archive_command()) == 1


@pytest.mark.parametrize(("exit_code", "told"), [(0, 0), (1, 1), (2, 254), (127, 254)])
def test_a_restore_command_says_that_there_is_no_more_only_where_there_is_none(
    tmp_path: Path, exit_code: int, told: int
) -> None:
    program(tmp_path, "wal-restore", exit_code)
    for spool in (None, tmp_path / "100% spool"):
        command = barman(str(tmp_path)).restore_command(BASE, spool)
        assert as_postgres_runs(command) == told


def test_a_segment_that_was_fetched_ahead_needs_no_program_unless_it_was_cut(
    tmp_path: Path,
) -> None:
    program(tmp_path, "wal-restore", 2)
    command = barman(str(tmp_path)).restore_command(BASE, tmp_path)
    command = command.replace("%p", str(tmp_path / "placed"))
    (tmp_path / "X").write_bytes(b"7 bytes")
    assert as_postgres_runs(command) == 0
    assert (tmp_path / "placed").read_bytes() == b"7 bytes"
    (tmp_path / "X").write_bytes(b"cut")
    assert as_postgres_runs(command) == 254
    assert not (tmp_path / "X").exists()


def test_the_settings_of_encryption_are_barmans_options() -> None:
    command = barman(
        "/opt/barman", sse="aws:kms", sse_kms_key_id="alias/logs"
    ).archive_command()
    assert "--encryption aws:kms --sse-kms-key-id alias/logs" in command
    assert "'s3://bucket/100%% of it/barman' penstock %p" in command


def test_one_that_was_ended_before_it_began_is_listed_with_why(tmp_path: Path) -> None:
    begun = {
        "backup_id": "20261128T021500",
        "status": "FAILED",
        "error": "failure uploading data (KeyboardInterrupt)",
        "begin_wal": None,
        "timeline": None,
        "version": None,
    }
    listed = tmp_path / "listed.json"
    listed.write_text(json.dumps({"backups_list": [begun]}))
    path = tmp_path / "barman-cloud-backup-list"
    path.write_text(f"#!/bin/sh\ncat {listed}\n")
    path.chmod(0o755)
    (base,) = barman(str(tmp_path)).bases()
    assert not base.is_complete
    assert base.problem == begun["error"]
    assert base.began_at == datetime(2026, 11, 28, 2, 15).astimezone(UTC)


@pytest.mark.parametrize(
    ("choice", "option"),
    [
        ("auto", "--gzip"),  # of a Python that is not ours nobody knows what it has
        ("none", ""),
        ("lz4", "--lz4"),
        ("zstd:3", "--gzip"),
    ],
)
def test_a_base_backup_is_compressed_by_what_barman_has(
    tmp_path: Path, choice: str, option: str
) -> None:
    path = tmp_path / "barman-cloud-backup"
    path.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/told\n')
    path.chmod(0o755)
    (tmp_path / "barman-cloud-wal-archive").symlink_to("barman-cloud-backup")
    settings = BackupSettings(
        backup_store=STORE, backup_barman_bin=str(tmp_path), backup_compress=choice
    )
    Barman(settings).take("postgresql:///x", 1)
    told = (tmp_path / "told").read_text().split()
    assert [each for each in told if each in ("--gzip", "--lz4")] == option.split()


def test_what_s3_refuses_ends_as_it_does_for_other_backups(tmp_path: Path) -> None:
    path = tmp_path / "barman-cloud-backup-list"
    said = "An error occurred (ExpiredToken) when calling ListObjectsV2: expired"
    path.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 4\n")
    path.chmod(0o755)
    with pytest.raises(StoreError, match="ExpiredToken") as raised:
        barman(str(tmp_path)).bases()
    assert raised.value.exit_code == 3


def test_base_backups_go_to_s3_only() -> None:
    with pytest.raises(SettingsError, match="go to S3 only"):
        Barman(BackupSettings(backup_store="file:///backups"))


def test_a_barman_that_is_not_there_is_said_with_how_to_get_it(tmp_path: Path) -> None:
    settings = BackupSettings(backup_store=STORE, backup_barman_bin=str(tmp_path))
    with pytest.raises(BackupError, match="pip install"):
        Barman(settings)


def test_a_password_goes_by_a_file_and_never_by_the_command_line() -> None:
    url = "postgresql://me:se%3Acret%5C@db.example:5433/logs?sslmode=require"
    with pass_file(url) as path:
        assert path is not None
        assert path.read_text() == "*:*:*:*:se\\:cret\\\\\n"
        assert path.stat().st_mode & 0o077 == 0
        words = conninfo(url, path)
    assert "cret" not in words
    assert "host='db.example' port='5433' user='me' dbname='logs'" in words
    assert "sslmode='require'" in words


def test_a_socket_is_named_by_its_host() -> None:
    url = "postgresql://postgres@/penstock?host=/it%27s/run&port=5432"
    with pass_file(url) as path:
        assert path is None
    assert "host='/it\\'s/run'" in conninfo(url, None)
