"""`penstock backup schedule` on the command line: which settings go along."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from penstock.backup.schedule_install import Systemd
from penstock.cli.main import cli
from penstock.errors import PenstockError, SettingsError

STORE = "s3://logs-backup/penstock"


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(
        cli, ["backup", "schedule", "--store", STORE, *arguments], env=environment
    )


def lines(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(start)]


def test_the_settings_in_force_go_along(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text("[backup]\nbackup_keep_daily = 14\n")
    metrics = "/var/lib/node_exporter/penstock.prom"
    done = run(
        *("--config", str(file), "--data-dir", "/srv/data"),
        PENSTOCK_BACKUP_METRICS_FILE=metrics,
        PENSTOCK_BACKUP_SSE="AES256",
    )
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    assert set(lines(done.stdout, "Environment=")) == {
        f"Environment=PENSTOCK_BACKUP_STORE={STORE}",
        "Environment=PENSTOCK_BACKUP_SSE=AES256",
        "Environment=PENSTOCK_BACKUP_KEEP_DAILY=14",
        f"Environment=PENSTOCK_BACKUP_METRICS_FILE={metrics}",
        f"Environment=PENSTOCK_CONFIG={file}",
        "Environment=PENSTOCK_DATA_DIR=/srv/data",
    }
    (paths,) = set(lines(done.stdout, "ReadWritePaths="))
    assert paths == "ReadWritePaths=/var/lib/node_exporter /srv/data"


@pytest.mark.parametrize("form", ["systemd", "cron", "compose"])
def test_a_databases_password_is_in_none_of_it(form: str) -> None:
    url = "postgresql://backup:geheim@db.example/logs"
    done = run("--for", form, PENSTOCK_DATABASE_URL=url)
    assert done.exit_code == 0
    assert "geheim" not in done.output
    assert "PENSTOCK_DATA_DIR" not in done.output
    assert ("put PENSTOCK_DATABASE_URL into" in done.stderr) == (form != "compose")


def test_a_directory_of_backups_can_be_written_by_its_service() -> None:
    done = run("--store", "file:///srv/my%20backups", "--user", "backup")
    (paths,) = set(lines(done.stdout, "ReadWritePaths="))
    assert paths == 'ReadWritePaths="/srv/my backups" /var/lib/penstock'
    assert set(lines(done.stdout, "User=")) == {"User=backup"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--dry-run",),
        ("--install", "--for", "cron"),
        ("--at", "25:00"),
        ("--at", "2"),
        ("--verify-on", "never"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize("store", ["backups", "s3://a b/c", "s3://key:hush@bucket/x"])
def test_no_night_is_planned_for_a_store_that_is_none(store: str) -> None:
    done = run("--store", store)
    assert isinstance(done.exception, SettingsError)
    assert "hush" not in done.output + str(done.exception)
    assert done.stdout == ""


def test_base_backups_are_not_planned_for_a_directory() -> None:
    done = run("--store", "file:///srv/backups", "--base-on", "Sat")
    assert done.exit_code == 2
    assert "base backups go to s3:// only" in done.stderr


@pytest.mark.skipif(
    Systemd().running.is_dir(), reason="systemd runs this machine, and would do it"
)
def test_without_systemd_it_is_refused_in_a_line() -> None:
    done = run("--install")
    assert isinstance(done.exception, PenstockError)
    assert "systemd does not run this machine" in str(done.exception)
    assert done.exception.exit_code == 3
    dry = run("--install", "--dry-run")
    assert dry.exit_code == 0
    assert "would systemctl enable --now penstock-backup.timer" in dry.stderr
