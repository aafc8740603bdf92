"""A backup is verified by restoring it, and what does not come back is named."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from penstock.embedded import EmbeddedPostgres
from tests.integration.backup_parts import (
    DAYS,
    back_up,
    changed,
    copied,
    fill,
    put,
)
from tests.integration.conftest import (
    PATIENCE_SECONDS,
    Here,
    clean_environment,
    create_database,
    drop_database,
    new_home,
    penstock,
    wait_until,
)
from tests.s3_server import S3

# PostgreSQL servers are started and restored meanwhile, three parts of tests at once.
pytestmark = pytest.mark.timeout(300)

BACKUPS = "backups-to-verify"
PARTS = [f"logs_{day}" for day in DAYS] + [
    'archive."old logs"',
    "logs_default",
    "database",
]


@pytest.fixture(scope="module")
def backup(postgres: EmbeddedPostgres, template: str, module_s3: S3) -> Iterator[str]:
    """The id of a backup in S3, of logs with a column that somebody has added."""
    source = create_database(postgres, template)
    fill(source)
    source.fetch('ALTER TABLE logs ADD COLUMN "of mine" int DEFAULT 1')
    yield back_up(source, module_s3.url(BACKUPS))
    drop_database(source)


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory for servers, which no other run of the tests closes (conftest)."""
    made = new_home()
    yield made
    shutil.rmtree(made)


def results(output: str) -> dict[str, dict[str, Any]]:
    """Return what is printed by -o json, by part."""
    return {each["part"]: each for each in map(json.loads, output.splitlines())}


def test_a_backup_that_comes_back_is_said_to_and_leaves_no_scratch(
    here: Here, backup: str, module_s3: S3, home: Path
):
    metrics = home / "penstock.prom"
    scratch = home / "scratch"
    scratch.mkdir()
    store = module_s3.url(BACKUPS)
    command = ("backup", "verify", "--last", "--store", store, "-o", "json")
    ended = here(
        *command,
        *("--scratch-dir", str(scratch), "--backup-metrics-file", str(metrics)),
    )
    assert ended.returncode == 0, ended.stderr
    found = results(ended.stdout)
    assert sorted(found) == sorted(PARTS)
    assert {each["result"] for each in found.values()} == {"ok"}
    assert {each["backup"] for each in found.values()} == {backup}
    assert found[f"logs_{DAYS[1]}"]["rows"] == 360
    assert "came back as it was made: 907 rows" in ended.stderr
    assert list(scratch.iterdir()) == []
    assert "penstock_backup_verify_success 1" in metrics.read_text()


def test_each_part_that_does_not_come_back_is_named_and_the_others_are_not(
    here: Here, backup: str, module_s3: S3, home: Path
):
    store = copied(module_s3, BACKUPS, "spoiled")
    spoiled = [f"logs_{DAYS[0]}", f"logs_{DAYS[1]}", "logs_default", "database"]

    def spoil(manifest: dict[str, Any]) -> None:
        parts = {each["table"]: each for each in manifest["parts"]}
        keys = {table: f"spoiled/{each['key']}" for table, each in parts.items()}
        flipped, removed, other_rows, cut = spoiled
        body = bytearray(module_s3.body(keys[flipped]))
        body[len(body) // 2] ^= 1
        put(module_s3, keys[flipped], bytes(body))
        module_s3.client().delete_object(Bucket=module_s3.bucket, Key=keys[removed])
        parts[other_rows]["rows"] += 1
        # As if it had been cut before it was stored: its size and sum are right.
        cut_body = module_s3.body(keys[cut])[:-10]
        put(module_s3, keys[cut], cut_body)
        parts[cut]["size_bytes"] = len(cut_body)
        parts[cut]["sha256"] = hashlib.sha256(cut_body).hexdigest()

    changed(module_s3, "spoiled", backup, spoil)
    metrics = home / "penstock.prom"
    ended = here(
        *("backup", "verify", backup, "--store", store, "-o", "json"),
        *("--backup-metrics-file", str(metrics), "--scratch-dir", str(home)),
    )
    assert ended.returncode == 1
    found = results(ended.stdout)
    differ = [part for part, each in found.items() if each["result"] == "differs"]
    assert sorted(differ) == sorted(spoiled)
    (line,) = ended.stderr.splitlines()
    for part in spoiled:
        assert f"parts/{part}-{backup}.dump" in line
        assert f"parts/{part}-{backup}.dump" in found[part]["problem"]
    assert "penstock_backup_verify_success 0" in metrics.read_text()
    assert list(home.iterdir()) == [metrics]


def test_ctrl_c_ends_it_and_leaves_no_scratch(backup: str, module_s3: S3, home: Path):
    metrics = home / "penstock.prom"
    with subprocess.Popen(
        penstock(
            *("backup", "verify", backup, "--store", module_s3.url(BACKUPS)),
            *("--scratch-dir", str(home), "--backup-metrics-file", str(metrics)),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
        start_new_session=True,
    ) as process:
        # It has a server, in which it is about to restore.
        wait_until(
            lambda: list(home.glob("*/data/postgres/postmaster.pid")),
            "a scratch server is started",
        )
        children = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, err
    assert out == ""
    assert list(home.iterdir()) == [metrics]
    assert 'failure_timestamp_seconds{command="verify"}' in metrics.read_text()
    assert not [each for each in children if each.is_running()]


def test_a_scratch_directory_that_is_not_there_is_said(
    here: Here, backup: str, module_s3: S3, home: Path
):
    command = ("backup", "verify", backup, "--store", module_s3.url(BACKUPS))
    ended = here(*command, "--scratch-dir", str(home / "none"))
    assert ended.returncode == 3
    assert "name another with --scratch-dir" in ended.stderr
