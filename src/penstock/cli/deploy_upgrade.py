"""`penstock deploy upgrade`: a new image, one machine after the other."""

import contextlib

import click
import orjson

from penstock import __version__
from penstock.cli.deploy_options import Place, aws_of, outputs_of, place_options
from penstock.cli.deploy_progress import terraform_view
from penstock.cli.output import SHOWN_CONTROLS
from penstock.cli.signals import stop_signals_interrupting
from penstock.errors import ProvisionError
from penstock.provision.upgrade import (
    Asked,
    Result,
    by_digest,
    check_image,
    upgrade_all,
)

# Of what a machine says: the last lines tell how it went.
LAST_LINES = 10


@click.command("upgrade", short_help="Put a new image on each machine.")
@click.option(
    "--image",
    metavar="REF",
    help="By default this version of Penstock, from the deployment's registry.",
)
@click.option(
    "--timeout",
    type=click.IntRange(30, 3600),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="For each machine: to pull, drain (60 s), start and be healthy.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How it is written; json is one object a machine.",
)
@place_options
def command(
    image: str | None,
    timeout: int,
    output: str,
    directory: str | None,
    environment: str | None,
    terraform_dir: str | None,
) -> None:
    """Tell one machine after the other, by Systems Manager, to change its image.

    A machine drains: what it has received is committed and acked. It starts the new
    image and waits until it is healthy, else it goes back to the old one. The first
    machine that is not well ends the upgrade; those after it are not touched.

    When all are well, machines that start later start with the new image too.

    \b
    Exit status:
      0    all machines run the new image
      1    one has rolled back, or is not heard of
      3    AWS is out of reach, or lets us not
      130  Ctrl-C: the machine at work goes on, the next ones are not touched
    """
    place = Place(directory, environment, terraform_dir)
    deployment = place.deployment()
    variables = deployment.variables()
    if image is not None:
        check_image(image)
    with terraform_view() as view:
        outputs = outputs_of(place.terraform(deployment, view))
    parameter = str(outputs.get("image_parameter") or "")
    if not parameter:
        raise ProvisionError("the deployment has no output image_parameter")
    aws = aws_of(variables)
    repository = str(outputs.get("image_repository") or "")
    tag = str(variables.get("penstock_version") or __version__)
    wanted = by_digest(aws, image or f"{repository}:{tag}", repository)
    check_image(wanted)
    click.echo(f"penstock: to {wanted}", err=True)
    asked = Asked(wanted, parameter, timeout)
    done = 0
    with (
        stop_signals_interrupting(),
        contextlib.closing(upgrade_all(aws, outputs, asked, _begin)) as results,
    ):
        for result in results:
            _print(result, output)
            if not result.is_well:
                raise ProvisionError(
                    f"{result.machine}: {result.reason}; {done} upgraded before it, the"
                    " rest not touched"
                )
            done += 1
    click.echo(f"penstock: {done} upgraded; {parameter} says so", err=True)


def _begin(machine: str, command_id: str) -> None:
    click.echo(f"penstock: {machine} upgrades (command {command_id})", err=True)


def _print(result: Result, output: str) -> None:
    lines = result.last_lines[-LAST_LINES:]
    if output == "json":
        record = {
            "machine": result.machine,
            "is_well": result.is_well,
            "seconds": round(result.seconds, 1),
            "reason": result.reason,
            "last_lines": lines,
        }
        click.echo(orjson.dumps(record))
        return
    how = "upgraded" if result.is_well else f"NOT upgraded: {result.reason}"
    click.echo(f"{result.machine}  {how}  ({result.seconds:.0f} s)")
    for line in lines:
        click.echo(f"    {line}".translate(SHOWN_CONTROLS))
