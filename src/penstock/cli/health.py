"""`penstock health`: asks the server beside it how it is, for a container's probe.

It owns the question and what the answer means to a shell. It must not look at anything
itself: what healthy is only the server knows.
"""

import http.client
import socket
import sys

import click
import orjson

from penstock import config
from penstock.cli.database import config_file_option
from penstock.errors import UnavailableError
from penstock.http.token import tokens_of
from penstock.settings import HttpSettings

# A probe comes every few seconds, and a server that does not answer by then is none
# that senders should be sent to.
TIMEOUT_SECONDS = 3.0
# Listening on all addresses it listens on this one too.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@click.command("health", short_help="Ask the server on this machine how it is.")
@click.option(
    "--live", is_flag=True, help="Only whether the process lives, as /health says."
)
@config_file_option
def command(live: bool, config_file: str | None) -> None:
    """Ask the server on this machine, or in this container, whether it takes senders.

    It asks /ready at the address, port and with a token that `serve` has from the
    same environment and file. For the health check of a container, whose image has no
    curl.

    Exit status: 0 if it is ready, 1 if it is not, with the reasons, 3 if nobody
    answers.
    """
    flags = {config.CONFIG_FILE: config_file}
    settings = config.load_settings("", flags, ("http",)).http
    status, body = _ask(settings, "/health" if live else "/ready")
    click.echo(body.strip())
    sys.exit(0 if status == http.client.OK else 1)


def _ask(settings: HttpSettings, path: str) -> tuple[int, str]:
    """Return the status and the words of the answer.

    Raises:
        UnavailableError: nobody answers there, or not as Penstock does.
    """
    host = _LOOPBACK.get(settings.http_host, settings.http_host)
    headers = {}
    # Any of them opens /ready: the one that opens least will do.
    tokens = [*tokens_of(settings).values()]
    if tokens:
        headers["Authorization"] = f"Bearer {tokens[-1]}"
    place = f"http://{host}:{settings.http_port}{path}"
    connection = http.client.HTTPConnection(
        host, settings.http_port, timeout=TIMEOUT_SECONDS
    )
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, _in_words(answer.read())
    except (OSError, http.client.HTTPException, socket.gaierror) as error:
        reason = getattr(error, "strerror", None) or str(error) or "no answer"
        raise UnavailableError(f"nobody answers at {place}: {reason}") from error
    finally:
        connection.close()


def _in_words(body: bytes) -> str:
    """Return an answer in one line: the status, then the reasons if there are any."""
    try:
        answer = orjson.loads(body)
        reasons = answer.get("reasons", [])
        return ": ".join([answer["status"], *(["; ".join(reasons)] if reasons else [])])
    except (ValueError, KeyError, TypeError, AttributeError):
        return body.decode(errors="replace")
