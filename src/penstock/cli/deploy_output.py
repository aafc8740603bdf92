"""`penstock deploy output`: what the deployment is called, and how to send to it."""

from typing import Any

import click
import orjson

from penstock.cli.deploy_options import Place, outputs_of, place_options
from penstock.cli.deploy_progress import terraform_view
from penstock.cli.output import print_table

# The machine's own, where the secret has none (deploy/instance/secrets.sh).
CERTIFICATE = "/data/tls/server.crt"
# For destroy; a thousand characters that nobody reads.
_OURS = "kept_on_destroy"


@click.command("output", short_help="Say where it is and how to send to it.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How it is written; json is one object.",
)
@place_options
def command(
    output: str,
    directory: str | None,
    environment: str | None,
    terraform_dir: str | None,
) -> None:
    """Print addresses, names and ids of what was made. No secret is among them.

    Passwords are in Secrets Manager; the table ends with how to read them there and the
    server's certificate on the machine, and with an output for Fluent Bit that sends
    here.
    """
    place = Place(directory, environment, terraform_dir)
    deployment = place.deployment()
    variables = deployment.variables()
    with terraform_view() as view:
        found = outputs_of(place.terraform(deployment, view))
    print_outputs(found, variables, output)


def print_outputs(
    found: dict[str, Any], variables: dict[str, Any], output: str
) -> None:
    """Print the outputs, as a table with a word on how to send."""
    if output == "json":
        click.echo(orjson.dumps(found))
        return
    rows = [
        (name, _text(value)) for name, value in sorted(found.items()) if name != _OURS
    ]
    print_table(("output", "value"), rows, quiet=True, has_ids=True)
    endpoint = str(found.get("forward_endpoint") or "")
    if endpoint:
        click.echo("\n".join(_how_to_send(endpoint, found, variables)))


def _certificate(found: dict[str, Any], region: str) -> list[str]:
    """Return how the certificate is read that senders may verify the server by."""
    if found.get("autoscaling_group_name"):
        return [
            "Each receiver makes a certificate of its own: to verify them put",
            "tls_certificate and tls_private_key into the secret.",
        ]
    machine = next(iter(found.get("instance_ids") or ()), "")
    if not machine:
        return []
    read_it = (
        f"  aws ssm start-session --region {region} --target {machine} --document-name"
        f" AWS-StartInteractiveCommand --parameters command='sudo cat {CERTIFICATE}'"
    )
    return ["The server's certificate, for tls.ca_file:", read_it]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _how_to_send(
    endpoint: str, found: dict[str, Any], variables: dict[str, Any]
) -> list[str]:
    host, _, port = endpoint.rpartition(":")
    group = found.get("application_security_group_id")
    member = f", from a machine in the security group {group}" if group else ""
    read_key = (
        f"  aws secretsmanager get-secret-value --region {variables.get('region')}"
        f" --secret-id {found.get('secret_arn')}"
        " --query SecretString --output text | jq -r .shared_key"
    )
    return [
        "",
        f"Point your Fluent Bit here{member}:",
        "",
        "pipeline:",
        "  outputs:",
        "    - name: forward",
        "      match: '*'",
        f"      host: {host}",
        f"      port: {port}",
        "      tls: on",
        "      tls.verify: off   # or tls.ca_file with the certificate of the server",
        "      shared_key: ${PENSTOCK_SHARED_KEY}",
        "      self_hostname: ${HOSTNAME}",
        "      require_ack_response: true",
        "      retry_limit: no_limits",
        "",
        "The shared key, for whoever may read the secret:",
        read_key,
        "",
        *_certificate(found, str(variables.get("region"))),
    ]
