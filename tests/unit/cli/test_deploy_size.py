"""`penstock deploy size`: its answer, its refusals, and the file that it writes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from penstock.cli import deploy
from penstock.cli.deploy_size import command
from penstock.errors import PenstockError, ProvisionError, SettingsError

TWENTY = ("--gb-per-day", "20")


def size(*options: str) -> Result:
    return CliRunner().invoke(command, list(options))


def said(*options: str) -> Any:
    ran = size(*options, "-o", "json")
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def refused(*options: str) -> PenstockError:
    """What the command raises, which main.py prints as a line."""
    ran = size(*options)
    assert ran.stdout == ""
    assert isinstance(ran.exception, PenstockError), ran.output
    return ran.exception


def test_size_is_in_the_group() -> None:
    assert deploy.SUBCOMMANDS["size"] == "deploy_size"


def test_a_table_says_machine_cost_and_why() -> None:
    ran = size(*TWENTY, "--region", "ap-northeast-2")
    assert ran.exit_code == 0
    first, *_ = ran.stdout.splitlines()
    assert first.startswith("t4g.medium (2 vCPU, 4 GiB) with PostgreSQL on it, 540 GiB")
    assert "ap-northeast-2 (Seoul)" in first
    for words in (
        "on demand",
        "1 year",
        "RDS instead",
        "756 rows/s",
        "2,269 at a peak",
    ):
        assert words in ran.stdout
    assert "Spot: not for this machine. It holds the database" in ran.stdout
    assert "List prices as known on " in ran.stdout
    assert "estimated" in ran.stdout


def test_json_has_all_of_it_in_a_line() -> None:
    ran = size(*TWENTY, "-o", "json")
    assert len(ran.stdout.splitlines()) == 1
    told = json.loads(ran.stdout)
    assert told["variables"]["instance_type"] == "t4g.medium"
    assert told["left_to_fill"] == ["environment", "alert_email"]
    bill = told["cost"]["plan"]
    lines = sum(line["on_demand_usd"] for line in bill["lines"])
    assert bill["on_demand_usd"] == pytest.approx(lines, abs=0.1)
    assert told["cost"]["rds_instead"]["on_demand_usd"] > bill["on_demand_usd"]
    assert len(told["reasons"]) >= 5 and told["notes"]


def test_receivers_have_a_spot_price_and_the_variables_they_need() -> None:
    told = said(*TWENTY, "--variant", "receivers", "--spot")
    assert told["variables"] == {
        "region": "us-east-1",
        "variant": "receivers",
        "database": "rds",
        "instance_type": "t4g.small",
        "retention_days": 14,
        "nat": True,
        "spot": True,
        "receivers_min": 2,
        "receivers_max": 4,
        "rds_instance_class": "db.t4g.medium",
        "rds_storage_gib": 530,
        "rds_multi_az": False,
        "rds_replica": True,
        "profiles": [],
    }
    bill = told["cost"]["plan"]
    assert bill["spot_usd"] < bill["on_demand_usd"]


def test_x86_is_offered() -> None:
    told = said(*TWENTY, "--architecture", "x86_64")
    assert told["variables"]["instance_type"] == "t3.medium"


def test_the_file_holds_what_terraform_asks_for(tmp_path: Path) -> None:
    file = tmp_path / "production.tfvars.json"
    given = ("--environment", "production", "--alert-email", "oncall@example.com")
    ran = size(*TWENTY, *given, "--write", str(file))
    assert ran.exit_code == 0
    assert json.loads(file.read_text()) == {
        "region": "us-east-1",
        "environment": "production",
        "alert_email": "oncall@example.com",
        "variant": "single",
        "database": "docker",
        "instance_type": "t4g.medium",
        "retention_days": 14,
        "nat": False,
        "data_volume_gib": 540,
        "data_volume_iops": 3_000,
        "data_volume_throughput_mibps": 125,
    }
    assert "still to be filled in" not in ran.stderr


def test_what_nobody_has_said_is_told_as_left_to_fill(tmp_path: Path) -> None:
    ran = size(*TWENTY, "--write", str(tmp_path / "a.tfvars.json"))
    assert "still to be filled in: environment, alert_email" in ran.stderr
    assert "wrote" not in ran.stdout


def test_a_file_that_is_there_stays_without_force(tmp_path: Path) -> None:
    file = tmp_path / "a.tfvars.json"
    file.write_text("mine")
    problem = refused(*TWENTY, "--write", str(file))
    assert isinstance(problem, ProvisionError) and "--force" in str(problem)
    assert file.read_text() == "mine"
    assert size(*TWENTY, "--write", str(file), "--force").exit_code == 0
    assert json.loads(file.read_text())["region"] == "us-east-1"


@pytest.mark.parametrize("name", ["a.json", "a.tfvars", ".tfvars.json"])
def test_a_name_that_terraform_would_not_read_is_refused(
    tmp_path: Path, name: str
) -> None:
    problem = refused(*TWENTY, "--write", str(tmp_path / name))
    assert isinstance(problem, SettingsError) and "NAME.tfvars.json" in str(problem)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "none" / "a.tfvars.json"
    assert "cannot be written" in str(refused(*TWENTY, "--write", str(file)))


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--gb-per-day", "0"), 2, "--gb-per-day 0"),
        (("--gb-per-day", "nan"), 2, "--gb-per-day nan"),
        (("--gb-per-day", "-1"), 2, "--gb-per-day -1"),
        (("--gb-per-day", "5000"), 1, "one machine is not enough"),
        (("--gb-per-day", "5000", "--peak", "1"), 1, "a gp3 volume has 16,384 GiB"),
        ((*TWENTY, "--records-per-day", "1"), 2, "max_frame_bytes"),
        ((*TWENTY, "--retention", "1000y"), 2, "--retention"),
        ((*TWENTY, "--retention", "99y"), 1, "keep 477 days"),
        ((*TWENTY, "--region", "mars"), 2, "no prices of 'mars'"),
        ((*TWENTY, "--prices", "/nowhere"), 2, "--prices /nowhere"),
        ((*TWENTY, "--environment", "Prod!"), 2, "--environment"),
        ((*TWENTY, "--alert-email", "nobody"), 2, "--alert-email"),
        ((), 2, "give --gb-per-day"),
    ],
)
def test_odd_input_is_one_clear_line(
    options: tuple[str, ...], code: int, words: str
) -> None:
    problem = refused(*options)
    assert problem.exit_code == code
    assert words in str(problem)
    assert "\n" not in str(problem)


@pytest.mark.parametrize(
    "options",
    [
        (*TWENTY, "--variant", "receivers", "--database", "docker"),
        (*TWENTY, "--spot"),
        ("--gb-per-day", "much"),
        (*TWENTY, "--architecture", "riscv"),
        (*TWENTY, "--replicas", "9"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(options: tuple[str, ...]) -> None:
    ran = size(*options)
    assert ran.exit_code == 2
    assert "Error: " in ran.stderr
    assert ran.stdout == ""


def test_giant_and_tiny_records_have_a_sane_answer() -> None:
    giant = said("--records-per-day", "1000", "--record-bytes", "60e6")
    assert giant["load"]["gb_per_day"] == pytest.approx(60)
    assert any("were not measured" in note for note in giant["notes"])
    tiny = said("--records-per-day", "1", "--record-bytes", "7")
    assert tiny["variables"]["data_volume_gib"] == 20


@pytest.mark.parametrize("gigabytes", ["0.001", "700", "1500"])
def test_no_quantity_is_said_as_a_power_of_ten(gigabytes: str) -> None:
    answer = json.dumps(said("--gb-per-day", gigabytes, "--retention", "1d"))
    words = re.findall(r'"what": "([^"]*)"', answer)
    assert not [each for each in words if re.search(r"\de[+-]\d", each)]
    assert "1 day and today" in answer


def test_what_is_refused_is_said_in_digits() -> None:
    assert "100,000 GB a day" in str(refused("--gb-per-day", "100000"))
