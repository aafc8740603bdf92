"""`penstock deploy plan`: what apply would do."""

import click

from penstock.cli.deploy_options import Place, place_options
from penstock.cli.deploy_plan_view import (
    counts_in_words,
    print_changes,
    print_changes_as_json,
    print_losses,
)
from penstock.cli.deploy_progress import View, terraform_view
from penstock.cli.signals import stop_signals_interrupting
from penstock.provision.terraform import Terraform
from penstock.provision.terraform_events import Change


@click.command("plan", short_help="Say what apply would do.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How it is written; json is one object a change.",
)
@place_options
def command(
    output: str,
    directory: str | None,
    environment: str | None,
    terraform_dir: str | None,
) -> None:
    """Compare what is described with what is there; change nothing.

    What would lose data is said apart: a data volume, a database or a bucket that is
    replaced or removed.
    """
    place = Place(directory, environment, terraform_dir)
    deployment = place.deployment()
    deployment.variables()
    with stop_signals_interrupting():
        try:
            with terraform_view() as view:
                changes = planned(place.terraform(deployment, view), view)
        finally:
            deployment.plan_file.unlink(missing_ok=True)
    if output == "json":
        print_changes_as_json(changes)
    else:
        print_changes(changes)
        click.echo(counts_in_words(changes))
    print_losses(changes)


def planned(terraform: Terraform, view: View) -> list[Change]:
    """Return the changes of a plan, which is left in its file for apply."""
    view.begin("planning")
    terraform.plan(view.told)
    return view.changes
