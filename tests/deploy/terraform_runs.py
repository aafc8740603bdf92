"""Terraform as the tests run it: on a copy of deploy/, with one init for a session.

The repository is left as it is: state, lock file and providers are beside the copy.
What is run is what is shipped, but for the backend, which is a file here.
"""

import functools
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.deploy.fake_aws import REGION, FakeAws
from tests.deploy.tools import (
    DEPLOY,
    MIRROR,
    Ran,
    absent,
    plugin_dir,
    run,
    terraform_environment,
)

# An apply takes a minute and a half on a machine that does nothing else: RDS and S3's
# lifecycle rules are waited for by the clock. Several times that is a run that hangs.
PATIENCE_SECONDS = 600.0

_COLOURED = ("init", "plan", "apply", "destroy", "test")

LOCAL_STATE = """
terraform {
  backend "local" {}
}
"""

# The variables of each variant, besides those of `FakeAws`. There is nobody who makes
# snapshots by the clock in the fake.
VARIANTS: dict[str, dict[str, Any]] = {
    "single": {
        "https_cidrs": ["203.0.113.0/24"],
        "github_repository": "acme/penstock",
    },
    "single-rds": {"database": "rds", "nat": True, "rds_replica": False},
    "receivers": {
        "variant": "receivers",
        "database": "rds",
        "nat": True,
        "https_cidrs": ["203.0.113.0/24"],
    },
    "receivers-spot": {
        "variant": "receivers",
        "database": "rds",
        "interface_endpoints": True,
        "spot": True,
        "instance_type": "c7g.large",
        "rds_multi_az": True,
    },
}


class Deployment(NamedTuple):
    """A state of its own, and what is set for it."""

    root: Path
    environment: Mapping[str, str]
    state: Path
    variables: Mapping[str, Any]

    def terraform(self, command: str, *arguments: str) -> Ran:
        """Run Terraform in the root module; return its code and what it printed."""
        return run(
            "terraform",
            command,
            *arguments,
            env=self.environment,
            cwd=self.root,
            seconds=PATIENCE_SECONDS,
        )

    def varied(self, **variables: Any) -> "Deployment":
        """Return the same with other variables."""
        return self._replace(variables={**self.variables, **variables})

    def apply(self, *only: str) -> str:
        """Make what is set, or some modules of it; return what was printed."""
        targets = (f"-target={each}" for each in only)
        return self._succeed("apply", "-auto-approve", *targets, *self._arguments())

    def remove_from_state(self, *addresses: str) -> None:
        """Let Terraform forget what there is."""
        self._succeed("state", "rm", f"-state={self.state}", *addresses)

    def destroy(self) -> str:
        """Remove all that the state knows; return what was printed."""
        return self._succeed("destroy", "-auto-approve", *self._arguments())

    def refused(self) -> str:
        """Return why it cannot be planned, in one line."""
        ran = self.terraform("plan", *self._arguments())
        assert ran.code == 1, ran.output
        return " ".join(ran.output.replace("│", " ").split())

    def differences(self) -> set[tuple[str, str]]:
        """Return what a plan would change: addresses, and how."""
        said = self._succeed("plan", "-json", *self._arguments())
        changes = [json.loads(line) for line in said.splitlines() if line[:1] == "{"]
        return {
            (each["change"]["resource"]["addr"], each["change"]["action"])
            for each in changes
            if each["type"] == "planned_change"
        }

    def plan(self) -> dict[str, Any]:
        """Return the plan, as Terraform's own JSON."""
        file = self.state.with_suffix(".tfplan")
        self._succeed("plan", f"-out={file}", *self._arguments())
        found: dict[str, Any] = json.loads(self._succeed("show", "-json", f"{file}"))
        return found

    def plan_file(self) -> str:
        """Return all that is in the file of the last plan, which is an archive."""
        with zipfile.ZipFile(self.state.with_suffix(".tfplan")) as archive:
            members = [archive.read(name) for name in archive.namelist()]
        return b"".join(members).decode("latin-1")

    def outputs(self) -> dict[str, Any]:
        """Return the outputs of what was applied."""
        shown = self._succeed("output", "-json", f"-state={self.state}")
        return {name: each["value"] for name, each in json.loads(shown).items()}

    def _arguments(self) -> Sequence[str]:
        file = self.state.with_suffix(".tfvars.json")
        file.write_text(json.dumps(dict(self.variables)))
        return (f"-state={self.state}", f"-var-file={file}", "-compact-warnings")

    def _succeed(self, command: str, *arguments: str) -> str:
        ran = self.terraform(command, *arguments)
        assert ran.code == 0, f"terraform {command}:\n{ran.output}"
        return ran.output


