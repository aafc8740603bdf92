"""Make one file of each key of the secret: JSON on stdin, a directory as the argument.

It owns the files' names, owners and modes, and must not print a value. Runs with the
system's Python (3.9 on Amazon Linux 2023) and nothing else.
"""

import json
import os
import re
import secrets
import sys
from pathlib import Path

REQUIRED = (
    "postgres_password",
    "owner_password",
    "writer_password",
    "reader_password",
    "shared_key",
    "http_token",
    "grafana_password",
)
# A file for each is mounted into a container, so it is there, be it empty.
OPTIONAL = ("anthropic_api_key",)
# What reads Penstock's metrics is on this machine: where the secret has no token for it
# the machine makes one, and nothing else has to know it.
OWN = "metrics_token"
# The group of the user in the image.
GROUP = 10001


def _parsed(text: str) -> "dict[str, str]":
    try:
        secret = json.loads(text)
    except (ValueError, RecursionError):
        sys.exit("the secret is not JSON")
    if not isinstance(secret, dict):
        sys.exit("the secret is not a JSON object")
    for key, value in secret.items():
        # A key is a file's name, for which 255 bytes are the most.
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", key):
            sys.exit(f"the secret has a key that is no name: {key!r}")
        if not isinstance(value, str):
            sys.exit(f"the secret's {key} is not a string")
        # Half of a surrogate pair: JSON can write it, and no file.
        if any("\ud800" <= sign <= "\udfff" for sign in value):
            sys.exit(f"the secret's {key} is not Unicode")
    missing = [key for key in REQUIRED if not secret.get(key)]
    if missing:
        sys.exit(f"the secret has no {', '.join(missing)}")
    return {**dict.fromkeys(OPTIONAL, ""), **secret}


def _written(path: Path, value: str) -> Path:
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(value)
        if os.geteuid() == 0:
            os.fchown(descriptor, 0, GROUP)
        os.fchmod(descriptor, 0o440)
    return new


def main(directory: Path) -> None:
    """Write all, put them in place, and remove what is no key any more."""
    secret = _parsed(sys.stdin.read())
    if not secret.get(OWN):
        before = directory / OWN
        kept = before.read_text(encoding="utf-8") if before.exists() else ""
        secret[OWN] = kept or secrets.token_urlsafe(24)
    new = {key: _written(directory / key, value) for key, value in secret.items()}
    for key, path in new.items():
        path.replace(directory / key)
    for path in directory.iterdir():
        if path.name not in secret:
            path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
