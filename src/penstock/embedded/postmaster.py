"""What can be seen of a PostgreSQL server from outside, whoever started it.

Owns the reading of postmaster.pid, the check that the process it names is the server of
this data directory, and the check that it answers. Must not change anything.
"""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

# On a Unix socket an answer is immediate; only a full backlog of connects takes longer.
_CONNECT_TIMEOUT_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Postmaster:
    """The lines of postmaster.pid that matter (src/include/utils/pidfile.h)."""

    pid: int
    port: int
    socket_dir: str
    status: str

    def url(self, database: str) -> str:
        """Where the server is reached, for asyncpg and for libpq.

        The port is spelled out, or PGPORT in the user's environment would fill it in.
        """
        host = quote(self.socket_dir, safe="/")
        return f"postgresql://postgres@/{database}?host={host}&port={self.port}"

    def is_ready(self) -> bool:
        """It has finished recovery and takes connections."""
        if self.status != "ready" or not self.socket_dir:
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_CONNECT_TIMEOUT_SECONDS)
            try:
                probe.connect(f"{self.socket_dir}/.s.PGSQL.{self.port}")
            except OSError:
                return False
        return True


def read_pid_file(pgdata: Path) -> Postmaster | None:
    """What postmaster.pid says, true or not; None where it is missing or unfinished."""
    try:
        lines = (pgdata / "postmaster.pid").read_text(errors="replace").splitlines()
        # pid, data directory, start time, port, socket directory, TCP address, shared
        # memory, status: a server that has just started has not written them all.
        lines += [""] * (8 - len(lines))
        return Postmaster(int(lines[0]), int(lines[3]), lines[4], lines[7].strip())
    except (OSError, ValueError):
        return None


def find_living(pgdata: Path) -> Postmaster | None:
    """The server that runs on `pgdata` now, ready or not."""
    found = read_pid_file(pgdata)
    return found if found is not None and is_postmaster(found.pid, pgdata) else None


def is_postmaster(pid: int, pgdata: Path) -> bool:
    """Process `pid` lives and is the main process of the server on `pgdata`.

    A pid alone proves nothing: after a crash or a reboot it is soon someone else's,
    in a container nearly always.
    """
    if sys.platform != "linux":
        command = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
        return shown.stdout.strip().endswith(f"/postgres -D {pgdata}")
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    # A backend's title is "postgres: ..."; a zombie has none.
    if arguments[0].rpartition(b"/")[2] != b"postgres":
        return False
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", pgdata)
    except OSError:
        # Root without CAP_SYS_PTRACE, as in Docker, must not see another user's cwd.
        return arguments[1:3] == [b"-D", os.fsencode(pgdata)]
