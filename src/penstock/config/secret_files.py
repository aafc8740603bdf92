"""Secrets that stand in files of their own: `shared_key_file` fills `shared_key`.

It owns what such a file may hold. A file that holds nothing is no secret that everybody
knows, but a mistake. It must not put a secret into words.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from penstock.config.values import Complain, accepted_by
from penstock.reading import read_file

FILE = "_file"
# A key of some dozen characters; a larger file is a certificate, or a log.
MAX_SECRET_BYTES = 4096


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
        secret = _read_secret(file, where(file_name), complain)
        if secret is not None:
            values[name] = secret


def _read_secret(file: str, where: str, complain: Complain) -> str | None:
    try:
        raw = read_file(file, max_bytes=MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:  # the latter: no name can be like that
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        complain(f"{where}: {file} cannot be read: {reason}")
        return None
    if len(raw) <= MAX_SECRET_BYTES and raw.endswith(b"\n"):
        raw = raw.removesuffix(b"\n").removesuffix(b"\r")
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
