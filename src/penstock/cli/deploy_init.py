"""`penstock deploy init`: a deployment's files, its state's bucket, Terraform ready.

It owns the questions and the order of the steps. Each may be done again.
"""

from pathlib import Path
from typing import Any

import click
import orjson

from penstock.cli.deploy_options import (
    Place,
    aws_of,
    is_asked_at_terminal,
    place_options,
)
from penstock.cli.deploy_progress import View, terraform_view
from penstock.cli.signals import stop_signals_interrupting
from penstock.errors import ProvisionError, SettingsError
from penstock.provision.aws import Aws
from penstock.provision.deployment import (
    Deployment,
    begun_deployments,
    check_names,
    find_root,
    problems_of,
)
from penstock.provision.state import backend, bucket_name, place_in

_ASKED = {
    "region": "AWS region (such as eu-central-1)",
    "environment": "Environment (such as production)",
    "alert_email": "E-mail address for alarms",
}
# What is given to begin a deployment, rather than to change one.
_BEGIN = frozenset({"region", "alert_email", "endpoint"})


@click.command("init", short_help="Begin a deployment: its files, its state's bucket.")
@click.option("--region", metavar="REGION", help="Such as eu-central-1.")
@click.option("--alert-email", metavar="ADDRESS", help="Who gets the alarms.")
@click.option(
    "--var-file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Variables of the root, as `penstock deploy size --write` writes them.",
)
@click.option(
    "--var",
    "variables",
    metavar="NAME=VALUE",
    multiple=True,
    help="One variable of the root; a number, true, false or a list as JSON has it.",
)
@click.option(
    "--existing-state",
    is_flag=True,
    help="Leave the state's bucket as it is: for pipelines, which may only read it.",
)
@click.option(
    "--endpoint", metavar="URL", help="Another address of AWS's APIs, for trying out."
)
@place_options
def command(
    region: str | None,
    alert_email: str | None,
    var_file: str | None,
    variables: tuple[str, ...],
    existing_state: bool,
    endpoint: str | None,
    directory: str | None,
    environment: str | None,
    terraform_dir: str | None,
) -> None:
    """Make a directory for a deployment, and get everything ready for plan and apply.

    Region, environment and e-mail address are asked for where they are not given. The
    state of Terraform goes to a bucket of the account, which is made: versioned,
    encrypted, by TLS only, and locked while somebody is at work. AWS credentials are
    found as every AWS program finds them, and stored nowhere.

    Given again it goes on from where it was, and changes what is given.

    \b
    Examples:
      penstock deploy init --region eu-central-1 -e production \\
        --alert-email me@example.org
      penstock deploy init --var-file production.tfvars.json
      penstock deploy init --var retention_days=7
    """
    given: dict[str, Any] = dict(_parsed(each) for each in variables)
    flags = {
        "region": region,
        "environment": environment,
        "alert_email": alert_email,
        "endpoint": endpoint,
    }
    given |= {name: value for name, value in flags.items() if value is not None}
    place = Place(directory, environment, terraform_dir)
    deployment, chosen = _chosen(place, given, var_file)
    check_names(find_root(terraform_dir), chosen)
    with stop_signals_interrupting(), terraform_view() as view:
        _init(place, deployment, chosen, view, existing_state=existing_state)
    click.echo(f"penstock: ready in {deployment.directory}", err=True)
    click.echo("penstock: next, penstock deploy plan", err=True)


