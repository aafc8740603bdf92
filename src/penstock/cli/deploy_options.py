"""What the deploy commands share: the deployment, its Terraform, its AWS, a yes.

It owns those options and questions. It must not know what a command does.
"""

import re
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import click

from penstock.cli.deploy_progress import View
from penstock.errors import PenstockError, ProvisionError, SettingsError
from penstock.provision.aws import Aws
from penstock.provision.deployment import Deployment, find_deployment, find_root
from penstock.provision.terraform import Terraform

Command = TypeVar("Command", bound=Callable[..., Any])

NOTHING_DONE = "nothing was changed"


class Place(NamedTuple):
    """What names a deployment on the command line."""

    directory: str | None
    environment: str | None
    terraform_dir: str | None

    def deployment(self) -> Deployment:
        """Return the deployment that is meant."""
        return find_deployment(self.directory, self.environment)

    def terraform(self, deployment: Deployment, view: View) -> Terraform:
        """Return Terraform for it."""
        root = find_root(self.terraform_dir)
        return Terraform(root, deployment, on_stopping=view.stopping)


def place_options(command: Command) -> Command:
    """Add --dir, --environment and --terraform-dir, as `directory` and so on."""
    for option in (
        click.option(
            "--terraform-dir",
            metavar="DIR",
            help="Terraform's files; by default deploy/terraform of the clone.",
        ),
        click.option(
            "-e",
            "--environment",
            metavar="NAME",
            help="Such as production; may be left out where there is only one.",
        ),
        click.option(
            "--dir",
            "directory",
            metavar="DIR",
            help="The deployment's files; by default ./penstock-deploy/ENVIRONMENT.",
        ),
    ):
        command = option(command)
    return command


yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


# As deploy/terraform/variables.tf has it. A deployment's files come from where others
# can write, such as a pull request: none of them has requests, images and a registry's
# login go to somebody else.
_ENDPOINT: Final = re.compile(r"http://(127\.0\.0\.1|localhost):\d+")


def aws_of(variables: dict[str, Any]) -> Aws:
    """Return the AWS that a deployment is in.

    Raises:
        SettingsError: it would be somebody else's.
    """
    endpoint = str(variables.get("endpoint") or "")
    if endpoint and not _ENDPOINT.fullmatch(endpoint):
        raise SettingsError(
            f"endpoint {endpoint!r}: it is for tests, a fake AWS on this machine, as in"
            " http://127.0.0.1:5000; leave it out for AWS"
        )
    return Aws(str(variables.get("region", "")), endpoint)


def outputs_of(terraform: Terraform) -> dict[str, Any]:
    """Return what the last apply has told.

    Raises:
        ProvisionError: there was none.
    """
    found = terraform.output()
    if not found:
        raise ProvisionError(
            "nothing is deployed here yet: penstock deploy apply does it"
        )
    return found


def is_asked_at_terminal() -> bool:
    """Return whether there is somebody who can answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Ask for a yes.

    Raises:
        PenstockError: the answer is no, or nobody is there to ask.
    """
    if yes:
        return
    if not is_asked_at_terminal():
        raise PenstockError(
            f"{NOTHING_DONE}: there is no terminal to ask at; --yes says yes"
        )
    try:
        is_agreed = click.confirm(question, err=True)
    except click.Abort:
        raise KeyboardInterrupt from None
    if not is_agreed:
        raise PenstockError(NOTHING_DONE)


def confirm_by_name(question: str, name: str) -> None:
    """Ask for a name to be typed, which no flag can do.

    Raises:
        PenstockError: something else was typed, or nobody is there to ask.
    """
    if not is_asked_at_terminal():
        raise PenstockError(
            f"{NOTHING_DONE}: that {name} is meant has to be typed, so it takes a"
            " terminal"
        )
    try:
        typed = click.prompt(f"{question} Type {name} to go on", default="", err=True)
    except click.Abort:
        raise KeyboardInterrupt from None
    if typed.strip() != name:
        raise PenstockError(f"{NOTHING_DONE}: that was not {name}")
