"""What `penstock up` says when it is ready: where things are, and what to try first.

It owns that each line works as it stands, in a shell of another terminal; what would
not is left out. It must not show a secret.
"""

import shlex
import sys
from pathlib import Path

import click

from penstock import __version__, app
from penstock.cli.guards import Guard, before_port, guards, places_told
from penstock.config import Configuration
from penstock.embedded import default_data_dir
from penstock.errors import SettingsError
from penstock.net.certificates import certificate_shown
from penstock.net.rules import Rules
from penstock.settings import Settings

# What a newcomer wants to see, quick in a large table too: the one index is on ts.
FIRST_QUERY = (
    "select ts, tag, message from logs"
    " where ts > now() - interval '15 minutes' order by ts desc limit 5"
)
# How another sender logs in, or speaks TLS, takes more than a line.
SEE = "How senders are to be set up here is in docs/security.md.\n\n"


def print_ready(
    listening: app.Listening,
    configuration: Configuration,
    database_url: str,
    data_dir: Path,
) -> None:
    """Print where things are and what to try first, as lines for a shell."""
    settings = configuration.settings
    told = places_told(settings, listening.host, listening.port, listening.others)
    width = max(len(place) for place, _ in told)
    places = [f"{place:{width}}   {asked}".rstrip() for place, asked in told]
    http = f"{before_port(listening.http_host)}:{listening.http_port}"
    directory = data_dir.resolve()
    is_default = directory == default_data_dir()
    where = "" if is_default else f" --data-dir {shlex.quote(str(directory))}"
    query = f'{this_program()} sql{where} "{FIRST_QUERY}"'
    before, after = _sending(listening, configuration)
    lines = [*before, query, f"psql {shlex.quote(database_url)}", *after]
    click.echo(f"""\
Penstock {__version__} is ready.

  forward protocol  {f"{chr(10)}{'':20}".join(places)}
  database          {database_url}
  metrics           http://{http}/metrics
  data directory    {directory}

Try it, in another terminal:

{chr(10).join(f"  {line}" for line in lines)}

{"" if after else SEE}Ctrl-C stops both.
""")


def this_program() -> str:
    """Return the words that started this program, as a shell takes them."""
    program = sys.argv[0]
    if program.endswith("__main__.py"):
        return f"{shlex.quote(sys.executable)} -m penstock"
    return shlex.quote(program)


def _sending(
    listening: app.Listening, configuration: Configuration
) -> tuple[list[str], list[str]]:
    """Return the lines that send: those before the query, and those at the end."""
    # A wildcard address is for listening, not for connecting.
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listening.host, listening.host)
    guard = guards(configuration.settings)[0]
    login = _login(configuration, guard, here)
    host = _name_for_tls(configuration.settings, here) if guard.has_tls else here
    words = [] if host == "127.0.0.1" else ["--host", host]
    # With --config, the file's port would be the one.
    if listening.port != 24224 or "--config" in (login or ()):
        words += ["--port", str(listening.port)]
    words += ["--tls"] if guard.has_tls else []
    words += login or []
    send = f"echo 'hello' | {this_program()} {shlex.join(['send', *words])}"
    if not guard.asked and login is not None:
        port = listening.port
        return [send], [f"fluent-bit -i cpu -o forward -p host={here} -p port={port}"]
    return ([] if login is None else [send]), []


def _login(configuration: Configuration, guard: Guard, here: str) -> list[str] | None:
    """Return the flags to get in by, from this machine; None: flags are not enough."""
    security = configuration.settings.security
    if "client certificate" in guard.proofs:
        return None
    access = Rules(security).access_of(here)
    if access.is_denied:
        return None
    if not guard.proofs:
        return []
    # A network's own key, or the empty one, stands in none of the places below.
    key = security.shared_key.encode(errors="surrogateescape")
    if not key or access.credentials.shared_key != key:
        return None
    words = _key_flags(configuration)
    if words is None or not security.users:
        return words
    user = next((each for each in security.users if each.password_file), None)
    if user is None or access.credentials.allowed_users is not None:
        return None
    file = str(Path(user.password_file).absolute())
    return [*words, "--user", user.name, "--password-file", file]


def _key_flags(configuration: Configuration) -> list[str] | None:
    """Return how `penstock send` comes by the key that is ours."""
    name, file = configuration.file, configuration.settings.security.shared_key_file
    given = (configuration.origins.get(f"shared_key{each}") for each in ("", "_file"))
    if name and any(each and each.startswith(f"{name}:") for each in given):
        # A path in it is meant from here, which need not be where the other one is.
        if not file or Path(file).is_absolute():
            return ["--config", str(Path(name).absolute())]
    return ["--shared-key-file", str(Path(file).absolute())] if file else None


def _name_for_tls(settings: Settings, here: str) -> str:
    """Return by which name the certificate is for the place that is `here`."""
    try:
        names = certificate_shown(settings.tls).get("subjectAltName", ())
    except SettingsError:  # no client would take it, which the log has
        return here
    if here in (value for _, value in names):
        return here
    plain = (value for kind, value in names if kind == "DNS" and "*" not in value)
    return next(plain, here)
