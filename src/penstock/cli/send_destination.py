"""Where `penstock send` sends to, and how it gets in there: the options for that.

Owns these options and what is made of them. Must not connect.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from penstock.cli.server_options import config_option
from penstock.config import flag_name, password_in, setting_value, shared_key
from penstock.net.certificates import PemFile, sender_context
from penstock.net.client_link import Destination, Login

Command = TypeVar("Command", bound=Callable[..., Any])

_FILE = click.Path(dir_okay=False)
_OPTIONS = (
    click.option("--host", default="127.0.0.1", help="Host name or address."),
    click.option(
        "--port",
        metavar="PORT",
        type=click.IntRange(1, 65535),
        help="Port to send to.  [default: PENSTOCK_PORT, else the file's, else 24224]",
    ),
    config_option,
    click.option(
        "--tls",
        is_flag=True,
        help="Speak TLS; the server's certificate has to be HOST's.",
    ),
    click.option(
        "--tls-ca-file",
        metavar="FILE",
        type=_FILE,
        help="CAs, as PEM, one of which the server's certificate is from.  [default:"
        " those of the system]",
    ),
    click.option(
        "--tls-certificate-file",
        metavar="FILE",
        type=_FILE,
        help="Our own certificate, as PEM, for a server that asks for one (mTLS).",
    ),
    click.option(
        "--tls-key-file",
        metavar="FILE",
        type=_FILE,
        help="Its private key, as PEM.  [default: in the certificate's file]",
    ),
    click.option(
        "--shared-key-file",
        metavar="FILE",
        type=_FILE,
        help="The key that the server asks for.  [default: as for `penstock serve`:"
        " PENSTOCK_SHARED_KEY, the file that PENSTOCK_SHARED_KEY_FILE names, --config]",
    ),
    click.option("--user", metavar="NAME", help="The user that the server asks for."),
    click.option(
        "--password-file", metavar="FILE", type=_FILE, help="The user's password."
    ),
)


def destination_options(command: Command) -> Command:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def destination(
    *,
    host: str,
    port: int | None,
    config: str | None,
    tls: bool,
    **options: str | None,
) -> Destination:
    """Return what these options mean.

    Raises:
        UsageError: one needs another.
        SettingsError: a file does not hold what it should.
    """
    files = ("tls_ca_file", "tls_certificate_file", "tls_key_file")
    trusted, certificate, key = (
        PemFile(flag_name(name), options[name] or "") for name in files
    )
    if not tls and (given := [each for each in (trusted, certificate, key) if each[1]]):
        raise click.UsageError(f"{given[0].setting} needs --tls")
    return Destination(
        host=host,
        port=port or setting_value("port", config_file=config),
        tls=sender_context(trusted, certificate, key) if tls else None,
        login=_login(
            shared_key(options["shared_key_file"], config),
            options["user"],
            options["password_file"],
        ),
    )


def _login(key: str, user: str | None, password_file: str | None) -> Login | None:
    if (user is None) != (password_file is None):
        raise click.UsageError("--user and --password-file need each other")
    if not key:
        if user is not None:
            raise click.UsageError("--user needs --shared-key-file")
        return None
    password = "" if password_file is None else password_in(password_file)
    return Login(
        shared_key=key.encode(errors="surrogateescape"),
        user=user or "",
        password=password,
    )
