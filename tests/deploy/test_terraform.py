"""The Terraform as it is written: form, validity, its own tests, and each refusal."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.terraform_runs import Terraform, environment, init
from tests.deploy.tools import TERRAFORM, passes, run

MODULES = sorted({file.parent for file in TERRAFORM.rglob("*.tf")})


def test_it_is_formatted(tmp_path: Path):
    env = environment(tmp_path)
    ran = run("terraform", "fmt", "-check", "-recursive", "-diff", TERRAFORM, env=env)
    assert ran.code == 0, ran.output


def test_it_is_valid_and_uses_nothing_that_is_deprecated(terraform: Terraform):
    said = passes(
        "terraform", "validate", "-json", env=terraform.environment, cwd=terraform.root
    )
    assert json.loads(said)["diagnostics"] == []


def test_the_bootstrap_is_valid(terraform: Terraform, tmp_path: Path):
    env, there = environment(tmp_path), terraform.root / "bootstrap"
    init(there, env)
    said = json.loads(passes("terraform", "validate", "-json", env=env, cwd=there))
    assert said["diagnostics"] == []


@pytest.mark.timeout(240)
def test_its_own_tests_pass(terraform: Terraform):
    env, there = terraform.environment, terraform.root
    said = passes("terraform", "test", env=env, cwd=there, seconds=200)
    assert "0 failed" in said
    assert int(re.findall(r"(\d+) passed", said)[-1]) >= 4


# --- variables

THREE = {
    "region": "eu-central-1",
    "environment": "production",
    "alert_email": "oncall@example.com",
}
RECEIVERS = {"variant": "receivers", "database": "rds", "nat": True}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory):
    """Plan the variables alone, which takes no time; return what was said."""
    alone = tmp_path_factory.mktemp("variables")
    shutil.copy(TERRAFORM / "variables.tf", alone)
    env = environment(alone / "data")
    passes("terraform", "init", "-backend=false", env=env, cwd=alone)

    def ask(**variables: Any):
        file = alone / "asked.tfvars.json"
        file.write_text(json.dumps(variables))
        return run("terraform", "plan", f"-var-file={file}", env=env, cwd=alone)

    return ask


def test_three_variables_are_all_that_has_to_be_said(asked):
    assert asked(**THREE).code == 0
    text = (TERRAFORM / "variables.tf").read_text()
    blocks = re.findall(r'^variable "(\w+)" {(.*?)^}', text, re.MULTILINE | re.DOTALL)
    without = [
        name for name, block in blocks if not re.search(r"^  default ", block, re.M)
    ]
    assert without == list(THREE)


def test_the_example_names_the_three(asked):
    text = (TERRAFORM / "example.tfvars").read_text()
    given = dict(re.findall(r'^(\w+) *= "(.*)"$', text, re.MULTILINE))
    assert list(given) == list(THREE)
    assert asked(**given).code == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"region": "frankfurt"}, "region is the name of an AWS region"),
        ({"environment": "Production"}, "environment is 2 to 12 of a-z"),
        ({"environment": "a-very-long-name"}, "environment is 2 to 12 of a-z"),
        ({"alert_email": "oncall"}, "alert_email is an address"),
        ({"name": "Pen stock"}, "name is 2 to 16 of a-z"),
        ({"endpoint": "http://evil.example.com:80"}, "endpoint is for tests"),
        ({"variant": "cluster"}, "variant is single or receivers"),
        ({"variant": "receivers"}, 'variant = "receivers" needs database = "rds"'),
        (
            {"variant": "receivers", "database": "rds"},
            'variant = "receivers" needs nat = true',
        ),
        ({"database": "mysql"}, "database is docker or rds"),
        ({"instance_type": "medium"}, "instance_type is FAMILY.SIZE"),
        ({"spot": True}, 'spot = true is for variant = "receivers" only'),
        ({"spot": True, "database": "rds"}, 'spot = true is for variant = "receivers"'),
        ({"receivers_min": 0}, "receivers_min is a whole number, 1 or more"),
        ({"receivers_max": 1}, "not less than receivers_min"),
        ({"profiles": ["database"]}, "profiles are monitoring and collector"),
        ({"data_volume_gib": 5}, "data_volume_gib is a whole number from 10"),
        ({"data_volume_gib": 20_000}, "data_volume_gib is a whole number from 10"),
        ({"data_volume_iops": 1000}, "data_volume_iops is 3000 to 16000"),
        (
            {"data_volume_gib": 10, "data_volume_iops": 6000},
            "at most 500 for each GiB",
        ),
        (
            {"data_volume_throughput_mibps": 1000},
            "at most a quarter of data_volume_iops",
        ),
        ({"environment": "prod-plan"}, "does not end with -plan"),
        ({"retention_days": 0}, "retention_days is a whole number"),
        ({"kms_key_arn": "alias/mine"}, "not an alias"),
        ({"rds_instance_class": "t4g.medium"}, "rds_instance_class is db.FAMILY.SIZE"),
        ({"rds_storage_gib": 5}, "rds_storage_gib is a whole number from 20"),
        ({"rds_engine_version": "14"}, "15, 16, 17 or 18"),
        ({"vpc_cidr": "10.0.0.0/8"}, "vpc_cidr is an IPv4 range of /16 to /24"),
        ({"https_cidrs": ["0.0.0.0/0"]}, "may not be open to the world"),
        ({"https_cidrs": ["128.0.0.0/1"]}, "may not be open to the world"),
        ({"https_cidrs": ["the office"]}, "https_cidrs are IPv4 ranges"),
        ({"application_security_group_ids": ["default"]}, "are ids of security groups"),
        (
            {"penstock_version": "latest"},
            '"latest" would be a different image each day',
        ),
        ({"penstock_image": "a b; c"}, "penstock_image is REPOSITORY:TAG"),
        ({"slack_team_id": "T1"}, "go together"),
        ({"monthly_budget_usd": -1}, "monthly_budget_usd is 0 or more"),
        ({"github_repository": "penstock"}, "github_repository is OWNER/NAME"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(asked, given, said):
    ran = asked(**{**THREE, **given})
    assert ran.code == 1
    assert ran.output.count("Error: ") == 1, ran.output
    assert said in " ".join(ran.output.replace("│", " ").split())


def test_what_can_work_is_not_refused(asked):
    for given in (
        RECEIVERS,
        {**RECEIVERS, "spot": True, "instance_type": "c7g.large"},
        {**RECEIVERS, "nat": False, "interface_endpoints": True},
        {"data_volume_iops": 16_000, "data_volume_throughput_mibps": 1000},
        {"https_cidrs": ["203.0.113.7/32", "10.0.0.0/8"]},
        {"penstock_image": "registry.example.com/penstock@sha256:" + "0" * 64},
    ):
        ran = asked(**{**THREE, **given})
        assert ran.code == 0, ran.output


# --- for who reads it


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_each_module_says_what_it_is_and_each_name_what_it_means(module: Path):
    main = module / "main.tf"
    assert main.read_text().startswith("# "), f"{main} has no head"
    for file in module.glob("*.tf"):
        text = file.read_text()
        for kind, name, block in re.findall(
            r'^(variable|output) "(\w+)" {(.*?)^}', text, re.MULTILINE | re.DOTALL
        ):
            assert "  description = " in block, f"{file}: {kind} {name} says nothing"


def test_no_provider_is_called_by_a_host_and_no_lock_file_is_shipped():
    for file in TERRAFORM.rglob("*.tf"):
        for source in re.findall(r'^\s+source\s+= "(.*)"', file.read_text(), re.M):
            assert source == "hashicorp/aws" or source.startswith(("./modules/", "$"))
    assert run("git", "ls-files", "*.terraform.lock.hcl").output == ""
