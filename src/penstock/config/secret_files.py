"""Secrets that stand in files of their own: `shared_key_file` fills `shared_key`.

It owns what such a file may hold. A file that holds nothing is no secret that everybody
knows, but a mistake. Of a database's URL the password alone may stand in a file, which
the URL names. It must not put a secret into words.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any
from urllib.parse import quote, unquote

from penstock.config.values import Complain, accepted_by
from penstock.errors import SettingsError
from penstock.reading import read_file

FILE = "_file"
# A key of some dozen characters; a larger file is a certificate, or a log.
MAX_SECRET_BYTES = 4096
# In a URL, as libpq's `passfile`, `sslkey` and `sslrootcert` are.
PASSWORD_FILE = "password_file"


def fill_secrets(
    kind: type, values: dict[str, Any], where: Callable[[str], str], complain: Complain
) -> None:
    """Read the files of the secrets in `values`, which are settings of `kind`.

    `where` says what the place of a setting is called.
    """
    for each in fields(kind):
        name, file_name = each.name, each.name + FILE
        file = values.get(file_name)
        if not accepted_by(each).secret or not file:
            continue
        if values.get(name):
            complain(
                f"{where(file_name)}: {name} is given too; only one of them may be"
            )
            continue
        secret = read_secret(
            file,
            where(file_name),
            complain,
            may_be_empty=accepted_by(each).file_may_be_empty,
        )
        if secret is not None:
            values[name] = secret


def fill_password(url: str, where: str, complain: Complain) -> str:
    """Return a database's URL with the password of the file that it names, if any.

    `?password_file=/run/secrets/owner` stands for the password that the file holds, so
    that the rest of a URL may be seen, and be put together of parts that may.
    """
    before, question, query = url.partition("?")
    parameters = query.split("&") if question else []
    named = [each for each in parameters if each.startswith(f"{PASSWORD_FILE}=")]
    if not named:
        return url
    place = f"{where}: {PASSWORD_FILE}"
    scheme, _, rest = before.partition("://")
    login, at, host = rest.rpartition("@")
    has_password = ":" in login or any(
        each.startswith("password=") for each in parameters
    )
    if has_password or len(named) > 1:
        complain(f"{place}: the URL has a password besides; only one of them may be")
        return url
    file = unquote(named[0].partition("=")[2])
    if not file:
        complain(f"{place} names no file")
        return url
    password = read_secret(file, place, complain)
    if password is None:
        return url
    quoted = quote(password, safe="", errors="surrogateescape")
    others = [each for each in parameters if each not in named]
    if at:
        before = f"{scheme}://{login}:{quoted}@{host}"
    else:
        others.append(f"password={quoted}")
    return before + ("?" + "&".join(others) if others else "")


def read_secret(
    file: str, where: str, complain: Complain, *, may_be_empty: bool = False
) -> str | None:
    """Return what a file holds, without its line end; None after a complaint.

    Args:
        may_be_empty: an empty file is no mistake, and no secret: also None.
    """
    try:
        raw = read_file(file, max_bytes=MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:  # the latter: no name can be like that
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        complain(f"{where}: {file} cannot be read: {reason}")
        return None
    if len(raw) <= MAX_SECRET_BYTES and raw.endswith(b"\n"):
        raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    if not raw.strip() and may_be_empty:
        return None
    if not raw.strip():
        complain(f"{where}: {file} is empty")
    elif len(raw) > MAX_SECRET_BYTES:
        complain(f"{where}: {file} is longer than {MAX_SECRET_BYTES} bytes")
    elif b"\n" in raw or b"\0" in raw:
        # As the key it would be, nobody who was told the key would get in.
        complain(f"{where}: {file} holds more than one line of text")
    else:
        return raw.decode(errors="surrogateescape")
    return None


def secret_of(file: str, where: str) -> str:
    """Return the secret that a file holds, and a line end at most.

    Raises:
        SettingsError: it is of no use; `where` names what it was given by.
    """
    problems: list[str] = []
    secret = read_secret(file, where, problems.append)
    if secret is None:
        raise SettingsError(*problems)
    return secret


def with_password(url: str, where: str) -> str:
    """Return a URL given by a flag with the password of the file that it names.

    Raises:
        SettingsError: that file is of no use.
    """
    problems: list[str] = []
    filled = fill_password(url, where, problems.append)
    if problems:
        raise SettingsError(*problems)
    return filled
