"""`penstock deploy push`: images into the deployment's registry."""

from typing import Any

import click

from penstock import __version__
from penstock.cli.deploy_options import Place, aws_of, outputs_of, place_options
from penstock.cli.deploy_progress import terraform_view
from penstock.errors import ProvisionError, SettingsError
from penstock.provision.aws import Aws
from penstock.provision.deployment import CHECKOUT_ROOT
from penstock.provision.images import DOCKERFILE, Docker, platform_of

CHECKOUT = CHECKOUT_ROOT.parents[1]
# Target of the Dockerfile -> the output that names its repository.
REPOSITORIES = {
    "penstock": "image_repository",
    "postgres": "postgres_image_repository",
}


@click.command("push", short_help="Build the images and bring them to ECR.")
@click.option(
    "--image", metavar="REF", help="Take this image of Penstock; build nothing."
)
@click.option(
    "--only",
    type=click.Choice(list(REPOSITORIES)),
    help="One image; by default both are built.",
)
@click.option("--tag", metavar="TAG", help="By default the version of Penstock.")
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="PLATFORM",
    help="linux/arm64 or linux/amd64; by default what the instance type is.",
)
@place_options
def command(
    image: str | None,
    only: str | None,
    tag: str | None,
    platforms: tuple[str, ...],
    directory: str | None,
    environment: str | None,
    terraform_dir: str | None,
) -> None:
    """Build with docker buildx, push to the ECR repositories of the outputs.

    Prints each image by its digest. A tag is never overwritten there: the same tag
    again is refused. docker's login is valid for twelve hours.
    """
    place = Place(directory, environment, terraform_dir)
    deployment = place.deployment()
    variables = deployment.variables()
    with terraform_view() as view:
        outputs = outputs_of(place.terraform(deployment, view))
    tag = tag or str(variables.get("penstock_version") or __version__)
    targets = [only] if only else ["penstock"] if image else list(REPOSITORIES)
    if image is None and not (CHECKOUT / DOCKERFILE).exists():
        raise SettingsError(
            f"there is no {DOCKERFILE} in the installed package: run it from a clone,"
            " or give --image"
        )
    aws, docker = aws_of(variables), Docker()
    wanted = {each: _repository(outputs, each) for each in targets}
    _refuse_to_overwrite(aws, wanted, tag)
    docker.log_in(aws.registry_login())
    platforms = platforms or (platform_of(str(variables.get("instance_type", ""))),)
    for target, repository in wanted.items():
        if image is not None:
            docker.push(image, f"{repository}:{tag}")
        else:
            docker.build_and_push(CHECKOUT, target, f"{repository}:{tag}", platforms)
        click.echo(f"{repository}@{_digest(aws, repository, tag)}")


def _repository(outputs: dict[str, Any], target: str) -> str:
    name = REPOSITORIES[target]
    found = str(outputs.get(name) or "")
    if not found:
        raise ProvisionError(f"the deployment has no output {name}: deploy apply first")
    return found


def _refuse_to_overwrite(aws: Aws, wanted: dict[str, str], tag: str) -> None:
    """Raise ProvisionError where an image is there; a push may have ended half way."""
    there = {
        target: repository
        for target, repository in wanted.items()
        if aws.image_digest(repository.partition("/")[2], tag) is not None
    }
    if not there:
        return
    absent = [each for each in wanted if each not in there]
    advice = f"--only {absent[0]} brings the one that is missing; " if absent else ""
    raise ProvisionError(
        f"{next(iter(there.values()))}:{tag} is there already, and tags are not"
        f" overwritten: {advice}give another --tag{' for both' if absent else ''}"
    )


def _digest(aws: Aws, repository: str, tag: str) -> str:
    found = aws.image_digest(repository.partition("/")[2], tag)
    if found is None:
        raise ProvisionError(
            f"docker has pushed {repository}:{tag}, and the registry does not know it"
        )
    return found
