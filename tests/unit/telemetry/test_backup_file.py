"""The server shows what backup commands have written; a broken file breaks nothing."""

import os
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.telemetry.backup import (
    FAMILIES,
    MAX_FILE_BYTES,
    READABLE,
    Samples,
    parse,
    text_of,
)
from penstock.telemetry.metrics import Metrics
from penstock.telemetry.workers import MetricsOfAll, families_of

SUCCESS = "penstock_backup_last_success_timestamp_seconds"
SAMPLES: Samples = {
    (SUCCESS, ("kind", "logical")): 1_800_000_000.5,
    (SUCCESS, ("kind", "base")): 1_700_000_000.0,
    ("penstock_backup_verify_success", None): 1.0,
}


def shown(metrics: Metrics) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return what /metrics says of backups."""
    return {
        family.name: [(sample.labels, sample.value) for sample in family.samples]
        for family in text_string_to_metric_families(metrics.exposition().decode())
        if family.name.startswith("penstock_backup")
    }


@pytest.mark.parametrize("kind", [Metrics, MetricsOfAll])
def test_metrics_show_what_the_file_says_now(
    kind: type[Metrics], tmp_path: Path
) -> None:
    file = tmp_path / "backup.prom"
    metrics = kind()
    metrics.watch_backup_file(file)
    assert shown(metrics) == {READABLE: [({}, 0.0)]}
    file.write_text(text_of(SAMPLES))
    assert shown(metrics) == {
        READABLE: [({}, 1.0)],
        SUCCESS: [
            ({"kind": "base"}, 1_700_000_000.0),
            ({"kind": "logical"}, 1_800_000_000.5),
        ],
        "penstock_backup_verify_success": [({}, 1.0)],
    }


def test_a_server_without_the_setting_says_nothing_of_backups() -> None:
    assert shown(Metrics()) == {}
    assert not [f for f in families_of(Metrics()) if "backup" in f.name]


def broken(directory: Path, what: str) -> Path:
    path = directory / "backup.prom"
    match what:
        case "a pipe":
            os.mkfifo(path)
        case "a directory":
            path.mkdir()
        case "too large":
            path.write_text("# " + "x" * MAX_FILE_BYTES)
        case "no text":
            path.write_bytes(b"\xff\xfe")
        case "half a line":
            path.write_text(text_of(SAMPLES)[:-3] + "\n" + SUCCESS)
        case "no number":
            path.write_text(f"{SUCCESS} yesterday\n")
        case "somebody else's":
            path.write_text("node_load1 0.5\n")
    return path


@pytest.mark.parametrize(
    "what",
    (
        *("a pipe", "a directory", "too large", "no text", "half a line", "no number"),
        "somebody else's",
    ),
)
def test_a_broken_file_is_a_metric_and_the_others_stay(
    what: str, tmp_path: Path
) -> None:
    metrics = Metrics()
    metrics.watch_backup_file(broken(tmp_path, what))
    assert shown(metrics) == {READABLE: [({}, 0.0)]}
    assert b"penstock_build_info{" in metrics.exposition()


def test_a_name_of_the_servers_own_is_not_taken_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "backup.prom"
    file.write_text(f"{READABLE} 5\npenstock_backup_of_tomorrow 1\n")
    metrics = Metrics()
    metrics.watch_backup_file(file)
    assert shown(metrics) == {READABLE: [({}, 1.0)]}


def test_what_is_written_is_read_as_it_was() -> None:
    assert parse(text_of(SAMPLES)) == SAMPLES
    every: Samples = {
        (name, (told.label, "x") if told.label else None): 0.25
        for name, told in FAMILIES.items()
    }
    assert parse(text_of(every)) == every
