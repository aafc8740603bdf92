"""Programs of others that the server runs: archive_command and restore_command.

Owns that the account which runs PostgreSQL can run such a Python program when Penstock
is root: under /root nobody else passes. Does nothing where it can, or where we are not
root; what it changes account.py logs. To be called only for who wants WAL archived.
"""

import json
import logging
import os
import subprocess
from pathlib import Path
from typing import Final

from penstock.embedded.account import (
    Account,
    choose_account,
    open_path_to,
    open_tree_to,
)
from penstock.embedded.directory import DataDirectory
from penstock.errors import EmbeddedPostgresError

logger = logging.getLogger(__name__)

# Nothing of ours may hide what the account lacks, nor a PYTHONPATH help it.
_ENVIRONMENT: Final = {"PATH": os.defpath, "LANG": "C"}
# Where a Python keeps what it needs, in its own words.
_PLACES: Final = (
    "import json, sys; print(json.dumps([sys.executable, sys.prefix, sys.base_prefix,"
    " *sys.path]))"
)
_LIMIT_SECONDS: Final = 60.0


def let_run(data_dir: Path, program: Path) -> None:
    """See that the account which runs PostgreSQL can run a Python program.

    Where it cannot, others get o+x on the directories above that Python and o+r on what
    is in it: a Python holds no secrets.

    Raises:
        EmbeddedPostgresError: it cannot, and that cannot be changed.
    """
    account = choose_account(DataDirectory.at(data_dir).pgdata)
    if account is None or not _complaint(program, account):
        return
    for place in _places_of(program):
        open_path_to(place, account)
        if place.is_dir():
            open_tree_to(place, account)
    complaint = _complaint(program, account)
    if complaint:
        raise EmbeddedPostgresError(
            f"user {account.name}, who runs PostgreSQL, cannot run {program}:"
            f" {complaint}; install barman where others may pass, and name it with"
            " backup_barman_bin"
        )


def _complaint(program: Path, account: Account) -> str:
    """Return why the account cannot run the program; nothing: it can."""
    try:
        ended = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            cwd="/",
            env=_ENVIRONMENT,
            timeout=_LIMIT_SECONDS,
            user=account.uid,
            group=account.gid,
            extra_groups=[],
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return getattr(error, "strerror", None) or str(error)
    if ended.returncode == 0:
        return ""
    lines = ended.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {ended.returncode}"


def _places_of(program: Path) -> list[Path]:
    """Return the program, its interpreter by each of its links, and its libraries."""
    first_line = program.read_bytes().split(b"\n", 1)[0].decode(errors="replace")
    interpreter = Path(first_line.removeprefix("#!").strip().split(" ")[0])
    if not first_line.startswith("#!") or not interpreter.is_file():
        return [program]
    told = subprocess.run(
        [interpreter, "-c", _PLACES],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=_ENVIRONMENT,
    )
    if told.returncode != 0:
        return [program, *_links(interpreter)]
    executable, prefix, base, *path = json.loads(told.stdout)
    libraries = [Path(each) for each in path if each and Path(each).is_dir()]
    links = [program, *_links(interpreter), Path(executable)]
    # pyvenv.cfg, and the shared library of a Python that was built with one.
    own = [Path(prefix, "pyvenv.cfg"), *Path(base, "lib").glob("libpython*")]
    return [*links, *(each for each in own if each.exists()), *libraries]


def _links(path: Path) -> list[Path]:
    """Return a path and all that it is a link to, one after another."""
    found = [path]
    while path.is_symlink():
        path = Path(os.path.normpath(path.parent / path.readlink()))
        found.append(path)
    return found
