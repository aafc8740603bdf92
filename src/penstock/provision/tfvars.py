"""The variables of deploy/terraform that a plan decides, as a *.tfvars.json file.

Owns their names and which of them are written. It must not choose machines; what
nobody has said, an environment or an address for alarms, is left out and told.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from penstock.errors import ProvisionError, SettingsError
from penstock.provision.sizing import Plan

SUFFIX: Final = ".tfvars.json"

# As deploy/terraform/variables.tf has them, so that they are refused before a plan.
_ENVIRONMENT: Final = re.compile(r"[a-z][a-z0-9-]{0,10}[a-z0-9]")
_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+[.][^@\s]+")

# Those without a default in deploy/terraform.
REQUIRED: Final = ("region", "environment", "alert_email")


def variables_of(
    plan: Plan, region: str, *, environment: str = "", alert_email: str = ""
) -> dict[str, Any]:
    """Return the variables, those that have to be given first.

    Raises:
        SettingsError: the environment or the address is not one.
    """
    problems = []
    if environment and not _ENVIRONMENT.fullmatch(environment):
        problems.append(
            f"--environment {environment[:40]!r}: give 2 to 12 of a-z, 0-9 and -,"
            " beginning with a letter and not ending with -"
        )
    if alert_email and not _ADDRESS.fullmatch(alert_email):
        problems.append(
            f"--alert-email {alert_email[:60]!r}: give an address, such as"
            " oncall@example.com"
        )
    if problems:
        raise SettingsError(*problems)
    told = {"region": region, "environment": environment, "alert_email": alert_email}
    return {name: value for name, value in told.items() if value} | _sizes(plan)


def _sizes(plan: Plan) -> dict[str, Any]:
    wishes = plan.wishes
    sizes: dict[str, Any] = {
        "variant": wishes.variant,
        "database": wishes.database,
        "instance_type": plan.machine.name,
        "retention_days": wishes.days,
        "nat": wishes.nat or wishes.variant == "receivers",
    }
    if plan.data_disk is not None:
        sizes["data_volume_gib"] = plan.data_disk.gib
        sizes["data_volume_iops"] = plan.data_disk.iops
        sizes["data_volume_throughput_mibps"] = plan.data_disk.mibps
    if wishes.variant == "receivers":
        sizes["spot"] = wishes.spot
        sizes["receivers_min"] = plan.machines
        sizes["receivers_max"] = 2 * plan.machines
    if plan.rds is not None:
        sizes["rds_instance_class"] = plan.rds.machine.name
        sizes["rds_storage_gib"] = plan.rds.gib
        sizes["rds_multi_az"] = plan.rds.multi_az
        sizes["rds_replica"] = plan.rds.replicas > 0
    if not plan.has_monitoring:
        sizes["profiles"] = []
    if not wishes.snapshots:
        sizes["data_volume_snapshots"] = False
    return sizes


def left_to_fill(variables: Mapping[str, Any]) -> list[str]:
    """Return the variables without a default that are not there yet."""
    return [name for name in REQUIRED if name not in variables]


def write_variables(variables: Mapping[str, Any], file: Path, *, force: bool) -> None:
    """Write the file; one that is there stays unless it is to be replaced.

    Raises:
        SettingsError: it has another suffix.
        ProvisionError: it is there, or cannot be written.
    """
    if not file.name.endswith(SUFFIX) or file.name == SUFFIX:
        raise SettingsError(
            f"--write {file}: Terraform reads it by its name, NAME{SUFFIX}"
        )
    text = json.dumps(variables, indent=2) + "\n"
    try:
        with file.open("w" if force else "x") as opened:
            opened.write(text)
    except FileExistsError as error:
        raise ProvisionError(
            f"{file} is there already: give another name, or --force to replace it"
        ) from error
    except OSError as error:
        raise ProvisionError(f"{file} cannot be written: {error.strerror}") from error
