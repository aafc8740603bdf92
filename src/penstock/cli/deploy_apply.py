"""`penstock deploy apply`: make what is described, after a yes."""

import time

import click

from penstock.cli.deploy_options import (
    Place,
    confirm,
    confirm_by_name,
    place_options,
    yes_option,
)
from penstock.cli.deploy_output import print_outputs
from penstock.cli.deploy_plan import planned
from penstock.cli.deploy_plan_view import (
    counts_in_words,
    print_changes,
    print_losses,
    steps_of,
)
from penstock.cli.deploy_progress import terraform_view
from penstock.cli.signals import stop_signals_interrupting
from penstock.provision.deployment import Deployment
from penstock.provision.terraform_events import Change


@click.command("apply", short_help="Make and change what is described.")
@yes_option
@place_options
def command(
    yes: bool,
    directory: str | None,
    environment: str | None,
    terraform_dir: str | None,
) -> None:
    """Plan, show what would change, ask, and do it.

    What would be removed or replaced is listed. If data would go with it, the name of
    the environment has to be typed: --yes is not enough for that. Ctrl-C lets Terraform
    end the step it is in; the same command then goes on from there.
    """
    place = Place(directory, environment, terraform_dir)
    deployment = place.deployment()
    variables = deployment.variables()
    with stop_signals_interrupting():
        try:
            with terraform_view() as view:
                changes = planned(place.terraform(deployment, view), view)
            if changes:
                _ask(changes, str(variables.get("environment", "")), yes=yes)
            _apply(place, deployment, changes)
        finally:
            deployment.plan_file.unlink(missing_ok=True)


def _ask(changes: list[Change], environment: str, *, yes: bool) -> None:
    print_changes([each for each in changes if each.is_loss], err=True)
    click.echo(f"penstock: {counts_in_words(changes)}", err=True)
    if print_losses(changes):
        confirm_by_name("Lose this data?", environment)
    else:
        confirm("Do it?", yes=yes)


def _apply(place: Place, deployment: Deployment, changes: list[Change]) -> None:
    """Apply, also where nothing changes: outputs may be new."""
    began = time.monotonic()
    with terraform_view() as view:
        terraform = place.terraform(deployment, view)
        total = steps_of(changes)
        if changes:
            view.begin("applying", total)
        try:
            terraform.apply(view.told)
        except KeyboardInterrupt:
            view.say(
                f"stopped after {view.done} of {total} steps; the same command goes on"
                " from there"
            )
            raise
        found = terraform.output()
    deployment.forget_kept()
    seconds = time.monotonic() - began
    click.echo(f"penstock: {counts_in_words(changes)}: done, {seconds:.0f} s", err=True)
    print_outputs(found, deployment.variables(), "table")