class Terraform(NamedTuple):
    """The copy, made ready."""

    directory: Path
    environment: Mapping[str, str]

    @property
    def root(self) -> Path:
        """Return the root module."""
        return self.directory / "deploy" / "terraform"

    def deployment(self, aws: FakeAws, name: str, **variables: Any) -> Deployment:
        """Return a deployment of its own in the fake AWS."""
        return Deployment(
            self.root,
            {**self.environment, "AWS_REGION": REGION},
            self.directory / f"{name}.tfstate",
            {
                "region": REGION,
                "environment": name,
                "alert_email": "oncall@example.com",
                "endpoint": aws.address,
                "data_volume_snapshots": False,
                **variables,
            },
        )


def environment(data_dir: Path) -> dict[str, str]:
    """Return what terraform runs with: no AWS of this machine's."""
    return {
        **terraform_environment(data_dir),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_PROFILE": "",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        **{f"TF_CLI_ARGS_{each}": "-no-color" for each in _COLOURED},
    }


def init(root: Path, env: Mapping[str, str], *arguments: str) -> None:
    """Get the provider for a root module; skip or fail the test where there is none."""
    there = plugin_dir()
    ran = run("terraform", "init", *there, *arguments, env=env, cwd=root, seconds=120)
    if ran.code and not there:
        absent("the AWS provider", f"a network, or {MIRROR}={{its directory}}")
    assert ran.code == 0, ran.output


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """The copy of deploy/, with its providers."""
    directory = tmp_path_factory.mktemp("terraform")
    shutil.copytree(DEPLOY, directory / "deploy")
    ready = Terraform(directory, environment(directory / "data"))
    (ready.root / "backend_override.tf").write_text(LOCAL_STATE)
    init(ready.root, ready.environment)
    return ready


class Applied(NamedTuple):
    """A deployment that was applied, and what Terraform printed."""

    deployment: Deployment
    printed: str


@pytest.fixture(scope="session")
def begun(aws: FakeAws, terraform: Terraform) -> Iterator[Future[Applied]]:
    """The apply of a single machine, begun beside other tests.

    Most of it is the provider's waiting, by the clock. Nothing is begun where no test
    asks for what was applied.
    """
    deployment = terraform.deployment(aws, "applied", **VARIANTS["single"])
    with ThreadPoolExecutor(1) as aside:
        yield aside.submit(lambda: Applied(deployment, deployment.apply()))


@pytest.fixture(scope="session", autouse=True)
def begin(request: pytest.FixtureRequest) -> None:
    """Begin the apply at once, where a test of this session asks for it."""
    names = {"applied", "changed", "plan_of"}
    if any(names & set(getattr(i, "fixturenames", ())) for i in request.session.items):
        request.getfixturevalue("begun")


@pytest.fixture(scope="session")
def applied(begun: Future[Applied]) -> Applied:
    """A single machine with all that belongs to it, applied."""
    return begun.result(PATIENCE_SECONDS)


# A newer AMI of the same architecture, as far as Terraform can tell.
OTHER_AMI = """
data "aws_ssm_parameter" "ami" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-minimal-kernel-default-arm64"
}
"""


@pytest.fixture(scope="session")
def changed(applied: Applied) -> dict[str, Any]:
    """The plan of what was applied, with another AMI, user data, type and images."""
    other = applied.deployment.root / "modules" / "compute" / "ami_override.tf"
    other.write_text(OTHER_AMI)
    try:
        return applied.deployment.varied(
            retention_days=31,
            instance_type="t4g.large",
            penstock_version="0.2.0",
            postgres_image="postgres:18.6",
        ).plan()
    finally:
        other.unlink()


@pytest.fixture(scope="session")
def plan_of(
    request: pytest.FixtureRequest, aws: FakeAws, terraform: Terraform
) -> Callable[[str], dict[str, Any]]:
    """Return the plan of a variant, made once.

    That of a single machine is of one that was applied, so that all in it is known.
    """

    @functools.cache
    def plan(variant: str) -> dict[str, Any]:
        if variant == "single":
            found: dict[str, Any] = request.getfixturevalue("changed")
            return found
        name = f"p-{variant}"[:12].rstrip("-")
        return terraform.deployment(aws, name, **VARIANTS[variant]).plan()

    return plan


def resources(plan: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Return what of a kind there will be, by address.

    What is known only when it has been applied is not in it.
    """
    found: dict[str, dict[str, Any]] = {}

    def visit(module: Mapping[str, Any]) -> None:
        for each in module.get("resources", ()):
            if each["type"] == kind and each["mode"] == "managed":
                found[each["address"]] = each.get("values", {})
        for child in module.get("child_modules", ()):
            visit(child)

    visit(plan["planned_values"]["root_module"])
    return found
