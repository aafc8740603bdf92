"""`penstock deploy`: its subcommands by name, imported when they are asked for."""

import click

from penstock.cli.subcommands import Subcommands

# Name -> the module under penstock.cli that holds its click object `command`.
SUBCOMMANDS: dict[str, str] = {
    "size": "deploy_size",
    "init": "deploy_init",
    "plan": "deploy_plan",
    "apply": "deploy_apply",
    "output": "deploy_output",
    "push": "deploy_push",
    "upgrade": "deploy_upgrade",
    "destroy": "deploy_destroy",
}


@click.group(
    "deploy",
    cls=Subcommands,
    modules=SUBCOMMANDS,
    short_help="Size, build and look after machines on AWS.",
)
def command() -> None:
    """Run Penstock on EC2, by Terraform: docs/deploy.md says how.

    What is made is described in deploy/terraform. AWS credentials are found as every
    AWS program finds them.
    """
