"""The data directory: its paths, the place of the socket, the server's log.

Owns what lies directly in the data directory:

    penstock.lock   see lock.py                    run/           the Unix socket
    postgres/       PGDATA                         postgres.log   what the server says
    postgres.new/   PGDATA while initdb works on it

Must not look inside PGDATA nor run a program.
"""

import contextlib
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from penstock.embedded.account import Account, give, keep_owner, open_path_to
from penstock.errors import EmbeddedPostgresError

# sun_path less its closing zero: 108 bytes on Linux, 104 on macOS and the BSDs.
_SOCKET_PATH_LIMIT_BYTES: Final = 107 if sys.platform == "linux" else 103
_SOCKET_NAME_BYTES: Final = len("/.s.PGSQL.65535")
# unix_socket_directories and libpq's and asyncpg's hosts are lists, split at commas.
_SPLITS_A_LIST: Final = re.compile(r'[,"]')

# Years of a quiet server's log; what is looked for is nearly always at its end.
_LOG_LIMIT_BYTES: Final = 10 * 1024 * 1024

_MESSAGE: Final = re.compile(r"\b(PANIC|FATAL|ERROR|error|LOG):\s+(.+)")


def default_data_dir() -> Path:
    """Where the embedded PostgreSQL lives when no --data-dir is given."""
    if os.geteuid() == 0:
        # Root's own is below /root, which is closed to the user PostgreSQL runs as.
        return Path("/var/lib/penstock")
    return platformdirs.user_data_path("penstock")


def complaints(output: str) -> list[str]:
    """Why a PostgreSQL program gave up, in its own words: one line at least."""
    found: list[str] = []
    before = ""
    for level, text in _MESSAGE.findall(output):
        if level != "LOG":
            # "configuration file ... contains errors": which one is in the line before.
            vague = text.endswith("contains errors") and before
            found.append(f"{before}; {text}" if vague else text)
        before = text
    return found or output.strip().splitlines()[-1:] or ["it said nothing"]


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The paths of one data directory, and the care of those that are not PGDATA."""

    root: Path

    @classmethod
    def at(cls, path: Path) -> "DataDirectory":
        """Name the directory by its one absolute path: it is compared with others'."""
        return cls(path.resolve())

    @property
    def pgdata(self) -> Path:
        return self.root / "postgres"

    @property
    def new_pgdata(self) -> Path:
        return self.root / "postgres.new"

    @property
    def log(self) -> Path:
        return self.root / "postgres.log"

    @property
    def lock(self) -> Path:
        return self.root / "penstock.lock"

    def create(self) -> None:
        """Make the directory if it is missing.

        Raises:
            EmbeddedPostgresError: it cannot be made.
        """
        if "\n" in str(self.root):
            # postmaster.pid holds the path as one of its lines.
            raise self.unusable("its name has a line break in it")
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError as exc:
            raise self.unusable("it is not a directory") from exc
        except OSError as exc:
            raise self.unusable(f"it cannot be created: {exc.strerror}") from exc

    def require_used(self) -> None:
        """See that a Penstock has been here, without a trace of having looked.

        Raises:
            EmbeddedPostgresError: none has, or we have no access.
        """
        try:
            # The lock is there before the database: `up` may be making it now.
            if self.lock.exists() or self.pgdata.exists():
                return
            is_file = self.root.exists() and not self.root.is_dir()
        except OSError as exc:
            raise self.unusable(f"no access: {exc.strerror}") from exc
        if is_file:
            raise self.unusable("it is not a directory")
        raise self.nothing_there()

    def admit(self, account: Account | None) -> None:
        """Let the account that runs PostgreSQL through to PGDATA and the socket.

        The directory stays root's: an account that may write here could put a link in
        place of a file that root opens.
        """
        if account is None:
            return
        status = self.root.stat()
        if status.st_uid == 0 and not status.st_mode & stat.S_IRWXO:
            os.chown(self.root, -1, account.gid)
            self.root.chmod(0o710)
        open_path_to(self.pgdata, account)

    def make_socket_dir(self, account: Account | None) -> Path:
        """Make the directory of the Unix socket, for nobody but its owner, and name it.

        Raises:
            EmbeddedPostgresError: someone else owns it.
        """
        uid = account.uid if account else os.geteuid()
        path = self.root / "run"
        room = _SOCKET_PATH_LIMIT_BYTES - _SOCKET_NAME_BYTES
        if len(os.fsencode(path)) > room or _SPLITS_A_LIST.search(str(path)):
            digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
            path = Path(tempfile.gettempdir()) / f"penstock-{uid}-{digest}"
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        status = path.lstat()
        # Anybody can take a name in the temp directory before us: such a directory (or
        # link) would let them in, since the server trusts whoever reaches its socket.
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (uid, os.geteuid()):
            raise EmbeddedPostgresError(
                f"{path}, the place of PostgreSQL's socket, is someone else's: have it"
                " removed, or choose a shorter --data-dir"
            )
        path.chmod(0o700)
        give(path, account)
        if account is not None:
            open_path_to(path, account)
        return path

    def remove_socket_dir(self, path: Path) -> None:
        """Leave nothing behind outside the data directory."""
        if path.parent != self.root:
            with contextlib.suppress(OSError):  # not empty: a server still uses it
                path.rmdir()

    def open_log(self) -> int:
        """Open the server's log for appending; the caller closes it."""
        self.trim_log()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self.log, flags, 0o600)
        keep_owner(fd, self.root)
        return fd

    def trim_log(self) -> None:
        """Move a log that has grown large to postgres.log.1.

        Copied and cut, not renamed: a running server keeps the file open (O_APPEND).
        """
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size > _LOG_LIMIT_BYTES:
                shutil.copy(self.log, self.root / "postgres.log.1")
                os.truncate(self.log, 0)

    def nothing_there(self) -> EmbeddedPostgresError:
        """The error of a command that looks for a database where none was made."""
        return EmbeddedPostgresError(
            f"no database in {str(self.root)!r} yet: start `penstock up`, or name its"
            " directory with --data-dir"
        )

    def unusable(self, reason: str) -> EmbeddedPostgresError:
        """The error for a data directory that cannot serve as one."""
        return EmbeddedPostgresError(
            f"cannot use the data directory {str(self.root)!r}: {reason};"
            " choose another with --data-dir"
        )
