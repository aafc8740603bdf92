"""A container's share of the cores counts, not what its machine has."""

from pathlib import Path

import pytest

from penstock.config import cores, unknown_time_zone

EUROPE = "CET-1CEST,M3.5.0,M10.5.0/3"


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


@pytest.mark.parametrize("name", ["Nowhere/X", "FOO", "Europe/Berln", "/nowhere", ".."])
def test_a_zone_that_there_is_not_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", name)
    assert unknown_time_zone() == name


@pytest.mark.parametrize(
    "name",
    ["", "UTC", ":Asia/Seoul", "KST-9", "<+0330>-3:30", EUROPE, "/etc/passwd"],
)
def test_a_zone_by_its_name_its_rules_or_its_file_is_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", name)
    assert unknown_time_zone() is None
    monkeypatch.delenv("TZ")
    assert unknown_time_zone() is None
