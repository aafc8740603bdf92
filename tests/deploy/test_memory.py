"""A machine's memory is shared out by one formula in two places: they are equal."""

import os
import subprocess

import pytest

from penstock.provision.sizing import memory_of
from tests.deploy.tools import DEPLOY

PROGRAM = DEPLOY / "instance" / "penstock-instance"
# Each size of a machine, as it is sold and as Linux counts it, and what lies around the
# formula's bounds.
SIZES = [512, 1_599, 1_600, 1_848, 2_048, 3_803, 4_096, 7_759, 8_192, 20_479, 20_480]
SIZES += [15_733, 16_384, 32_768, 65_536, 131_072, 262_144]


def of_the_machine(total_mib: int, database: str) -> dict[str, int]:
    """Return what the instance's own program says."""
    done = subprocess.run(
        ["bash", PROGRAM, "memory", str(total_mib)],
        env={**os.environ, "DATABASE": database},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    pairs = (line.split("=") for line in done.stdout.splitlines())
    return {name: int(value.removesuffix("MiB")) for name, value in pairs}


@pytest.mark.parametrize("database", ["docker", "rds"])
def test_memory_is_shared_out_alike_in_python_and_on_the_machine(database: str) -> None:
    for total in SIZES:
        own = database == "docker"
        assert of_the_machine(total, database) == memory_of(total, with_postgres=own)
