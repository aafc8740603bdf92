"""Putting the units of a schedule where systemd finds them, and switching them on.

It owns the files and the calls of systemctl. It must not overwrite a unit that somebody
else has written.
"""

import os
import pwd
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final, NamedTuple

from penstock.backup.schedule import MARK
from penstock.errors import BackupError, UnavailableError

_UNIT_MODE: Final = 0o644
# systemctl answers at once; one that hangs is told, not waited for.
_SYSTEMCTL_SECONDS: Final = 60


class Systemd(NamedTuple):
    """Where systemd is on this machine."""

    unit_dir: Path = Path("/etc/systemd/system")
    # sd_booted(3): it is there where systemd runs the machine.
    running: Path = Path("/run/systemd/system")
    systemctl: str = "systemctl"


def steps_of(units: Mapping[str, str], systemd: Systemd) -> list[str]:
    """Return what `install` would do, a line for each step."""
    writes = [
        f"write {systemd.unit_dir / name}"
        for name, text in units.items()
        if _text_in(systemd.unit_dir / name) != text
    ]
    return [*writes, *(" ".join(each) for each in _calls(units, systemd))]


def install(
    units: Mapping[str, str],
    user: str,
    systemd: Systemd,
    directories: Iterable[str] = (),
) -> list[Path]:
    """Write the units, let systemd read them, and enable the timers.

    Args:
        user: who runs them.
        directories: that they write to; systemd starts no unit where one is missing.

    Returns:
        The files that were written: those that were there already are left alone.

    Raises:
        UnavailableError: there is no systemd, right, user or directory.
        BackupError: a unit of somebody else's is there, or systemctl fails.
    """
    _check(units, user, systemd)
    _check_directories(directories, user)
    written = []
    for name, text in units.items():
        file = systemd.unit_dir / name
        if _text_in(file) != text:
            _write(file, text)
            written.append(file)
    for call in _calls(units, systemd):
        _run(call)
    return written


def _calls(units: Iterable[str], systemd: Systemd) -> list[list[str]]:
    timers = [each for each in units if each.endswith(".timer")]
    return [
        [systemd.systemctl, "daemon-reload"],
        [systemd.systemctl, "enable", "--now", *timers],
    ]


def _check(units: Mapping[str, str], user: str, systemd: Systemd) -> None:
    if not systemd.running.is_dir() or shutil.which(systemd.systemctl) is None:
        raise UnavailableError(
            "systemd does not run this machine, so nothing is installed; --for cron or"
            " --for compose print what does the same"
        )
    if not os.access(systemd.unit_dir, os.W_OK):
        raise UnavailableError(
            f"{systemd.unit_dir} cannot be written, so nothing is installed; run it as"
            " root"
        )
    try:
        pwd.getpwnam(user)
    except KeyError as error:
        raise UnavailableError(
            f"there is no user {user}, so nothing is installed; name one with --user"
        ) from error
    for name in units:
        text = _text_in(systemd.unit_dir / name)
        if text is not None and not text.startswith(MARK):
            raise BackupError(
                f"{systemd.unit_dir / name} is somebody else's, so nothing is"
                " installed; move it away"
            )


def _check_directories(directories: Iterable[str], user: str) -> None:
    for each in directories:
        if not Path(each).is_dir():
            raise UnavailableError(
                f"{each} is not there, so nothing is installed; make it:"
                f" install -d -o {user} -m 700 {shlex.quote(each)}"
            )


def _text_in(file: Path) -> str | None:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return None


def _write(file: Path, text: str) -> None:
    try:
        with NamedTemporaryFile("w", dir=file.parent, delete=False) as new:
            new.write(text)
            os.fchmod(new.fileno(), _UNIT_MODE)
        os.replace(new.name, file)
    except OSError as error:
        raise UnavailableError(f"{file} cannot be written: {error.strerror}") from error


def _run(call: list[str]) -> None:
    done = subprocess.run(
        call,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SYSTEMCTL_SECONDS,
        check=False,
    )
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise BackupError(f"{' '.join(call)} fails: {said}")
