"""Who runs PostgreSQL when Penstock is root, since PostgreSQL refuses to run as root.

Owns the system user and the rights on files that it needs. Widens nothing beyond what
that user must pass or read, and logs each change. Does nothing unless we are root.
"""

import logging
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock.errors import EmbeddedPostgresError

logger = logging.getLogger(__name__)

_SYSTEM_USER: Final = "penstock"

_READ, _TRAVERSE = 4, 1  # as one digit of a mode


@dataclass(frozen=True, slots=True)
class Account:
    """The user that PostgreSQL runs as in place of root."""

    name: str
    uid: int
    gid: int


def choose_account(pgdata: Path) -> Account | None:
    """Whom PostgreSQL runs as; None for ourselves, when we are not root.

    Root over a user's database (`sudo penstock sql`) acts as that user: files of
    another owner would lock the user out of it.
    """
    if os.geteuid() != 0:
        return None
    for path in (pgdata, pgdata.parent):
        if path.exists() and (status := path.stat()).st_uid != 0:
            return _account_of(status.st_uid, status.st_gid)
    return _system_account()


def give(path: Path, account: Account | None) -> None:
    """Make `account` the owner of one of our own files."""
    if account is not None:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def keep_owner(fd: int, directory: Path) -> None:
    """Give a file that root opened in a user's directory to that user."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)


def give_tree(tree: Path, account: Account | None) -> None:
    """Make `account` the owner of a whole directory of ours."""
    give(tree, account)
    for directory, names, files in os.walk(tree):
        for name in (*names, *files):
            give(Path(directory, name), account)


def open_path_to(path: Path, account: Account) -> None:
    """Let `account` traverse the parents of `path`: o+x where it lacks that, only."""
    for parent in reversed(path.parents):
        if _grant(parent, _TRAVERSE, account):
            logger.info("%s: others may pass (o+x), for user %s", parent, account.name)


def open_tree_to(tree: Path, account: Account) -> None:
    """Let `account` read a directory of programs, and run what is to be run."""
    opened = 0
    for directory, _, files in os.walk(tree):
        opened += _grant(Path(directory), _READ | _TRAVERSE, account)
        opened += sum(_grant(Path(directory, name), _READ, account) for name in files)
    if opened:
        # Where pip ran under umask 077 these are a thousand: one line for all.
        logger.info(
            "%s: others may read (o+r, o+x on programs and directories), for user %s;"
            " changed %d",
            tree,
            account.name,
            opened,
        )


def _grant(path: Path, wanted: int, account: Account) -> bool:
    """Give others the rights that `account` lacks; whether anything was changed."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return False  # a link has no mode of its own
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o111:
        wanted |= _TRAVERSE
    shift = 6 if status.st_uid == account.uid else 3 * (status.st_gid == account.gid)
    if (status.st_mode >> shift) & wanted == wanted:
        return False
    try:
        path.chmod(stat.S_IMODE(status.st_mode) | wanted)
    except OSError as exc:
        raise EmbeddedPostgresError(
            f"user {account.name}, who runs PostgreSQL, is not let into {path} and that"
            f" cannot be changed ({exc.strerror}): install Penstock, or put its data"
            " (--data-dir), where other users may pass"
        ) from exc
    logger.debug("%s: mode is now o+%d", path, wanted)
    return True


def _account_of(uid: int, gid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:  # a container run with a bare number for its user
        return Account(str(uid), uid, gid)
    return Account(entry.pw_name, uid, entry.pw_gid)


def _system_account() -> Account:
    try:
        entry = pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        _create_system_user()
        entry = pwd.getpwnam(_SYSTEM_USER)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _create_system_user() -> None:
    path = (
        "/usr/sbin:/sbin:/usr/bin:/bin"  # of many users' PATH the first two are no part
    )
    useradd = shutil.which("useradd", path=path)
    if useradd is None:
        raise EmbeddedPostgresError(
            "PostgreSQL does not run as root and there is no useradd here: create the"
            f" system user {_SYSTEM_USER} yourself, or run penstock as another user"
        )
    flags = ("--system", "--user-group", "--no-create-home")
    shell = ("--shell", "/usr/sbin/nologin")
    result = subprocess.run(
        [useradd, *flags, *shell, _SYSTEM_USER],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": path, "LANG": "C"},
    )
    # Exit code 9: the name is taken, so another Penstock was quicker.
    if result.returncode not in (0, 9):
        complaint = (result.stderr.strip() or "no reason given").splitlines()[-1]
        raise EmbeddedPostgresError(
            f"PostgreSQL does not run as root and its system user {_SYSTEM_USER} cannot"
            f" be created ({complaint}): create it, or run penstock as another user"
        )
    logger.info("created the system user %s to run PostgreSQL", _SYSTEM_USER)