def _parsed(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise SettingsError(f"--var {text!r}: it is given as NAME=VALUE")
    try:
        return name, orjson.loads(value)
    except orjson.JSONDecodeError:
        return name, value


def _chosen(
    place: Place, given: dict[str, Any], var_file: str | None
) -> tuple[Deployment, dict[str, Any]]:
    """Return the deployment and its variables: as they were, by file, by flag, asked.

    Raises:
        SettingsError: one is missing, and nobody is there to ask; or is none.
    """
    by_file = _variables_in(var_file)
    known = by_file | given
    if place.directory is not None and Deployment(Path(place.directory)).is_there():
        known = Deployment(Path(place.directory)).variables() | known
    elif place.environment is None and "environment" in known:
        place = place._replace(environment=str(known["environment"]))
    elif "environment" not in known and _BEGIN.isdisjoint(known) and known:
        # It changes what is there, so the environment goes without saying if it can.
        if begun_deployments():
            known = place.deployment().variables() | known
            place = place._replace(environment=str(known["environment"]))
    if "environment" not in known:
        known |= _asked(["environment"])
        place = place._replace(environment=str(known["environment"]))
    deployment = place.deployment()
    if deployment.is_there():
        known = deployment.variables() | known
    known |= _asked([name for name in _ASKED if not known.get(name)])
    problems = problems_of(*(str(known[name]) for name in _ASKED))
    if problems:
        raise SettingsError(*problems)
    return deployment, known


def _asked(names: list[str]) -> dict[str, str]:
    if names and not is_asked_at_terminal():
        flags = ", ".join("--" + name.replace("_", "-") for name in names)
        raise SettingsError(f"not given: {flags}")
    try:
        return {name: click.prompt(_ASKED[name], err=True).strip() for name in names}
    except click.Abort:
        raise KeyboardInterrupt from None


def _variables_in(var_file: str | None) -> dict[str, Any]:
    """Return the variables of a file.

    Raises:
        SettingsError: it is not what `deploy size` writes, or a person in its place.
    """
    if var_file is None:
        return {}
    try:
        found = orjson.loads(Path(var_file).read_bytes())
    except orjson.JSONDecodeError as error:
        raise SettingsError(f"--var-file {var_file} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"--var-file {var_file} is no JSON object")
    return found


def _init(
    place: Place,
    deployment: Deployment,
    variables: dict[str, Any],
    view: View,
    *,
    existing_state: bool,
) -> None:
    terraform = place.terraform(deployment, view)
    version = terraform.check_version()
    aws = aws_of(variables)
    view.begin("asking AWS whose credentials these are")
    account = aws.account_id()
    view.say(f"Terraform {version}, AWS account {account}, region {aws.region}")
    name = str(variables.get("name", "penstock"))
    endpoint = str(variables.get("endpoint", ""))
    bucket = bucket_name(name, account, aws.region)
    environment = str(variables["environment"])
    settings = backend(bucket, name, environment, aws.region, endpoint)
    _refuse_to_forget(deployment, settings, endpoint)
    deployment.write_variables(variables)
    is_new = _see_to_state(aws, bucket, account, existing_state=existing_state)
    view.say(f"Terraform's state: s3://{bucket}" + (" (new)" if is_new else ""))
    deployment.write_backend(settings)
    view.begin("getting Terraform's providers")
    terraform.init(view.told)


def _refuse_to_forget(deployment: Deployment, settings: str, endpoint: str) -> None:
    """See that no other state takes the place of one that knows of resources.

    Raises:
        ProvisionError: it does, or cannot be read.
    """
    before, now = place_in(deployment.backend()), place_in(settings)
    if before is None or now is None or before == now:
        return
    known = Aws(before.region, endpoint).count_in_state(before.bucket, before.key)
    if known:
        raise ProvisionError(
            f"{deployment.directory} has {known} resources in its state {before.url};"
            f" with that region and account it would be {now.url}, which does not know"
            " them. For another deployment give another --environment, or --dir; to"
            " move this one, penstock deploy destroy comes first"
        )


def _see_to_state(aws: Aws, bucket: str, owner: str, *, existing_state: bool) -> bool:
    """Have the bucket of the state; return whether it is new.

    Raises:
        ProvisionError: it has to be there, and is not.
    """
    if not existing_state:
        return aws.make_state_bucket(bucket, owner)
    if not aws.has_bucket(bucket, owner):
        raise ProvisionError(
            f"there is no bucket {bucket}, and --existing-state makes none"
        )
    return False
