"""Sizes and costs count what the server's settings and the Terraform really have."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from penstock.provision import cost, load, sizing, stored
from penstock.settings import Settings

TERRAFORM = Path(__file__).parents[3] / "deploy" / "terraform"


def default(name: str) -> Any:
    """Return a setting's default, whatever concern it is of."""
    concerns = Settings(database_url="")
    for concern in fields(concerns):
        value = getattr(concerns, concern.name)
        if hasattr(value, name):
            return getattr(value, name)
    raise AssertionError(f"no setting {name}")


@pytest.mark.parametrize(
    ("counted", "name"),
    [
        (stored.SPOOL_BYTES, "spool_max_bytes"),
        (load.MOST_RECORD_BYTES, "max_frame_bytes"),
        (stored.Keeping().daily, "backup_keep_daily"),
        (stored.Keeping().weekly, "backup_keep_weekly"),
        (stored.Keeping().monthly, "backup_keep_monthly"),
    ],
)
def test_a_default_is_the_settings(counted: int, name: str) -> None:
    assert counted == default(name)


@pytest.mark.parametrize(
    ("counted", "file", "pattern"),
    [
        (cost.ROOT_GIB, "modules/compute/main.tf", r"root_gib = (\d+)"),
        (cost.KEPT_SNAPSHOTS, "modules/compute/snapshots.tf", r"count = (\d+)\n"),
        (
            cost.RDS_BACKUP_DAYS,
            "modules/database/main.tf",
            r"backup_retention_period += (\d+)",
        ),
        (
            stored.NONCURRENT_DAYS,
            "modules/storage/main.tf",
            r"noncurrent_days = (\d+)",
        ),
        (
            sizing.GP3_MOST_GIB,
            "variables.tf",
            r"data_volume_gib <= (\d+)",
        ),
        (sizing.RDS_MOST_GIB, "variables.tf", r"rds_storage_gib <= (\d+)"),
        (sizing.GP3_MOST_IOPS, "variables.tf", r"data_volume_iops <= min\((\d+)"),
        (
            sizing.GP3_MOST_MIBPS,
            "variables.tf",
            r"data_volume_throughput_mibps <= min\((\d+)",
        ),
    ],
)
def test_a_number_is_the_terraforms(counted: int, file: str, pattern: str) -> None:
    found = re.findall(pattern, (TERRAFORM / file).read_text())
    assert str(counted) in found
