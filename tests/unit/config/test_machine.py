"""A container's share of the cores counts, not what its machine has."""

from pathlib import Path

import pytest

from penstock.config import cores


@pytest.fixture
def cpu_max(tmp_path: Path) -> Path:
    return tmp_path / "cpu.max"


def test_the_cores_of_the_machine_where_nothing_limits_them(cpu_max: Path) -> None:
    unlimited = cores(cpu_max)
    assert unlimited >= 1
    cpu_max.write_text("max 100000\n")
    assert cores(cpu_max) == unlimited


@pytest.mark.parametrize("text", ["", "1", "a b", "1 0", "1 2 3"])
def test_a_file_of_another_form_limits_nothing(cpu_max: Path, text: str) -> None:
    unlimited = cores(cpu_max)
    cpu_max.write_text(text)
    assert cores(cpu_max) == unlimited


def test_a_part_of_a_core(cpu_max: Path) -> None:
    cpu_max.write_text("50000 100000\n")
    assert cores(cpu_max) == 0.5
