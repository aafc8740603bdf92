"""`penstock deploy destroy`: remove the machines, and the data only when told twice."""

from typing import Any

import click

from penstock.cli.deploy_options import (
    Place,
    aws_of,
    confirm_by_name,
    is_asked_at_terminal,
    place_options,
)
from penstock.cli.deploy_progress import View, terraform_view
from penstock.cli.output import SHOWN_CONTROLS
from penstock.cli.signals import stop_signals_interrupting
from penstock.errors import PenstockError, ProvisionError
from penstock.provision.deployment import Deployment
from penstock.provision.terraform import Terraform


@click.command("destroy", short_help="Remove it; data stays unless told twice.")
@click.option(
    "-y", "--yes", is_flag=True, help="Do not ask; it does not cover --delete-data."
)
@click.option(
    "--delete-data",
    is_flag=True,
    help="Logs and backups too; keep_data_on_destroy=false has to be applied before.",
)
@place_options
def command(
    yes: bool,
    delete_data: bool,
    directory: str | None,
    environment: str | None,
    terraform_dir: str | None,
) -> None:
    """Remove what apply has made.

    Volumes and buckets with data stay, and are listed with how to remove them. To
    remove them as well takes two words: the variable keep_data_on_destroy=false,
    applied, and --delete-data, after which the name is typed again.
    """
    place = Place(directory, environment, terraform_dir)
    deployment = place.deployment()
    variables = deployment.variables()
    name = str(variables.get("environment", ""))
    with stop_signals_interrupting():
        with terraform_view() as view:
            terraform = place.terraform(deployment, view)
            outputs = terraform.output()
            there = terraform.resources()
        kept = _kept(deployment, outputs, there)
        going = [each for each in there if each not in kept]
        if not going:
            raise ProvisionError("there is nothing to remove")
        _ask(name, going, kept, yes=yes, delete_data=delete_data)
        deployment.write_kept(kept)
        with terraform_view() as view:
            terraform = place.terraform(deployment, view)
            if delete_data:
                _empty(outputs, variables, view)
            try:
                _remove(terraform, view, going, kept)
            finally:
                deployment.plan_file.unlink(missing_ok=True)
            _tell_kept(terraform, view, kept)
    click.echo(f"penstock: {name} is removed, {len(going)} resources", err=True)


def _kept(
    deployment: Deployment, outputs: dict[str, Any], there: list[str]
) -> list[str]:
    """Return the addresses that stay.

    A removal that was interrupted may have taken the output that says so with it, so
    it is written down before one begins.

    Raises:
        ProvisionError: nobody knows what holds data.
    """
    named = outputs.get("kept_on_destroy")
    if named is None:
        named = deployment.kept()
    if named is None:
        raise ProvisionError(
            "nothing is deployed here, or not to its end: penstock deploy apply first,"
            " so that it is known what holds data"
        )
    return [each for each in there if _is_of(each, [str(one) for one in named])]


def _is_of(address: str, kept: list[str]) -> bool:
    """Return whether an address is one of those kept, or an instance of one."""
    return any(
        address == each or address.startswith((f"{each}[", f"{each}.")) for each in kept
    )


def _ask(
    name: str, going: list[str], kept: list[str], *, yes: bool, delete_data: bool
) -> None:
    if not (yes or is_asked_at_terminal()):
        raise PenstockError(
            "nothing was changed: there is no terminal to ask at; --yes says yes"
        )
    if delete_data and kept:
        raise ProvisionError(
            "--delete-data is the second word. The first: set"
            f" keep_data_on_destroy to false (penstock deploy init -e {name} --var"
            " keep_data_on_destroy=false) and penstock deploy apply"
        )
    for sign, addresses in (("  -", going), ("  =", kept)):
        for each in addresses:
            click.echo(f"{sign} {each}".translate(SHOWN_CONTROLS), err=True)
    click.echo(
        f"penstock: {len(going)} resources would be removed (-), {len(kept)} kept (=)",
        err=True,
    )
    if not yes:
        confirm_by_name(f"Remove {name}?", name)
    if delete_data:
        click.secho(
            "penstock: all logs, backups and passwords would go as well, for good",
            err=True,
            fg="red",
            bold=True,
        )
        confirm_by_name(f"Delete the data of {name}?", name)


def _empty(outputs: dict[str, Any], variables: dict[str, Any], view: View) -> None:
    """Empty the bucket of backups: AWS removes no bucket that holds something."""
    store = str(outputs.get("backup_store") or "").removeprefix("s3://")
    bucket = store.partition("/")[0]
    if bucket:
        removed = aws_of(variables).empty_bucket(bucket)
        view.say(f"s3://{bucket} emptied, {removed:,} objects")


def _remove(
    terraform: Terraform, view: View, going: list[str], kept: list[str]
) -> None:
    """Remove what goes, and leave in Terraform's state what stays.

    So a later apply goes on with the same data and the same passwords.

    Raises:
        ProvisionError: Terraform would take something with it that stays.
    """
    view.begin("planning the removal")
    terraform.plan_removal(view.told, going if kept else ())
    lost = sorted({each.address for each in view.changes if each.is_loss} & {*kept})
    if lost:
        raise ProvisionError(
            f"nothing was removed: {', '.join(lost)} would go as well, and is to stay"
        )
    view.begin("removing", len(view.changes))
    try:
        terraform.apply(view.told)
    except KeyboardInterrupt:
        view.say(
            f"stopped after {view.done} of {view.total}; the same command goes on from"
            " there"
        )
        raise


def _tell_kept(terraform: Terraform, view: View, kept: list[str]) -> None:
    """Say what is still there, what it is called, and how somebody removes it."""
    if not kept:
        return
    identities = terraform.identities()
    for each in kept:
        kind, identity = identities.get(each, ("", ""))
        how = how_to_remove(kind, identity)
        if how:  # the rest are rules that belong to these
            view.say(f"kept: {each} {identity}; to remove it: {how}")
    view.say("penstock deploy apply goes on with what is kept")


def how_to_remove(kind: str, identity: str) -> str:
    """Return how somebody removes a thing that was kept; empty if it is none itself."""
    return {
        "aws_ebs_volume": f"aws ec2 delete-volume --volume-id {identity}",
        "aws_s3_bucket": "empty it in S3's console, with all versions, and"
        f" aws s3 rb s3://{identity}",
        "aws_db_instance": f"aws rds delete-db-instance --db-instance-identifier"
        f" {identity}",
        "aws_secretsmanager_secret": f"aws secretsmanager delete-secret --secret-id"
        f" {identity} (its name is free again after 30 days)",
        "aws_ecr_repository": f"aws ecr delete-repository --force --repository-name"
        f" {identity}",
    }.get(kind, "")
