"""The lock of a data directory: who may start a server there.

Owns penstock.lock: a flock, which ends with its holder however that ends, and the name
of the holder as the file's content, for messages. Must not know PostgreSQL.
"""

import fcntl
import json
import os
import time
from typing import Final, NamedTuple

from penstock.embedded.account import keep_owner
from penstock.embedded.directory import DataDirectory
from penstock.errors import EmbeddedPostgresError

# `penstock up` keeps the lock for as long as it runs; every other holder is a command
# that is done soon.
LONG_HOLDER: Final = "up"

# How long to wait for a short command. Who waits at a terminal wants to be told.
LOCK_PATIENCE_SECONDS: Final = 60.0
LOCK_POLL_SECONDS: Final = 0.02
# A start of PostgreSQL takes a tenth of it; who waits longer wonders what for.
WAIT_TOLD_SECONDS: Final = 1.0

# A new holder locks first and writes its name a moment later: until then the file names
# the one before.
_NAME_SETTLES_SECONDS: Final = 0.5


class Holder(NamedTuple):
    """Whose name is in the lock file."""

    pid: int
    name: str

    def stays(self) -> bool:
        """It is no use to wait for this one."""
        return self.name == LONG_HOLDER and self._lives()

    def _lives(self) -> bool:
        # A dead one's lock is still held where its initdb outlives it, for a second.
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


class DirectoryLock:
    """The lock of one data directory, as seen by one who wants it."""

    def __init__(self, directory: DataDirectory, holder: str) -> None:
        self._directory = directory
        self._content = json.dumps({"pid": os.getpid(), "holder": holder}).encode()
        self._fd: int | None = None

    @property
    def fd(self) -> int | None:
        """The file that holds the lock; None while we do not."""
        return self._fd

    def take(self) -> None:
        """Take the lock; wait for a short command that has it.

        Raises:
            EmbeddedPostgresError: another `up` has it, or a command that is not short.
        """
        began = time.monotonic()
        while (other := self.try_take()) is not None:
            waited = time.monotonic() - began
            limit = _NAME_SETTLES_SECONDS if other.stays() else LOCK_PATIENCE_SECONDS
            if waited > limit:
                raise self.refusal(other)
            time.sleep(LOCK_POLL_SECONDS)

    def try_take(self) -> Holder | None:
        """Take the lock and return None, or return the one who has it."""
        if self._fd is not None:
            return None
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self._directory.lock, flags, 0o600)
        except OSError as exc:
            raise self._directory.unusable(f"no access: {exc.strerror}") from exc
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sign(fd)
        except BlockingIOError:
            other = _read_holder(fd)
            os.close(fd)
            return other
        except OSError as exc:
            os.close(fd)
            raise self._directory.unusable(
                f"it cannot be locked: {exc.strerror}"
            ) from exc
        self._fd = fd
        return None

    def release(self) -> None:
        """Give the lock up, if we have it."""
        if self._fd is not None:
            # Not by closing alone: that leaves it to whoever inherited the file.
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = None

    def waits_for(self, other: Holder) -> str:
        """Say what is waited for, in a line."""
        of = f"another Penstock ({other.name}, pid {other.pid}) to"
        end = (
            "have PostgreSQL ready" if other.name == LONG_HOLDER else "be done with it"
        )
        return f"{self._directory.root}: waiting for {of} {end}"

    def refusal(self, other: Holder) -> EmbeddedPostgresError:
        """The error that names the one who has the lock."""
        if other.name == LONG_HOLDER:
            advice = "stop it, or choose another --data-dir"
        else:
            advice = (
                "wait until it is done, or let `penstock up` run, which all can share"
            )
        return EmbeddedPostgresError(
            f"another Penstock ({other.name}, pid {other.pid}) uses the data directory"
            f" {self._directory.root}: {advice}"
        )

    def _sign(self, fd: int) -> None:
        os.ftruncate(fd, 0)
        os.pwrite(fd, self._content, 0)
        keep_owner(fd, self._directory.root)


def _read_holder(fd: int) -> Holder:
    try:
        content = json.loads(os.pread(fd, 1000, 0))
        return Holder(int(content["pid"]), str(content["holder"]))
    except (ValueError, TypeError, KeyError):
        return Holder(0, "command")  # it is about to write its name
