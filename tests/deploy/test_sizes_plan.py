"""What `penstock deploy size` writes is what the Terraform takes, for every size.

Each size is planned by `terraform test` with a provider that is mocked: all rules of
variables.tf, and the provider's own on what a plan knows, but no AWS.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from penstock.cli.deploy_size import command
from tests.deploy.tools import (
    TERRAFORM,
    passes,
    plugin_dir,
    run,
    terraform_environment,
)

# What a mock makes up has to pass where another resource looks at it.
MOCKS = """
mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\\"Version\\":\\"2012-10-17\\",\\"Statement\\":[]}" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["us-east-1a", "us-east-1b"] }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_secretsmanager_secret_version" {
    defaults = { secret_string = "{\\"postgres_password\\":\\"made up\\"}" }
  }
}
"""
# Ephemeral resources cannot be mocked (Terraform 1.11): in the copy the two there are
# become data sources, which the provider has by the same names.
EPHEMERAL = {'ephemeral "aws_': 'data "aws_', "ephemeral.aws_": "data.aws_"}
# The five bands of the original guide and what else changes which variables are
# written, by a name of the run.
SIZES: dict[str, list[str]] = {
    "below_1_gb": ["--records-per-day", "1", "--no-snapshots", "--nat"],
    "to_10_gb": ["--gb-per-day", "10"],
    "to_50_gb": ["--gb-per-day", "50", "--region", "ap-northeast-2"],
    # The largest disk that gp3 has, and the fastest that a size asks for.
    "to_100_gb": ["--gb-per-day", "100", "--retention", "94d"],
    "above_100_gb": ["--gb-per-day", "1500", "--retention", "1d"],
    "rds": ["--gb-per-day", "20", "--database", "rds", "--multi-az"],
    "receivers": ["--gb-per-day", "200", "--variant", "receivers", "--spot"],
}
GIVEN = ["--environment", "staging", "--alert-email", "oncall@example.com"]


def sized(file: Path, options: list[str]) -> dict[str, Any]:
    """Write the variables of a size; return what the file holds."""
    ran = CliRunner().invoke(command, [*options, *GIVEN, "--write", str(file)])
    assert ran.exit_code == 0, ran.output
    variables: dict[str, Any] = json.loads(file.read_bytes())
    return variables


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of deploy/terraform, as it is in the repository, initialised."""
    copy = tmp_path_factory.mktemp("sizes") / "deploy" / "terraform"
    # With its neighbours: their files are uploaded, by paths beside its own.
    shutil.copytree(
        TERRAFORM.parent,
        copy.parent,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("tests", ".terraform*", "*.tfstate*"),
    )
    for file in copy.rglob("*.tf"):
        text = file.read_text()
        for old, new in EPHEMERAL.items():
            text = text.replace(old, new)
        file.write_text(text)
    passes(
        "terraform",
        f"-chdir={copy}",
        "init",
        "-backend=false",
        "-input=false",
        *plugin_dir(),
        env=terraform_environment(copy.parent / "data"),
    )
    return copy


def as_run(name: str, variables: dict[str, Any]) -> str:
    """Return a run of `terraform test`; JSON is HCL's way to write a value, too."""
    given = "\n".join(f"    {key} = {json.dumps(variables[key])}" for key in variables)
    return f'run "{name}" {{\n  command = plan\n  variables {{\n{given}\n  }}\n}}\n'


def test_the_variables_of_every_size_are_planned(root: Path, tmp_path: Path) -> None:
    runs = [
        as_run(name, sized(tmp_path / f"{name}.tfvars.json", options))
        for name, options in SIZES.items()
    ]
    tests = root / "tests"
    tests.mkdir(exist_ok=True)
    (tests / "sizes.tftest.hcl").write_text(MOCKS + "\n".join(runs))
    ran = run(
        "terraform",
        f"-chdir={root}",
        "test",
        "-no-color",
        env=terraform_environment(root.parent / "data"),
        seconds=110,
    )
    assert ran.code == 0, ran.output
    assert f"{len(SIZES)} passed, 0 failed" in ran.output
